//! The settings file, and the environment above it: shown, described to editors, and read again while the agent runs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::agent::Agent;
use harness::receiver::{Faults, Receiver};
use rusqlite::Connection;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(30);

const MAPPING: &str = r#"
mapping: 1
pack: shop
pack_version: "1"
source: sqlite
company: ACME
tables:
  item: {name: item, key: [code]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: code}
    fields: {name: item.name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

/// A folder with a database, a mapping and settings that deliver to `url`.
fn site(url: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join("erp.db")).unwrap();
    db.execute_batch("CREATE TABLE item (code TEXT PRIMARY KEY, name TEXT)")
        .unwrap();
    std::fs::write(folder.path().join("mapping.yaml"), MAPPING).unwrap();
    write(folder.path(), &settings(url));
    folder
}

fn settings(url: &str) -> String {
    format!(
        "state_folder = \"state\"\n[[source]]\nname = \"erp\"\ntype = \"sqlite\"\nfile = \"erp.db\"\n\
         mappings = [\"mapping.yaml\"]\n[[destination]]\nname = \"web-shop\"\ntype = \"webhook\"\n\
         url = \"{url}\"\nsecret = \"whsec_dGhpcyBpcyBhIHNlY3JldCBvZiAzMiBieXRlcy4u\"\n"
    )
}

/// As editors do: whole, under another name first.
fn write(folder: &Path, text: &str) {
    let new = folder.join("new.toml");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.join("lighterman.toml")).unwrap();
}

fn add(folder: &Path, item: &str) {
    let db = Connection::open(folder.join("erp.db")).unwrap();
    db.busy_timeout(SOON).unwrap();
    db.execute("INSERT INTO item VALUES (?1, ?1)", [item])
        .unwrap();
}

async fn has(receiver: &Receiver, item: &str) -> bool {
    let key = format!("ACME|{item}");
    receiver
        .wait(SOON, |held| held.body("product.v1", &key).is_some())
        .await
}

/// What a command prints and its exit code, with these variables.
fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let output = Command::new(BINARY)
        .args(arguments)
        .args(["--config", folder.join("lighterman.toml").to_str().unwrap()])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        output.status.code(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_settings_are_in_force_or_refused_as_a_whole() {
    let (first, second) = (
        Receiver::start(1, Faults::default()).await,
        Receiver::start(1, Faults::default()).await,
    );
    let folder = site(first.url());
    let (shown, code) = run(folder.path(), &["source", "prepare", "--apply"], &[]);
    assert_eq!(code, Some(0), "{shown}");
    let mut agent = Agent::start(BINARY, folder.path());
    add(folder.path(), "A");
    assert!(has(&first, "A").await, "{}", agent.log());

    // A part of it is bad: nothing of it is done.
    let bad = settings(second.url()).replace("type = \"sqlite\"", "type = \"sqlit\"");
    write(folder.path(), &bad);
    let refused = "the changed settings are refused, the old ones stay in force";
    assert!(agent.logged(refused, SOON).await, "{}", agent.log());
    assert!(
        agent.log().contains("did you mean `sqlite`?"),
        "{}",
        agent.log()
    );
    add(folder.path(), "B");
    assert!(has(&first, "B").await, "{}", agent.log());

    // What does not fit the database is no more in force than what cannot be read.
    let other = settings(second.url()).replace("mapping.yaml", "other.yaml");
    std::fs::write(
        folder.path().join("other.yaml"),
        MAPPING.replace("item.name", "item.nam"),
    )
    .unwrap();
    write(folder.path(), &other);
    assert!(
        agent.logged("no column \"nam\"", SOON).await,
        "{}",
        agent.log()
    );
    add(folder.path(), "C");
    assert!(has(&first, "C").await, "{}", agent.log());
    assert!(
        !agent.log().contains("a setting changed"),
        "{}",
        agent.log()
    );

    // The state folder stays.
    write(
        folder.path(),
        &settings(second.url()).replace("\"state\"", "\"elsewhere\""),
    );
    assert!(
        agent.logged("stay as long as the agent runs", SOON).await,
        "{}",
        agent.log()
    );
    assert!(second.held().events() == 0);

    let good = settings(second.url()).replace("cy4u", "cy4t") + "[retention]\nkeep_hours = 1\n";
    write(folder.path(), &good);
    assert!(
        agent
            .logged("the changed settings are in force", SOON)
            .await,
        "{}",
        agent.log()
    );
    add(folder.path(), "D");
    assert!(has(&second, "D").await, "{}", agent.log());
    let log = agent.log();
    for said in [
        "setting=\"destination.web-shop.url\"",
        "setting=\"destination.web-shop.secret\" was=\"\\\"********\\\"\" is=\"\\\"********\\\"\"",
        "setting=\"retention.keep_hours\" is=\"1\"",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert!(!log.contains("whsec"), "{log}");
    // Nothing that was told is told again.
    assert_eq!(second.held().events(), 1);
    assert!(agent.terminate(SOON).await.is_some());
}

#[test]
fn settings_are_shown_with_their_origins_and_without_secrets() {
    let folder = site("http://127.0.0.1:1/");
    let variables = [
        ("LIGHTERMAN__DESTINATION__WEB_SHOP__CONCURRENT", "3"),
        ("LIGHTERMAN__SOURCE__ERP__READS_PER_SECOND", "7"),
    ];
    let (shown, code) = run(
        folder.path(),
        &["config", "show", "--effective"],
        &variables,
    );
    assert_eq!(code, Some(0), "{shown}");
    let line = |path: &str| {
        let found = shown
            .lines()
            .find(|line| line.starts_with(&format!("{path} = ")));
        found
            .unwrap_or_else(|| panic!("{path}: {shown}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        line("source.erp.file"),
        "source.erp.file = \"erp.db\" # lighterman.toml:5"
    );
    assert_eq!(
        line("source.erp.reads_per_second"),
        "source.erp.reads_per_second = 7 # environment variable LIGHTERMAN__SOURCE__ERP__READS_PER_SECOND"
    );
    assert!(line("destination.web-shop.concurrent").contains("= 3 # environment variable"));
    assert_eq!(
        line("retention.keep_hours"),
        "retention.keep_hours = 24 # default"
    );
    // What adapters and the log do where nothing is said.
    for (path, value) in [
        ("source.erp.poll_ms", "500"),
        ("destination.web-shop.mode", "\"structured\""),
        ("destination.web-shop.timeout_seconds", "30"),
        ("destination.web-shop.connect_timeout_seconds", "10"),
        ("log.level", "\"info\""),
        ("log.keep_days", "14"),
        ("log.folder", "\"state/logs\""),
    ] {
        assert_eq!(line(path), format!("{path} = {value} # default"));
    }
    assert!(line("destination.web-shop.secret").contains("\"********\""));
    assert!(!shown.contains("whsec"), "{shown}");

    // What hangs on other values is what holds here.
    let both = "[[source]]\nname = \"db\"\ntype = \"postgres\"\nhost = \"db1\"\ndatabase = \"d\"\nuser = \"u\"\n\
                mappings = [\"mapping.yaml\"]\n[[destination]]\nname = \"v\"\ntype = \"channel\"\nchannel = \"vendure\"\n\
                settings = { url = \"https://shop.example.com\", user = \"a\", password = { env = \"PATH\" }, \
                locations = { A = \"1\" }, language = \"de\" }\n";
    let other = tempfile::tempdir().unwrap();
    write(other.path(), both);
    let (shown, code) = run(other.path(), &["config", "show", "--effective"], &[]);
    assert_eq!(code, Some(0), "{shown}");
    let lines: Vec<String> = shown
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for wanted in [
        "source.db.port = 5432 # default",
        "source.db.tls = \"verify-full\" # default",
        "source.db.slot = \"lighterman_db\" # default",
        "source.db.publication = \"lighterman_db\" # default",
        "destination.v.requests_max = 2 # default",
        "destination.v.settings.buffer = 0 # default",
        "destination.v.settings.price_units = [\"*\"] # default",
        "destination.v.settings.language = \"de\" # lighterman.toml:12",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}: {shown}");
    }

    let (shown, code) = run(folder.path(), &["config", "show", "--json"], &variables);
    assert_eq!(code, Some(0));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let paths: Vec<&str> = shown["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    assert!(
        paths.contains(&"destination.web-shop.url") && !paths.contains(&"retention.keep_hours"),
        "{paths:?}"
    );

    // A variable that fits nowhere is named.
    let (shown, code) = run(
        folder.path(),
        &["check"],
        &[("LIGHTERMAN__DESTINATION__WEBSHOP__URL", "x")],
    );
    assert_eq!(code, Some(2), "{shown}");
    assert!(
        shown.contains("environment variable LIGHTERMAN__DESTINATION__WEBSHOP__URL"),
        "{shown}"
    );
    assert!(shown.contains("did you mean `web-shop`?"), "{shown}");
}

#[test]
fn a_secret_may_come_from_systemds_credentials() {
    let folder = site("http://127.0.0.1:1/");
    let text = settings("http://127.0.0.1:1/");
    let line = text
        .lines()
        .find(|line| line.starts_with("secret"))
        .unwrap();
    write(
        folder.path(),
        &text.replace(line, "secret = { credential = \"shop\" }"),
    );
    let (shown, code) = run(folder.path(), &["config", "show"], &[]);
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("no service manager gave any"), "{shown}");
    let given = tempfile::tempdir().unwrap();
    std::fs::write(
        given.path().join("shop"),
        "whsec_dGhpcyBpcyBhIHNlY3JldCBvZiAzMiBieXRlcy4u\n",
    )
    .unwrap();
    let place = given.path().to_str().unwrap();
    let (shown, code) = run(
        folder.path(),
        &["config", "show"],
        &[("CREDENTIALS_DIRECTORY", place)],
    );
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("secret.credential = \"shop\""), "{shown}");
}

/// `BLESS=1` writes it anew.
#[test]
fn the_schema_for_editors_is_current_and_fits_what_init_writes() {
    let output = Command::new(BINARY)
        .args(["config", "schema"])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lighterman.schema.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &printed).unwrap();
    }
    assert_eq!(
        printed,
        std::fs::read_to_string(&file).unwrap(),
        "BLESS=1 writes it anew"
    );
    let schema: Value = serde_json::from_str(&printed).unwrap();
    for kind in ["postgres", "mysql", "sqlite", "sqlserver"] {
        let sources = schema
            .pointer("/properties/source/items/oneOf")
            .unwrap()
            .as_array()
            .unwrap();
        let one = sources
            .iter()
            .find(|one| one["properties"]["type"]["const"] == kind);
        assert!(
            one.is_some_and(|one| one["properties"]["mappings"]["type"] == "array"),
            "{kind}"
        );
        let reads = &one.unwrap()["properties"]["reads_per_second"];
        assert_eq!(reads["default"], 100, "{kind}");
    }
}

/// Secrets are known by where they stand, whatever is wrong beside them.
#[test]
fn a_secret_is_masked_also_beside_one_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "[alerts.deadman]\nurl = \"ping.example.com/UrlMark\"\nfail_url = \"ftp://x/FailMark\"\n";
    write(folder.path(), text);
    let (shown, _) = run(folder.path(), &["config", "show", "--effective"], &[]);
    for key in ["url", "fail_url"] {
        let path = format!("alerts.deadman.{key} ");
        let line = shown.lines().find(|line| line.starts_with(&path)).unwrap();
        assert!(line.contains("\"********\""), "{line}");
        // Both are wrong, and said together.
        let wrong = format!("alerts.deadman.{key}: is not an http");
        assert!(shown.contains(&wrong), "{wrong}: {shown}");
    }
    assert!(!shown.contains("Mark"), "{shown}");
}

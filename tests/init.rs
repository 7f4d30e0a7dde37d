//! The guided set-up, at a terminal and without one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use harness::terminal::Terminal;
use rusqlite::Connection;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");

/// Fits whatever asks for a secret.
const SECRET: &str = "whsec_dGhpcyBpcyBhIHNlY3JldCBvZiAzMiBieXRlcy4u";

fn run(folder: &Path, words: &[&str], variables: &[String]) -> Output {
    let variables = variables.iter().map(|name| (name.as_str(), SECRET));
    Command::new(BINARY)
        .current_dir(folder)
        .args(words)
        .envs(variables)
        .output()
        .unwrap()
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", shown(output)))
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().unwrap().iter();
    texts
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// What the question of a flag lets one choose.
fn choices(words: &[&str], flag: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<&str> = ["init", "--questions", "--json"]
        .iter()
        .chain(words)
        .copied()
        .collect();
    let listed = json(&run(folder.path(), &words, &[]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let questions = listed["questions"].as_array().unwrap();
    let one = questions.iter().find(|one| one["flag"] == flag);
    one.map_or_else(Vec::new, |one| texts(&one["choices"]))
}

/// Settings and mappings are read in full before the state is looked at: 2 says that they are wrong.
fn loads(folder: &Path, variables: &[String], words: &[&str]) {
    let output = run(folder, &["status", "--json"], variables);
    assert_ne!(
        output.status.code(),
        Some(2),
        "{words:?}: {}",
        shown(&output)
    );
}

#[test]
fn whatever_is_chosen_is_written_so_that_it_loads() {
    let sources = choices(&[], "--source");
    let destinations = choices(&[], "--destination");
    assert!(
        sources.len() >= 4 && destinations.len() >= 21,
        "{destinations:?}"
    );
    let mut packs = 0;
    for source in &sources {
        for destination in &destinations {
            init_loads(&["--source", source, "--destination", destination]);
        }
        for pack in choices(&["--source", source], "--pack") {
            init_loads(&[
                "--source",
                source,
                "--pack",
                &pack,
                "--pause",
                "08:00-18:00",
            ]);
            packs += 1;
        }
    }
    // Those of SQL Server, PostgreSQL and MariaDB, and for each of these none.
    assert!(packs >= 10, "{packs}");
    for destination in destinations.iter().rev().take(13) {
        init_loads(&["--destination", destination, "--own-channel", "--shadow"]);
    }
    init_loads(&[
        "--source",
        "sqlserver",
        "--pack",
        "dynamics-gp-inventory",
        "--pack",
        "dynamics-gp-orders",
        "--pack-set",
        "company.code=ACME",
        "--pack-set",
        "sellable_sites=MAIN, NORTH",
        "--source-set",
        "instance=GP",
        "--tenant",
        "ACME Ltd.",
        "--keep-days",
        "30",
        "--zone",
        "America/Chicago",
    ]);
}

fn init_loads(words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<&str> = ["init", "--json"].iter().chain(words).copied().collect();
    let output = run(folder.path(), &all, &[]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{words:?}: {}",
        shown(&output)
    );
    let told = json(&output);
    assert_eq!(told["next"].as_array().unwrap().len(), 3);
    loads(folder.path(), &texts(&told["variables"]), words);
}

#[test]
fn the_command_line_answers_every_question_and_is_checked_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "init",
        "--source",
        "mysql",
        "--source-set",
        "port=70000",
        "--source-set",
        "hots=db1",
        "--source-set",
        "password=geheim",
        "--destination-set",
        "url=http://shop.example.com/",
        "--destination-set",
        "old_secret=geheim",
        "--pack",
        "erpnext-stok",
        "--keep-days",
        "none",
        "--pause",
        "noon",
    ];
    let output = run(folder.path(), &words, &[]);
    let said = shown(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for wanted in [
        "--source-set port: expected a whole number from 1 to 65535",
        "--source-set hots: unknown key `hots` (hint: did you mean `host`?)",
        "--source-set password: is not taken from the command line",
        "--destination-set url: would send events unencrypted",
        "--destination-set old_secret: is a secret",
        "--pack: there is no `erpnext-stok`: did you mean `erpnext-stock`?",
        "--keep-days: expected a whole number",
        "--pause: `noon` is no time of day",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!said.contains("geheim"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let words = [
        "init",
        "--source",
        "mysql",
        "--source-set",
        "host=db1",
        "--source-set",
        "password=credential:erp",
        "--source-set",
        "tls=require",
        "--schema",
        "shop",
        "--company",
        "ACME",
        "--destination-set",
        "secret=made",
        "--destination-set",
        "old_secret=env:OLD",
        "--shadow",
    ];
    let output = run(folder.path(), &words, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let settings = read("lighterman.toml");
    for line in [
        "host = \"db1\"                     # the server itself",
        "port = 3306\n",
        "password = { credential = \"erp\" }",
        "tls = \"require\"                  # disable",
        "secret = { file = \"secrets/shop-secret\" }",
        "old_secret = { env = \"OLD\" }",
        "shadow = true",
    ] {
        assert!(settings.contains(line), "{line}: {settings}");
    }
    let mapping = read("mapping.yaml");
    assert!(
        mapping.contains("\nschema: \"shop\" ") && mapping.contains("\ncompany: \"ACME\" "),
        "{mapping}"
    );
    assert!(read("secrets/shop-secret").starts_with("whsec_"));
    private(&folder.path().join("secrets/shop-secret"));
}

fn private(file: &Path) {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file), mode(file.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn a_person_is_asked_and_a_wrong_answer_is_asked_again_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(BINARY, folder.path(), &["init", "--folder", "my-site"]);
    terminal.answer("What is the company called here?", "");
    terminal.answer("Which database does the ERP use?", "2");
    terminal.answer("Where is the database server?", "db.example.com");
    terminal.answer("On which port does it listen?", "70000");
    terminal.answer("expected a whole number from 1 to 65535", "5433");
    terminal.answer("Which database?", "shop");
    terminal.answer("Which database user", "");
    terminal.answer("And its password?", "");
    terminal.expect("it is not shown) > ");
    assert!(!terminal.echoes());
    terminal.line("geh eim");
    terminal.expect("once more > ");
    terminal.line("geheim");
    terminal.expect("are not the same");
    terminal.expect("it is not shown) > ");
    terminal.line("geh eim");
    terminal.expect("once more > ");
    terminal.line("geh eim");
    terminal.answer("At which times of day", "08:00");
    assert!(terminal.echoes());
    terminal.answer("is no time of day", "08:00-18:00");
    terminal.answer("In which time zone", "Europe/Berlin");
    terminal.answer("Which ERP's tables", "");
    terminal.answer("Which company's rows", "ACME");
    terminal.answer("Where do the events go?", "vendur");
    terminal.answer("did you mean `vendure`?", "vendure");
    terminal.answer(
        "What is the address of the shop's server",
        "shop.example.com",
    );
    terminal.answer("the channel's address is none", "https://shop.example.com");
    terminal.answer("With which administrator's name", "agent");
    terminal.answer("And with which password?", "env");
    terminal.answer("Which variable?", "");
    terminal.answer("the shop's stock locations", "MAIN=7");
    terminal.answer("further settings", "");
    terminal.answer("With a copy of the channel's file", "yes");
    terminal.answer("Begin in shadow mode?", "yes");
    terminal.answer("For how many days", "30");
    terminal.expect("my-site/secrets/erp-password");
    assert!(!folder.path().join("my-site").exists());
    terminal.answer("Write them?", "");
    terminal.answer("Try the source now?", "no");
    terminal.expect("lighterman source prepare");
    assert_eq!(terminal.ended(), Some(0));
    let seen = terminal.shown();
    assert!(
        !seen.contains("eheim") && !seen.contains('\u{1b}'),
        "{seen}"
    );

    let site = folder.path().join("my-site");
    let read = |name: &str| std::fs::read_to_string(site.join(name)).unwrap();
    let settings = read("lighterman.toml");
    for line in [
        "port = 5433",
        "password = { file = \"secrets/erp-password\" }",
        "snapshot = { pause = [\"08:00-18:00\"], zone = \"Europe/Berlin\" }",
        "# channel = \"vendure\"",
        "file = \"channels/vendure.yaml\"",
        "settings.password = { env = \"VENDURE_PASSWORD\" }",
        "settings.locations = { \"MAIN\" = \"7\" }",
        "# settings.buffer = 0 ",
        "shadow = true",
        "[log] ",
        "keep_days = 30",
    ] {
        assert!(settings.contains(line), "{line}: {settings}");
    }
    assert!(
        !settings.contains("eheim") && !settings.contains("CHANGE THIS"),
        "{settings}"
    );
    assert_eq!(read("secrets/erp-password"), "geh eim\n");
    private(&site.join("secrets/erp-password"));
    loads(&site, &["VENDURE_PASSWORD".to_owned()], &[]);

    // What is there is not asked for again.
    let mut terminal = Terminal::start(BINARY, folder.path(), &["init", "--folder", "my-site"]);
    terminal.expect("exists already");
    assert_eq!(terminal.ended(), Some(2));
}

#[test]
fn whoever_leaves_leaves_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["init", "--source", "mysql", "--tenant", "t"];
    let mut terminal = Terminal::start(BINARY, folder.path(), &words);
    terminal.answer("Where is the database server?", "");
    terminal.answer("On which port does it listen?", "");
    terminal.answer("Which database user", "");
    terminal.answer("And its password?", "");
    terminal.expect("it is not shown) > ");
    assert!(!terminal.echoes());
    terminal.keys("\u{3}");
    terminal.expect("stopped: nothing was written");
    assert_eq!(terminal.ended(), Some(1));
    assert!(terminal.echoes());

    // The end of the input, in the middle and before the end.
    let mut terminal = Terminal::start(BINARY, folder.path(), &["init"]);
    terminal.expect("What is the company called here?");
    terminal.expect("> ");
    terminal.keys("\u{4}");
    terminal.expect("stopped: nothing was written");
    assert_eq!(terminal.ended(), Some(1));
    let words = [
        "init",
        "--source",
        "sqlite",
        "--destination",
        "null",
        "--tenant",
        "t",
    ];
    let mut terminal = Terminal::start(BINARY, folder.path(), &words);
    terminal.answer("Which file", "");
    terminal.answer("At which times of day", "-");
    terminal.answer("Which company's rows", "");
    terminal.answer("Begin in shadow mode?", "");
    terminal.answer("For how many days", "");
    terminal.answer("Write them?", "no");
    terminal.expect("stopped: nothing was written");
    assert_eq!(terminal.ended(), Some(1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_source_is_tried_and_its_answers_may_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "init",
        "--destination",
        "null",
        "--tenant",
        "t",
        "--keep-days",
        "14",
    ];
    let mut terminal = Terminal::start(BINARY, folder.path(), &words);
    terminal.answer("Which database does the ERP use?", "sqlite");
    terminal.answer("Which file", "erp.db");
    terminal.answer("At which times of day", "");
    terminal.answer("Which company's rows", "");
    terminal.answer("Begin in shadow mode?", "");
    terminal.answer("Write them?", "yes");
    terminal.answer("Try the source now?", "");
    terminal.expect("FAIL");
    terminal.answer("Change the answers about the source?", "yes");
    let db = Connection::open(folder.path().join("shop.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE stock (sku TEXT, warehouse TEXT, on_hand INTEGER, allocated INTEGER, \
         PRIMARY KEY (sku, warehouse))",
    )
    .unwrap();
    terminal.answer("Which file", "shop.db");
    terminal.answer("Try the source now?", "");
    // What an administrator must run, and the undo.
    terminal.expect("-- source warehouse: to do");
    terminal.expect("CREATE TRIGGER");
    terminal.expect("-- to undo all of it:");
    terminal.expect("Next, in");
    assert_eq!(terminal.ended(), Some(0));
    let settings = std::fs::read_to_string(folder.path().join("lighterman.toml")).unwrap();
    assert!(settings.contains("file = \"shop.db\" "), "{settings}");
    // It only looks.
    let tables: i64 = db
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(tables, 0);
}

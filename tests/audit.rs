//! Who changed what, through the commands and beside a running agent: noted, shown, exported, verified.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::agent::Agent;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use rusqlite::Connection;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);

const TABLES: &str = "CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT)";

/// A mapping whose rows have this status.
fn mapping(status: &str) -> String {
    format!(
        "
mapping: 1
pack: shop
pack_version: '1'
source: sqlite
company: ACME
tables:
  item: {{name: item, key: [sku]}}
dictionaries:
  kinds: {{A: stocked}}
events:
  - id: item
    emit: product.v1
    from: item
    key: {{sku: sku}}
    fields: {{name: name, stock_uom: \"'EA'\", kind: \"dict(kinds, name)\", status: \"'{status}'\"}}
"
    )
}

/// What a command says as `anna`, called through sudo.
fn as_anna(site: &Site, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY)
        .current_dir(site.path())
        .args(words)
        .env("SUDO_USER", "anna")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors, "", "{words:?}: {shown}");
    (output.status.code(), shown)
}

fn entries(site: &Site, words: &[&str]) -> Vec<Value> {
    let words = [&["audit", "show", "--json"], words].concat();
    let (code, shown) = site.command(&words);
    let form: Value = serde_json::from_str(&shown).unwrap();
    // Where the agent has not made its state file yet, or makes it just now, nothing is on record.
    if code == Some(3) {
        return Vec::new();
    }
    assert_eq!(code, Some(0), "{shown}");
    form["entries"].as_array().unwrap().clone()
}

/// Waits until something is on record.
async fn on_record(site: &Site, agent: &Agent, words: &[&str]) -> Value {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(last) = entries(site, words).pop() {
            return last;
        }
        let late = tokio::time::Instant::now() >= deadline;
        assert!(
            !late,
            "{words:?}: {:#?}\n{}",
            entries(site, &[]),
            agent.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn stop(mut agent: Agent) {
    let ended = agent.terminate(SOON).await;
    assert!(
        ended.is_some_and(|ended| ended.success()),
        "{}",
        agent.log()
    );
}

/// As editors do: whole, under another name first.
fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    let new = file.with_extension("new");
    std::fs::write(&new, text.replace(from, to)).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_persons_do_is_on_record_with_who_and_what() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, &mapping("active"));
    let (code, shown) = site.command(&["audit", "show"]);
    assert_eq!(code, Some(3), "{shown}");
    assert!(
        shown.contains("there is none") && shown.contains("hint: "),
        "{shown}"
    );

    let agent = site.agent();
    let started = on_record(&site, &agent, &["--what", "agent.started"]).await;
    assert_eq!(started["who"], "agent");
    let rules = on_record(&site, &agent, &["--what", "mapping.in_force"]).await;
    assert_eq!(rules["subject"], "erp", "{rules}");
    let first = rules["details"]["rules"]["item"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(rules["details"]["files"][0]["owner"].is_string(), "{rules}");
    let settings = on_record(
        &site,
        &agent,
        &[
            "--what",
            "settings.in_force",
            "--subject",
            "destination.shop",
        ],
    )
    .await;
    let url = settings["details"]["settings"]["destination.shop.url"]
        .as_str()
        .unwrap();
    assert!(url.contains("127.0.0.1"), "{settings}");

    // Something that the mapping holds.
    site.run("INSERT INTO item VALUES ('A', 'A'), ('B', 'Meier')");
    let there = receiver
        .wait(SOON, |held| held.body("product.v1", "ACME|A").is_some())
        .await;
    assert!(there, "{}", agent.log());

    for (words, what, subject, details) in [
        (
            "destination pause shop",
            "destination.pause",
            "shop",
            json!({}),
        ),
        (
            "destination resume shop",
            "destination.resume",
            "shop",
            json!({}),
        ),
        (
            "replay --key A --yes",
            "replay",
            "shop",
            json!({ "which": { "key": "A" }, "count": 1 }),
        ),
        (
            "held drop --cause mapping --why test",
            "held.drop",
            "mapping",
            json!({ "which": { "cause": "mapping" }, "count": 1, "why": "test" }),
        ),
        (
            "source resync erp --table item",
            "source.resync",
            "erp",
            Value::Null,
        ),
        (
            "log level debug --for 1m",
            "log.level",
            "debug",
            Value::Null,
        ),
        (
            "destination drain shop",
            "destination.drain",
            "shop",
            json!({}),
        ),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let (code, shown) = as_anna(&site, &words);
        assert_eq!(code, Some(0), "{words:?}: {shown}");
        let last = entries(&site, &["--who", "anna"]).pop().unwrap();
        assert_eq!(
            (&last["who"], &last["what"], &last["subject"]),
            (&json!("os:anna"), &json!(what), &json!(subject)),
            "{last}"
        );
        // Through sudo it is done as somebody else, who stands there, too.
        let mut found = last["details"].clone();
        let acting = found.as_object_mut().unwrap().remove("as");
        assert!(acting.is_some_and(|user| user.is_string()), "{last}");
        if details != Value::Null {
            assert_eq!(found, details, "{last}");
        }
    }

    // A mapping and a setting that change while it runs.
    site.map(&mapping("discontinued"));
    let rule = on_record(&site, &agent, &["--subject", "erp/item"]).await;
    assert_eq!(rule["details"]["was"], first, "{rule}");
    assert_ne!(rule["details"]["is"], first, "{rule}");
    replace(
        &site.path().join("lighterman.toml"),
        "retry_max_seconds = 1",
        "retry_max_seconds = 7",
    );
    let setting = ["--what", "settings.changed"];
    let setting = on_record(&site, &agent, &setting).await;
    assert_eq!(setting["subject"], "destination.shop.retry_max_seconds");
    assert_eq!(
        (&setting["details"]["was"], &setting["details"]["is"]),
        (&json!("1"), &json!("7")),
        "{setting}"
    );
    stop(agent).await;
    let last = entries(&site, &["--limit", "1"]).pop().unwrap();
    assert_eq!(last["what"], "agent.stopped", "{last}");

    // One that changes while none runs, and is found at the start; what did not change is not noted again.
    replace(
        &site.path().join("lighterman.toml"),
        "retry_max_seconds = 7",
        "retry_max_seconds = 8",
    );
    let count = entries(&site, &["--limit", "1000"]).len();
    let agent = site.agent();
    let deadline = tokio::time::Instant::now() + SOON;
    while entries(&site, &["--what", "settings.changed"]).len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop(agent).await;
    let new = entries(&site, &["--limit", "1000"]).split_off(count);
    let whats: Vec<&str> = new.iter().filter_map(|one| one["what"].as_str()).collect();
    assert_eq!(
        whats,
        ["agent.started", "settings.changed", "agent.stopped"]
    );

    // What is done to the state itself.
    for (words, what) in [
        ("state compact", "state.compact"),
        ("state backup --to kept.db", ""),
        ("state restore kept.db --paused", "state.restore"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let (code, shown) = as_anna(&site, &words);
        assert_eq!(code, Some(0), "{words:?}: {shown}");
        if !what.is_empty() {
            let last = entries(&site, &["--limit", "1"]).pop().unwrap();
            assert_eq!(last["what"], what, "{last}");
        }
    }
    let (code, shown) = site.command(&["audit", "verify"]);
    assert_eq!(code, Some(0), "{shown}");
    let (code, shown) = site.command(&["state", "verify"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("ok   audit record"), "{shown}");
    let (_, shown) = site.command(&["audit", "show", "--what", "destination"]);
    assert!(
        shown.contains("os:anna  destination.pause  shop"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_changes_is_noted_and_not_told() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, &mapping("active"));
    let settings = site.path().join("lighterman.toml");
    let secret = |letter: &str| format!("whsec_{}", letter.repeat(40));
    replace(
        &settings,
        "timeout_seconds = 1",
        &format!("timeout_seconds = 1\nsecret = \"{}\"", secret("a")),
    );
    let agent = site.agent();
    on_record(&site, &agent, &["--what", "settings.in_force"]).await;
    assert!(agent.logged("agent started", SOON).await, "{}", agent.log());
    replace(&settings, &secret("a"), &secret("b"));
    let changed = on_record(&site, &agent, &["--what", "settings.changed"]).await;
    assert_eq!(changed["subject"], "destination.shop.secret", "{changed}");
    assert_eq!(changed["details"]["is"], "\"********\"", "{changed}");
    let all = format!("{:?}", entries(&site, &["--limit", "1000"]));
    assert!(!all.contains("aaaaaa") && !all.contains("bbbbbb"), "{all}");
    stop(agent).await;
}

/// A site whose agent ran once and left something on record.
async fn noted() -> Site {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, &mapping("active"));
    let agent = site.agent();
    on_record(&site, &agent, &["--what", "mapping.in_force"]).await;
    stop(agent).await;
    for words in [
        ["destination", "pause", "shop"],
        ["destination", "resume", "shop"],
    ] {
        let (code, shown) = as_anna(&site, &words);
        assert_eq!(code, Some(0), "{shown}");
    }
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_witnesses_what_stood_in_the_state_file() {
    let site = noted().await;
    let (code, shown) = site.command(&["audit", "export", "--to", "kept.jsonl"]);
    assert_eq!(code, Some(0), "{shown}");
    let (code, shown) = site.command(&["audit", "export", "--to", "kept.jsonl"]);
    assert_eq!(code, Some(1), "{shown}");
    let verify = |file: &str| site.command(&["audit", "verify", "--file", file]);
    let (code, shown) = verify("kept.jsonl");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("hangs together: entries 1 to"), "{shown}");
    assert!(shown.contains("state file: has entry"), "{shown}");

    // Where nothing else is.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::copy(
        site.path().join("kept.jsonl"),
        elsewhere.path().join("x.jsonl"),
    )
    .unwrap();
    let (code, shown) = harness::agent::command(
        BINARY,
        elsewhere.path(),
        &["audit", "verify", "--file", "x.jsonl"],
    );
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("only the export was looked at"), "{shown}");

    let text = std::fs::read_to_string(site.path().join("kept.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let check = |name: &str, lines: &[String], wanted: &str| {
        let file = format!("{name}.jsonl");
        std::fs::write(site.path().join(&file), lines.join("\n") + "\n").unwrap();
        let (code, shown) = verify(&file);
        assert_eq!(code, Some(1), "{name}: {shown}");
        assert!(shown.contains(wanted), "{name}: {shown}");
    };
    let own: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let mut changed = own.clone();
    changed[3] = changed[3].replacen("\"who\":\"", "\"who\":\"x", 1);
    check("changed", &changed, "entry 3 was changed");
    let mut later = own.clone();
    later[2] = later[2].replacen('T', " ", 1);
    check("later", &later, "entry 2 was changed");
    let mut removed = own.clone();
    removed.remove(2);
    check("removed", &removed, "entry 2 is missing");
    let mut swapped = own.clone();
    swapped.swap(2, 3);
    check("swapped", &swapped, "entry 2 is missing");
    let mut cut = own.clone();
    cut.pop();
    check("cut", &cut, "is missing, or the first line was changed");
    let mut headless = own.clone();
    headless.remove(1);
    check("headless", &headless, "entry 1 is missing");
    check("empty", &[], "first line");
    let mut added = own.clone();
    added[1] = added[1].replacen('{', "{\"more\":1,", 1);
    check("added", &added, "line 2 is not an entry");

    // Who cuts the state file's own end is found by who kept the export, or its head alone.
    let (_, shown) = site.command(&["audit", "head"]);
    let head = shown.lines().next().unwrap().to_owned();
    let (code, shown) = site.command(&["audit", "verify", "--head", &head]);
    assert_eq!(code, Some(0), "{shown}");
    let db = Connection::open(site.path().join("state/lighterman.db")).unwrap();
    db.execute_batch(
        "DROP TRIGGER audit_only_pruned;
         DELETE FROM audit WHERE number = (SELECT max(number) FROM audit)",
    )
    .unwrap();
    drop(db);
    let (code, shown) = site.command(&["audit", "verify"]);
    assert_eq!(code, Some(0), "{shown}");
    for words in [["--head", head.as_str()], ["--file", "kept.jsonl"]] {
        let (code, shown) = site.command(&[&["audit", "verify"], &words[..]].concat());
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("its end was cut off"), "{shown}");
    }
}

/// The program in the documentation is what other programs do to verify an export.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_verifies_an_export_as_it_is_documented() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating/audit.md");
    let page = std::fs::read_to_string(page).unwrap();
    let program = page
        .split("```python\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let there = Command::new("python3").arg("--version").output();
    if !there.is_ok_and(|there| there.status.success()) {
        println!("skipped: python3 is not there");
        return;
    }
    let site = noted().await;
    let (code, shown) = site.command(&["audit", "export", "--to", "kept.jsonl"]);
    assert_eq!(code, Some(0), "{shown}");
    std::fs::write(site.path().join("verify.py"), program).unwrap();
    let verify = || {
        let output = Command::new("python3")
            .current_dir(site.path())
            .args(["verify.py", "kept.jsonl"])
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (code, said) = verify();
    assert_eq!(code, Some(0), "{said}");
    let (_, head) = site.command(&["audit", "head"]);
    assert!(said.contains(head.lines().next().unwrap()), "{said}");
    replace(
        &site.path().join("kept.jsonl"),
        "destination.pause",
        "destination.drain",
    );
    let (code, said) = verify();
    assert_eq!(code, Some(1), "{said}");
}

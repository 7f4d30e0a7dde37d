//! The state file as a person looks after it: verified, backed up beside a running agent, restored after
//! a bad day, compacted, migrated.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::agent::Agent;
use harness::receiver::{Faults, Held, Receiver};
use harness::site::Site;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);

const MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: sqlite
company: ACME
tables:
  item: {name: item, key: [sku]}
  move: {name: move, key: [id]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: \"'EA'\", kind: \"'stocked'\", status: \"'active'\"}
  - id: move
    emit: inventory.movement.v1
    from: move
    key: {movement_id: id}
    fields: {kind: \"'adjustment'\", sku: sku, location: \"'X'\", uom: \"'EA'\", quantity: qty}
";

const TABLES: &str = "
CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT);
CREATE TABLE move (id INTEGER PRIMARY KEY, sku TEXT, qty INTEGER)";

/// What the settings keep secret; in base64 as the webhook wants it.
const SECRET: &str = "whsec_cGxhbnRlZC1zZWNyZXQtdGhhdC1tdXN0LW5vdC1sZWFr";

/// A site whose destination signs with a secret from a file, and the folder that one is in.
fn site_of(url: &str) -> (Site, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret.txt");
    std::fs::write(&secret, SECRET).unwrap();
    let destination = format!(
        "type = \"webhook\"\nurl = \"{url}\"\ntimeout_seconds = 1\nsecret = {{ file = \"{}\" }}\n",
        secret.display()
    );
    (Site::with(BINARY, &destination, TABLES, MAPPING), folder)
}

async fn until(agent: &Agent, receiver: &Receiver, done: impl FnMut(&Held) -> bool) {
    let there = receiver.wait(SOON, done).await;
    let held = receiver.held();
    assert!(
        there,
        "{:#?}\n{:#?}\n{}",
        held.state,
        held.facts,
        agent.log()
    );
}

fn has(held: &Held, sku: &str, name: &str) -> bool {
    let body = held.body("product.v1", &format!("ACME|{sku}"));
    body.is_some_and(|body| body["name"] == name)
}

async fn stop(mut agent: Agent) {
    let ended = agent.terminate(SOON).await;
    assert!(
        ended.is_some_and(|ended| ended.success()),
        "{}",
        agent.log()
    );
}

fn json(shown: &str) -> Value {
    serde_json::from_str(shown).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

/// The worst day: the state is gone, a backup is there. Its source's log no longer reaches back to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_beside_a_running_agent_brings_everything_back() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, _secret) = site_of(receiver.url());
    let agent = site.agent();
    site.run("INSERT INTO item VALUES ('A', 'a'), ('B', 'b'); INSERT INTO move VALUES (1, 'A', 5)");
    until(&agent, &receiver, |held| {
        has(held, "B", "b") && held.facts.len() == 1
    })
    .await;

    let (code, shown) = site.command(&["state", "backup", "--to", "kept.db", "--json"]);
    assert_eq!(code, Some(0), "{shown}");
    let made = json(&shown);
    assert_eq!(
        (&made["running"], &made["worst"]),
        (&true.into(), &"pass".into()),
        "{shown}"
    );
    let kept = site.path().join("kept.db");
    let bytes = std::fs::read(&kept).unwrap();
    for secret in [SECRET, "planted-secret"] {
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "a secret is in the backup");
    }

    // It stays what it was: nothing takes its place.
    let (code, shown) = site.command(&["state", "backup", "--to", "kept.db"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("exists already") && shown.contains("hint: "),
        "{shown}"
    );
    assert_eq!(std::fs::read(&kept).unwrap(), bytes);

    // What came after the backup, and is told.
    site.run(
        "UPDATE item SET name = 'a2' WHERE sku = 'A'; DELETE FROM item WHERE sku = 'B';
         INSERT INTO item VALUES ('C', 'c'); INSERT INTO move VALUES (2, 'C', 7)",
    );
    until(&agent, &receiver, |held| {
        has(held, "A", "a2") && has(held, "C", "c") && held.facts.len() == 2
    })
    .await;

    let (code, shown) = site.command(&["state", "restore", "kept.db"]);
    assert_eq!(code, Some(3), "{shown}");
    assert!(
        shown.contains(&format!("process {}", agent.pid())),
        "{shown}"
    );
    stop(agent).await;

    let (code, shown) = site.command(&["state", "restore", "kept.db"]);
    assert_eq!(code, Some(0), "{shown}");
    for said in [
        "What an older state means:",
        "Source erp goes on from where it stood at ",
        "lighterman source resync erp",
        "shop: 0 wait, 0 are held.",
        "the same ids and idempotency keys",
        "Next: lighterman check",
        "/replaced-",
    ] {
        assert!(shown.contains(said), "{said}\n{shown}");
    }
    let (code, shown) = site.command(&["state", "verify"]);
    assert_eq!(code, Some(0), "{shown}");

    // The log has let go of what came between, as it does sooner or later: it is said, never skipped,
    // and healed as it says.
    site.run("DELETE FROM lighterman_log");
    let agent = site.agent();
    let lost = "source stopped: its log no longer reaches back to our position";
    assert!(agent.logged(lost, SOON).await, "{}", agent.log());
    let (code, shown) = site.command(&["source", "resync", "erp"]);
    assert_eq!(code, Some(0), "{shown}");
    site.run("UPDATE item SET name = 'c2' WHERE sku = 'C'");
    until(&agent, &receiver, |held| {
        has(held, "A", "a2") && has(held, "C", "c2")
    })
    .await;
    until(&agent, &receiver, |held| {
        held.body("product.v1", "ACME|B").is_none()
    })
    .await;
    assert_eq!(receiver.held().facts.len(), 2);
    stop(agent).await;
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

/// A cron job looks after the state without the agent's secrets, and from wherever it stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_commands_need_no_secret_and_no_mapping() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, _secret) = site_of(receiver.url());
    let (code, shown) = site.command(&["state", "verify"]);
    assert_eq!(code, Some(3), "{shown}");
    assert!(
        shown.contains("there is none") && shown.contains("hint: "),
        "{shown}"
    );
    let agent = site.agent();
    site.run("INSERT INTO item VALUES ('A', 'a')");
    until(&agent, &receiver, |held| has(held, "A", "a")).await;

    std::fs::write(site.path().join("mapping.yaml"), "this is no mapping").unwrap();
    let settings = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace("secret.txt", "gone.txt")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let config = settings.to_str().unwrap();
    let command = |words: &[&str]| {
        let mut all = words.to_vec();
        all.extend(["--config", config]);
        harness::agent::command(BINARY, elsewhere.path(), &all)
    };
    // A path is seen from where the person stands, and a folder gets a name by the time.
    let (code, shown) = command(&["state", "backup", "--to", "."]);
    assert_eq!(code, Some(0), "{shown}");
    let made: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().collect();
    assert_eq!(made.len(), 1, "{shown}");
    let made = made[0].as_ref().unwrap().path();
    let (code, shown) = command(&[
        "state",
        "verify",
        "--json",
        "--file",
        made.to_str().unwrap(),
    ]);
    assert_eq!(code, Some(0), "{shown}");
    let verdict = json(&shown);
    assert!(verdict["findings"].as_array().unwrap().len() > 8, "{shown}");
    let (code, shown) = command(&["state", "verify"]);
    assert_eq!(code, Some(0), "{shown}");
    let (code, shown) = command(&["state", "migrate", "--dry-run"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("nothing to do"), "{shown}");

    // Beside a running agent the file is not put in another's place.
    for words in [&["state", "compact"], &["state", "migrate"]] {
        let (code, shown) = command(words);
        assert_eq!(code, Some(3), "{shown}");
        assert!(shown.contains("another agent"), "{shown}");
    }
    stop(agent).await;
    let (code, shown) = command(&["state", "compact", "--json"]);
    assert_eq!(code, Some(0), "{shown}");
    let done = json(&shown);
    let size = |name: &str| done[name].as_u64().unwrap();
    // There is nothing to give back, and a table that is written anew may need a page more.
    let most = size("before_bytes") + 4 * 4_096;
    assert!(
        size("after_bytes") > 0 && size("after_bytes") <= most,
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_state_is_said_with_exit_code_1() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, _secret) = site_of(receiver.url());
    let agent = site.agent();
    site.run("INSERT INTO item VALUES ('A', 'a')");
    until(&agent, &receiver, |held| has(held, "A", "a")).await;
    stop(agent).await;
    let file = site.path().join("state/lighterman.db");
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute(
        "UPDATE source SET checkpoint = '0000000009/0000000000000001/0000000000'",
        [],
    )
    .unwrap();
    drop(db);
    let (code, shown) = site.command(&["state", "verify"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("is NOT right"), "{shown}");
    assert!(shown.contains("FAIL checkpoints: "), "{shown}");
    assert!(
        shown.contains("hint: stop the agent and run lighterman state restore"),
        "{shown}"
    );
    // A true copy of it is made, and nobody is told that it is good.
    let (code, shown) = site.command(&["state", "backup", "--to", "copy.db"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("what the state file holds is NOT right"),
        "{shown}"
    );
    let (code, shown) = site.command(&["state", "restore", "copy.db"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("restore an older backup"), "{shown}");
    assert!(!shown.contains("Restored"), "{shown}");

    // A newer version's file is refused by all that would write it.
    let db = rusqlite::Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    for words in [
        ["state", "migrate"],
        ["state", "verify"],
        ["state", "backup"],
    ] {
        let (code, shown) = site.command(&words);
        assert_eq!(code, Some(3), "{shown}");
        assert!(
            shown.contains("it has format 99, this agent knows up to "),
            "{shown}"
        );
        assert!(shown.contains("hint: run the newer agent"), "{shown}");
    }
}

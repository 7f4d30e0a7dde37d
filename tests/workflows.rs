//! Workflows that no other file walks from end to end: the day of the installation, a first load, an exception and
//! its way out, another mapping beside the one in force, the brake. `CONTRIBUTING.md` says which test walks which.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use harness::agent::Agent;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use rusqlite::Connection;
use serde_json::Value;
use tokio::time::Instant;

use crate::reconcile::{Shop, rows};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);
const STOCK: &str = "inventory.availability.v1";

const TABLES: &str = "CREATE TABLE stock (sku TEXT PRIMARY KEY, loc TEXT, qty INTEGER NOT NULL);
    CREATE TABLE moved (id INTEGER PRIMARY KEY, sku TEXT, qty INTEGER NOT NULL);
    INSERT INTO stock VALUES ('A', 'WH7', 5), ('B', 'WH7', 6), ('C', 'MAIN', 7);
    INSERT INTO moved VALUES (1, 'A', 1), (2, 'B', 2), (3, 'C', 3), (4, 'C', 4), (5, 'C', 5), (6, 'C', 6);";

const MAPPING: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku]}
  moved: {name: moved, key: [id]}
dictionaries:
  places: {MAIN: WEB}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: "stock.sku", location: {column: "stock.loc", dictionary: places}}
    fields: {uom: "'EA'", on_hand: "stock.qty", allocated: "0", active: true}
  - id: moved
    emit: inventory.movement.v1
    from: moved
    key: {movement_id: id}
    fields: {kind: "'adjustment'", sku: moved.sku, location: "'WEB'", uom: "'EA'", quantity: moved.qty}
"#;

async fn has(receiver: &Receiver, sku: &str, field: &str, value: &str) -> bool {
    let (key, wanted) = (format!("ACME|{sku}|WEB"), Value::from(value));
    let there = receiver.wait(SOON, |held| {
        held.body(STOCK, &key)
            .is_some_and(|body| body[field] == wanted)
    });
    there.await
}

/// A command of a site, which must end with this code: what it printed.
fn done(site: &Site, code: i32, words: &[&str]) -> String {
    let (ended, shown) = site.command(words);
    assert_eq!(ended, Some(code), "{words:?}: {shown}");
    shown
}

fn json(site: &Site, words: &[&str]) -> Value {
    let (_, shown) = site.command(&[words, &["--json"]].concat());
    serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{words:?}: {shown}"))
}

/// Waits until what a command says to programs is as wanted.
async fn until(site: &Site, words: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let found = json(site, words);
        if wanted(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{words:?}: {found:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes into the settings, as an editor does.
fn settings(site: &Site, from: &str, to: &str) {
    let file = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
}

fn objects(folder: &Path) -> i64 {
    let db = Connection::open(folder.join("erp.db")).unwrap();
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap()
}

/// Workflow 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn install_day_goes_from_settings_to_events_and_changes_nothing_unasked() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join("erp.db")).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.execute_batch(TABLES).unwrap();
    std::fs::write(folder.path().join("mapping.yaml"), MAPPING).unwrap();
    let text = format!(
        "[[source]]\nname = \"erp\"\ntype = \"sqlite\"\nfile = \"erp.db\"\nmappings = [\"mapping.yaml\"]\n\
         [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\n",
        receiver.url()
    );
    std::fs::write(folder.path().join("lighterman.toml"), text).unwrap();
    let lighterman = |words: &[&str]| harness::agent::command(BINARY, folder.path(), words);

    let before = objects(folder.path());
    let (code, shown) = lighterman(&["check"]);
    assert_eq!(code, Some(1), "{shown}");
    for part in ["FAIL source erp", "hint: lighterman source prepare --apply"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (code, shown) = lighterman(&["source", "prepare"]);
    assert!(code.is_some(), "{shown}");
    for part in ["CREATE TRIGGER", "DROP TRIGGER"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (code, shown) = lighterman(&["run", "--dry-run"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("main.stock: 3 rows"), "{shown}");
    assert_eq!(objects(folder.path()), before, "nothing was asked for yet");

    let (code, shown) = lighterman(&["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{shown}");
    let (code, shown) = lighterman(&["check"]);
    assert_eq!(code, Some(0), "{shown}");
    let agent = Agent::start(BINARY, folder.path());
    assert!(has(&receiver, "C", "on_hand", "7").await, "{}", agent.log());
    db.execute_batch("UPDATE stock SET qty = 8 WHERE sku = 'C'")
        .unwrap();
    assert!(has(&receiver, "C", "on_hand", "8").await, "{}", agent.log());
}

/// Workflow 3: counted first, paused in business hours, compared in shadow, then live; nothing that the channel
/// has besides is touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_load_is_counted_paused_compared_in_shadow_and_goes_live() {
    let shop = Shop::start().await;
    for (sku, quantity) in [("S-01", 9), ("S-02", 5), ("EXTRA", 77)] {
        shop.has().stock.insert(sku.to_owned(), quantity);
    }
    let site = shop.site(&rows(3), "shadow = true\nrequests_per_second = 100\n");
    let shown = done(&site, 0, &["run", "--dry-run"]);
    for part in [
        "main.stock: 3 rows",
        "stock tells inventory.availability.v1: of 3 rows 3 events, 0 held; about 3 events of the whole",
        "destination shop would be told about 3 inventory.availability.v1; it is in shadow",
        "Nothing was written and nothing was sent.",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let counted = json(&site, &["run", "--dry-run"]);
    assert_eq!(counted["sources"][0]["tables"][0]["rows"], 3, "{counted}");
    assert_eq!(counted["destinations"][0]["events"][STOCK], 3, "{counted}");
    assert!(!site.path().join("state/lighterman.db").exists());

    // Business hours all day long, for now.
    let pause =
        "snapshot = { pause = [\"00:00-00:00\"], zone = \"UTC\", rows_per_second = 1000 }\n";
    let place = "mappings = [\"mapping.yaml\"]\n";
    settings(&site, place, &format!("{place}{pause}"));
    let mut agent = site.agent();
    let status = until(&site, &["status"], |status| {
        status["sources"][0]["tables"][0]["paused_until"].is_string()
    })
    .await;
    assert_eq!(status["sources"][0]["snapshot_rows"], 0, "{status}");
    settings(&site, pause, "");
    let compared = |status: &Value| {
        let shadow = &status["destinations"][0]["shadow"];
        shadow["same"] == 1 && shadow["differs"] == 2
    };
    let status = until(&site, &["status"], compared).await;
    assert_eq!(status["sources"][0]["snapshot_rows"], 3, "{status}");
    let story = done(&site, 0, &["trace", "--key", "S-02"]);
    assert!(story.contains("shadow:") && story.contains("19"), "{story}");
    assert_eq!(shop.of("S-02"), Some(5), "nothing was sent");
    let db = Connection::open(site.path().join("state/lighterman.db")).unwrap();
    let all: Vec<String> = db
        .prepare("SELECT json FROM outbox")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(all.len(), 3);
    for event in &all {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(event["origin"], "snapshot", "{event}");
    }

    assert!(agent.terminate(SOON).await.is_some());
    settings(&site, "shadow = true\n", "");
    let agent = site.agent();
    until(&site, &["status"], |status| status["running"] == true).await;
    let shown = done(&site, 0, &["replay", "--destination", "shop"]);
    assert!(shown.contains("3 states"), "{shown}");
    done(&site, 0, &["replay", "--destination", "shop", "--yes"]);
    let deadline = Instant::now() + SOON;
    while shop.of("S-03") != Some(29) || shop.of("S-02") != Some(19) {
        assert!(Instant::now() < deadline, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(shop.of("EXTRA"), Some(77));
    // What the shop had before is found, and nobody takes it away.
    let shown = done(&site, 1, &["reconcile", "--destination", "shop", "--full"]);
    assert!(
        shown.contains("3 of 4 agree; 1 there and never told") && shown.contains("EXTRA"),
        "{shown}"
    );
    assert_eq!(shop.of("EXTRA"), Some(77));
    let shown = done(&site, 0, &["run", "--dry-run"]);
    assert!(shown.contains("it was read before"), "{shown}");
}

/// Workflows 5 and 6: found by its cause, understood, mended at the source, and told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exception_is_understood_and_retried_as_the_row_is_now() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let agent = site.agent();
    assert!(has(&receiver, "C", "on_hand", "7").await, "{}", agent.log());
    let listed = ["held", "list"];
    let held = until(&site, &listed, |held| {
        held["held"].as_array().unwrap().len() == 2
    })
    .await;
    let id = held["held"][0]["id"].as_str().unwrap().to_owned();
    let shown = done(&site, 0, &["held", "show", &id, "--look"]);
    for part in [
        "not clear to the mapping (mapping)",
        "reason: rule stock, field location, column",
        "1 more item held for the same reason",
        "from source erp, table main.stock, rule stock",
        "\"loc\":\"WH7\"",
        "as it is at the source now:",
        "row stock of main.stock",
        "loc = WH7",
        "to mend it: mend the mapping",
        "lighterman held retry --cause mapping",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // The row is mended behind the log's back: only who reads it again knows.
    let db = Connection::open(site.path().join("erp.db")).unwrap();
    let triggers: Vec<(String, String)> = db
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let drop: Vec<String> = triggers
        .iter()
        .map(|(name, _)| format!("DROP TRIGGER \"{name}\""))
        .collect();
    let make: Vec<&str> = triggers.iter().map(|(_, sql)| sql.as_str()).collect();
    let mend = "UPDATE stock SET loc = 'MAIN' WHERE sku = 'A'";
    site.run(&format!(
        "BEGIN; {}; {mend}; {}; COMMIT",
        drop.join(";"),
        make.join(";")
    ));
    let first = json(
        &site,
        &["held", "show", held["held"][1]["id"].as_str().unwrap()],
    );
    let shown = done(&site, 0, &["held", "retry", "--cause", "mapping"]);
    assert!(
        shown.contains("2 changes held by a mapping: read again as the rows are now, and compared: erp main.stock"),
        "{shown}"
    );
    assert!(has(&receiver, "A", "on_hand", "5").await, "{}", agent.log());
    // The other one is held as before, and since then.
    let left = until(&site, &listed, |held| {
        held["held"].as_array().unwrap().len() == 1
    })
    .await;
    let again = json(
        &site,
        &["held", "show", left["held"][0]["id"].as_str().unwrap()],
    );
    assert_eq!(again["alike"]["count"], 1, "{again}");
    assert_eq!(
        again["alike"]["first_seen"], first["alike"]["first_seen"],
        "{again}"
    );
    assert_ne!(
        again["alike"]["last_seen"], first["alike"]["last_seen"],
        "{again}"
    );
    // Mended as the ERP mends it, it is told by itself.
    site.run("UPDATE stock SET loc = 'MAIN' WHERE sku = 'B'");
    assert!(has(&receiver, "B", "on_hand", "6").await, "{}", agent.log());
    let shown = done(&site, 0, &listed);
    assert_eq!(shown.trim(), "Nothing is held.");
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

/// Workflow 6: a replay is counted first, keeps to its rate, lets other requests pass, and tells no fact twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_counted_keeps_to_its_rate_and_facts_keep_their_ids() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let mut agent = site.agent();
    let facts = |held: &harness::receiver::Held| held.facts.len() == 6;
    assert!(receiver.wait(SOON, facts).await, "{}", agent.log());
    let replay = [
        "replay",
        "--type",
        "inventory.movement.v1",
        "--per-second",
        "1",
    ];
    let shown = done(&site, 0, &replay);
    for part in [
        "0 states and 6 facts",
        "that takes about 6 s",
        "Nothing was done",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(receiver.held().repeated, 0);
    let began = Instant::now();
    let shown = done(&site, 0, &[&replay[..], &["--yes"]].concat());
    assert!(
        shown.contains("6 events are told again, 1 a second at most"),
        "{shown}"
    );
    // Behind it, and not after it.
    let shown = done(&site, 0, &["destination", "pause", "shop"]);
    assert!(shown.contains("paused"), "{shown}");
    assert!(receiver.held().repeated < 6);
    done(&site, 0, &["destination", "resume", "shop"]);
    let again = receiver.wait(SOON, |held| held.repeated == 6).await;
    assert!(again, "{}", agent.log());
    assert!(
        began.elapsed() >= Duration::from_millis(4_900),
        "{:?}",
        began.elapsed()
    );
    {
        let held = receiver.held();
        assert!(
            held.facts.values().all(|ids| ids.len() == 1),
            "{:?}",
            held.facts
        );
        assert_eq!(held.violations, Vec::<String>::new());
    }
    agent.terminate(SOON).await.unwrap();
    // Where no agent runs, it is left for the next one.
    done(&site, 0, &[&replay[..], &["--yes"]].concat());
    let agent = site.agent();
    let again = receiver.wait(SOON, |held| held.repeated == 12).await;
    assert!(again, "{}", agent.log());
}

/// Workflow 9: a new mapping is compared on live changes, and then in force.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_mapping_is_compared_on_live_changes_before_it_is_in_force() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let old = MAPPING.replace("{MAIN: WEB}", "{MAIN: WEB, WH7: WEB}");
    let site = Site::new(BINARY, receiver.url(), TABLES, &old);
    let (code, shown) = site.command(&["map", "shadow"]);
    assert!(
        code == Some(2) && shown.contains("shadow_mappings = ["),
        "{shown}"
    );
    let new = old
        .replace("allocated: \"0\"", "allocated: \"1\"")
        .replace(
            "from: stock\n",
            "from: stock\n    where: \"stock.qty <> 99\"\n",
        )
        .replace("WH7: WEB", "WH7: WEB, NEW: WEB");
    std::fs::write(site.path().join("new.yaml"), &new).unwrap();
    let place = "mappings = [\"mapping.yaml\"]\n";
    let both = format!("{place}shadow_mappings = [\"new.yaml\"]\n");
    settings(&site, place, &both);
    let agent = site.agent();
    assert!(
        has(&receiver, "C", "allocated", "0").await,
        "{}",
        agent.log()
    );
    let counts = ["map", "shadow"];
    until(&site, &counts, |found| {
        found["shadows"][0]["run"].is_object()
    })
    .await;
    site.run("UPDATE stock SET qty = qty + 1 WHERE sku = 'A'");
    site.run("UPDATE stock SET qty = 99 WHERE sku = 'B'");
    site.run("INSERT INTO stock VALUES ('D', 'NEW', 4)");
    site.run("UPDATE moved SET qty = qty WHERE id = 1; INSERT INTO moved VALUES (9, 'A', 4)");
    let found = until(&site, &counts, |found| {
        let counts = &found["shadows"][0]["run"]["counts"];
        counts["changed"] == 1
            && counts["removed"] == 1
            && counts["freed"] == 1
            && counts["same"] != 0
    })
    .await;
    let run = &found["shadows"][0]["run"];
    assert_eq!(run["problem"], Value::Null, "{found:#}");
    let shown = done(&site, 0, &counts);
    for part in [
        "erp: new.yaml beside the mapping in force",
        "~ inventory.availability.v1 ACME|A|WEB",
        "    allocated: 0 -> 1",
        "- inventory.availability.v1 ACME|B|WEB",
        "no longer held stock D",
        "nothing of it was sent",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(has(&receiver, "A", "on_hand", "6").await);
    assert!(has(&receiver, "B", "on_hand", "99").await);
    {
        let held = receiver.held();
        let by_new = |(_, body): &(String, Option<Value>)| {
            body.as_ref().is_some_and(|body| body["allocated"] == "1")
        };
        assert!(
            !held.state.values().any(by_new),
            "what the new one tells was sent"
        );
    }
    // A new one that is broken disturbs nothing, and is said.
    std::fs::write(site.path().join("new.yaml"), "mapping: 1\n").unwrap();
    until(&site, &counts, |found| {
        found["shadows"][0]["run"]["problem"].is_string()
    })
    .await;
    site.run("UPDATE stock SET qty = 1 WHERE sku = 'C'");
    assert!(has(&receiver, "C", "on_hand", "1").await, "{}", agent.log());

    std::fs::write(site.path().join("new.yaml"), &new).unwrap();
    settings(&site, &both, "mappings = [\"new.yaml\"]\n");
    for sku in ["A", "C", "D"] {
        assert!(
            has(&receiver, sku, "allocated", "1").await,
            "{sku}: {}",
            agent.log()
        );
    }
    let gone = receiver.wait(SOON, |held| held.body(STOCK, "ACME|B|WEB").is_none());
    assert!(gone.await, "{}", agent.log());
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

/// Workflow 12: more than is likely would end, so it is held, and everything else goes on; a pause stops a destination.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_is_held_until_a_person_decides_and_a_pause_stops_what_leaves() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let tables = "CREATE TABLE stock (sku TEXT PRIMARY KEY, loc TEXT, qty INTEGER NOT NULL);
        CREATE TABLE moved (id INTEGER PRIMARY KEY, sku TEXT, qty INTEGER NOT NULL);
        WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 60)
        INSERT INTO stock SELECT printf('S%02d', n), 'MAIN', 5 FROM n;";
    let site = Site::new(BINARY, receiver.url(), tables, MAPPING);
    let agent = site.agent();
    let whole = |held: &harness::receiver::Held| held.state.len() == 60;
    assert!(receiver.wait(SOON, whole).await, "{}", agent.log());
    site.run("DELETE FROM stock WHERE sku > 'S10'");
    site.run("UPDATE stock SET qty = 6 WHERE sku = 'S01'");
    assert!(
        has(&receiver, "S01", "on_hand", "6").await,
        "{}",
        agent.log()
    );
    let of_guard = ["held", "list", "--cause", "guard"];
    until(&site, &of_guard, |held| held["counts"][0]["count"] == 50).await;
    assert!(
        receiver
            .held()
            .state
            .values()
            .all(|(_, body)| body.is_some())
    );
    let shown = done(&site, 0, &of_guard);
    assert!(shown.contains("mass_drop"), "{shown}");
    let (code, shown) = site.command(&["status"]);
    assert!(shown.contains("50"), "{code:?} {shown}");

    done(&site, 0, &["destination", "pause", "shop"]);
    done(&site, 0, &["held", "retry", "--cause", "guard"]);
    site.run("UPDATE stock SET qty = 7 WHERE sku = 'S01'");
    until(&site, &["status"], |status| {
        status["destinations"][0]["backlog"].as_u64() >= Some(51)
    })
    .await;
    assert!(
        receiver
            .held()
            .state
            .values()
            .all(|(_, body)| body.is_some())
    );
    done(&site, 0, &["destination", "resume", "shop"]);
    assert!(
        has(&receiver, "S01", "on_hand", "7").await,
        "{}",
        agent.log()
    );
    let ended = receiver.wait(SOON, |held| {
        held.state
            .values()
            .filter(|(_, body)| body.is_none())
            .count()
            == 50
    });
    assert!(ended.await, "{}", agent.log());
}

//! The bad day: a database that was put back to an earlier time, a disk of the agent that is lost. Each is said,
//! nothing is guessed, and one command leads out of it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use harness::agent::{Agent, command};
use harness::mariadb::{MariadbOptions, MariadbServer};
use harness::postgres::{PostgresOptions, PostgresServer};
use harness::receiver::{Faults, Receiver};
use rusqlite::Connection;
use serde_json::Value;
use tokio::time::Instant;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(2);

const EVENTS: &str = r#"
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

const MOVED: &str = r#"
  - id: moved
    emit: inventory.movement.v1
    from: moved
    key: {movement_id: id}
    fields: {kind: "'adjustment'", sku: moved.sku, location: "'MAIN'", uom: "'EA'", quantity: moved.qty}
"#;

fn settle(folder: &Path, source: &str, url: &str, mapping: &str) {
    let settings = format!(
        "[[source]]\nname = \"erp\"\n{source}\nmappings = [\"mapping.yaml\"]\n[[destination]]\nname = \"shop\"\n\
         type = \"webhook\"\nurl = \"{url}\"\nretry_first_ms = 20\ntimeout_seconds = 5\n"
    );
    std::fs::write(folder.join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.join("mapping.yaml"), mapping).unwrap();
}

fn done(folder: &Path, words: &[&str]) -> String {
    let (code, shown) = command(BINARY, folder, words);
    assert_eq!(code, Some(0), "{words:?}: {shown}");
    shown
}

/// Until the receiver has these names, and no other item.
async fn comes(receiver: &Receiver, agent: &Agent, wanted: &[(&str, &str)]) {
    let same = receiver
        .wait(SOON, |held| {
            let there = held
                .state
                .iter()
                .filter(|((kind, _), (_, body))| kind == "product.v1" && body.is_some());
            let all = wanted.iter().all(|(sku, name)| {
                let body = held.body("product.v1", &format!("ACME|{sku}"));
                body.is_some_and(|body| body["name"] == *name)
            });
            all && there.count() == wanted.len()
        })
        .await;
    let held = format!("{:#?}", receiver.held().state);
    assert!(same, "{wanted:?}: {held}\n{}", agent.log());
}

/// What keeps the source from running, once something does.
async fn problem(agent: &Agent, folder: &Path) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let (_, shown) = command(BINARY, folder, &["status", "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        if let Some(problem) = shown["sources"][0]["problem"].as_str() {
            return problem.to_owned();
        }
        assert!(Instant::now() < deadline, "{shown:#}\n{}", agent.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn sqlite(folder: &Path, url: &str) {
    run(
        folder,
        "PRAGMA journal_mode = WAL;
         CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT);
         CREATE TABLE moved (id INTEGER PRIMARY KEY, sku TEXT, qty INTEGER);
         INSERT INTO item VALUES ('A', 'a'), ('B', 'b'); INSERT INTO moved VALUES (1, 'A', 1), (2, 'B', 2)",
    );
    let head = "mapping: 1\npack: site\npack_version: '1'\nsource: sqlite\ncompany: ACME\n\
        tables:\n  item: {name: item, key: [sku]}\n  moved: {name: moved, key: [id]}";
    let mapping = format!("{head}{EVENTS}{}", MOVED.trim_start_matches('\n'));
    settle(
        folder,
        "type = \"sqlite\"\nfile = \"erp.db\"",
        url,
        &mapping,
    );
    done(folder, &["source", "prepare", "--apply"]);
}

/// Nobody has the file open afterwards: it is all there is of the database.
fn run(folder: &Path, sql: &str) {
    let db = Connection::open(folder.join("erp.db")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch(sql).unwrap();
}

/// Workflow 10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_database_that_was_put_back_is_said_and_read_anew() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = tempfile::tempdir().unwrap();
    let folder = site.path();
    sqlite(folder, receiver.url());
    let mut agent = Agent::start(BINARY, folder);
    comes(&receiver, &agent, &[("A", "a"), ("B", "b")]).await;
    agent.terminate(SOON).await.unwrap();
    run(folder, "PRAGMA wal_checkpoint(TRUNCATE)");
    std::fs::copy(folder.join("erp.db"), folder.join("backup.db")).unwrap();
    run(
        folder,
        "UPDATE item SET name = 'a2' WHERE sku = 'A'; INSERT INTO item VALUES ('C', 'c')",
    );
    let mut agent = Agent::start(BINARY, folder);
    comes(&receiver, &agent, &[("A", "a2"), ("B", "b"), ("C", "c")]).await;
    agent.terminate(SOON).await.unwrap();

    run(folder, "PRAGMA wal_checkpoint(TRUNCATE)");
    std::fs::copy(folder.join("backup.db"), folder.join("erp.db")).unwrap();
    let agent = Agent::start(BINARY, folder);
    let said = problem(&agent, folder).await;
    assert!(
        said.contains("older copy") && said.contains("source resync"),
        "{said}"
    );
    run(folder, "INSERT INTO item VALUES ('D', 'd')");
    let shown = done(folder, &["source", "resync", "erp", "--new-epoch"]);
    assert!(shown.contains("every table"), "{shown}");
    comes(&receiver, &agent, &[("A", "a"), ("B", "b"), ("D", "d")]).await;
    let held = receiver.held();
    assert_eq!(held.violations, Vec::<String>::new());
    assert_eq!(held.facts.len(), 2);
}

/// Workflow 10: with the agent's disk all that it knew is gone; what the receiver has is told again and counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_is_rebuilt_from_the_source_and_nothing_is_doubled() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = tempfile::tempdir().unwrap();
    let folder = site.path();
    sqlite(folder, receiver.url());
    let mut agent = Agent::start(BINARY, folder);
    comes(&receiver, &agent, &[("A", "a"), ("B", "b")]).await;
    let facts = |held: &harness::receiver::Held| held.facts.len() == 2;
    assert!(receiver.wait(SOON, facts).await, "{}", agent.log());
    done(folder, &["source", "resync", "erp", "--new-epoch"]);
    run(folder, "UPDATE item SET name = 'a2' WHERE sku = 'A'");
    comes(&receiver, &agent, &[("A", "a2"), ("B", "b")]).await;
    let (_, shown) = command(
        BINARY,
        folder,
        &["source", "resync", "erp", "--new-epoch=9"],
    );
    assert!(shown.contains("an agent runs"), "{shown}");
    agent.terminate(SOON).await.unwrap();

    std::fs::remove_dir_all(folder.join("state")).unwrap();
    run(
        folder,
        "UPDATE item SET name = 'b2' WHERE sku = 'B'; INSERT INTO moved VALUES (3, 'A', 3)",
    );
    let shown = done(
        folder,
        &["source", "resync", "erp", "--new-epoch=9", "--json"],
    );
    assert!(shown.contains("\"epoch\":9"), "{shown}");
    let agent = Agent::start(BINARY, folder);
    comes(&receiver, &agent, &[("A", "a2"), ("B", "b2")]).await;
    let all = receiver.wait(SOON, |held| held.facts.len() == 3).await;
    assert!(all, "{}", agent.log());
    run(folder, "INSERT INTO item VALUES ('C', 'c')");
    comes(&receiver, &agent, &[("A", "a2"), ("B", "b2"), ("C", "c")]).await;
    let held = receiver.held();
    assert_eq!(held.violations, Vec::<String>::new());
}

const SERVER: &str = "mapping: 1\npack: site\npack_version: '1'\nsource: KIND\ncompany: ACME\n\
    tables:\n  item: {name: TABLE, key: [sku]}";

/// Workflow 10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_server_that_was_put_back_is_said_and_read_anew() {
    let mut server = PostgresServer::start(PostgresOptions::default());
    server.create_database("erp").await;
    let db = server.connect("erp").await;
    db.batch_execute(
        "CREATE TABLE item (sku text PRIMARY KEY, name text); INSERT INTO item VALUES ('A', 'a')",
    )
    .await
    .unwrap();
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = tempfile::tempdir().unwrap();
    let folder = site.path();
    let mapping = SERVER
        .replace("KIND", "postgres")
        .replace("TABLE", "public.item")
        + EVENTS;
    let source = |port: u16| {
        format!(
            "type = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"erp\"\nuser = \"postgres\"\n\
             slot = \"agent\""
        )
    };
    settle(folder, &source(server.port()), receiver.url(), &mapping);
    done(folder, &["source", "prepare", "--apply"]);
    let mut agent = Agent::start(BINARY, folder);
    comes(&receiver, &agent, &[("A", "a")]).await;
    agent.terminate(SOON).await.unwrap();
    drop(db);
    server.stop();
    let backup = PostgresOptions {
        copy_of: Some(server.data()),
        ..PostgresOptions::default()
    };
    let restored = PostgresServer::start(backup);
    server.start_again();
    let db = server.connect("erp").await;
    db.batch_execute(
        "INSERT INTO item SELECT 'N' || n, 'n' FROM generate_series(1, 500) n; DELETE FROM item WHERE sku LIKE 'N%';
         INSERT INTO item VALUES ('B', 'b')",
    )
    .await
    .unwrap();
    let mut agent = Agent::start(BINARY, folder);
    comes(&receiver, &agent, &[("A", "a"), ("B", "b")]).await;
    agent.terminate(SOON).await.unwrap();

    settle(folder, &source(restored.port()), receiver.url(), &mapping);
    let agent = Agent::start(BINARY, folder);
    let said = problem(&agent, folder).await;
    assert!(said.contains("source resync"), "{said}");
    assert!(
        agent.logged("no longer reaches back", SOON).await,
        "{}",
        agent.log()
    );
    assert!(
        receiver.held().body("product.v1", "ACME|B").is_some(),
        "nothing is guessed"
    );
    let db = restored.connect("erp").await;
    // What its page says: the slot anew, then all of it.
    let drop =
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active";
    db.batch_execute(drop).await.unwrap();
    done(folder, &["source", "prepare", "--apply"]);
    done(folder, &["source", "resync", "erp", "--new-epoch"]);
    comes(&receiver, &agent, &[("A", "a")]).await;
    db.batch_execute("INSERT INTO item VALUES ('C', 'c')")
        .await
        .unwrap();
    comes(&receiver, &agent, &[("A", "a"), ("C", "c")]).await;
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

/// Workflow 10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_server_that_was_put_back_is_said_and_read_anew() {
    let mut server = MariadbServer::start(MariadbOptions::default());
    server
        .run("CREATE DATABASE shop; CREATE TABLE shop.item (sku VARCHAR(20) PRIMARY KEY, name VARCHAR(40));
              INSERT INTO shop.item VALUES ('A', 'a')")
        .await;
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = tempfile::tempdir().unwrap();
    let folder = site.path();
    let mapping = SERVER
        .replace("KIND", "mysql")
        .replace("TABLE", "shop.item")
        + EVENTS;
    let source = |port: u16| {
        format!("type = \"mysql\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"root\"")
    };
    settle(folder, &source(server.port()), receiver.url(), &mapping);
    done(folder, &["source", "prepare", "--apply"]);
    let mut agent = Agent::start(BINARY, folder);
    comes(&receiver, &agent, &[("A", "a")]).await;
    agent.terminate(SOON).await.unwrap();
    server.shut_down().await;
    let backup = MariadbOptions {
        copy_of: Some(server.data()),
        ..MariadbOptions::default()
    };
    let restored = MariadbServer::start(backup);
    server.start_again();
    server
        .run("INSERT INTO shop.item VALUES ('B', 'b'); UPDATE shop.item SET name = 'a2' WHERE sku = 'A'")
        .await;
    let name: String = server
        .ask("SELECT name FROM shop.item WHERE sku = 'A'")
        .await;
    assert_eq!(name, "a2");
    let mut agent = Agent::start(BINARY, folder);
    comes(&receiver, &agent, &[("A", "a2"), ("B", "b")]).await;
    agent.terminate(SOON).await.unwrap();

    settle(folder, &source(restored.port()), receiver.url(), &mapping);
    let agent = Agent::start(BINARY, folder);
    let said = problem(&agent, folder).await;
    assert!(said.contains("source resync"), "{said}");
    assert!(
        receiver.held().body("product.v1", "ACME|B").is_some(),
        "nothing is guessed"
    );
    done(folder, &["source", "resync", "erp", "--new-epoch"]);
    comes(&receiver, &agent, &[("A", "a")]).await;
    restored
        .run("INSERT INTO shop.item VALUES ('C', 'c')")
        .await;
    comes(&receiver, &agent, &[("A", "a"), ("C", "c")]).await;
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

//! A running agent on a MariaDB server: set up with documented rights only, through changes of tables,
//! a failover and a log that is gone.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use harness::agent::{Agent, command};
use harness::mariadb::{MariadbOptions, MariadbServer};
use harness::receiver::{Faults, Receiver};
use serde_json::Value;
use tokio::time::Instant;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const LIMIT: Duration = Duration::from_mins(2);

const TABLES: &str = "
    CREATE DATABASE shop;
    CREATE TABLE shop.item (sku VARCHAR(20) PRIMARY KEY, name VARCHAR(40), price DECIMAL(30,10));
    INSERT INTO shop.item VALUES ('A', 'a', 1.50), ('B', 'b', NULL);
    CREATE USER clerk@'127.0.0.1'; CREATE USER nobody@'127.0.0.1';";

const MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: mysql
schema: shop
company: ACME
tables:
  item: {name: item, key: [sku]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: \"'EA'\", kind: \"'stocked'\", status: \"'active'\"}
";

fn settle(folder: &Path, port: u16, url: &str) {
    let settings = format!(
        "[[source]]\nname = \"erp\"\ntype = \"mysql\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         user = \"clerk\"\nmappings = [\"mapping.yaml\"]\n\
         [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{url}\"\n\
         retry_first_ms = 20\ntimeout_seconds = 5\n"
    );
    std::fs::write(folder.join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.join("mapping.yaml"), MAPPING).unwrap();
}

/// What `status` says of the source, once it fits.
async fn status(agent: &Agent, folder: &Path, fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (_, shown) = command(BINARY, folder, &["status", "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let source = &shown["sources"][0];
        if fits(source) {
            return source.clone();
        }
        assert!(Instant::now() < deadline, "{source:#}\n{}", agent.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Until the receiver has these names, and no other item.
async fn comes(receiver: &Receiver, agent: &Agent, wanted: &[(&str, &str)]) {
    let same = receiver
        .wait(LIMIT, |held| {
            let there = held.state.values().filter(|(_, body)| body.is_some());
            let all = wanted.iter().all(|(sku, name)| {
                let body = held.body("product.v1", &format!("ACME|{sku}"));
                body.is_some_and(|body| body["name"] == *name)
            });
            all && there.count() == wanted.len()
        })
        .await;
    let held: Vec<String> = receiver
        .held()
        .state
        .iter()
        .map(|one| format!("{one:?}"))
        .collect();
    assert!(same, "{wanted:?}: {held:#?}\n{}", agent.log());
}

fn prepared(folder: &Path) {
    let prepare = ["source", "prepare", "--apply", "--user", "root"];
    let (code, shown) = command(BINARY, folder, &prepare);
    assert_eq!(code, Some(0), "{shown}");
}

/// With no more rights than documented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_source_is_looked_after_from_setup_to_failover() {
    let plain = MariadbOptions::default()
        .setting("binlog_format=MIXED")
        .setting("binlog_row_metadata=NO_LOG");
    let mut primary = MariadbServer::start(plain.clone());
    primary.run(TABLES).await;
    let replica = primary.replica(plain).await;
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = tempfile::tempdir().unwrap();
    let folder = site.path();
    settle(folder, primary.port(), receiver.url());

    let (code, shown) = command(BINARY, folder, &["check"]);
    assert_eq!(code, Some(1), "{shown}");
    for expected in ["GRANT REPLICATION SLAVE", "GRANT SELECT", "binlog_format"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let prepare = ["source", "prepare", "--apply", "--user", "nobody"];
    let (code, shown) = command(BINARY, folder, &prepare);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("prepare as nobody: "), "{shown}");
    assert!(shown.contains("take an administrator"), "{shown}");
    prepared(folder);
    let (_, shown) = command(BINARY, folder, &["check"]);
    assert!(!shown.contains("FAIL source"), "{shown}");

    let mut agent = Agent::start(BINARY, folder);
    comes(&receiver, &agent, &[("A", "a"), ("B", "b")]).await;
    primary
        .run("INSERT INTO shop.item VALUES ('C', 'c', 0.0000000001)")
        .await;
    comes(&receiver, &agent, &[("A", "a"), ("B", "b"), ("C", "c")]).await;
    let source = status(&agent, folder, |source| {
        source["look"]["sentence"].is_string()
    })
    .await;
    assert!(source["problem"].is_null(), "{source:#}");

    // A column comes in front, another table takes its place, as tools for changes online do it.
    primary
        .run(
            "USE shop; ALTER TABLE item ADD COLUMN line INT NOT NULL DEFAULT 7 FIRST;
             UPDATE item SET name = 'a2' WHERE sku = 'A';
             CREATE TABLE _item_gho LIKE item; ALTER TABLE _item_gho ADD COLUMN more TEXT AFTER line;
             INSERT INTO _item_gho (line, sku, name, price) SELECT line, sku, name, price FROM item;
             UPDATE _item_gho SET name = 'b2' WHERE sku = 'B';
             RENAME TABLE item TO _item_del, _item_gho TO item;
             DELETE FROM item WHERE sku = 'C'; INSERT INTO item VALUES (1, 'm', 'D', 'd', 5)",
        )
        .await;
    comes(&receiver, &agent, &[("A", "a2"), ("B", "b2"), ("D", "d")]).await;

    // A log that does not tell rows is no quiet database.
    primary.run("SET GLOBAL binlog_format = 'STATEMENT'").await;
    let source = status(&agent, folder, |source| source["problem"].is_string()).await;
    let problem = source["problem"].as_str().unwrap();
    assert!(problem.contains("binlog_format is STATEMENT"), "{problem}");
    primary.run("SET GLOBAL binlog_format = 'ROW'").await;
    assert!(agent.terminate(Duration::from_secs(30)).await.is_some());

    // The replica takes over; it has what was written while the agent was away.
    primary
        .run("INSERT INTO shop.item VALUES (1, 'm', 'E', 'e', 5)")
        .await;
    replica.caught_up_with(&primary).await;
    primary.stop();
    replica.run("STOP SLAVE; RESET SLAVE ALL").await;
    settle(folder, replica.port(), receiver.url());
    prepared(folder);
    let mut agent = Agent::start(BINARY, folder);
    let mut wanted = vec![("A", "a2"), ("B", "b2"), ("D", "d"), ("E", "e")];
    comes(&receiver, &agent, &wanted).await;
    replica
        .run("INSERT INTO shop.item VALUES (1, 'm', 'F', 'f', 5)")
        .await;
    wanted.push(("F", "f"));
    comes(&receiver, &agent, &wanted).await;
    assert!(agent.terminate(Duration::from_secs(30)).await.is_some());
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

/// Each way to lose the place in the log is said, and healed by reading again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_gone_is_said_and_healed() {
    for lose in [
        "FLUSH BINARY LOGS; FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY",
        "RESET MASTER",
    ] {
        let server = MariadbServer::start(MariadbOptions::default());
        server.run(TABLES).await;
        let receiver = Receiver::start(1, Faults::default()).await;
        let site = tempfile::tempdir().unwrap();
        let folder = site.path();
        settle(folder, server.port(), receiver.url());
        prepared(folder);
        let mut agent = Agent::start(BINARY, folder);
        comes(&receiver, &agent, &[("A", "a"), ("B", "b")]).await;
        server
            .run("INSERT INTO shop.item VALUES ('C', 'c', 1)")
            .await;
        comes(&receiver, &agent, &[("A", "a"), ("B", "b"), ("C", "c")]).await;
        assert!(agent.terminate(Duration::from_secs(30)).await.is_some());
        server
            .run("DELETE FROM shop.item WHERE sku = 'B'; UPDATE shop.item SET name = 'c2' WHERE sku = 'C'")
            .await;
        let deadline = Instant::now() + LIMIT;
        loop {
            // As long as the engine may still need a file after a crash, it is left in silence.
            server.run(lose).await;
            let (first, ..): (String, u64) = server.ask("SHOW BINARY LOGS").await;
            let writes: (String, u64, String, String) = server.ask("SHOW MASTER STATUS").await;
            if first == writes.0 {
                break;
            }
            assert!(Instant::now() < deadline, "{lose}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // As many events as before may have come since.
        for n in 0..30 {
            server
                .run(&format!("INSERT INTO shop.item VALUES ('N{n}', 'n', 1)"))
                .await;
        }
        let agent = Agent::start(BINARY, folder);
        let source = status(&agent, folder, |source| source["problem"].is_string()).await;
        let problem = source["problem"].as_str().unwrap();
        assert!(problem.contains("source resync"), "{lose}: {problem}");
        let (code, shown) = command(BINARY, folder, &["source", "resync"]);
        assert_eq!(code, Some(0), "{shown}");
        let added: Vec<String> = (0..30).map(|n| format!("N{n}")).collect();
        let mut wanted = vec![("A", "a"), ("C", "c2")];
        wanted.extend(added.iter().map(|sku| (sku.as_str(), "n")));
        comes(&receiver, &agent, &wanted).await;
        server
            .run("INSERT INTO shop.item VALUES ('D', 'd', 1)")
            .await;
        wanted.push(("D", "d"));
        comes(&receiver, &agent, &wanted).await;
    }
}

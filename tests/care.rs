//! A running agent whose source is looked after: rights, heartbeats, a failover, a publication that
//! tells less than it should.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use harness::agent::{Agent, command};
use harness::postgres::{PostgresOptions, PostgresServer};
use harness::receiver::{Faults, Receiver};
use serde_json::Value;
use tokio::time::Instant;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const LIMIT: Duration = Duration::from_mins(2);

const MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: postgres
company: ACME
tables:
  item: {name: public.item, key: [sku]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: \"'EA'\", kind: \"'stocked'\", status: \"'active'\"}
";

fn settle(folder: &Path, port: u16, url: &str) {
    let settings = format!(
        "[[source]]\nname = \"erp\"\ntype = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         database = \"erp\"\nuser = \"clerk\"\nheartbeat = true\nmappings = [\"mapping.yaml\"]\n\
         [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{url}\"\n\
         retry_first_ms = 20\ntimeout_seconds = 5\n"
    );
    std::fs::write(folder.join("lighterman.toml"), settings).unwrap();
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

async fn arrives(receiver: &Receiver, agent: &Agent, sku: &str) {
    let key = format!("ACME|{sku}");
    let arrived = receiver
        .wait(LIMIT, |held| held.body("product.v1", &key).is_some())
        .await;
    assert!(arrived, "{sku}: {}", agent.log());
}

/// With no more rights than documented, from an empty setup over a failover to a publication that
/// tells less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_looked_after_from_setup_to_failover() {
    let mut primary = PostgresServer::start(PostgresOptions::default().major(Some(18)));
    primary.create_database("erp").await;
    let db = primary.connect("erp").await;
    db.batch_execute(
        "CREATE TABLE item (sku text PRIMARY KEY, name text);
         CREATE ROLE clerk LOGIN REPLICATION; CREATE ROLE nobody LOGIN",
    )
    .await
    .unwrap();
    drop(db);
    let standby = primary
        .standby(PostgresOptions::default().setting("hot_standby_feedback=on"))
        .await;
    let db = primary.connect("erp").await;
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = tempfile::tempdir().unwrap();
    let folder = site.path();
    settle(folder, primary.port(), receiver.url());
    std::fs::write(folder.join("mapping.yaml"), MAPPING).unwrap();

    let prepare = ["source", "prepare", "--apply", "--user"];
    let (code, shown) = command(BINARY, folder, &[&prepare[..], &["nobody"]].concat());
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("GRANT SELECT ON"), "{shown}");
    let (code, shown) = command(BINARY, folder, &[&prepare[..], &["postgres"]].concat());
    assert_eq!(code, Some(0), "{shown}");
    let revoke = "-- REVOKE SELECT ON \"public\".\"item\" FROM \"clerk\";";
    assert!(shown.contains(revoke), "{shown}");
    let (code, shown) = command(BINARY, folder, &["check"]);
    assert!(!shown.contains("FAIL source"), "{shown}");
    assert!(code == Some(0) || shown.contains("shop"), "{shown}");

    let mut agent = Agent::start(BINARY, folder);
    db.batch_execute("INSERT INTO item VALUES ('A', 'a')")
        .await
        .unwrap();
    arrives(&receiver, &agent, "A").await;
    let source = status(&agent, folder, |source| {
        source["look"]["heartbeat_took_ms"].is_number()
    })
    .await;
    let sentence = source["look"]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("The server keeps"), "{source:#}");
    assert_eq!(source["look"]["state"], "reserved");
    let (_, shown) = command(BINARY, folder, &["status"]);
    assert!(shown.contains("A heartbeat came round"), "{shown}");
    assert!(shown.contains(sentence), "{shown}");

    // The standby keeps the slot, and becomes the primary.
    let other = standby.connect("erp").await;
    for sql in [
        "ALTER SYSTEM SET sync_replication_slots = on",
        "SELECT pg_reload_conf()",
    ] {
        other.batch_execute(sql).await.unwrap();
    }
    let deadline = Instant::now() + LIMIT;
    for number in 0.. {
        db.batch_execute(&format!(
            "SELECT pg_log_standby_snapshot(); INSERT INTO item VALUES ('{number}', 'n')"
        ))
        .await
        .unwrap();
        arrives(&receiver, &agent, &number.to_string()).await;
        let kept = "SELECT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name =
                        'lighterman_erp' AND synced AND NOT temporary)";
        if other.query_one(kept, &[]).await.unwrap().get(0) {
            break;
        }
        assert!(Instant::now() < deadline, "{}", standby.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(agent.terminate(Duration::from_secs(30)).await.is_some());
    db.batch_execute("INSERT INTO item VALUES ('B', 'b')")
        .await
        .unwrap();
    while other
        .query_one("SELECT count(*) FROM item WHERE sku = 'B'", &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        == 0
    {
        assert!(Instant::now() < deadline, "{}", standby.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(db);
    primary.stop();
    other.batch_execute("SELECT pg_promote()").await.unwrap();
    settle(folder, standby.port(), receiver.url());
    let mut agent = Agent::start(BINARY, folder);
    arrives(&receiver, &agent, "B").await;
    assert!(agent.log().contains("was promoted"), "{}", agent.log());
    other
        .batch_execute("INSERT INTO item VALUES ('C', 'c')")
        .await
        .unwrap();
    arrives(&receiver, &agent, "C").await;

    // A publication that does not tell is no quiet database.
    other
        .batch_execute("ALTER PUBLICATION lighterman_erp SET (publish = 'insert')")
        .await
        .unwrap();
    let source = status(&agent, folder, |source| source["problem"].is_string()).await;
    let problem = source["problem"].as_str().unwrap();
    assert!(problem.contains("does not tell of update"), "{problem}");
    assert!(problem.contains("ALTER PUBLICATION"), "{problem}");
    assert!(agent.terminate(Duration::from_secs(30)).await.is_some());
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

/// A table whose reading does not go on is trouble, although its source runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_not_read_on_is_trouble() {
    let server = PostgresServer::start(PostgresOptions::default());
    server.create_database("erp").await;
    let db = server.connect("erp").await;
    let sql = "CREATE TABLE item (sku text PRIMARY KEY, name text);
         INSERT INTO item VALUES ('A', 'a'); CREATE ROLE clerk LOGIN REPLICATION";
    db.batch_execute(sql).await.unwrap();
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = tempfile::tempdir().unwrap();
    let folder = site.path();
    settle(folder, server.port(), receiver.url());
    std::fs::write(folder.join("mapping.yaml"), MAPPING).unwrap();
    let prepare = ["source", "prepare", "--apply", "--user", "postgres"];
    let (code, shown) = command(BINARY, folder, &prepare);
    assert_eq!(code, Some(0), "{shown}");
    let mut agent = Agent::start(BINARY, folder);
    arrives(&receiver, &agent, "A").await;
    let proven = |source: &Value| source["look"]["heartbeat_took_ms"].is_number();
    status(&agent, folder, proven).await;
    let (code, shown) = command(BINARY, folder, &["status"]);
    assert_eq!(code, Some(0), "{shown}");

    db.batch_execute("REVOKE SELECT ON item FROM clerk")
        .await
        .unwrap();
    let resync = ["source", "resync", "--source", "erp", "--table", "item"];
    let (code, shown) = command(BINARY, folder, &resync);
    assert_eq!(code, Some(0), "{shown}");
    let stuck = |source: &Value| source["tables"][0]["problem"].is_string() && proven(source);
    let source = status(&agent, folder, stuck).await;
    assert!(source["problem"].is_null(), "{source:#}");
    let (code, shown) = command(BINARY, folder, &["status"]);
    assert!(shown.contains("It does not go on"), "{shown}");
    assert_eq!(code, Some(1), "{shown}");

    db.batch_execute("GRANT SELECT ON item TO clerk")
        .await
        .unwrap();
    let done = |source: &Value| source["tables"][0]["done"] == true && proven(source);
    status(&agent, folder, done).await;
    let (code, shown) = command(BINARY, folder, &["status"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(agent.terminate(Duration::from_secs(30)).await.is_some());
}

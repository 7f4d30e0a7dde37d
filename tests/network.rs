//! A running agent whose source is behind a bad network.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::agent::{Agent, command};
use harness::postgres::PostgresServer;
use harness::proxy::Proxy;
use harness::receiver::{Faults, Receiver};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const LIMIT: Duration = Duration::from_mins(2);
const ITEMS: usize = 100;

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

/// 2,000 changes while all connections to the database are reset again and again and every byte
/// comes late: each key's last state arrives, and none after a newer one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_and_slow_source_arrives_whole() {
    let server = PostgresServer::shared();
    server.create_database("flapping").await;
    let db = server.connect("flapping").await;
    db.batch_execute("CREATE TABLE item (sku text PRIMARY KEY, name text)")
        .await
        .unwrap();
    let proxy = Proxy::start(server.port()).await;
    let receiver = Receiver::start(1, Faults::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[[source]]\nname = \"erp\"\ntype = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\n\
         database = \"flapping\"\nuser = \"postgres\"\nslot = \"flapping\"\n\
         mappings = [\"mapping.yaml\"]\n[[destination]]\nname = \"shop\"\ntype = \"webhook\"\n\
         url = \"{}\"\nretry_first_ms = 20\ntimeout_seconds = 5\n",
        proxy.port(),
        receiver.url()
    );
    std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.path().join("mapping.yaml"), MAPPING).unwrap();
    let (code, shown) = command(BINARY, folder.path(), &["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{shown}");
    let mut agent = Agent::start(BINARY, folder.path());
    proxy.latency(Duration::from_millis(2));
    let flapping = proxy.flap(Duration::from_millis(700), Duration::from_millis(50));
    for round in 0..20 {
        let resets = proxy.resets();
        for item in 0..ITEMS {
            let sql = format!(
                "INSERT INTO item VALUES ('{item}', '{round}')
                 ON CONFLICT (sku) DO UPDATE SET name = excluded.name"
            );
            db.batch_execute(&sql).await.unwrap();
        }
        // Spread over several ups and downs.
        let reset = async {
            while round % 4 == 0 && proxy.resets() == resets {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reset = tokio::time::timeout(LIMIT, reset).await;
        assert!(reset.is_ok(), "nobody connects: {}", agent.log());
    }
    drop(flapping);
    let arrived = receiver
        .wait(LIMIT, |held| {
            (0..ITEMS).all(|item| {
                let body = held.body("product.v1", &format!("ACME|{item}"));
                body.is_some_and(|body| body["name"] == "19")
            })
        })
        .await;
    assert!(arrived, "{}", agent.log());
    assert_eq!(receiver.held().violations, Vec::<String>::new());
    // Whatever it was in the middle of, it said so and went on. Which words the driver has for a lost connection
    // depends on what it was doing.
    assert!(agent.terminate(Duration::from_secs(30)).await.is_some());
    // What it says again and again it counts.
    let log = agent.log();
    let said = log.lines().filter(|line| line.contains("connecting again"));
    let times = said.map(|line| {
        let folded = line.split("folded=").nth(1);
        let folded = folded.and_then(|count| count.split(' ').next());
        folded.map_or(1, |count| count.parse::<u64>().unwrap())
    });
    assert!(times.sum::<u64>() > 2, "{log}");
}

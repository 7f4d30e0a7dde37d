//! What the agent costs a MariaDB server that it reads.

use std::time::{Duration, Instant};

use harness::mariadb::MariadbServer;
use mysql_async::prelude::Queryable as _;

use crate::drain::{BATCH, stop};
use crate::impact::spread;
use crate::mariadb::Mariadb;
use crate::place::number;
use crate::sink::Sink;

const ACCOUNTS: u64 = 100_000;
const CLIENTS: u64 = 4;

const TABLES: &str = "
    CREATE TABLE accounts (aid INT PRIMARY KEY, bid INT, balance INT, filler CHAR(84));
    CREATE TABLE history (id BIGINT AUTO_INCREMENT PRIMARY KEY, aid INT, delta INT, made DATETIME(6));
    CREATE TABLE tellers (tid INT PRIMARY KEY, balance INT);
    INSERT INTO tellers SELECT seq, 0 FROM seq_1_to_1000;
    INSERT INTO accounts SELECT seq, seq DIV 10000, 0, '' FROM seq_1_to_100000";

const MAPPING: &str = r#"mapping: 1
pack: bench
pack_version: "1.0.0"
source: mysql
schema: erp
company: ACME
tables:
  accounts: {name: "accounts", key: [aid]}
events:
  - id: accounts
    emit: inventory.availability.v1
    from: accounts
    key:
      sku: "accounts.aid"
      location: "'MAIN'"
    fields:
      uom: "'EA'"
      on_hand: "accounts.balance"
      allocated: 0
      active: true
"#;

struct Run {
    per_second: f64,
    p99_ms: f64,
}

/// One account, one teller and a line of history to a transaction, from four connections, as fast as
/// they can.
async fn bench(server: &MariadbServer, seconds: u64) -> Run {
    let mut clients = Vec::new();
    let until = Instant::now() + Duration::from_secs(seconds);
    for client in 0..CLIENTS {
        let mut conn = server.connect(Some("erp")).await;
        clients.push(tokio::spawn(async move {
            let mut took = Vec::new();
            let mut n = client * 1_000_003;
            while Instant::now() < until {
                n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (aid, tid) = ((n >> 20) % ACCOUNTS + 1, (n >> 10) % 1_000 + 1);
                let began = Instant::now();
                conn.query_drop(format!(
                    "BEGIN; UPDATE accounts SET balance = balance + 1 WHERE aid = {aid};
                     UPDATE tellers SET balance = balance + 1 WHERE tid = {tid};
                     INSERT INTO history (aid, delta, made) VALUES ({aid}, 1, now(6)); COMMIT"
                ))
                .await
                .unwrap();
                took.push(began.elapsed());
            }
            took
        }));
    }
    let mut all: Vec<Duration> = Vec::new();
    for client in clients {
        all.extend(client.await.unwrap());
    }
    all.sort_unstable();
    Run {
        per_second: all.len() as f64 / seconds as f64,
        p99_ms: all[all.len() * 99 / 100].as_secs_f64() * 1_000.0,
    }
}

pub async fn run() {
    let seconds = number("IMPACT_SECONDS", 15);
    let rounds = number("IMPACT_ROUNDS", 5);
    let sink = Sink::start();
    let erp = Mariadb::new(TABLES, MAPPING).await;
    let (server, place) = (&erp.server, &erp.place);
    place.deliver_to(&sink.url, BATCH, "");
    let mut agent = place.agent();
    erp.caught_up().await;
    stop(&mut agent).await;
    bench(server, seconds).await;
    let (mut of_speed, mut of_p99, mut same) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let off = bench(server, seconds).await;
        let mut agent = place.agent();
        erp.caught_up().await;
        let on = bench(server, seconds).await;
        erp.caught_up().await;
        stop(&mut agent).await;
        let again = bench(server, seconds).await;
        // Before and after, so that a drift of the machine is no effect of the agent.
        of_speed.push(on.per_second / f64::midpoint(off.per_second, again.per_second));
        of_p99.push(on.p99_ms / f64::midpoint(off.p99_ms, again.p99_ms));
        same.push(again.per_second / off.per_second);
        println!(
            "round {round}: off {:.0} tps p99 {:.1} ms, on {:.0} tps p99 {:.1} ms, off {:.0} tps p99 \
             {:.1} ms",
            off.per_second, off.p99_ms, on.per_second, on.p99_ms, again.per_second, again.p99_ms,
        );
    }
    println!(
        "on against off: transactions {}, 99th percentile {}; off against off: {}",
        spread(of_speed),
        spread(of_p99),
        spread(same)
    );
}

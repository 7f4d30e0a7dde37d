//! What the agent costs a MariaDB server that it reads.

use std::time::{Duration, Instant};

use harness::agent::{Agent, command};
use harness::mariadb::{MariadbOptions, MariadbServer};
use mysql_async::prelude::Queryable as _;

use crate::impact::spread;
use crate::place::{binary, number};

const ACCOUNTS: u64 = 100_000;
const CLIENTS: u64 = 4;
/// No wait here takes longer.
const DEADLINE: Duration = Duration::from_hours(1);

const TABLES: &str = "
    CREATE DATABASE erp; USE erp;
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
company: BENCH
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

/// Waits until the agent has read and stored all that is in the log now.
async fn caught_up(server: &MariadbServer, folder: &std::path::Path) {
    let (file, offset, ..): (String, u64, String, String) = server.ask("SHOW MASTER STATUS").await;
    let number = file.rsplit('.').next().unwrap_or_default();
    let end = format!("{number:0>10}:{offset:016x}");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (_, shown) = command(binary(), folder, &["status", "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let position = shown["sources"][0]["checkpoint"]
            .as_str()
            .unwrap_or_default();
        // `epoch/life:file:offset,..`
        let here = position.splitn(3, [':', '/']).nth(2).unwrap_or_default();
        let loaded = shown["sources"][0]["snapshot_done"] == 1;
        if loaded && here >= end.as_str() && shown["destinations"][0]["backlog"] == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{end}: {shown}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

pub async fn run() {
    let seconds = number("IMPACT_SECONDS", 15);
    let rounds = number("IMPACT_ROUNDS", 5);
    let options = MariadbOptions::default()
        .setting("innodb_buffer_pool_size=512M")
        .setting("innodb_log_file_size=1G");
    let server = MariadbServer::start(options);
    server.run(TABLES).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[[source]]\nname = \"erp\"\ntype = \"mysql\"\nhost = \"127.0.0.1\"\nport = {}\n\
         user = \"root\"\nmappings = [\"mapping.yaml\"]\n\
         [[destination]]\nname = \"nowhere\"\ntype = \"null\"\n",
        server.port()
    );
    std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.path().join("mapping.yaml"), MAPPING).unwrap();
    let mut agent = Agent::start(binary(), folder.path());
    caught_up(&server, folder.path()).await;
    assert!(agent.terminate(Duration::from_mins(1)).await.is_some());
    bench(&server, seconds).await;
    let (mut of_speed, mut of_p99, mut same) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let off = bench(&server, seconds).await;
        let mut agent = Agent::start(binary(), folder.path());
        caught_up(&server, folder.path()).await;
        let on = bench(&server, seconds).await;
        caught_up(&server, folder.path()).await;
        assert!(agent.terminate(Duration::from_mins(1)).await.is_some());
        let again = bench(&server, seconds).await;
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

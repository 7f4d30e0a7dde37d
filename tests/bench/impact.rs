//! What the agent costs the database it reads.

use std::process::{Command, Stdio};

use crate::drain::{BATCH, stop};
use crate::place::number;
use crate::postgres::Postgres;
use crate::sink::Sink;

const MAPPING: &str = r#"mapping: 1
pack: bench
pack_version: "1.0.0"
source: postgres
company: ACME
tables:
  accounts: {name: "public.pgbench_accounts", key: [aid]}
events:
  - id: accounts
    emit: inventory.availability.v1
    from: accounts
    key:
      sku: "accounts.aid"
      location: "'MAIN'"
    fields:
      uom: "'EA'"
      on_hand: "accounts.abalance"
      allocated: 0
      active: true
"#;

struct Run {
    per_second: f64,
    p99_ms: f64,
    log_bytes_each: f64,
}

/// pgbench for a while: at `rate` transactions a second, or (0) as fast as it can.
async fn bench(erp: &Postgres, seconds: u64, rate: u64) -> Run {
    let mut paced = Vec::new();
    if rate > 0 {
        paced = vec!["-R".to_owned(), rate.to_string()];
    }
    let folder = tempfile::tempdir().unwrap();
    let before = erp.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let output = Command::new(harness::postgres::program("pgbench"))
        .current_dir(folder.path())
        .args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-n",
            "-M",
            "prepared",
            "-c",
            "4",
            "-l",
        ])
        .args(["-p", &erp.server.port().to_string()])
        .args(paced)
        .args(["-T", &seconds.to_string(), "erp"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let bytes: f64 = erp
        .ask(&format!(
            "SELECT (pg_current_wal_insert_lsn() - '{before}'::pg_lsn)::text"
        ))
        .await
        .parse()
        .unwrap();
    let mut latencies: Vec<u64> = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let third = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
        latencies.extend(text.lines().filter_map(third));
    }
    latencies.sort_unstable();
    let count = latencies.len();
    Run {
        per_second: count as f64 / seconds as f64,
        p99_ms: latencies[count * 99 / 100] as f64 / 1000.0,
        log_bytes_each: bytes / count as f64,
    }
}

pub async fn run() {
    let seconds = number("IMPACT_SECONDS", 15);
    let rounds = number("IMPACT_ROUNDS", 5);
    let rate = number("IMPACT_RATE", 0);
    let sink = Sink::start();
    let erp = {
        // The tables must be there before the agent is prepared for them.
        let tables = "CREATE TABLE pgbench_accounts (aid int NOT NULL PRIMARY KEY, bid int,
                abalance int, filler char(84)) WITH (fillfactor = 100);
             CREATE TABLE pgbench_branches (bid int NOT NULL PRIMARY KEY, bbalance int, filler char(88));
             CREATE TABLE pgbench_tellers (tid int NOT NULL PRIMARY KEY, bid int, tbalance int, filler char(84));
             CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
             INSERT INTO pgbench_branches SELECT b, 0, '' FROM generate_series(1, 10) b;
             INSERT INTO pgbench_tellers SELECT t, (t - 1) / 10 + 1, 0, '' FROM generate_series(1, 100) t;
             INSERT INTO pgbench_accounts SELECT a, (a - 1) / 100000 + 1, 0, '' FROM generate_series(1, 1000000) a";
        Postgres::new(tables, MAPPING).await
    };
    let place = &erp.place;
    place.deliver_to(&sink.url, BATCH, "");
    erp.run("VACUUM ANALYZE").await;
    let mut agent = place.agent();
    place
        .until("the first load", |status| {
            status["sources"][0]["snapshot_done"] == 1 && status["destinations"][0]["backlog"] == 0
        })
        .await;
    stop(&mut agent).await;
    bench(&erp, seconds, rate).await;
    let (mut of_speed, mut of_p99, mut of_log) = (Vec::new(), Vec::new(), Vec::new());
    let mut same = Vec::new();
    for round in 1..=rounds {
        let off = bench(&erp, seconds, rate).await;
        let mut agent = place.agent();
        place
            .until("the agent runs", |status| status["running"] == true)
            .await;
        let end = erp.end().await;
        erp.acknowledged(&end).await;
        let on = bench(&erp, seconds, rate).await;
        let end = erp.end().await;
        erp.acknowledged(&end).await;
        stop(&mut agent).await;
        let again = bench(&erp, seconds, rate).await;
        // Before and after, so that a drift of the machine is no effect of the agent.
        let without = f64::midpoint(off.per_second, again.per_second);
        of_speed.push(on.per_second / without);
        of_p99.push(on.p99_ms / f64::midpoint(off.p99_ms, again.p99_ms));
        of_log.push(on.log_bytes_each / f64::midpoint(off.log_bytes_each, again.log_bytes_each));
        same.push(again.per_second / off.per_second);
        println!(
            "round {round}: off {:.0} tps p99 {:.1} ms, on {:.0} tps p99 {:.1} ms, off {:.0} tps p99 \
             {:.1} ms; log per transaction {:.0}, {:.0}, {:.0} bytes",
            off.per_second,
            off.p99_ms,
            on.per_second,
            on.p99_ms,
            again.per_second,
            again.p99_ms,
            off.log_bytes_each,
            on.log_bytes_each,
            again.log_bytes_each,
        );
    }
    println!(
        "on against off: transactions {}, 99th percentile {}, log {}; off against off: {}",
        spread(of_speed),
        spread(of_p99),
        spread(of_log),
        spread(same)
    );
}

pub fn spread(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    let last = ratios.len() - 1;
    format!(
        "{:.3} ({:.3} to {:.3})",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[last]
    )
}

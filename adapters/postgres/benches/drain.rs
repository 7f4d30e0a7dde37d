//! How fast a backlog is read, beside the server's own tool on the same backlog in the same run.
//!
//! `cargo bench -p source-postgres --bench drain` makes a table of 500,000 rows, changes each row
//! once (100 to a transaction, in an order that hits pages at random), and reads that log in turn
//! with `pg_recvlogical` to `/dev/null` and with this source to a destination that throws the rows
//! away once it has them as values. Each reader is a process of its own and reads its own copy of
//! the slot. What counts is the ratio of the two in one run; the machine's own speed does not.
//!
//! `DRAIN_ROWS`, `DRAIN_PER_TRANSACTION` and `DRAIN_ROUNDS` change the work.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{World, ask};
use contract::{NodeKind, Value};
use harness::backlog::postgres as backlog;
use harness::postgres::{PostgresOptions, PostgresServer};

/// What a reader of this program is told.
const READ: &str = "DRAIN_READ";

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name);
    given.map_or(otherwise, |text| text.parse().unwrap())
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match std::env::var(READ) {
        Ok(what) => runtime.block_on(read(&what)),
        Err(_) => runtime.block_on(compare()),
    }
}

/// Reads a slot to its end: `port database slot end`.
async fn read(what: &str) {
    let began = Instant::now();
    let words: Vec<&str> = what.split(' ').collect();
    let [port, database, slot, end] = words[..] else {
        panic!("{what}");
    };
    let settings = [
        ("host", common::text("127.0.0.1")),
        ("port", NodeKind::Number(port.to_owned())),
        ("database", common::text(database)),
        ("user", common::text("postgres")),
        ("slot", common::text(slot)),
        ("publication", common::text("lighterman_bench")),
    ];
    let source = common::source("bench", &settings, vec![common::captured("stock")]);
    let end: u64 = end.parse().unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    let (mut changes, mut bytes) = (0_u64, 0_usize);
    loop {
        let batch = stream.next().await.unwrap();
        for change in &batch.changes {
            changes += 1;
            let row = change.after.iter().flatten();
            bytes += row.map(Value::bytes).sum::<usize>();
        }
        stream.acknowledge(&batch.end).await.unwrap();
        if batch.end.pos.number().unwrap() >= end {
            break;
        }
    }
    println!(
        "{changes} {bytes} {} {}",
        began.elapsed().as_secs_f64(),
        memory_peak_kib()
    );
}

fn memory_peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse().unwrap()
}

async fn compare() {
    let rows = number("DRAIN_ROWS", 500_000);
    let per_transaction = number("DRAIN_PER_TRANSACTION", 100);
    let rounds = number("DRAIN_ROUNDS", 5);
    let options = PostgresOptions::default()
        .setting("max_wal_size=8GB")
        .setting("checkpoint_timeout=1h")
        .setting("shared_buffers=512MB");
    let server = std::sync::Arc::new(PostgresServer::start(options));
    let world = World::on(
        server,
        &format!(
            "{}; CREATE PUBLICATION lighterman_bench FOR TABLE stock",
            backlog::TABLES
        ),
        &["stock"],
    )
    .await;
    world.run(&backlog::rows(rows)).await;
    world.run("VACUUM ANALYZE stock").await;
    world
        .run("SELECT pg_create_logical_replication_slot('base', 'pgoutput')")
        .await;
    world
        .run(&format!("CALL backlog({rows}, {per_transaction})"))
        .await;
    let end = ask(&world.db, "SELECT pg_current_wal_flush_lsn()::text")
        .await
        .unwrap();
    let end_number = world
        .ask(&format!("SELECT ('{end}'::pg_lsn - '0/0')::text"))
        .await
        .unwrap();
    // The log goes on a little, so that both readers see its end.
    world.run("CREATE TABLE after_the_end ()").await;
    println!("{rows} updates, {per_transaction} to a transaction, {rounds} rounds");
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let copied = |name: &'static str| {
            let sql = format!("SELECT pg_copy_logical_replication_slot('base', '{name}')");
            let world = &world;
            async move { world.run(&sql).await }
        };
        // Taken in turn, so that neither is always the first.
        let mut limit = Duration::ZERO;
        let mut ours = None;
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                copied("limit").await;
                limit = backlog::limit(
                    &world.server,
                    &world.name,
                    "limit",
                    "lighterman_bench",
                    &end,
                );
                world.run("SELECT pg_drop_replication_slot('limit')").await;
            } else {
                copied("ours").await;
                ours = Some(this(&world, &end_number));
                world
                    .until("SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'ours'")
                    .await;
                world.run("SELECT pg_drop_replication_slot('ours')").await;
            }
        }
        let (changes, seconds, kib) = ours.unwrap();
        assert_eq!(changes, rows, "changes read");
        let limit = limit.as_secs_f64();
        let ratio = limit / seconds;
        ratios.push(ratio);
        println!(
            "round {round}: pg_recvlogical {:.0} rows/s, this source {:.0} rows/s, ratio {ratio:.2}, \
             peak memory {:.1} MiB",
            rows as f64 / limit,
            rows as f64 / seconds,
            kib as f64 / 1024.0
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "ratio: median {:.2}, least {:.2}, most {:.2}",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1]
    );
}

/// This program as a reader: changes, seconds, peak memory in KiB.
fn this(world: &World, end: &str) -> (u64, f64, u64) {
    let began = Instant::now();
    let output = Command::new(std::env::current_exe().unwrap())
        .env(
            READ,
            format!("{} {} ours {end}", world.server.port(), world.name),
        )
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let said = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = said.split_whitespace().collect();
    (
        words[0].parse().unwrap(),
        seconds,
        words[3].parse().unwrap(),
    )
}

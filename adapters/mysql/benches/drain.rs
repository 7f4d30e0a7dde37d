//! How fast a backlog is read, beside the server's own tool on the same backlog in the same run.
//!
//! `cargo bench -p source-mysql --bench drain` makes a table of 500,000 rows, changes each row once
//! (100 to a transaction, in an order that hits pages at random), and reads that log in turn with
//! `mariadb-binlog` in text mode to `/dev/null` and with this source to a destination that throws
//! the rows away once it has them as values. Each reader is a process of its own. What counts is the
//! ratio of the two in one run; the machine's own speed does not.
//!
//! `DRAIN_ROWS`, `DRAIN_PER_TRANSACTION` and `DRAIN_ROUNDS` change the work. With `DRAIN_READ` set
//! to `port user password schema gtid rows` it is a reader of another server's log instead, of the
//! table `stock`, and says when the first and the last change came: for comparisons with other
//! programs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use common::World;
use contract::{NodeKind, Value};
use harness::backlog::mariadb as backlog;
use harness::mariadb::MariadbOptions;

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

fn now() -> u128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_nanos()
}

/// Reads a log until so many changes have come.
async fn read(what: &str) {
    let words: Vec<&str> = what.split(' ').collect();
    let [port, user, password, schema, gtid, rows] = words[..] else {
        panic!("{what}");
    };
    let mut settings = vec![
        ("host", common::text("127.0.0.1")),
        ("port", NodeKind::Number(port.to_owned())),
        ("user", common::text(user)),
        ("start", common::text(gtid)),
    ];
    if password != "-" {
        // The tests' secrets have their variable's name.
        settings.push(("password", common::secret(password)));
    }
    let source = common::source("bench", &settings, vec![common::captured(schema, "stock")]);
    let rows: u64 = rows.parse().unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    let (mut changes, mut bytes, mut first) = (0_u64, 0_usize, 0);
    while changes < rows {
        let batch = stream.next().await.unwrap();
        for change in &batch.changes {
            changes += 1;
            let row = change.after.iter().flatten();
            bytes += row.map(Value::bytes).sum::<usize>();
        }
        if first == 0 && changes > 0 {
            first = now();
        }
        stream.acknowledge(&batch.end).await.unwrap();
    }
    println!(
        "{{\"count\":{changes},\"first_ns\":{first},\"last_ns\":{},\"bytes\":{bytes},\"peak_kib\":{}}}",
        now(),
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
    let options = MariadbOptions::default()
        .setting("innodb_buffer_pool_size=512M")
        .setting("innodb_log_file_size=1G");
    let world = World::with(options, backlog::TABLE, &["stock"]).await;
    world.run(backlog::PROCEDURE).await;
    world.run(&backlog::rows(rows)).await;
    world.run("FLUSH BINARY LOGS").await;
    let server = &world.server;
    let gtid: String = server.ask("SELECT @@gtid_binlog_pos").await;
    let (file, ..): (String, u64, String, String) = server.ask("SHOW MASTER STATUS").await;
    world
        .run(&format!("CALL backlog({rows}, {per_transaction})"))
        .await;
    world.run("FLUSH BINARY LOGS").await;
    println!("{rows} updates, {per_transaction} to a transaction, {rounds} rounds");
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        // Taken in turn, so that neither is always the first.
        let mut limit = Duration::ZERO;
        let mut ours = None;
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                limit = backlog::limit(server, &file);
            } else {
                ours = Some(this(&world, &gtid, rows));
            }
        }
        let (changes, seconds, kib) = ours.unwrap();
        assert_eq!(changes, rows, "changes read");
        let limit = limit.as_secs_f64();
        let ratio = limit / seconds;
        ratios.push(ratio);
        println!(
            "round {round}: mariadb-binlog {:.0} rows/s, this source {:.0} rows/s, ratio {ratio:.2}, \
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

/// This program as a reader: changes, seconds from its start to its end, peak memory in KiB.
fn this(world: &World, gtid: &str, rows: u64) -> (u64, f64, u64) {
    let began = Instant::now();
    let what = format!(
        "{} root - {} {gtid} {rows}",
        world.server.port(),
        world.name
    );
    let output = Command::new(std::env::current_exe().unwrap())
        .env(READ, what)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (
        said["count"].as_u64().unwrap(),
        seconds,
        said["peak_kib"].as_u64().unwrap(),
    )
}

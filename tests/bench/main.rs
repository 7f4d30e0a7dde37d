//! The whole agent under load, as a process, beside what limits it.
//!
//! `cargo bench-agent --help` says which cases there are; without a word, all of them. Each says what it did and
//! prints ratios: the machine's own speed means nothing. `docs/performance.md` has the method.
//!
//! - `drain`: a backlog of single-row updates on PostgreSQL, mapped to availability events, through the durable outbox
//!   to an HTTP receiver that counts them, beside `pg_recvlogical` on the same log.
//! - `snapshot`: the first reading of the same table, counted there too, beside `COPY`.
//! - `drain_mariadb`, `snapshot_mariadb`: the same on MariaDB, beside `mariadb-binlog` as text and a `SELECT`.
//! - `linear`: a backlog of ten times the length: time and memory.
//! - `latency`: 500 transactions a second of one row each, from the commit's answer to the receiver's.
//! - `idle`: memory and processor time of an agent with nothing to do.
//! - `floor`: what SQLite alone takes for the least that a change must leave on the disk.
//! - `transaction`: one transaction of 5,000,000 rows (`TRANSACTION_ROWS`), and the most memory the
//!   agent ever held.
//! - `impact`: pgbench's transactions per second, 99th percentile and log volume, agent off and on;
//!   as fast as it can, or at `IMPACT_RATE` transactions a second.
//! - `impact_mariadb`: the same of short transactions on MariaDB, as fast as they can.
//! - `recount`: 50,000 SKU-locations (`RECOUNT_KEYS`) change twice while the API takes 4 requests a
//!   second of 100 items each; requests are counted at the API, beside the fewest that could do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark"
)]

mod drain;
mod floor;
mod idle;
mod impact;
mod impact_mariadb;
mod latency;
mod linear;
mod mariadb;
mod options;
mod place;
mod postgres;
mod recount;
mod sink;
mod snapshot;
mod table;
mod transaction;

use std::process::ExitCode;

use options::{HELP, Options};

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::read(words) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    place::measure(&options);
    for case in &options.cases {
        match case.as_str() {
            "drain" => drain::run(&options).await,
            "snapshot" => snapshot::run(&options).await,
            "drain_mariadb" => mariadb::drain(&options).await,
            "snapshot_mariadb" => mariadb::snapshot(&options).await,
            "linear" => linear::run(&options).await,
            "latency" => latency::run(&options).await,
            "idle" => idle::run().await,
            "floor" => floor::run(&options),
            "transaction" => transaction::run().await,
            "impact" => impact::run().await,
            "impact_mariadb" => impact_mariadb::run().await,
            "recount" => recount::run().await,
            other => unreachable!("{other} is in options::CASES"),
        }
    }
    ExitCode::SUCCESS
}

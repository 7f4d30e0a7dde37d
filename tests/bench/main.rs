//! The whole agent under load, as a process, beside what limits it.
//!
//! `cargo bench -p lighterman --bench agent -- drain` and so on; without a word, all of them. Each
//! says what it did and prints ratios: the machine's own speed means nothing.
//!
//! - `drain`: a backlog of 500,000 single-row updates on PostgreSQL, mapped to availability events,
//!   through the outbox to a destination that forgets them, beside `pg_recvlogical` on the same log.
//! - `transaction`: one transaction of 10,000,000 rows (`TRANSACTION_ROWS`), and the most memory the
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
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark"
)]

mod drain;
mod impact;
mod impact_mariadb;
mod place;
mod recount;
mod transaction;

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let asked = |name: &str| words.iter().any(|word| word == name);
    let all = ![
        "drain",
        "transaction",
        "impact",
        "impact_mariadb",
        "recount",
    ]
    .into_iter()
    .any(asked);
    if all || asked("drain") {
        drain::run().await;
    }
    if all || asked("transaction") {
        transaction::run().await;
    }
    if all || asked("impact") {
        impact::run().await;
    }
    if all || asked("impact_mariadb") {
        impact_mariadb::run().await;
    }
    if all || asked("recount") {
        recount::run().await;
    }
}

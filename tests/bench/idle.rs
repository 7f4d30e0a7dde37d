//! An agent that has read its table and has nothing to do.

use std::time::Duration;

use harness::backlog::postgres as backlog;

use crate::drain::{BATCH, MAPPING, cpu_seconds, fill, first_load};
use crate::postgres::Postgres;
use crate::sink::Sink;

const SECONDS: u64 = 30;
const ROWS: u64 = 1_000;

pub async fn run() {
    let sink = Sink::start();
    let erp = Postgres::new(backlog::TABLES, MAPPING).await;
    let place = &erp.place;
    place.deliver_to(&sink.url, BATCH, "");
    fill(&erp, ROWS).await;
    first_load(place, &sink, ROWS).await;
    let mut agent = place.agent();
    place
        .until("the agent runs", |status| status["running"] == true)
        .await;
    let before = cpu_seconds(agent.pid());
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let used = cpu_seconds(agent.pid()) - before;
    println!("\n| idle for {SECONDS} s | |\n|---|---|");
    println!(
        "| processor time, ms per s | {:.1} |",
        used * 1000.0 / SECONDS as f64
    );
    println!(
        "| most memory since its start, MiB | {:.1} |",
        agent.memory_peak_kib() as f64 / 1024.0
    );
    crate::drain::stop(&mut agent).await;
}

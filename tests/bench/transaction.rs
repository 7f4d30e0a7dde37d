//! One transaction larger than any memory.
//!
//! The mapping tells of one row in 97: what is measured is the transaction, not the outbox. With
//! `TRANSACTION_ALL=1` it tells of every row.

use std::time::Instant;

use harness::backlog::postgres::TABLES;

use crate::drain::{MAPPING, cpu_seconds};
use crate::place::{Place, number};

pub async fn run() {
    let rows = number("TRANSACTION_ROWS", 10_000_000);
    let filter = match number("TRANSACTION_ALL", 0) {
        0 => "stock.bin = 'A-000'",
        _ => "true",
    };
    let where_line = format!("    from: stock\n    where: \"{filter}\"\n");
    let mapping = MAPPING.replace("    from: stock\n", &where_line);
    let place = Place::new(TABLES, &mapping).await;
    let mut agent = place.agent();
    place
        .until("the first load", |status| {
            status["sources"][0]["snapshot_done"] == 1
        })
        .await;
    let idle = agent.memory_peak_kib() as f64 / 1024.0;
    let began = Instant::now();
    place
        .run(&format!(
            "INSERT INTO stock SELECT g / 10, g % 10, 'A-' || lpad((g % 97)::text, 3, '0'),
                (g % 10000) + 0.1234, (g % 100) + 0.5, now(), 'x' || g
               FROM generate_series(0, {rows} - 1) g"
        ))
        .await;
    let written = began.elapsed().as_secs_f64();
    let end = place.end().await;
    let began = Instant::now();
    place.acknowledged(&end).await;
    let captured = began.elapsed().as_secs_f64();
    let events: u64 = place
        .ask(&format!(
            "SELECT count(*) FROM stock AS stock WHERE {filter}"
        ))
        .await
        .parse()
        .unwrap();
    place
        .until("all is delivered", |status| {
            status["destinations"][0]["delivered"].as_u64() == Some(events)
        })
        .await;
    println!(
        "one transaction of {rows} rows, {events} events: written in {written:.0} s, in the outbox {captured:.0} s \
         later ({:.0} rows/s); {:.1} µs of processor per row; peak memory {:.1} MiB (idle {idle:.1})",
        rows as f64 / captured,
        cpu_seconds(agent.pid()) * 1e6 / rows as f64,
        agent.memory_peak_kib() as f64 / 1024.0,
    );
    assert!(
        agent
            .terminate(std::time::Duration::from_mins(1))
            .await
            .is_some()
    );
}

//! One transaction larger than any memory.

use std::time::Instant;

use crate::drain::{MAPPING, TABLES, cpu_seconds};
use crate::place::{Place, number};

pub async fn run() {
    let rows = number("TRANSACTION_ROWS", 10_000_000);
    let place = Place::new(TABLES, MAPPING).await;
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
    place
        .until("all is delivered", |status| {
            status["destinations"][0]["delivered"].as_u64() == Some(rows)
        })
        .await;
    println!(
        "one transaction of {rows} rows: written in {written:.0} s, in the outbox {captured:.0} s \
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

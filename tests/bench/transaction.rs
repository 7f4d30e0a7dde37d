//! One transaction larger than any memory.
//!
//! The mapping tells of one row in 97: what is measured is the transaction, not the outbox. With
//! `TRANSACTION_ALL=1` it tells of every row.

use std::time::Instant;

use harness::backlog::postgres::TABLES;

use crate::drain::{BATCH, MAPPING, cpu_seconds, last_came, stop};
use crate::place::number;
use crate::postgres::Postgres;
use crate::sink::Sink;

pub async fn run() {
    let rows = number("TRANSACTION_ROWS", 5_000_000);
    let filter = match number("TRANSACTION_ALL", 0) {
        0 => "stock.bin = 'A-000'",
        _ => "true",
    };
    let where_line = format!("    from: stock\n    where: \"{filter}\"\n");
    let mapping = MAPPING.replace("    from: stock\n", &where_line);
    let sink = Sink::start();
    let erp = Postgres::new(TABLES, &mapping).await;
    let place = &erp.place;
    place.deliver_to(&sink.url, BATCH, "");
    let mut agent = place.agent();
    place
        .until("the first load", |status| {
            status["sources"][0]["snapshot_done"] == 1
        })
        .await;
    let idle = agent.memory_peak_kib() as f64 / 1024.0;
    let insert = format!(
        "INSERT INTO stock SELECT g / 10, g % 10, 'A-' || lpad((g % 97)::text, 3, '0'),
            (g % 10000) + 0.1234, (g % 100) + 0.5, now(), 'x' || g
           FROM generate_series(0, {rows} - 1) g"
    );
    let events = match filter {
        "true" => rows,
        _ => rows.div_ceil(97),
    };
    sink.expect_some(rows, events);
    let began = Instant::now();
    erp.run(&insert).await;
    let written = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let last = last_came(&sink, &mut agent).await;
    let took = last.duration_since(began).as_secs_f64();
    println!(
        "one transaction of {rows} rows, {events} events: written in {written:.0} s, received {took:.0} s later \
         ({:.0} rows/s); {:.1} µs of processor per row; peak memory {:.1} MiB (idle {idle:.1})",
        rows as f64 / took,
        cpu_seconds(agent.pid()) * 1e6 / rows as f64,
        agent.memory_peak_kib() as f64 / 1024.0,
    );
    stop(&mut agent).await;
}

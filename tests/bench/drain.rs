//! A backlog: the agent beside the server's own reader, counted at the receiver.

use std::time::{Duration, Instant};

use harness::agent::Agent;
use harness::backlog::postgres as backlog;

use crate::options::Options;
use crate::place::Place;
use crate::postgres::Postgres;
use crate::sink::Sink;
use crate::table::{Round, Run, print};

/// Events in one request.
pub const BATCH: u64 = 1_000;

/// An availability event of each row, by a key that the row has of its own; the receiver counts by it (`sink::KEY`).
pub const MAPPING: &str = r#"mapping: 1
pack: bench
pack_version: "1.0.0"
source: postgres
company: BENCH
tables:
  stock: {name: "public.stock", key: [item_id, warehouse_id]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key:
      sku: "stock.item_id"
      location: "stock.warehouse_id"
    fields:
      uom: "'EA'"
      on_hand: "stock.on_hand"
      allocated: "stock.allocated"
      active: true
"#;

pub async fn fill(erp: &Postgres, rows: u64) {
    erp.run(&backlog::rows(rows)).await;
    erp.run("VACUUM ANALYZE stock").await;
}

pub async fn stop(agent: &mut Agent) {
    let limit = Duration::from_mins(1);
    assert!(agent.terminate(limit).await.is_some(), "it does not stop");
}

/// Waits until the receiver has all that is to come; when the last of it came.
pub async fn last_came(sink: &Sink, agent: &mut Agent) -> Instant {
    let deadline = Instant::now() + crate::place::DEADLINE;
    loop {
        if let Some(last) = sink.complete() {
            return last;
        }
        assert!(agent.ended().is_none(), "it ended: {}", agent.log());
        let came = sink.counts();
        assert!(Instant::now() < deadline, "rows and requests: {came:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs the agent until the receiver has every row.
pub async fn received(place: &Place, sink: &Sink, rows: u64) -> Run {
    sink.expect(rows);
    let began = Instant::now();
    let mut agent = place.agent();
    let last = last_came(sink, &mut agent).await;
    let run = Run {
        seconds: last.duration_since(began).as_secs_f64(),
        cpu_seconds: cpu_seconds(agent.pid()),
        peak_mib: agent.memory_peak_kib() as f64 / 1024.0,
    };
    stop(&mut agent).await;
    run
}

/// Reads the table to its end, and delivers all of it: of a table that is still being read, every change is remembered.
pub async fn first_load(place: &Place, sink: &Sink, rows: u64) {
    sink.expect(rows);
    let mut agent = place.agent();
    last_came(sink, &mut agent).await;
    place
        .until("the first load", |status| {
            status["sources"][0]["snapshot_done"] == 1 && status["destinations"][0]["backlog"] == 0
        })
        .await;
    stop(&mut agent).await;
}

pub async fn run(options: &Options) {
    let rows = options.rows;
    let sink = Sink::start();
    let erp = Postgres::new(backlog::TABLES, MAPPING).await;
    let place = &erp.place;
    place.deliver_to(&sink.url, BATCH, "");
    fill(&erp, rows).await;
    first_load(place, &sink, rows).await;
    erp.run(&format!("CALL backlog({rows}, 100)")).await;
    let end = erp.end().await;
    // The limit tool ends when it is told of something behind `end`.
    erp.run("CREATE TABLE after_the_end ()").await;
    place.keep();
    erp.copy_slot("lighterman_erp", "base").await;
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        println!("drain: round {round} of {}", options.rounds);
        erp.copy_slot("base", "limit").await;
        let limit = backlog::limit(&erp.server, "erp", "limit", "lighterman_erp", &end);
        erp.drop_slot("limit").await;
        let mut runs = Vec::new();
        for _ in 0..2 {
            place.back();
            erp.drop_slot("lighterman_erp").await;
            erp.copy_slot("base", "lighterman_erp").await;
            runs.push(received(place, &sink, rows).await);
        }
        let [first, second] = runs.try_into().ok().unwrap();
        rounds.push(Round {
            limit_seconds: limit.as_secs_f64(),
            first,
            second,
        });
    }
    print("drain", "pg_recvlogical", rows, &rounds);
}

/// User and system time of a process.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|n| words[*n].parse::<u64>().unwrap())
        .sum();
    ticks as f64 / 100.0
}

//! A backlog: the agent beside the server's own reader, counted at the receiver.

use std::time::{Duration, Instant};

use harness::agent::Agent;
use harness::backlog::postgres as backlog;

use crate::options::Options;
use crate::place::Place;
use crate::sink::Sink;
use crate::table::{Round, Run, print};

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

pub async fn fill(place: &Place, rows: u64) {
    place.run(&backlog::rows(rows)).await;
    place.run("VACUUM ANALYZE stock").await;
}

/// Runs the agent until every row of the table is with the destination.
pub async fn load(place: &Place, rows: u64) -> f64 {
    let mut agent = place.agent();
    let began = Instant::now();
    place
        .until("the first load", |status| {
            let done = &status["sources"][0]["snapshot_done"];
            let delivered = status["destinations"][0]["delivered"].as_u64();
            done == 1 && delivered == Some(rows)
        })
        .await;
    let seconds = began.elapsed().as_secs_f64();
    stop(&mut agent).await;
    seconds
}

pub async fn stop(agent: &mut Agent) {
    let limit = Duration::from_mins(1);
    assert!(agent.terminate(limit).await.is_some(), "it does not stop");
}

/// Runs the agent until the receiver has every row.
pub async fn received(place: &Place, sink: &Sink, rows: u64) -> Run {
    sink.expect(rows);
    let began = Instant::now();
    let mut agent = place.agent();
    let deadline = began + crate::place::DEADLINE;
    let last = loop {
        if let Some(last) = sink.complete() {
            break last;
        }
        assert!(agent.ended().is_none(), "it ended: {}", agent.log());
        let came = sink.counts();
        assert!(Instant::now() < deadline, "rows and requests: {came:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let run = Run {
        seconds: last.duration_since(began).as_secs_f64(),
        cpu_seconds: cpu_seconds(agent.pid()),
        peak_mib: agent.memory_peak_kib() as f64 / 1024.0,
    };
    stop(&mut agent).await;
    run
}

pub async fn run(options: &Options) {
    let rows = options.rows;
    let sink = Sink::start();
    let place = Place::new(backlog::TABLES, &counted()).await;
    place.deliver_to(&sink.url);
    fill(&place, rows).await;
    received(&place, &sink, rows).await;
    place.run(&format!("CALL backlog({rows}, 100)")).await;
    let end = place.end().await;
    // The limit tool ends when it is told of something behind `end`.
    place.run("CREATE TABLE after_the_end ()").await;
    let kept = place.path().join("kept");
    copy(&place.state(), &kept);
    place.copy_slot("lighterman_erp", "base").await;
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        println!("drain: round {round} of {}", options.rounds);
        place.copy_slot("base", "limit").await;
        let limit = backlog::limit(&place.server, "erp", "limit", "lighterman_erp", &end);
        place.drop_slot("limit").await;
        let mut runs = Vec::new();
        for _ in 0..2 {
            std::fs::remove_dir_all(place.state()).unwrap();
            copy(&kept, &place.state());
            place.drop_slot("lighterman_erp").await;
            place.copy_slot("base", "lighterman_erp").await;
            runs.push(received(&place, &sink, rows).await);
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

/// The mapping with the number of the row in each key, by which the receiver counts (`sink::TOKEN`).
pub fn counted() -> String {
    MAPPING.replace(
        "sku: \"stock.item_id\"",
        "sku: \"'row-' || (stock.item_id * 10 + stock.warehouse_id)\"",
    )
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
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

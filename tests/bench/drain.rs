//! A backlog: the agent beside the server's own reader.

use std::time::Instant;

use harness::backlog::postgres as backlog;

use crate::place::{Place, number};

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
    let limit = std::time::Duration::from_mins(1);
    assert!(agent.terminate(limit).await.is_some());
    seconds
}

pub async fn run() {
    let rows = number("DRAIN_ROWS", 500_000);
    let per_transaction = number("DRAIN_PER_TRANSACTION", 100);
    let rounds = number("DRAIN_ROUNDS", 3);
    let place = Place::new(backlog::TABLES, MAPPING).await;
    fill(&place, rows).await;
    let seconds = load(&place, rows).await;
    println!("first load: {:.0} rows/s", rows as f64 / seconds);
    place
        .run(&format!("CALL backlog({rows}, {per_transaction})"))
        .await;
    let end = place.end().await;
    place.run("CREATE TABLE after_the_end ()").await;
    let kept = place.path().join("kept");
    copy(&place.state(), &kept);
    place
        .run("SELECT pg_copy_logical_replication_slot('lighterman_erp', 'base')")
        .await;
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        place
            .run("SELECT pg_copy_logical_replication_slot('base', 'limit')")
            .await;
        let limit = backlog::limit(&place.server, "erp", "limit", "lighterman_erp", &end);
        let limit = limit.as_secs_f64();
        place.run("SELECT pg_drop_replication_slot('limit')").await;
        std::fs::remove_dir_all(place.state()).unwrap();
        copy(&kept, &place.state());
        place
            .run("SELECT pg_drop_replication_slot('lighterman_erp')")
            .await;
        place
            .run("SELECT pg_copy_logical_replication_slot('base', 'lighterman_erp')")
            .await;
        let began = Instant::now();
        let mut agent = place.agent();
        place.acknowledged(&end).await;
        let captured = began.elapsed().as_secs_f64();
        place
            .until("all is delivered", |status| {
                status["destinations"][0]["backlog"] == 0
            })
            .await;
        let delivered = began.elapsed().as_secs_f64();
        let cpu = cpu_seconds(agent.pid());
        let memory = agent.memory_peak_kib() as f64 / 1024.0;
        assert!(
            agent
                .terminate(std::time::Duration::from_mins(1))
                .await
                .is_some()
        );
        let ratio = limit / captured;
        ratios.push(ratio);
        println!(
            "round {round}: pg_recvlogical {:.0} rows/s, agent {:.0} rows/s into the outbox (ratio \
             {ratio:.2}), {:.0} rows/s delivered; {:.1} µs of processor per row, peak memory \
             {memory:.1} MiB",
            rows as f64 / limit,
            rows as f64 / captured,
            rows as f64 / delivered,
            cpu * 1e6 / rows as f64,
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("drain ratio: median {:.2}", ratios[ratios.len() / 2]);
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

//! How long a change takes from its commit to the receiver, while the source has a steady load.

use std::time::{Duration, Instant};

use harness::backlog::postgres as backlog;

use crate::drain::{BATCH, MAPPING, cpu_seconds, fill, first_load, stop};
use crate::impact::spread;
use crate::options::Options;
use crate::postgres::Postgres;
use crate::sink::Sink;

const CLIENTS: u64 = 4;
const PER_SECOND: u64 = 500;
const SECONDS: u64 = 20;
/// Of these, nothing is counted.
const WARM: u64 = 5;
const ROWS: u64 = PER_SECOND * SECONDS;

pub async fn run(options: &Options) {
    let sink = Sink::start();
    let erp = Postgres::new(backlog::TABLES, MAPPING).await;
    erp.place.deliver_to(&sink.url, BATCH, "");
    fill(&erp, ROWS).await;
    first_load(&erp.place, &sink, ROWS).await;
    let (mut halves, mut slowest, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cpu, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        sink.expect(ROWS);
        let mut agent = erp.place.agent();
        // What is written now is with the agent only when it reads the log.
        erp.run("CREATE TABLE reads (); DROP TABLE reads").await;
        let end = erp.end().await;
        erp.acknowledged(&end).await;
        let (before, began) = (cpu_seconds(agent.pid()), Instant::now());
        let committed = commit(&erp).await;
        rates.push(ROWS as f64 / began.elapsed().as_secs_f64());
        let deadline = Instant::now() + Duration::from_mins(10);
        while sink.complete().is_none() {
            assert!(Instant::now() < deadline, "{:?}", sink.counts());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cpu.push((cpu_seconds(agent.pid()) - before) * 1e6 / ROWS as f64);
        memory.push(agent.memory_peak_kib() as f64 / 1024.0);
        stop(&mut agent).await;
        let arrived = sink.arrivals();
        let mut took: Vec<f64> = committed
            .into_iter()
            .filter(|(row, _)| *row >= PER_SECOND * WARM)
            .map(|(row, at)| {
                let came = arrived[usize::try_from(row).unwrap()].unwrap();
                // The receiver can be told before the client: the server writes its log first.
                came.saturating_duration_since(at).as_secs_f64() * 1000.0
            })
            .collect();
        took.sort_by(f64::total_cmp);
        halves.push(took[took.len() / 2]);
        slowest.push(took[took.len() * 99 / 100]);
    }
    println!(
        "\n| latency, {ROWS} transactions, {} rounds | median (least to most) |\n|---|---|",
        options.rounds
    );
    println!("| transactions/s that were made | {} |", spread(rates));
    println!("| half are received within, ms | {} |", spread(halves));
    println!(
        "| 99 of 100 are received within, ms | {} |",
        spread(slowest)
    );
    println!("| agent, processor time per row, µs | {} |", spread(cpu));
    println!("| agent, peak memory, MiB | {} |", spread(memory));
}

/// Changes each row once; says when each commit was answered.
async fn commit(erp: &Postgres) -> Vec<(u64, Instant)> {
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let db = erp.server.connect("erp").await;
        clients.push(tokio::spawn(async move {
            let change =
                "UPDATE stock SET on_hand = on_hand + 1 WHERE item_id = $1 AND warehouse_id = $2";
            let change = db.prepare(change).await.unwrap();
            let mut turn =
                tokio::time::interval(Duration::from_micros(1_000_000 * CLIENTS / PER_SECOND));
            let mut committed = Vec::new();
            for row in (client..ROWS).step_by(usize::try_from(CLIENTS).unwrap()) {
                turn.tick().await;
                let number = i32::try_from(row).unwrap();
                db.execute(&change, &[&(number / 10), &(number % 10)])
                    .await
                    .unwrap();
                committed.push((row, Instant::now()));
            }
            committed
        }));
    }
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.unwrap());
    }
    all
}

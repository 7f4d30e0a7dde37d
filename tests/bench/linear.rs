//! A backlog and one of ten times its length: the time is to grow with it, and memory is not to.

use harness::backlog::postgres as backlog;

use crate::drain::{BATCH, MAPPING, fill, first_load, received};
use crate::impact::spread;
use crate::options::Options;
use crate::postgres::Postgres;
use crate::sink::Sink;

const TIMES: u64 = 10;

pub async fn run(options: &Options) {
    let (short, long) = (options.rows, options.rows * TIMES);
    let sink = Sink::start();
    let erp = Postgres::new(backlog::TABLES, MAPPING).await;
    let place = &erp.place;
    place.deliver_to(&sink.url, BATCH, "");
    fill(&erp, long).await;
    first_load(place, &sink, long).await;
    let (mut times, mut memory, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        println!("linear: round {round} of {}", options.rounds);
        let mut runs = Vec::new();
        for rows in [short, long] {
            erp.run(&format!("CALL backlog({rows}, 100)")).await;
            runs.push(received(place, &sink, rows).await);
        }
        times.push(runs[1].seconds / runs[0].seconds / TIMES as f64);
        memory.push(runs[1].peak_mib);
        more.push(runs[1].peak_mib / runs[0].peak_mib);
    }
    println!(
        "\n| {long} rows against {short}, {} rounds | median (least to most) |\n|---|---|",
        options.rounds
    );
    println!("| time, against {TIMES} times | {} |", spread(times));
    println!("| peak memory against peak memory | {} |", spread(more));
    println!("| peak memory of the longer, MiB | {} |", spread(memory));
}

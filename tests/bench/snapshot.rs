//! The first reading of a table, beside the server's own way to hand it out whole.

use std::process::{Command, Stdio};
use std::time::Instant;

use harness::backlog::postgres as backlog;
use harness::postgres::program;

use crate::drain::{BATCH, MAPPING, fill, received};
use crate::options::Options;
use crate::postgres::Postgres;
use crate::sink::Sink;
use crate::table::{Round, print};

pub async fn run(options: &Options) {
    let rows = options.rows;
    let sink = Sink::start();
    let erp = Postgres::new(backlog::TABLES, MAPPING).await;
    erp.place.deliver_to(&sink.url, BATCH, "");
    fill(&erp, rows).await;
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        println!("snapshot: round {round} of {}", options.rounds);
        let limit_seconds = copy_out(&erp);
        erp.anew().await;
        let first = received(&erp.place, &sink, rows).await;
        erp.anew().await;
        let second = received(&erp.place, &sink, rows).await;
        rounds.push(Round {
            limit_seconds,
            first,
            second,
        });
    }
    print("snapshot", "COPY", rows, &rounds);
}

fn copy_out(erp: &Postgres) -> f64 {
    let began = Instant::now();
    let status = Command::new(program("psql"))
        .args(["-X", "-q", "-h", "127.0.0.1", "-U", "postgres", "-d", "erp"])
        .args(["-p", &erp.server.port().to_string()])
        .args(["-c", "COPY stock TO STDOUT", "-o", "/dev/null"])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed().as_secs_f64()
}

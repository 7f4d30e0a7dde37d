//! The first reading of a table, beside the server's own way to hand it out whole.

use std::process::{Command, Stdio};
use std::time::Instant;

use harness::backlog::postgres as backlog;
use harness::postgres::program;

use crate::drain::{counted, fill, received};
use crate::options::Options;
use crate::place::Place;
use crate::sink::Sink;
use crate::table::{Round, print};

pub async fn run(options: &Options) {
    let rows = options.rows;
    let sink = Sink::start();
    let place = Place::new(backlog::TABLES, &counted()).await;
    place.deliver_to(&sink.url);
    fill(&place, rows).await;
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        println!("snapshot: round {round} of {}", options.rounds);
        let limit_seconds = copy_out(&place);
        place.anew().await;
        let first = received(&place, &sink, rows).await;
        place.anew().await;
        let second = received(&place, &sink, rows).await;
        rounds.push(Round {
            limit_seconds,
            first,
            second,
        });
    }
    print("snapshot", "COPY", rows, &rounds);
}

fn copy_out(place: &Place) -> f64 {
    let began = Instant::now();
    let status = Command::new(program("psql"))
        .args(["-X", "-q", "-h", "127.0.0.1", "-U", "postgres", "-d", "erp"])
        .args(["-p", &place.server.port().to_string()])
        .args(["-c", "COPY stock TO STDOUT", "-o", "/dev/null"])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed().as_secs_f64()
}

//! Constant load and constant faults for as long as asked: what the agent holds, and how late it is, must not grow.
//!
//! `cargo soak --minutes 120` (2 without it; `--seed N` for other choices). One agent reads PostgreSQL, MariaDB and
//! SQLite at once, each changed ten times a second, and tells a receiver that refuses, answers too late and takes
//! what it then denies; connections to the databases are cut, and the agent is stopped and let go again. Never
//! killed: a new process would have forgotten what it piled up.
//!
//! Memory, handles, state files and lateness are looked at each second. Through each of them, but for the first
//! quarter of the time, goes a straight line (`slope.rs`), and it must be flat within its bound. At the end the
//! faults end, and the receiver must hold what the databases hold: nothing lost, nothing twice, nothing older after
//! newer. One line of figures, and exit code 1 where one of them is wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod faults;
mod gauge;
mod load;
mod slope;

use std::time::{Duration, Instant};

use harness::agent::{Agent, command};
use harness::receiver::Receiver;

use crate::gauge::Gauge;
use crate::load::{Database, Load};
use crate::slope::Line;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
/// Between two changes of a database.
const BEAT: Duration = Duration::from_millis(100);
/// What is still on its way at the end arrives within this.
const SETTLE_MAX: Duration = Duration::from_mins(3);

/// A flag's number.
fn flag(name: &str, otherwise: u64) -> u64 {
    let words: Vec<String> = std::env::args().collect();
    let at = words.iter().position(|word| word == name);
    at.and_then(|at| words.get(at + 1))
        .map_or(otherwise, |text| {
            let number = text.parse();
            number.unwrap_or_else(|_| panic!("{name} {text}: a whole number is expected"))
        })
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::process::ExitCode {
    let minutes = flag("--minutes", 2).max(1);
    let seed = flag("--seed", 1);
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(seed, faults::RECEIVER).await;
    let mut databases = vec![
        Database::sqlite(folder.path()),
        Database::postgres().await,
        Database::mariadb().await,
    ];
    settle_in(folder.path(), &databases, &receiver);
    let mut agent = Agent::start(BINARY, folder.path());

    let began = Instant::now();
    let lasts = Duration::from_mins(minutes);
    let mut load = Load::new(seed, databases.len());
    let mut gauge = Gauge::new(agent.pid(), folder.path().join("state"));
    let mut faults = faults::Plan::new(seed);
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while began.elapsed() < lasts {
        beat.tick().await;
        for (n, database) in databases.iter_mut().enumerate() {
            let statements = load.transaction(n);
            database.commit(&statements).await;
            load.committed(n, Instant::now());
        }
        gauge.late(load.seen(&receiver.held()));
        gauge.look(began.elapsed());
        faults.next(&agent, &databases).await;
        if let Some(ended) = agent.ended() {
            panic!("the agent ended by itself ({ended})\n{}", agent.log());
        }
    }
    faults.end(&agent);
    receiver.mend();
    receiver
        .wait(SETTLE_MAX, |held| load.differences(held).is_empty())
        .await;
    let lost = load.differences(&receiver.held());
    let fine = report(minutes, &load, &gauge, &faults, &receiver, &lost);
    agent.terminate(Duration::from_mins(1)).await;
    std::process::ExitCode::from(u8::from(!fine))
}

fn settle_in(folder: &std::path::Path, databases: &[Database], receiver: &Receiver) {
    let sources: Vec<String> = databases.iter().map(Database::settings).collect();
    let settings = format!(
        "tenant = \"t\"\nretention = {{keep_hours = 0, events_max = 2000}}\n{}\n[[destination]]\n\
         name = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\nmode = \"batch\"\ntimeout_seconds = 1\n\
         retry_first_ms = 20\nretry_max_seconds = 1\nrequests_max = 8\nguards = {{mass_drop = false}}\n",
        sources.concat(),
        receiver.url()
    );
    std::fs::write(folder.join("lighterman.toml"), settings).unwrap();
    for database in databases {
        let file = format!("{}.yaml", database.name());
        std::fs::write(folder.join(file), database.mapping()).unwrap();
    }
    let (code, shown) = command(BINARY, folder, &["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{shown}");
}

fn report(
    minutes: u64,
    load: &Load,
    gauge: &Gauge,
    faults: &faults::Plan,
    receiver: &Receiver,
    lost: &[String],
) -> bool {
    let (reordered, duplicated, arrivals) = {
        let held = receiver.held();
        let found = |what: &str| {
            let all = held.violations.iter();
            all.filter(|violation| violation.starts_with(what)).count()
        };
        (found("I4"), found("fact"), held.arrivals)
    };
    let mut wrong: Vec<String> = lost.iter().take(20).cloned().collect();
    wrong.extend(receiver.held().violations.iter().take(20).cloned());
    let facts_per_minute = load.facts as f64 / minutes as f64;
    let mut figures = Vec::new();
    for series in gauge.series(facts_per_minute, minutes as f64) {
        let (what, bound) = (series.what, series.bound);
        let line = Line::through(series.points);
        let Some(line) = line else {
            wrong.push(format!("{what}: too few looks for a line"));
            continue;
        };
        figures.push(format!(
            "{what}={:.1} {what}_per_minute={:+.3}±{:.3}",
            line.middle, line.slope, line.error
        ));
        if line.surely_rises_more_than(bound) {
            wrong.push(format!(
                "{what} rises by {:.3} a minute (±{:.3}), more than {bound:.3}",
                line.slope, line.error
            ));
        }
    }
    for one in &wrong {
        eprintln!("{one}");
    }
    println!(
        "minutes={minutes} transactions={} changes={} arrivals={arrivals} faults={} lost={} reordered={reordered} \
         duplicated_facts={duplicated} {} late_p50_ms={:.0} late_p99_ms={:.0}",
        load.transactions,
        load.changes,
        faults.count,
        lost.len(),
        figures.join(" "),
        gauge.late_at(0.5),
        gauge.late_at(0.99),
    );
    wrong.is_empty()
}

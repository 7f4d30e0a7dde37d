//! SIGKILL at random moments: the agent as a process, a real database, a receiver that fails.
//!
//! One seed is one run of 20,000 changes. The oracle then compares the receiver with the database:
//! every row's final state, every fact under one id, nothing older after newer.
//!
//! `CRASH_SEEDS=100 cargo test -p lighterman --test crash` runs more; `CRASH_SEED=7` runs one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod play;
mod sqlserver;

use std::time::Duration;

use contract::Decimal;
use harness::agent::{Agent, command};
use harness::receiver::{Faults, Held, Receiver};
use play::{Database, Player};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlserver::Scripted;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const CHANGES: u32 = 20_000;
/// Nothing has come for so long: nothing more does, on the slowest machine either.
const QUIET_MAX: Duration = Duration::from_mins(3);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
    Sqlserver,
}

type Expected = Vec<(
    &'static str,
    &'static str,
    std::collections::BTreeMap<String, String>,
)>;

/// What differs between database and receiver, in words.
fn differences(expected: &Expected, movements: u32, held: &Held) -> Vec<String> {
    let mut found = held.violations.clone();
    for (event_type, field, rows) in expected {
        for (key, value) in rows {
            let has = held
                .body(event_type, key)
                .and_then(|body| body.get(field)?.as_str());
            let number = |text: &str| text.parse::<Decimal>().ok();
            let same = has.is_some_and(|has| {
                if *field == "on_hand" {
                    number(has) == number(value)
                } else {
                    has == value
                }
            });
            if !same {
                found.push(format!(
                    "{event_type} {key} is {value}, at the receiver {has:?}"
                ));
            }
        }
        let gone = held.state.iter().filter(|((kind, key), (_, body))| {
            kind == event_type && body.is_some() && !rows.contains_key(key)
        });
        found.extend(
            gone.map(|((kind, key), _)| format!("{kind} {key} is gone, not at the receiver")),
        );
    }
    for id in 1..=movements {
        if !held.facts.contains_key(&format!("DEMO|{id}")) {
            found.push(format!("movement {id} is lost"));
        }
    }
    found
}

async fn run(seed: u64, kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let database = match kind {
        Kind::Sqlite => Database::sqlite(folder.path()),
        Kind::Postgres => Database::postgres(seed).await,
        Kind::Mariadb => Database::mariadb(seed).await,
        Kind::Sqlserver => Database::Sqlserver(Box::new(Scripted::start(seed))),
    };
    let faults = Faults {
        refuse: 30,
        fail_after: 20,
        too_late: 2,
    };
    let receiver = Receiver::start(seed, faults).await;
    let mode = if seed.is_multiple_of(2) {
        "structured"
    } else {
        "batch"
    };
    let settings = format!(
        "tenant = \"t\"\n{}\n[[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\n\
         mode = \"{mode}\"\ntimeout_seconds = 1\nretry_first_ms = 20\nretry_max_seconds = 1\n\
         requests_max = 16\n# rows go and come by the dozen\nguards = {{mass_drop = false}}\n",
        database.settings(),
        receiver.url()
    );
    std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.path().join("mapping.yaml"), database.mapping()).unwrap();
    std::fs::write(folder.path().join("password"), "Secret-1").unwrap();
    let mut player = Player::new(StdRng::seed_from_u64(seed));
    database.commit(&player.opening()).await;
    let (code, shown) = command(BINARY, folder.path(), &["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{shown}");
    if let Database::Sqlserver(scripted) = &database {
        let (_, shown) = command(BINARY, folder.path(), &["check"]);
        assert!(shown.contains(scripted.mode()), "{shown}");
    }

    let mut agent = Agent::start(BINARY, folder.path());
    let mut kills = 0;
    // The next kill comes when so many events have arrived, or so many changes were made.
    let mut next = (
        player.rng.random_range(1..800),
        player.rng.random_range(100..3_000),
    );
    while player.changes < CHANGES {
        database.commit(&player.transaction()).await;
        let arrivals = receiver.held().arrivals;
        if arrivals >= next.0 || player.changes >= next.1 {
            agent.kill();
            agent = Agent::start(BINARY, folder.path());
            kills += 1;
            next = (
                arrivals + player.rng.random_range(1..1_500),
                player.changes + player.rng.random_range(500..4_000),
            );
        }
        if let Some(ended) = agent.ended() {
            panic!(
                "seed {seed}: the agent ended by itself ({ended})\n{}",
                agent.log()
            );
        }
    }
    // More kills while it catches up, each once something has arrived since the last.
    for _ in 0..3 {
        let arrivals = receiver.held().arrivals + player.rng.random_range(1..400);
        receiver
            .wait(Duration::from_secs(2), |held| held.arrivals >= arrivals)
            .await;
        agent.kill();
        agent = Agent::start(BINARY, folder.path());
        kills += 1;
    }
    receiver.mend();
    let expected = database.expected().await;
    let movements = player.movements;
    let mut arrivals = receiver.held().arrivals;
    let same = loop {
        let all = |held: &Held| differences(&expected, movements, held).is_empty();
        if receiver.wait(QUIET_MAX, all).await {
            break true;
        }
        // A busy machine is slow; what is lost does not come however long it takes.
        if arrivals == std::mem::replace(&mut arrivals, receiver.held().arrivals) {
            break false;
        }
    };
    let found = differences(&expected, movements, &receiver.held());
    let log = agent.log();
    agent.kill();
    let replay = format!("CRASH_SEED={seed} cargo test -p lighterman --test crash");
    assert!(same, "seed {seed}: {replay}\n{}\n{log}", found.join("\n"));
    let (arrivals, repeated) = {
        let held = receiver.held();
        (held.arrivals, held.repeated)
    };
    eprintln!(
        "seed {seed}: {} changes, {kills} kills, {arrivals} arrivals, {repeated} repeated",
        player.changes
    );
    database.clean().await;
}

fn seeds(kind: Kind) -> std::ops::Range<u64> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    match number("CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        // The scripted server is slower than any real one.
        None if matches!(kind, Kind::Sqlserver) => 0..number("CRASH_SEEDS").unwrap_or(6),
        None => 0..number("CRASH_SEEDS").unwrap_or(12),
    }
}

/// Runs beside each other: much of a run is waiting for deadlines of requests that a kill cut off.
const LANES: u64 = 3;

fn all(kind: Kind) {
    let seeds = seeds(kind);
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let seeds = seeds.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .unwrap();
                for seed in seeds.filter(|seed| seed % LANES == lane) {
                    runtime.block_on(run(seed, kind));
                }
            });
        }
    });
}

#[test]
fn sqlite_to_receiver_survives_sigkill() {
    all(Kind::Sqlite);
}

#[test]
fn postgres_to_receiver_survives_sigkill() {
    all(Kind::Postgres);
}

/// By a scripted server: it says what is lost on our side of the wire.
#[test]
fn sqlserver_to_receiver_survives_sigkill() {
    all(Kind::Sqlserver);
}

#[test]
fn mariadb_to_receiver_survives_sigkill() {
    all(Kind::Mariadb);
}

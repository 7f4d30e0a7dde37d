//! The person beside the agent: pauses, drains, resumes, sends held events again, replays keys; and
//! what of the state file must hold whatever that person does.

use std::path::Path;
use std::time::Duration;

use contract::clock::after;
use jiff::Timestamp;
use rand::RngExt;
use state::{Command, HeldFilter, ReplayFilter};
use tokio::time::Instant;

use crate::shop::open;
use crate::world::{Shared, lock};

fn now(began: Instant) -> Timestamp {
    after(Timestamp::UNIX_EPOCH, began.elapsed())
}

fn ask(folder: &Path, command: &Command, began: Instant) {
    // Nobody is there to be asked before the first start is done.
    let _ = state::ask(folder, "shop", command, now(began)).unwrap();
}

fn retry() -> Command {
    Command::Retry {
        which: HeldFilter::default(),
        by: "a person".to_owned(),
    }
}

fn replay(key: Option<String>) -> Command {
    Command::Replay {
        which: ReplayFilter {
            key,
            // What can be read is never sent twice, and a fact keeps its key.
            types: ["product.v1", "inventory.availability.v1"]
                .map(str::to_owned)
                .to_vec(),
            ..ReplayFilter::default()
        },
        tenant: "t".to_owned(),
    }
}

/// Has all states told again.
pub fn replays(folder: &Path, began: Instant) {
    ask(folder, &replay(None), began);
}

/// Does something by chance.
pub fn now_and_then(world: &Shared, folder: &Path, began: Instant) {
    let (what, n, pause) = {
        let mut world = lock(world);
        if !world.chance(12) {
            return;
        }
        let what = world.rng.random_range(0..10);
        let pause = Duration::from_millis(world.rng.random_range(0..2_000));
        (what, world.rng.random_range(0..30), pause)
    };
    let command = match what {
        0 => Command::Pause {
            until: Some(after(now(began), pause)),
        },
        1 => Command::Pause { until: None },
        2 => Command::Drain,
        3..=5 => Command::Resume,
        6 => retry(),
        _ => replay((what < 9).then(|| format!("S{n}"))),
    };
    ask(folder, &command, began);
}

/// Lets everything go on, and sends again what is held.
pub fn mends(folder: &Path, began: Instant) {
    let reader = state::StateReader::open(folder).unwrap();
    for destination in reader.destinations().unwrap() {
        let waits = reader_waits(folder);
        if destination.held > 0 && !waits {
            ask(folder, &retry(), began);
        }
        if (destination.paused.is_some() || destination.draining) && !waits {
            ask(folder, &Command::Resume, began);
        }
    }
}

fn reader_waits(folder: &Path) -> bool {
    open(folder)
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM request WHERE done_at IS NULL)",
            [],
            |row| row.get(0),
        )
        .unwrap()
}

/// No tombstone ever gives way, and no fact does.
pub fn judge(world: &Shared, folder: &Path) {
    let wrong: i64 = open(folder)
        .query_row(
            "SELECT count(*) FROM delivery
             WHERE state = 'superseded' AND (tombstone = 1 OR lane < 0)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    if wrong > 0 {
        let found = format!("{wrong} tombstones or facts gave way to something newer");
        lock(world).received.violations.push(found);
    }
}

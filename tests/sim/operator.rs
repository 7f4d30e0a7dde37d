//! The person beside the agent: pauses, drains, resumes, sends held events again, replays keys; and
//! what of the state file must hold whatever that person does.

use std::path::Path;
use std::time::Duration;

use contract::Clock;
use contract::clock::after;
use judge::{Class, HeldItem};
use rand::RngExt;
use rusqlite::Connection;
use state::{Command, HeldFilter, ReplayFilter};

use crate::clock::VirtualClock;
use crate::world::{Shared, lock};

fn ask(folder: &Path, destination: &str, command: &Command, clock: &VirtualClock) {
    // Nobody is there to be asked before the first start is done.
    let _ = state::ask(folder, destination, command, clock.now()).unwrap();
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
pub fn replays(world: &Shared, folder: &Path, clock: &VirtualClock) {
    ask(folder, "shop", &replay(None), clock);
    if lock(world).has_depot {
        ask(folder, "depot", &replay(None), clock);
    }
}

/// Does something.
pub fn does(world: &Shared, seed: u64, folder: &Path, clock: &VirtualClock) {
    let (what, n, pause) = lock(world).by(seed, |world| {
        let what = world.rng.random_range(0..10);
        let pause = Duration::from_millis(world.rng.random_range(0..2_000));
        (what, world.rng.random_range(0..world.size.keys), pause)
    });
    let command = match what {
        0 => Command::Pause {
            until: Some(after(clock.now(), pause)),
        },
        1 => Command::Pause { until: None },
        2 => Command::Drain,
        3..=5 => Command::Resume,
        6 => retry(),
        _ => replay((what < 9).then(|| format!("S{n}"))),
    };
    ask(folder, "shop", &command, clock);
}

/// Lets everything go on, and sends again what is held.
pub fn mends(world: &Shared, folder: &Path, clock: &VirtualClock) {
    let (has_depot, stand) = {
        let world = lock(world);
        (world.has_depot, stand(world.file()))
    };
    for (destination, is_held, is_paused) in stand {
        if destination == "depot" && !has_depot || waits(lock(world).file()) {
            continue;
        }
        if is_held {
            ask(folder, &destination, &retry(), clock);
        }
        if is_paused && !waits(lock(world).file()) {
            ask(folder, &destination, &Command::Resume, clock);
        }
    }
}

/// Each destination, whether something of it is held, and whether it is paused or is to be.
fn stand(file: &Connection) -> Vec<(String, bool, bool)> {
    let mut statement = file
        .prepare_cached(
            "SELECT name, EXISTS (SELECT 1 FROM delivery d INDEXED BY delivery_held
               WHERE d.destination = n.id AND d.state = 'held'), paused <> 0
             FROM destination n ORDER BY name",
        )
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

/// Whether something that was asked for is not done yet.
fn waits(file: &Connection) -> bool {
    file.prepare_cached("SELECT EXISTS (SELECT 1 FROM request WHERE done_at IS NULL)")
        .unwrap()
        .query_row([], |row| row.get(0))
        .unwrap()
}

/// No tombstone ever gives way, and no fact does; as the running agent's state file says.
pub fn judge(world: &Shared) {
    let wrong: i64 = lock(world)
        .file()
        .prepare_cached(
            "SELECT count(*) FROM delivery
             WHERE state = 'superseded' AND (tombstone = 1 OR lane < 0)",
        )
        .unwrap()
        .query_row([], |row| row.get(0))
        .unwrap();
    if wrong > 0 {
        let found = format!("{wrong} tombstones or facts gave way to something newer");
        lock(world).wrong(Class::Unexplained, found);
    }
}

/// What the agent holds for a person.
pub fn held(file: &Connection) -> Vec<HeldItem> {
    let mut statement = file
        .prepare(
            "SELECT n.name, o.event_type, o.key, d.cause FROM delivery d
             JOIN outbox o ON o.offset = d.offset JOIN destination n ON n.id = d.destination
             WHERE d.state = 'held'",
        )
        .unwrap();
    let item = |row: &rusqlite::Row<'_>| {
        Ok(HeldItem {
            receiver: row.get(0)?,
            event_type: row.get(1)?,
            key: row.get(2)?,
            reason: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
        })
    };
    let items = statement.query_map([], item).unwrap();
    items.map(Result::unwrap).collect()
}

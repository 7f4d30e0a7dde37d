//! What SQLite alone takes for the least that the agent must write down of a change, in a file set as the agent's is: no
//! agent that keeps as much in SQLite takes less.

use std::time::Instant;

use rusqlite::{Connection, params};

use crate::drain::cpu_seconds;
use crate::impact::spread;
use crate::options::Options;

/// Changes in one commit, as they come from a log.
const COMMIT: i64 = 2_000;
/// Answers in one commit: of a request of so many events.
const ANSWERED: i64 = 1_000;
/// As large as the agent's own: an event as it is sent, and what is known of a key.
const EVENT_BYTES: usize = 600;
const KNOWN_BYTES: usize = 260;

const TABLES: &str = "
    CREATE TABLE known (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, told TEXT NOT NULL) STRICT;
    CREATE TABLE event (offset INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL) STRICT;
    CREATE TABLE delivery (offset INTEGER PRIMARY KEY, lane INTEGER NOT NULL, done INTEGER) STRICT;
    CREATE INDEX delivery_lane ON delivery (lane) WHERE done IS NULL;
    CREATE TABLE told (lane INTEGER PRIMARY KEY, measure TEXT NOT NULL) STRICT;";

/// What is written of each change.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum What {
    Event,
    Key,
    Delivery,
}

impl What {
    const ALL: [Self; 3] = [Self::Event, Self::Key, Self::Delivery];

    fn words(self) -> &'static str {
        match self {
            Self::Event => "the event",
            Self::Key => "and its key found, and what is known of it changed",
            Self::Delivery => "and its delivery written, marked as done, and what was told",
        }
    }
}

/// A file as the agent's is: `state/src/folder.rs` sets the same.
fn open(folder: &std::path::Path) -> Connection {
    let db = Connection::open(folder.join("floor.db")).unwrap();
    for (name, value) in [
        ("cache_size", -12 * 1024),
        ("cache_spill", 4_000),
        ("wal_autocheckpoint", 16_384),
    ] {
        db.pragma_update(None, name, value).unwrap();
    }
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db.execute_batch(TABLES).unwrap();
    db
}

fn key(n: i64) -> String {
    format!("BENCH|{}|{}", n / 10, n % 10)
}

fn fill(db: &Connection, rows: i64) {
    let known = "k".repeat(KNOWN_BYTES);
    db.execute_batch("BEGIN").unwrap();
    for n in 0..rows {
        db.prepare_cached("INSERT INTO known (key, told) VALUES (?1, ?2)")
            .unwrap()
            .execute(params![key(n), known])
            .unwrap();
    }
    db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
}

/// One change of each key, in the order of the drain's backlog.
fn write(db: &Connection, rows: i64, what: What) {
    let (event, known) = ("e".repeat(EVENT_BYTES), "n".repeat(KNOWN_BYTES));
    let mut insert = db.prepare("INSERT INTO event (json) VALUES (?1)").unwrap();
    let mut find = db
        .prepare("SELECT id, told FROM known WHERE key = ?1")
        .unwrap();
    let mut change = db
        .prepare("UPDATE known SET told = ?2 WHERE id = ?1")
        .unwrap();
    let mut queue = db
        .prepare("INSERT INTO delivery (offset, lane) VALUES (?1, ?2)")
        .unwrap();
    let mut done = db
        .prepare("UPDATE delivery SET done = 1 WHERE offset = ?1 RETURNING lane")
        .unwrap();
    let mut tell = db
        .prepare(
            "INSERT INTO told (lane, measure) VALUES (?1, '12.5')
             ON CONFLICT DO UPDATE SET measure = excluded.measure",
        )
        .unwrap();
    let mut answered = 0;
    for from in (0..rows).step_by(usize::try_from(COMMIT).unwrap()) {
        let to = rows.min(from + COMMIT);
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        for n in from..to {
            insert.execute([&event]).unwrap();
            let offset = db.last_insert_rowid();
            if what >= What::Key {
                let key = key(n * 7919 % rows);
                let id: i64 = find.query_row([key], |row| row.get(0)).unwrap();
                change.execute(params![id, known]).unwrap();
                if what >= What::Delivery {
                    queue.execute([offset, id]).unwrap();
                }
            }
        }
        db.execute_batch("COMMIT").unwrap();
        while what >= What::Delivery && answered < to {
            db.execute_batch("BEGIN IMMEDIATE").unwrap();
            for offset in answered + 1..=to.min(answered + ANSWERED) {
                let lane: i64 = done.query_row([offset], |row| row.get(0)).unwrap();
                tell.execute([lane]).unwrap();
            }
            db.execute_batch("COMMIT").unwrap();
            answered = to.min(answered + ANSWERED);
        }
    }
}

pub fn run(options: &Options) {
    let rows = i64::try_from(options.rows).unwrap();
    println!(
        "\n| SQLite alone, {rows} rows: of each change it writes | µs of processor time a row | thousand rows/s |"
    );
    println!("|---|---|---|");
    for what in What::ALL {
        let (mut micros, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let folder = tempfile::tempdir().unwrap();
            let db = open(folder.path());
            fill(&db, rows);
            let (began, before) = (Instant::now(), cpu_seconds(std::process::id()));
            write(&db, rows, what);
            micros.push((cpu_seconds(std::process::id()) - before) * 1e6 / rows as f64);
            rates.push(rows as f64 / began.elapsed().as_secs_f64() / 1000.0);
        }
        let (micros, rates) = (spread(micros), spread(rates));
        println!("| {} | {micros} | {rates} |", what.words());
    }
}

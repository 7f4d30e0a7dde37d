//! The record's bounds, with small ones.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::Timestamp;

use super::prune::Limits;
use super::{AuditEntry, append, read, within};
use crate::{StateReader, Store};

fn entry(number: usize, text: &str) -> AuditEntry {
    AuditEntry {
        at: Timestamp::UNIX_EPOCH,
        who: "os:anna".to_owned(),
        what: "held.retry".to_owned(),
        subject: format!("shop-{number}"),
        details: serde_json::json!({ "text": text }),
    }
}

fn noted(folder: &std::path::Path, count: usize, text: &str, limits: Limits) {
    for number in 0..count {
        within(folder, |db| append(db, &entry(number, text), limits)).unwrap();
    }
}

fn kept(folder: &std::path::Path) -> Vec<u64> {
    let mut numbers = Vec::new();
    let reader = StateReader::open(folder).unwrap();
    let there = reader.audit_each(
        &mut numbers,
        |_, _, _| {},
        |numbers, record| {
            numbers.push(record.number);
            true
        },
    );
    assert!(there.unwrap());
    numbers
}

#[test]
fn the_oldest_entries_leave_and_what_stays_still_hangs_together() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let limits = Limits {
        entries: 20,
        bytes: 1 << 20,
        counted_every: 4,
    };
    noted(folder.path(), 50, "x", limits);
    let numbers = kept(folder.path());
    assert!(numbers.len() <= 21 && numbers.len() >= 18, "{numbers:?}");
    let verdict = StateReader::open(folder.path())
        .unwrap()
        .audit_verified()
        .unwrap()
        .unwrap();
    assert_eq!(verdict.wrong, None, "{verdict:?}");
    assert_eq!(verdict.begins.number + 1, numbers[0]);
    assert_eq!(verdict.entries, numbers.len() as u64);

    // An entry that lets others go stands behind them, and is what vouches for the beginning.
    let db = rusqlite::Connection::open(crate::file_path(folder.path())).unwrap();
    db.execute_batch(
        "UPDATE audit_anchor SET number = number + 1,
           hash = (SELECT hash FROM audit ORDER BY number LIMIT 1);
         DELETE FROM audit WHERE number <= (SELECT number FROM audit_anchor)",
    )
    .unwrap();
    let found = read::finding(&db).unwrap().to_string();
    assert!(
        found.contains("no entry says that those before it were let go"),
        "{found}"
    );
}

#[test]
fn large_entries_leave_sooner() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let limits = Limits {
        entries: 1_000,
        bytes: 10_000,
        counted_every: 4,
    };
    noted(folder.path(), 60, &"x".repeat(800), limits);
    let numbers = kept(folder.path());
    assert!(numbers.len() < 16 && !numbers.is_empty(), "{numbers:?}");
    let finding =
        read::finding(&rusqlite::Connection::open(crate::file_path(folder.path())).unwrap());
    assert_eq!(finding.unwrap().level, contract::Level::Pass);
}

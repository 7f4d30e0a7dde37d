//! Bounded growth: the oldest entries leave, and an entry says which, with the hash of the last of them.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{AuditEntry, AuditHead, add, begins, chain, read};
use crate::error::StoreError;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Entries.
    pub(super) entries: u64,
    /// Bytes of what they say.
    pub(super) bytes: u64,
    /// Bytes are counted whenever so many entries have come.
    pub(super) counted_every: u64,
}

/// Years of a person's work, and a bound where a program notes without end.
pub(super) const LIMITS: Limits = Limits {
    entries: 100_000,
    bytes: 64 << 20,
    counted_every: 256,
};

/// Of an entry, beside what it says.
const SIZE: &str = "length(who) + length(what) + length(subject) + length(details) + 200";

/// Lets the oldest entries go where there are too many, a tenth of them at once.
pub(super) fn prune(
    db: &Connection,
    newest: u64,
    limits: Limits,
    at: Timestamp,
) -> Result<(), StoreError> {
    let before = begins(db)?.number;
    let mut upto = before;
    if newest - before > limits.entries {
        upto = newest - limits.entries / 10 * 9;
    }
    if newest.is_multiple_of(limits.counted_every) {
        upto = upto.max(too_large(db, limits.bytes)?);
    }
    // The newest one stays, whatever its size.
    let upto = upto.min(newest.saturating_sub(1));
    if upto <= before {
        return Ok(());
    }
    let last: AuditHead = db.query_row(
        "SELECT number, hash FROM audit WHERE number = ?1",
        [stored(upto)],
        read::head,
    )?;
    let entry = AuditEntry {
        at,
        who: chain::AGENT.to_owned(),
        what: chain::PRUNED.to_owned(),
        subject: String::new(),
        details: serde_json::json!({
            "entries": upto - before, "upto": last.number, "hash": last.hash,
        }),
    };
    add(db, &entry)?;
    // First this: what is behind it is let go by nobody.
    db.execute(
        "UPDATE audit_anchor SET number = ?1, hash = ?2",
        params![stored(upto), last.hash],
    )?;
    db.execute("DELETE FROM audit WHERE number <= ?1", [stored(upto)])?;
    Ok(())
}

/// Up to which entry the record is too large; 0 = it is not.
fn too_large(db: &Connection, bytes: u64) -> Result<u64, StoreError> {
    let all: i64 = db.query_row(
        &format!("SELECT coalesce(sum({SIZE}), 0) FROM audit"),
        [],
        |row| row.get(0),
    )?;
    if all.unsigned_abs() <= bytes {
        return Ok(0);
    }
    let upto: Option<i64> = db.query_row(
        &format!(
            "SELECT max(number) FROM (
               SELECT number, sum({SIZE}) OVER (ORDER BY number DESC) AS above FROM audit)
             WHERE above > ?1"
        ),
        [stored(bytes / 10 * 9)],
        |row| row.get(0),
    )?;
    Ok(upto.map_or(0, i64::unsigned_abs))
}

fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

//! Who changed what: an append-only record whose entries are chained by hashes.
//!
//! Whoever does something notes it in one short transaction, from the agent's process or beside it: the
//! hash of the entry before is read and the new one is written in it, so that the chain has no forks.
//! What the record can prove, and what it cannot, stands in `docs/operating/audit.md`.

mod carry;
mod chain;
mod known;
mod prune;
mod read;
#[cfg(test)]
mod tests;

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::error::StoreError;
use crate::folder::{self, APPLICATION_ID};
use crate::{migrate, millis};

pub(crate) use carry::carry_over;
pub use chain::{AuditChain, AuditHead, AuditRecord};
pub use known::{AuditChange, note_changes};
pub use read::{AuditFilter, AuditVerdict};
pub(crate) use read::{WHAT, finding};

/// One thing that a person did.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: `os:anna`, `token:reports`, `user:anna`, or `agent` for what it did by itself.
    pub who: String,
    /// What, as a code: `held.retry`, `destination.pause`, `settings.changed`.
    pub what: String,
    /// To what: a destination, a source, a setting's path.
    pub subject: String,
    /// More of it; never secrets.
    pub details: serde_json::Value,
}

/// Bytes of each part of an entry at most; the disk must not be filled by what somebody writes.
const WHO_MAX: usize = 200;
const WHAT_MAX: usize = 100;
const SUBJECT_MAX: usize = 500;
const DETAILS_MAX: usize = 16 << 10;

/// Notes an entry, from the agent's own process or beside it. It waits ten seconds at most for whoever
/// writes to the file. Where there is no state file yet there is nothing to note, and nothing is.
///
/// # Errors
/// See [`StoreError`]: a file of another format, one that stays locked, a full disk. Nothing is noted then.
pub fn note(folder: &Path, entry: &AuditEntry) -> Result<(), StoreError> {
    within(folder, |db| append(db, entry, prune::LIMITS))
}

/// Does something to the record in one transaction.
fn within(
    folder: &Path,
    work: impl FnOnce(&Connection) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let file = crate::file_path(folder);
    if !file.exists() {
        return Ok(());
    }
    let mut db = folder::read_write(&file)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let transaction = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => refused(
                "the state file stayed locked by another process for 10 s",
                "look what else works on the state folder, and do it again",
            ),
            _ => error.into(),
        })?;
    let (found, known) = (migrate::format(&transaction)?, migrate::known());
    // An agent is about to begin in it: what it does then is not of before.
    if found == 0 {
        return Ok(());
    }
    let id: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(refused(
            "the file is not a Lighterman state file",
            "check state_folder in the settings",
        ));
    }
    if found > known {
        return Err(StoreError::TooNew { file, found, known });
    }
    if found < known {
        return Err(refused(
            &format!("the state file is of format {found}, and the record is in format {known}"),
            "lighterman state migrate while no agent runs; starting this version's agent does the same",
        ));
    }
    work(&transaction)?;
    failpoint::at!("state.audit.commit")?;
    transaction.commit()?;
    Ok(())
}

fn refused(why: &str, hint: &str) -> StoreError {
    StoreError::Refused {
        what: "note it in the audit record".to_owned(),
        why: why.to_owned(),
        hint: hint.to_owned(),
    }
}

/// Adds an entry behind the last one, within a transaction that writes.
fn append(db: &Connection, entry: &AuditEntry, limits: prune::Limits) -> Result<(), StoreError> {
    let number = add(db, entry)?;
    prune::prune(db, number, limits, entry.at)
}

/// As [`append`], whatever is there already: its number.
fn add(db: &Connection, entry: &AuditEntry) -> Result<u64, StoreError> {
    let head = head(db)?;
    let mut record = AuditRecord {
        number: head.number + 1,
        at: crate::from_millis(millis(entry.at)),
        who: shortened(&entry.who, WHO_MAX),
        what: shortened(&entry.what, WHAT_MAX),
        subject: shortened(&entry.subject, SUBJECT_MAX),
        details: details(&entry.details),
        previous: head.hash,
        hash: String::new(),
    };
    record.hash = record.hashed();
    put(db, &record)?;
    Ok(record.number)
}

/// Writes an entry as it is.
fn put(db: &Connection, record: &AuditRecord) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO audit (number, at, who, what, subject, details, previous, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        i64::try_from(record.number).unwrap_or(i64::MAX),
        millis(record.at),
        record.who,
        record.what,
        record.subject,
        record.details,
        record.previous,
        record.hash,
    ])?;
    Ok(())
}

/// The last entry, or where the record begins.
fn head(db: &Connection) -> Result<AuditHead, StoreError> {
    let last = db
        .prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?
        .query_row([], read::head)
        .optional()?;
    match last {
        Some(last) => Ok(last),
        None => begins(db),
    }
}

/// What the oldest entry follows.
fn begins(db: &Connection) -> Result<AuditHead, StoreError> {
    Ok(db
        .prepare_cached("SELECT number, hash FROM audit_anchor")?
        .query_row([], read::head)?)
}

/// The JSON text that is hashed. What is too long is left out whole: half of it says nothing.
fn details(details: &serde_json::Value) -> String {
    let text = details.to_string();
    if text.len() <= DETAILS_MAX {
        return text;
    }
    serde_json::json!({ "left_out_bytes": text.len() }).to_string()
}

fn shortened(text: &str, max: usize) -> String {
    let end = text.floor_char_boundary(max);
    text.get(..end).unwrap_or_default().to_owned()
}

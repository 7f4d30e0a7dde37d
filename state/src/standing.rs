//! What monitoring asks of the state file again and again, so that it costs little however much waits:
//! since when the oldest change waits, and how large the file is.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::folder::file_path;
use crate::from_millis;
use crate::status::StateReader;

/// Of changes that wait for another event so many are looked at, oldest first: a first load may have
/// any number of them.
const LOOKS: i64 = 1_000;

/// Since when a destination has not been told of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationStanding {
    /// Its name.
    pub name: String,
    /// When the oldest change that is to be delivered came into the outbox; held ones, first loads and
    /// replays apart.
    pub oldest_at: Option<Timestamp>,
}

/// How large the state file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateSize {
    /// The file.
    pub database_bytes: u64,
    /// Its log.
    pub wal_bytes: u64,
}

impl StateReader {
    /// Since when each destination has not been told of a change.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn standings(&self) -> Result<Vec<DestinationStanding>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for id in crate::held::destinations(db)? {
            let name = db
                .prepare_cached("SELECT name FROM destination WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            all.push(DestinationStanding {
                name,
                oldest_at: oldest(db, id)?.map(from_millis),
            });
        }
        Ok(all)
    }
}

/// What of a priority below 10 waits (`queue.rs`); each question is answered by an index.
fn oldest(db: &Connection, destination: i64) -> Result<Option<i64>, StoreError> {
    let mut found: Option<i64> = None;
    let mut take = |at: Option<i64>| {
        found = match (found, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    };
    for priority in 0..3 {
        let first: Option<i64> = db
            .prepare_cached(
                "SELECT created_at FROM delivery INDEXED BY delivery_queued
                 WHERE destination = ?1 AND state = 'queued' AND needs IS NULL AND priority = ?2
                 ORDER BY offset LIMIT 1",
            )?
            .query_row(params![destination, priority], |row| row.get(0))
            .optional()?;
        take(first);
    }
    // With IN, too: so the index of files before format 8 wants it.
    for state in ["sending", "unknown", "accepted", "backoff"] {
        let first: Option<i64> = db
            .prepare_cached(
                "SELECT min(created_at) FROM delivery INDEXED BY delivery_waiting
                 WHERE destination = ?1 AND state = ?2 AND priority < 10
                   AND (state = 'sending' OR state = 'unknown' OR state = 'accepted' OR state = 'backoff')
                   AND state IN ('sending', 'unknown', 'accepted', 'backoff', 'held')",
            )?
            .query_row(params![destination, state], |row| row.get(0))?;
        take(first);
    }
    // Some of those that wait for others: where there are more, what they wait for stands above, and is in trouble.
    let first: Option<i64> = db
        .prepare_cached(
            "SELECT min(created_at) FROM (
               SELECT created_at, priority FROM delivery INDEXED BY delivery_needs
               WHERE destination = ?1 AND state = 'queued' AND needs IS NOT NULL
               LIMIT ?2) WHERE priority < 10",
        )?
        .query_row(params![destination, LOOKS], |row| row.get(0))?;
    take(first);
    Ok(found)
}

impl StateSize {
    /// Of the file in a state folder; what is not there has no size.
    pub fn of(folder: &Path) -> Self {
        let file = file_path(folder);
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let mut wal = file.clone().into_os_string();
        wal.push("-wal");
        Self {
            database_bytes: size(&file),
            wal_bytes: size(Path::new(&wal)),
        }
    }
}

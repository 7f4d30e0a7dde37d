//! What became of a request, and how many wait.

use jiff::Timestamp;
use rusqlite::OptionalExtension;
use serde::Serialize;

use crate::command::Command;
use crate::error::StoreError;
use crate::from_millis;
use crate::status::StateReader;

/// A request that was left for the running agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requested {
    /// Its number.
    pub request: i64,
    /// Of which destination; empty = of none, as where a mapping holds changes.
    pub destination: String,
    /// What was asked: pause, resume, retry, drop, replay.
    pub what: String,
    /// When.
    pub asked_at: Timestamp,
    /// When it was done, or found that it cannot be; `None` = not yet.
    pub done_at: Option<Timestamp>,
    /// To how many deliveries or changes it was done so far.
    pub count: u64,
    /// Why it could not be done.
    pub problem: Option<String>,
}

impl StateReader {
    /// A request by its number; `None` = there is none, or it was done more than a day ago.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn requested(&self, request: i64) -> Result<Option<Requested>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(None);
        };
        let row = db
            .prepare_cached(
                "SELECT destination, command, asked_at, done_at, done FROM request WHERE id = ?1",
            )?
            .query_row([request], |row| {
                let command: String = row.get(1)?;
                let known = serde_json::from_str::<Command>(&command);
                Ok(Requested {
                    request,
                    destination: row.get(0)?,
                    what: known.map_or_else(|_| "unknown".to_owned(), |one| one.name().to_owned()),
                    asked_at: from_millis(row.get(2)?),
                    done_at: row.get::<_, Option<i64>>(3)?.map(from_millis),
                    count: row.get::<_, i64>(4)?.unsigned_abs(),
                    problem: None,
                })
            })
            .optional()?;
        let Some(mut found) = row else {
            return Ok(None);
        };
        if found.done_at.is_some() {
            found.problem = self.answer(request)?.and_then(|done| done.problem);
        }
        Ok(Some(found))
    }

    /// How many requests are not done yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn requests_open(&self) -> Result<u64, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(0);
        };
        let count: i64 = db
            .prepare_cached("SELECT count(*) FROM request WHERE done_at IS NULL")?
            .query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }
}

//! What stands in a destination's row: whether a person stopped it, and what must be known after a
//! restart.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::delivery::Desk;
use crate::error::StoreError;
use crate::{Store, from_millis, millis};

/// A person stopped a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// It goes on by itself then; `None` = when a person says so.
    pub until: Option<Timestamp>,
}

/// What a deliver loop must know after a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes {
    /// A day, in days since 1970.
    pub quota_day: i64,
    /// Requests that may have left on that day.
    pub quota_used: i64,
    /// Nothing is sent, only compared.
    pub shadow: bool,
    /// The API said that it is too much; nothing leaves before then.
    pub throttled_until: Option<Timestamp>,
}

impl Store {
    /// What a destination's loop noted last.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn notes(&self, destination: i64) -> Result<Notes, StoreError> {
        self.writer
            .run(move |db| {
                Ok(db.query_row(
                    "SELECT quota_day, quota_used, shadow, throttled_until FROM destination
                     WHERE id = ?1",
                    [destination],
                    |row| {
                        Ok(Notes {
                            quota_day: row.get(0)?,
                            quota_used: row.get(1)?,
                            shadow: row.get(2)?,
                            throttled_until: row.get::<_, Option<i64>>(3)?.map(from_millis),
                        })
                    },
                )?)
            })
            .await
    }
}

pub(crate) fn note(db: &Connection, destination: i64, notes: &Notes) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE destination SET quota_day = ?2, quota_used = ?3, shadow = ?4, throttled_until = ?5
         WHERE id = ?1",
    )?
    .execute(params![
        destination,
        notes.quota_day,
        notes.quota_used,
        notes.shadow,
        notes.throttled_until.map(millis)
    ])?;
    Ok(())
}

/// Stops a destination, or lets it go on (`None`).
pub(crate) fn set(
    db: &Connection,
    destination: i64,
    paused: Option<Paused>,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE destination SET paused = ?2, paused_until = ?3, drain_upto = NULL WHERE id = ?1",
    )?
    .execute(params![
        destination,
        paused.is_some(),
        paused.and_then(|paused| paused.until).map(millis)
    ])?;
    Ok(())
}

/// Lets what is there leave, and nothing newer; then it is paused.
pub(crate) fn drain(db: &Connection, destination: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE destination SET paused = 2, paused_until = NULL,
           drain_upto = (SELECT coalesce(max(offset), 0) FROM outbox) WHERE id = ?1",
    )?
    .execute([destination])?;
    Ok(())
}

/// Whether nothing may leave, and else the newest event that may.
pub(crate) fn look(desk: &Desk<'_>) -> Result<(Option<Paused>, Option<i64>), StoreError> {
    let (db, destination) = (desk.db, desk.destination);
    let found: Option<(i64, Option<i64>, Option<i64>)> = db
        .prepare_cached(
            "SELECT paused, paused_until, drain_upto FROM destination
             WHERE id = ?1 AND paused <> 0",
        )?
        .query_row([destination], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((paused, until, upto)) = found else {
        return Ok((None, None));
    };
    let until = until.map(from_millis);
    if paused == 1 {
        if until.is_some_and(|until| until <= desk.now) {
            set(db, destination, None)?;
            return Ok((None, None));
        }
        return Ok((Some(Paused { until }), None));
    }
    let upto = upto.unwrap_or(i64::MAX);
    if left(db, destination, upto)? {
        return Ok((None, Some(upto)));
    }
    let paused = Paused { until: None };
    set(db, destination, Some(paused))?;
    Ok((Some(paused), None))
}

/// Whether anything up to an offset is still to leave; what is held waits for a person, and what
/// waits for that, too.
fn left(db: &Connection, destination: i64, upto: i64) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM delivery d INDEXED BY delivery_queued
                 WHERE d.destination = ?1 AND d.state = 'queued' AND d.needs IS NULL
                   AND d.offset <= ?2 AND NOT EXISTS (
                     SELECT 1 FROM delivery e INDEXED BY delivery_lane
                     WHERE e.destination = ?1 AND e.lane = d.lane AND e.offset < d.offset
                       AND e.open = 1 AND e.state = 'held'))
               OR EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_waiting
                 WHERE destination = ?1 AND offset <= ?2
                   AND (state = 'sending' OR state = 'unknown' OR state = 'accepted' OR state = 'backoff'))",
        )?
        .query_row(params![destination, upto], |row| row.get(0))?)
}

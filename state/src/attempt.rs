//! What was tried for a delivery and what the API answered: kept for the operator, bounded.

use contract::Answer;
use contract::destination::ANSWER_BODY_BYTES_MAX;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;

use crate::error::StoreError;
use crate::{from_millis, millis};

/// Rows of one delivery at most; the first ones and the newest stay.
const ROWS_MAX: i64 = 50;
/// Of those, the first ones.
const FIRST_ROWS: i64 = 10;

/// One attempt, or what a person did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// How often it had been sent then.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// What came of it, in one word.
    pub outcome: String,
    /// The answer's status.
    pub status: Option<u16>,
    /// The start of the answer's body.
    pub body: Option<String>,
    /// Time until the answer.
    pub latency_ms: Option<u64>,
    /// Why, in plain words.
    pub cause: Option<String>,
}

/// What is remembered of one.
pub(crate) struct Row<'a> {
    pub(crate) attempt: i64,
    pub(crate) outcome: &'a str,
    pub(crate) answer: Option<&'a Answer>,
    pub(crate) cause: Option<&'a str>,
}

/// Remembers one.
pub(crate) fn add(
    db: &Connection,
    destination: i64,
    offset: i64,
    row: &Row<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (rows, newest): (i64, i64) = db
        .prepare_cached(
            "SELECT count(*), coalesce(max(number), 0) FROM attempt
             WHERE destination = ?1 AND offset = ?2",
        )?
        .query_row(params![destination, offset], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if rows >= ROWS_MAX {
        db.prepare_cached(
            "DELETE FROM attempt WHERE destination = ?1 AND offset = ?2 AND number =
               (SELECT min(number) FROM attempt
                WHERE destination = ?1 AND offset = ?2 AND number > ?3)",
        )?
        .execute(params![destination, offset, FIRST_ROWS])?;
    }
    let answer = row.answer;
    db.prepare_cached(
        "INSERT INTO attempt (destination, offset, number, attempt, at, outcome, status, body,
           latency_ms, cause)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        destination,
        offset,
        newest + 1,
        row.attempt,
        millis(now),
        row.outcome,
        answer.and_then(|answer| answer.status),
        answer
            .map(|answer| bounded(&answer.body))
            .filter(|body| !body.is_empty()),
        answer.map(|answer| i64::try_from(answer.latency_ms).unwrap_or(i64::MAX)),
        row.cause
    ])?;
    Ok(())
}

/// The start of an answer's body.
pub(crate) fn bounded(body: &str) -> &str {
    body.get(..body.floor_char_boundary(ANSWER_BODY_BYTES_MAX))
        .unwrap_or_default()
}

/// How many of a delivery's attempts came to this, and how many of those were answered.
pub(crate) fn count(
    db: &Connection,
    destination: i64,
    offset: i64,
    outcome: &str,
) -> Result<(i64, i64), StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT count(*), count(status) FROM attempt
             WHERE destination = ?1 AND offset = ?2 AND outcome = ?3",
        )?
        .query_row(params![destination, offset, outcome], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?)
}

/// Whether a request of it may still arrive: its outcome was never known, or a gateway gave up on the server behind it
/// (RFC 9110, sections 15.6.3 and 15.6.5). Neither a deadline nor a later answer ends that.
pub(crate) fn in_doubt(db: &Connection, destination: i64, offset: i64) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM attempt WHERE destination = ?1 AND offset = ?2
               AND (outcome = 'unknown' OR status IN (502, 504)))",
        )?
        .query_row(params![destination, offset], |row| row.get(0))?)
}

/// Since when an API has been saying of a delivery that it does not have what that is about; what it
/// said before a person, or its arrival, let it leave anew does not count.
pub(crate) fn missing_since(
    db: &Connection,
    destination: i64,
    offset: i64,
) -> Result<Option<i64>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT min(at) FROM attempt
             WHERE destination = ?1 AND offset = ?2 AND outcome = 'missing' AND number > coalesce(
               (SELECT max(number) FROM attempt WHERE destination = ?1 AND offset = ?2
                 AND outcome IN ('operator', 'released')), 0)",
        )?
        .query_row(params![destination, offset], |row| row.get(0))?)
}

/// All that is remembered of a delivery, oldest first.
pub(crate) fn of(
    db: &Connection,
    destination: i64,
    offset: i64,
) -> Result<Vec<Attempt>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT attempt, at, outcome, status, body, latency_ms, cause FROM attempt
         WHERE destination = ?1 AND offset = ?2 ORDER BY number",
    )?;
    let rows = query.query_map(params![destination, offset], |row| {
        Ok(Attempt {
            attempt: row.get(0)?,
            at: from_millis(row.get(1)?),
            outcome: row.get(2)?,
            status: row.get(3)?,
            body: row.get(4)?,
            latency_ms: row.get::<_, Option<i64>>(5)?.map(i64::unsigned_abs),
            cause: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

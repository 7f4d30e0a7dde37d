//! What a person asks of the running agent: rows that it takes up.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::reading;
use super::run::ReconcileWith;
use crate::error::StoreError;
use crate::status::StateReader;
use crate::{Store, folder, millis};

/// What was asked stays for so long; nobody waits for the answer to what is older.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// What is to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileOrder {
    /// Of these event types; empty = of all.
    pub types: Vec<String>,
    /// So many keys; `None` = every one.
    pub sample: Option<u32>,
    /// By which keys are chosen: the same seed chooses the same ones.
    pub seed: u32,
    /// How long what is on its way is waited for.
    pub wait_seconds: u64,
    /// Whether a destination is asked for all that it has, where every key is compared.
    pub list: bool,
}

/// A comparison that was asked for and is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcileAsked {
    /// The request.
    pub id: i64,
    /// What.
    pub order: ReconcileOrder,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcileAnswer {
    /// The comparison.
    pub run: Option<i64>,
    /// Why there was none.
    pub problem: Option<String>,
}

/// Asks the agent that owns the folder to compare: the request's number. `None` where there is no state
/// file.
///
/// # Errors
/// See [`StoreError`].
pub fn ask_reconcile(
    folder: &Path,
    with: &ReconcileWith,
    order: &ReconcileOrder,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let Some(db) = folder::open_beside(folder)? else {
        return Ok(None);
    };
    let json = serde_json::to_string(order)
        .map_err(|error| StoreError::Invariant(format!("an order has no JSON: {error}")))?;
    let (side, name) = with.words();
    // One statement: whatever happens to this process, the agent's own writes wait for no more.
    db.execute(
        "INSERT INTO reconcile_request (side, name, what, asked_at) VALUES (?1, ?2, ?3, ?4)",
        params![side, name, json, millis(now)],
    )?;
    Ok(Some(db.last_insert_rowid()))
}

/// Takes back what was asked and the agent has not taken up.
///
/// # Errors
/// See [`StoreError`].
pub fn withdraw_reconcile(folder: &Path, request: i64) -> Result<(), StoreError> {
    if let Some(db) = folder::open_beside(folder)? {
        db.execute(
            "DELETE FROM reconcile_request WHERE id = ?1 AND begun_at IS NULL",
            [request],
        )?;
    }
    Ok(())
}

impl StateReader {
    /// The oldest comparison that was asked for and is not done.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconcile_asked(
        &self,
        with: &ReconcileWith,
    ) -> Result<Option<ReconcileAsked>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(None);
        };
        let (side, name) = with.words();
        let found: Option<(i64, String)> = db
            .prepare_cached(
                "SELECT id, what FROM reconcile_request
                 WHERE done_at IS NULL AND side = ?1 AND name = ?2 ORDER BY id LIMIT 1",
            )?
            .query_row([side, name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((id, what)) = found else {
            return Ok(None);
        };
        let order = serde_json::from_str(&what)
            .map_err(|_| StoreError::Invariant("a request does not parse".to_owned()))?;
        Ok(Some(ReconcileAsked { id, order }))
    }

    /// What came of a request; `None` = it is not done yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconcile_answer(&self, request: i64) -> Result<Option<ReconcileAnswer>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(None);
        };
        Ok(db
            .prepare_cached(
                "SELECT run, problem FROM reconcile_request
                 WHERE id = ?1 AND done_at IS NOT NULL",
            )?
            .query_row([request], |row| {
                Ok(ReconcileAnswer {
                    run: row.get(0)?,
                    problem: row.get(1)?,
                })
            })
            .optional()?)
    }

    /// Whether the agent has taken a request up.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconcile_begun(&self, request: i64) -> Result<bool, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(false);
        };
        let begun: Option<bool> = db
            .prepare_cached("SELECT begun_at IS NOT NULL FROM reconcile_request WHERE id = ?1")?
            .query_row([request], |row| row.get(0))
            .optional()?;
        Ok(begun.unwrap_or(false))
    }
}

impl Store {
    /// A request is taken up.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_reconcile(&self, request: i64, now: Timestamp) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.execute(
                    "UPDATE reconcile_request SET begun_at = ?2 WHERE id = ?1",
                    params![request, millis(now)],
                )?;
                Ok(())
            })
            .await
    }

    /// A request is done, or cannot be. Old ones go.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn answer_reconcile(
        &self,
        request: i64,
        answer: ReconcileAnswer,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.execute(
                    "UPDATE reconcile_request SET done_at = ?2, run = ?3, problem = ?4
                     WHERE id = ?1",
                    params![request, millis(now), answer.run, answer.problem],
                )?;
                let old = millis(contract::clock::minus(now, KEPT));
                db.execute("DELETE FROM reconcile_request WHERE asked_at < ?1", [old])?;
                Ok(())
            })
            .await
    }
}

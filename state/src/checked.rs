//! What the agent's own check found last.

use contract::Finding;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::error::StoreError;
use crate::status::StateReader;
use crate::{Store, from_millis, millis};

/// More findings are not kept: the worst come first.
const FINDINGS_MAX: usize = 1_000;

/// A check of everything, and when it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// When.
    pub at: Timestamp,
    /// What it found.
    pub findings: Vec<Finding>,
}

impl Store {
    /// Remembers what a check found, in place of what the one before found, which is the answer.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_checked(&self, checked: Checked) -> Result<Option<Checked>, StoreError> {
        let mut findings = checked.findings;
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        findings.truncate(FINDINGS_MAX);
        let text = serde_json::to_string(&findings)
            .map_err(|error| StoreError::Invariant(format!("findings as JSON: {error}")))?;
        self.writer
            .run(move |db| {
                let before = of(db)?;
                db.prepare_cached(
                    "INSERT OR REPLACE INTO checked (id, checked_at, findings) VALUES (1, ?1, ?2)",
                )?
                .execute(params![millis(checked.at), text])?;
                Ok(before)
            })
            .await
    }
}

fn of(db: &Connection) -> Result<Option<Checked>, StoreError> {
    let found: Option<(i64, String)> = db
        .prepare_cached("SELECT checked_at, findings FROM checked WHERE id = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // What another version wrote in another form is as if it had not looked.
    Ok(found.and_then(|(at, text)| {
        let findings = serde_json::from_str(&text).ok()?;
        let at = from_millis(at);
        Some(Checked { at, findings })
    }))
}

impl StateReader {
    /// What the agent's own check found last.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn checked(&self) -> Result<Option<Checked>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(None);
        };
        // A file of an older version has no such table until the agent has opened it.
        let known: bool = db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'checked')")?
            .query_row([], |row| row.get(0))?;
        if known { of(db) } else { Ok(None) }
    }
}

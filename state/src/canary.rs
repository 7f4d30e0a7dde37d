//! When a source's log was last proven to come through.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::error::StoreError;
use crate::{Store, from_millis, millis};

/// The last proof that a source's log comes through, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CanaryStatus {
    /// When it was.
    pub proven_at: Timestamp,
    /// What the proof is.
    pub how: String,
}

impl Store {
    /// Remembers the last proof, in place of the one before.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_canary(
        &self,
        source: i64,
        proven_at: Timestamp,
        how: &'static str,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached(
                    "INSERT OR REPLACE INTO canary (source, proven_at, how) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![source, millis(proven_at), how])?;
                Ok(())
            })
            .await
    }
}

/// The last proof of a source.
pub(crate) fn of(db: &Connection, source: &str) -> Result<Option<CanaryStatus>, StoreError> {
    // A file of an older version has no such table until the agent has opened it.
    let known: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'canary')")?
        .query_row([], |row| row.get(0))?;
    if !known {
        return Ok(None);
    }
    let found = db
        .prepare_cached(
            "SELECT c.proven_at, c.how FROM canary c JOIN source s ON s.id = c.source WHERE s.name = ?1",
        )?
        .query_row([source], |row| {
            Ok(CanaryStatus {
                proven_at: from_millis(row.get(0)?),
                how: row.get(1)?,
            })
        })
        .optional()?;
    Ok(found)
}

//! Bounded growth: events that nobody waits for leave in small steps, and their space with them.

use std::time::Duration;

use contract::clock;
use jiff::{SignedDuration, Timestamp};
use rusqlite::params;

use crate::error::StoreError;
use crate::{Store, millis};

/// How long finished events stay readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Finished events older than this leave.
    pub keep: Duration,
    /// At most this many finished events stay, however young.
    pub rows_max: u64,
}

impl Default for Retention {
    /// A day, and 100,000 events: enough to answer "what was sent for this SKU yesterday".
    fn default() -> Self {
        Self {
            keep: Duration::from_hours(24),
            rows_max: 100_000,
        }
    }
}

/// Events removed per step: a step holds the writer for a few milliseconds.
const STEP: i64 = 500;
/// Pages given back to the file system per step.
const PAGES: i64 = 200;

impl Store {
    /// One small step. Returns whether another one is worth taking at once.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn prune(&self, retention: Retention, now: Timestamp) -> Result<bool, StoreError> {
        let keep = SignedDuration::try_from(retention.keep).unwrap_or(SignedDuration::MAX);
        let before = clock::minus(now, keep);
        let rows_max = i64::try_from(retention.rows_max).unwrap_or(i64::MAX);
        let removed = self
            .writer
            .run(move |db| {
                // Offsets are dense but for pruned ones, so "the newest n" is a range.
                let newest: Option<i64> =
                    db.query_row("SELECT max(offset) FROM outbox", [], |row| row.get(0))?;
                let over = newest.unwrap_or(0).saturating_sub(rows_max);
                let removed = db
                    .prepare_cached(
                        "DELETE FROM outbox WHERE offset IN (
                           SELECT o.offset FROM outbox o
                           WHERE (o.created_at < ?1 OR o.offset <= ?2) AND NOT EXISTS (
                             SELECT 1 FROM delivery d WHERE d.offset = o.offset AND d.state IN
                               ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held'))
                           ORDER BY o.offset LIMIT ?3)
                         RETURNING offset",
                    )?
                    .query_map(params![millis(before), over, STEP], |row| {
                        row.get::<_, i64>(0)
                    })?
                    .collect::<Result<Vec<_>, _>>()?;
                let mut delete = db.prepare_cached(
                    "DELETE FROM delivery WHERE offset = ?1 AND destination IN
                       (SELECT id FROM destination)",
                )?;
                for offset in &removed {
                    delete.execute([offset])?;
                }
                Ok(removed.len())
            })
            .await?;
        self.writer
            .run(move |db| {
                let mut give_back =
                    db.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
                let mut rows = give_back.query([])?;
                while rows.next()?.is_some() {}
                Ok(())
            })
            .await?;
        Ok(removed == usize::try_from(STEP).unwrap_or(usize::MAX))
    }
}

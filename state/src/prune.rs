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

/// Events looked at per step: a step holds the writer for a few milliseconds.
const STEP: i64 = 1_000;
/// Pages given back to the file system per step.
const PAGES: i64 = 200;

impl Store {
    /// One small step over the events after the offset `after` (0 = from the oldest). Returns where
    /// to go on, or `None` when every event that may leave has been looked at.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn prune(
        &self,
        retention: Retention,
        after: i64,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let keep = SignedDuration::try_from(retention.keep).unwrap_or(SignedDuration::MAX);
        let before = clock::minus(now, keep);
        let rows_max = i64::try_from(retention.rows_max).unwrap_or(i64::MAX);
        let next = self
            .writer
            .run(move |db| {
                // Offsets are dense but for pruned ones, so "the newest n" is a range.
                let newest: Option<i64> =
                    db.query_row("SELECT max(offset) FROM outbox", [], |row| row.get(0))?;
                let over = newest.unwrap_or(0).saturating_sub(rows_max);
                let looked: Vec<(i64, bool, bool)> = db
                    .prepare_cached(
                        "SELECT o.offset, o.created_at < ?1 OR o.offset <= ?2, EXISTS (
                           SELECT 1 FROM destination n CROSS JOIN delivery d
                           WHERE d.destination = n.id AND d.offset = o.offset
                             AND d.state NOT IN ('delivered', 'superseded', 'discarded'))
                         FROM outbox o WHERE o.offset > ?3 ORDER BY o.offset LIMIT ?4",
                    )?
                    .query_map(params![millis(before), over, after, STEP], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })?
                    .collect::<Result<_, _>>()?;
                let mut outbox = db.prepare_cached("DELETE FROM outbox WHERE offset = ?1")?;
                let mut deliveries = db.prepare_cached(
                    "DELETE FROM delivery WHERE offset = ?1 AND destination IN
                       (SELECT id FROM destination)",
                )?;
                let mut attempts = db.prepare_cached(
                    "DELETE FROM attempt WHERE offset = ?1 AND destination IN
                       (SELECT id FROM destination)",
                )?;
                failpoint::at!("state.prune.events")?;
                let mut next = None;
                for (offset, may_leave, open) in &looked {
                    if !may_leave {
                        // Everything after it is younger.
                        return Ok(None);
                    }
                    if !open {
                        outbox.execute([offset])?;
                        deliveries.execute([offset])?;
                        attempts.execute([offset])?;
                    }
                    next = Some(*offset);
                }
                Ok(next)
            })
            .await?;
        self.writer
            .run(move |db| {
                let mut give_back =
                    db.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
                failpoint::at!("state.prune.pages")?;
                let mut rows = give_back.query([])?;
                while rows.next()?.is_some() {}
                Ok(())
            })
            .await?;
        Ok(next)
    }
}

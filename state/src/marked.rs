//! Tables whose rows the log left unclear. Each mark has its table read again, and however many come
//! while it is read, one more reading behind it is for all of them: else marks that come faster than
//! the table is read would have it begun again and again, and never read.
//!
//! What a reading did not see is known to be gone only if no mark came meanwhile: a row whose key
//! changed unseen may have passed behind the reader. Under marks that never end, what two readings one
//! behind the other did not see is gone.
//!
//! Between two such readings the table rests for as long as the first of them took, so that the
//! database spends no more than half of its time on one that is marked all the time.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use crate::error::StoreError;
use crate::resync::{Resync, begin};
use crate::{Part, Store, millis, partial};

/// A table rests at least so long, in milliseconds.
pub(crate) const REST_MIN: i64 = 5_000;
/// And at most.
pub(crate) const REST_MAX: i64 = 600_000;

impl Store {
    /// Marks tables that the log does not tell, or leaves unclear, and remembers for `status` why, of
    /// all that are so now: both or neither. One that is to be read from its first row anyway needs no
    /// mark, if `idle` says that nothing of it may be on its way. Those that bore none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn mark(
        &self,
        source: i64,
        tables: Vec<String>,
        idle: bool,
        problem: Option<String>,
    ) -> Result<Vec<String>, StoreError> {
        self.writer
            .run(move |db| {
                let mut new = Vec::new();
                for table in tables {
                    let marked: Option<bool> = db
                        .prepare_cached(
                            "SELECT marked FROM snapshot WHERE source = ?1 AND table_name = ?2",
                        )?
                        .query_row(params![source, table], |row| row.get(0))
                        .optional()?;
                    if marked == Some(true) {
                        continue;
                    }
                    db.prepare_cached(
                        "UPDATE snapshot SET marked = 1
                         WHERE source = ?1 AND table_name = ?2
                           AND NOT (?3 AND NOT done AND cursor IS NULL)",
                    )?
                    .execute(params![source, table, idle])?;
                    new.push(table);
                }
                partial::set(db, source, Part::Untold, problem.as_deref())?;
                Ok(new)
            })
            .await
    }

    /// What is being read of a table cannot go on, as when its key became another one: where it is
    /// marked, the reading behind it begins in its place.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn give_up_reading(&self, source: i64, table: String) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.execute(
                    "UPDATE snapshot SET marked = 2
                     WHERE source = ?1 AND table_name = ?2 AND NOT done AND marked",
                    params![source, table],
                )?;
                Ok(())
            })
            .await
    }

    /// Has marked tables read that are due, and says which. Whoever captures must start anew then, with
    /// a new stream: what one that is open has said of a table, it does not say again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_marked(
        &self,
        source: i64,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let now = millis(now);
        self.writer
            .run(move |db| {
                // Longer than any rest: the clock was set back.
                let due: Vec<String> = db
                    .prepare_cached(
                        "SELECT table_name FROM snapshot
                         WHERE source = ?1 AND (marked = 2 OR marked AND done
                           AND (rest_until IS NULL OR rest_until <= ?2 OR rest_until > ?2 + ?3))",
                    )?
                    .query_map(params![source, now, REST_MAX], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                begin(db, source, &Resync::Tables(due.clone()))?;
                for table in &due {
                    db.prepare_cached(
                        "UPDATE snapshot SET rest_until = ?3
                         WHERE source = ?1 AND table_name = ?2",
                    )?
                    .execute(params![source, table, now])?;
                }
                Ok(due)
            })
            .await
    }
}

//! Why parts of a source do not run while the rest of it does.

use rusqlite::{Connection, params};

use crate::Store;
use crate::error::StoreError;

/// A part of a source that may fail alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Tables that the log does not tell.
    Untold,
    /// Questions that the database does not answer.
    Unanswered,
}

impl Store {
    /// A source runs, as far as is known all of it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_running(&self, source: i64) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached(
                    "UPDATE source SET problem = NULL, untold = NULL, unanswered = NULL
                     WHERE id = ?1",
                )?
                .execute([source])?;
                Ok(())
            })
            .await
    }

    /// Remembers why a part of a source does not run, or that it runs again, for `status`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_partial(
        &self,
        source: i64,
        part: Part,
        problem: Option<String>,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| set(db, source, part, problem.as_deref()))
            .await
    }
}

pub(crate) fn set(
    db: &Connection,
    source: i64,
    part: Part,
    problem: Option<&str>,
) -> Result<(), StoreError> {
    let sql = match part {
        Part::Untold => "UPDATE source SET untold = ?2 WHERE id = ?1",
        Part::Unanswered => "UPDATE source SET unanswered = ?2 WHERE id = ?1",
    };
    db.prepare_cached(sql)?.execute(params![source, problem])?;
    Ok(())
}

/// Why parts of a source do not run.
pub(crate) fn of(db: &Connection, source: &str) -> Result<Vec<String>, StoreError> {
    let mut query = db.prepare_cached("SELECT untold, unanswered FROM source WHERE name = ?1")?;
    let parts: [Option<String>; 2] =
        query.query_row([source], |row| Ok([row.get(0)?, row.get(1)?]))?;
    Ok(parts.into_iter().flatten().collect())
}

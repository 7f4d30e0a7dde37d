//! Reading tables again and comparing: after a lost position, or because a person asks for it.
//!
//! All that was told stays known. Rules get the next generation, so that keys which no row tells
//! any more end when their table has been read; a replica's rows carry the reading that saw them,
//! so that those which it did not see leave; and facts are remembered, so that only new ones are
//! told.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::{Store, folder, millis};

/// What of a source is read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resync {
    /// Every table, and the log from where it begins now: the position is given up, and a new
    /// life of its numbering begins.
    All,
    /// Some tables; the log goes on where it stands.
    Tables(Vec<String>),
}

impl Store {
    /// Has tables of a source read again and compared. Its epoch afterwards; `None` = there is no
    /// such source. Nothing may capture from the source meanwhile but what is started anew
    /// afterwards.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn resync(&self, name: &str, what: Resync) -> Result<Option<u32>, StoreError> {
        let name = name.to_owned();
        self.writer
            .run(move |db| {
                let id: Option<i64> = db
                    .query_row("SELECT id FROM source WHERE name = ?1", [&name], |row| {
                        row.get(0)
                    })
                    .optional()?;
                let Some(id) = id else {
                    return Ok(None);
                };
                begin(db, id, &what)?;
                // Asked for before this, it has now been done.
                if what == Resync::All {
                    db.execute("DELETE FROM resync_request WHERE source = ?1", [&name])?;
                }
                let epoch =
                    db.query_row("SELECT epoch FROM source WHERE id = ?1", [id], |row| {
                        row.get(0)
                    })?;
                Ok(Some(epoch))
            })
            .await
    }

    /// As [`Store::resync`] of everything, under an epoch that is no smaller than `least`, also of a source
    /// that this file does not know yet: after a state file was lost, what is told must be newer than what
    /// was told before. The epoch.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_epoch(&self, name: &str, least: u32) -> Result<u32, StoreError> {
        let known = self.resync(name, Resync::All).await?;
        if let Some(epoch) = known.filter(|epoch| *epoch >= least) {
            return Ok(epoch);
        }
        let id = self.source(name).await?.id;
        self.writer
            .run(move |db| {
                db.execute(
                    "UPDATE source SET epoch = ?2 WHERE id = ?1",
                    params![id, least],
                )?;
                Ok(least)
            })
            .await
    }

    /// Does what was asked for beside the running agent, and says what it was; nothing where
    /// nothing was asked. As for [`Store::resync`], whoever captures must start anew.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_resync(&self, source: i64) -> Result<Vec<Resync>, StoreError> {
        self.writer
            .run(move |db| {
                let asked: Vec<(i64, Option<String>)> = db
                    .prepare_cached(
                        "SELECT q.id, q.tables FROM resync_request q
                         JOIN source s ON s.name = q.source WHERE s.id = ?1 ORDER BY q.id",
                    )?
                    .query_map([source], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<Result<_, _>>()?;
                let mut done = Vec::new();
                for (id, tables) in asked {
                    let what = match tables {
                        None => Resync::All,
                        Some(text) => {
                            Resync::Tables(serde_json::from_str(&text).map_err(|_| {
                                StoreError::Invariant("a request does not parse".to_owned())
                            })?)
                        }
                    };
                    if !done.contains(&what) {
                        begin(db, source, &what)?;
                        done.push(what);
                    }
                    db.execute("DELETE FROM resync_request WHERE id = ?1", [id])?;
                }
                Ok(done)
            })
            .await
    }
}

/// Asks the agent that owns the folder to read tables again. False where the source has never run.
///
/// # Errors
/// See [`StoreError`].
pub fn ask_resync(
    folder: &Path,
    source: &str,
    what: &Resync,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(db) = folder::open_beside(folder)? else {
        return Ok(false);
    };
    let tables = match what {
        Resync::All => None,
        Resync::Tables(tables) => Some(serde_json::json!(tables).to_string()),
    };
    // One statement: whatever happens to this process, the agent's own writes wait for no more.
    let asked = db.execute(
        "INSERT INTO resync_request (source, tables, asked_at)
         SELECT s.name, ?2, ?3 FROM source s WHERE s.name = ?1 AND NOT EXISTS
           (SELECT 1 FROM resync_request q WHERE q.source = ?1 AND q.tables IS ?2)",
        params![source, tables, millis(now)],
    )?;
    // What waits already is not asked for twice: each would begin the reading anew.
    let known = "SELECT EXISTS (SELECT 1 FROM source WHERE name = ?1)";
    Ok(asked == 1 || db.query_row(known, [source], |row| row.get(0))?)
}

pub(crate) fn begin(db: &Connection, source: i64, what: &Resync) -> Result<(), StoreError> {
    match what {
        Resync::All => {
            db.execute(
                "UPDATE source SET epoch = epoch + 1, checkpoint = NULL, server = NULL,
                   problem = NULL
                 WHERE id = ?1",
                [source],
            )?;
            db.execute("DELETE FROM snapshot WHERE source = ?1", [source])?;
            db.execute("DELETE FROM snapshot_range WHERE source = ?1", [source])?;
            db.execute("DELETE FROM guard WHERE source = ?1", [source])?;
            db.execute(
                "UPDATE replica SET reading = reading + 1 WHERE source = ?1",
                [source],
            )?;
            crate::rules::tell_again(db, source, None)?;
        }
        Resync::Tables(tables) => {
            for table in tables {
                // From its first row, also where a reading is under way: what that one told is
                // older than what is looked for now. The guard stays: it is as true as before. So is
                // whatever a mark is for.
                db.execute(
                    "UPDATE snapshot SET done = 0, cursor = NULL, once_more = 0, row_count = 0,
                       done_at = NULL, begun_at = NULL, marked = 0, rest_until = NULL
                     WHERE source = ?1 AND table_name = ?2",
                    params![source, table],
                )?;
                db.execute(
                    "DELETE FROM snapshot_range WHERE source = ?1 AND table_name = ?2",
                    params![source, table],
                )?;
                db.execute(
                    "UPDATE replica SET reading = reading + 1
                     WHERE source = ?1 AND table_name = ?2",
                    params![source, table],
                )?;
                crate::rules::tell_again(db, source, Some(table))?;
            }
        }
    }
    Ok(())
}

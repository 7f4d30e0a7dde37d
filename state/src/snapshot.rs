//! Sources, their epoch and checkpoint, the progress of their snapshots, and the guard that keeps
//! stale chunk rows out.

use contract::Position;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::capture::ChunkDone;
use crate::error::StoreError;
use crate::marked::{REST_MAX, REST_MIN};
use crate::{Store, from_millis, millis};

/// What the store knows of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// The source's id in the store.
    pub id: i64,
    /// Life of its numbering.
    pub epoch: u32,
    /// Everything up to here is in the store; `None` before the first commit.
    pub checkpoint: Option<Position>,
    /// Which server the checkpoint came from, where that is known.
    pub server: Option<String>,
    /// Commit time of the newest change in the store.
    pub committed_at: Option<Timestamp>,
}

/// Progress of one table's snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// The table.
    pub table: String,
    /// Whether it is done.
    pub done: bool,
    /// Where to go on.
    pub cursor: Option<String>,
    /// Rows so far.
    pub rows: u64,
    /// When it is done, it is read from its first row again.
    pub once_more: bool,
    /// Ranges that are read each by itself and are not done: their numbers, and where each goes on.
    pub ranges: Vec<(u32, String)>,
}

impl Store {
    /// The source of that name, made if it is new.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn source(&self, name: &str) -> Result<SourceState, StoreError> {
        let name = name.to_owned();
        self.writer
            .run(move |db| {
                db.execute(
                    "INSERT INTO source (name) VALUES (?1) ON CONFLICT DO NOTHING",
                    [&name],
                )?;
                let (mut state, checkpoint) = db.query_row(
                    "SELECT id, epoch, server, committed_at, checkpoint FROM source
                     WHERE name = ?1",
                    [&name],
                    |row| {
                        let state = SourceState {
                            id: row.get(0)?,
                            epoch: row.get(1)?,
                            checkpoint: None,
                            server: row.get(2)?,
                            committed_at: row.get::<_, Option<i64>>(3)?.map(from_millis),
                        };
                        Ok((state, row.get::<_, Option<String>>(4)?))
                    },
                )?;
                state.checkpoint = checkpoint.map(|text| parse(&text)).transpose()?;
                Ok(state)
            })
            .await
    }

    /// Remembers why a source does not run, or that it runs again, for `status`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_problem(
        &self,
        source: i64,
        problem: Option<String>,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached("UPDATE source SET problem = ?2 WHERE id = ?1")?
                    .execute(params![source, problem])?;
                Ok(())
            })
            .await
    }

    /// The snapshot progress of a source's tables, which are read on from now; tables not seen
    /// before are added as not begun.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn snapshots(
        &self,
        source: i64,
        epoch: u32,
        tables: Vec<String>,
        now: Timestamp,
    ) -> Result<Vec<SnapshotProgress>, StoreError> {
        self.writer
            .run(move |db| {
                db.execute(
                    "UPDATE snapshot SET run_at = ?2, run_rows = row_count, problem = NULL,
                       begun_at = coalesce(begun_at, ?2)
                     WHERE source = ?1 AND NOT done",
                    params![source, millis(now)],
                )?;
                let mut all = Vec::with_capacity(tables.len());
                for table in tables {
                    db.execute(
                        "INSERT INTO snapshot (source, table_name, epoch, run_at, begun_at)
                         VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT DO NOTHING",
                        params![source, table, epoch, millis(now)],
                    )?;
                    let ranges = db
                        .prepare_cached(
                            "SELECT range, cursor FROM snapshot_range
                             WHERE source = ?1 AND table_name = ?2 AND NOT done ORDER BY range",
                        )?
                        .query_map(params![source, table], |row| Ok((row.get(0)?, row.get(1)?)))?
                        .collect::<Result<_, _>>()?;
                    all.push(db.query_row(
                        "SELECT done, cursor, row_count, once_more FROM snapshot
                         WHERE source = ?1 AND table_name = ?2",
                        params![source, table],
                        |row| {
                            Ok(SnapshotProgress {
                                table: table.clone(),
                                done: row.get(0)?,
                                cursor: row.get(1)?,
                                rows: row.get::<_, i64>(2)?.unsigned_abs(),
                                once_more: row.get(3)?,
                                ranges,
                            })
                        },
                    )?);
                }
                Ok(all)
            })
            .await
    }

    /// Remembers how many rows tables are believed to have, by table.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn estimate(
        &self,
        source: i64,
        tables: Vec<(String, Option<u64>)>,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                for (table, rows) in tables {
                    let rows = rows.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX));
                    db.execute(
                        "UPDATE snapshot SET estimate = ?3 WHERE source = ?1 AND table_name = ?2",
                        params![source, table, rows],
                    )?;
                }
                Ok(())
            })
            .await
    }

    /// Has a table read by ranges that begin at these cursors, if nothing of it has been read yet;
    /// false where something has.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn split(
        &self,
        source: i64,
        table: String,
        cursors: Vec<String>,
    ) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                let fresh = db.execute(
                    "UPDATE snapshot SET cursor = 'ranges'
                     WHERE source = ?1 AND table_name = ?2 AND NOT done AND cursor IS NULL
                       AND NOT once_more",
                    params![source, table],
                )?;
                if fresh == 0 {
                    return Ok(false);
                }
                for (n, cursor) in cursors.iter().enumerate() {
                    db.execute(
                        "INSERT INTO snapshot_range (source, table_name, range, cursor)
                         VALUES (?1, ?2, ?3, ?4)",
                        params![source, table, i64::try_from(n).unwrap_or(i64::MAX), cursor],
                    )?;
                }
                Ok(true)
            })
            .await
    }

    /// Rows read of a table so far, and how many it is believed to have.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rows_read(
        &self,
        source: i64,
        table: String,
    ) -> Result<(u64, Option<u64>), StoreError> {
        self.writer
            .run(move |db| {
                let (rows, estimate): (i64, Option<i64>) = db
                    .query_row(
                        "SELECT row_count, estimate FROM snapshot
                         WHERE source = ?1 AND table_name = ?2",
                        params![source, table],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .optional()?
                    .unwrap_or_default();
                Ok((rows.unsigned_abs(), estimate.map(i64::unsigned_abs)))
            })
            .await
    }

    /// Remembers why a table's reading does not go on, for `status`; its next chunk forgets it. How
    /// fast it is read is counted from a pause's end on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn snapshot_stands(
        &self,
        source: i64,
        table: String,
        problem: Option<String>,
        paused_until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.execute(
                    "UPDATE snapshot SET problem = ?3, paused_until = ?4,
                       run_at = coalesce(?4, run_at),
                       run_rows = CASE WHEN ?4 IS NULL THEN run_rows ELSE row_count END
                     WHERE source = ?1 AND table_name = ?2 AND NOT done",
                    params![source, table, problem, paused_until.map(millis)],
                )?;
                Ok(())
            })
            .await
    }

    /// The last streamed change of each of these rows, if one came by during the snapshot.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn guard(
        &self,
        source: i64,
        table: String,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(Position, u64)>>, StoreError> {
        self.writer
            .run(move |db| {
                let mut query = db.prepare_cached(
                    "SELECT position, transaction_id FROM guard
                     WHERE source = ?1 AND table_name = ?2 AND row_key = ?3",
                )?;
                let mut found = Vec::with_capacity(keys.len());
                for key in &keys {
                    let row: Option<(String, i64)> = query
                        .query_row(params![source, table, key], |row| {
                            Ok((row.get(0)?, row.get(1)?))
                        })
                        .optional()?;
                    found.push(match row {
                        Some((position, transaction)) => {
                            Some((parse(&position)?, transaction.unsigned_abs()))
                        }
                        None => None,
                    });
                }
                Ok(found)
            })
            .await
    }
}

pub(crate) fn parse(text: &str) -> Result<Position, StoreError> {
    text.parse()
        .map_err(|_| StoreError::Invariant("a stored position does not parse".to_owned()))
}

pub(crate) fn chunk_done(
    db: &Connection,
    source: i64,
    chunk: &ChunkDone,
    now: Timestamp,
) -> Result<(), StoreError> {
    failpoint::at!("state.capture.chunk")?;
    let mut done = chunk.next.is_none();
    let mut cursor = chunk.next.as_deref();
    if let Some(range) = chunk.range {
        db.prepare_cached(
            "UPDATE snapshot_range SET cursor = coalesce(?4, cursor), done = ?4 IS NULL
             WHERE source = ?1 AND table_name = ?2 AND range = ?3",
        )?
        .execute(params![source, chunk.table, range, chunk.next])?;
        done = done && is_last_range(db, source, &chunk.table, range)?;
        cursor = (!done).then_some("ranges");
    }
    let once_more: bool = db
        .prepare_cached(
            "UPDATE snapshot SET cursor = ?3, done = ?4 AND NOT once_more,
               row_count = CASE WHEN ?4 AND once_more THEN 0 ELSE row_count + ?5 END,
               run_rows = CASE WHEN ?4 AND once_more THEN 0
                 WHEN paused_until > ?6 THEN run_rows + ?5 ELSE run_rows END,
               run_at = CASE WHEN ?4 AND once_more THEN ?6 ELSE run_at END,
               once_more = once_more AND NOT ?4, read_at = ?6, problem = NULL,
               paused_until = CASE WHEN paused_until > ?6 THEN paused_until END,
               rest_until = CASE WHEN NOT ?4 OR once_more THEN rest_until
                 WHEN marked OR rest_until IS NOT NULL
                   THEN ?6 + min(max(?6 - coalesce(begun_at, ?6), ?7), ?8) END,
               begun_at = CASE WHEN ?4 AND once_more THEN ?6 ELSE begun_at END,
               done_at = CASE WHEN ?4 AND NOT once_more THEN ?6 END
             WHERE source = ?1 AND table_name = ?2 RETURNING NOT done",
        )?
        .query_row(
            params![
                source,
                chunk.table,
                cursor,
                done,
                i64::try_from(chunk.rows).unwrap_or(i64::MAX),
                millis(now),
                REST_MIN,
                REST_MAX
            ],
            |row| row.get(0),
        )
        .optional()?
        .unwrap_or_default();
    if !done {
        return Ok(());
    }
    // Cut by a reader that was ending just then.
    db.prepare_cached("DELETE FROM snapshot_range WHERE source = ?1 AND table_name = ?2")?
        .execute(params![source, chunk.table])?;
    crate::rules::table_read(db, source, &chunk.table)?;
    if !once_more {
        db.prepare_cached("DELETE FROM guard WHERE source = ?1 AND table_name = ?2")?
            .execute(params![source, chunk.table])?;
    }
    Ok(())
}

/// Whether all ranges of a table but this one have been read.
pub(crate) fn is_last_range(
    db: &Connection,
    source: i64,
    table: &str,
    range: u32,
) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM snapshot_range
             WHERE source = ?1 AND table_name = ?2 AND range <> ?3 AND NOT done)",
        )?
        .query_row(params![source, table, range], |row| row.get(0))?)
}

/// Has a table read from its first row: now, or where a reading is under way, behind it.
pub(crate) fn read_again(db: &Connection, source: i64, table: &str) -> Result<(), StoreError> {
    db.execute(
        "UPDATE snapshot SET once_more = NOT done AND cursor IS NOT NULL,
           row_count = CASE WHEN done THEN 0 ELSE row_count END,
           begun_at = CASE WHEN done THEN NULL ELSE begun_at END,
           cursor = CASE WHEN done THEN NULL ELSE cursor END, done = 0, done_at = NULL
         WHERE source = ?1 AND table_name = ?2",
        params![source, table],
    )?;
    Ok(())
}

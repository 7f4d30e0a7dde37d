//! Reading beside a running agent: what `status` and the demo show.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;

use crate::canary::{self, CanaryStatus};
use crate::error::StoreError;
use crate::look::{self, LookStatus};
use crate::{folder, from_millis, migrate, partial};

/// A read-only view of a state folder; works while the agent runs and when it does not.
#[derive(Debug)]
pub struct StateReader {
    folder: PathBuf,
    connection: Option<Connection>,
}

/// How one source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Life of its numbering.
    pub epoch: u32,
    /// Everything up to here is in the store.
    pub checkpoint: Option<String>,
    /// Why the source does not run, in plain words.
    pub problem: Option<String>,
    /// Why parts of it do not run, in plain words, while the rest of it does; empty where none of it
    /// does.
    pub partly: Vec<String>,
    /// What a person asked to be read again and the agent has not taken up yet.
    pub resync_asked: Vec<String>,
    /// How the reading of each table stands.
    pub tables: Vec<SnapshotStatus>,
    /// When the checkpoint last moved.
    pub updated_at: Option<Timestamp>,
    /// Commit time of the newest change stored.
    pub committed_at: Option<Timestamp>,
    /// Tables whose snapshot is done, and all tables.
    pub snapshot_done: u64,
    /// Tables under snapshot or done.
    pub snapshot_tables: u64,
    /// Rows read by snapshots.
    pub snapshot_rows: u64,
    /// Row changes read.
    pub changes: u64,
    /// Events stored.
    pub events: u64,
    /// Events whose body was already published.
    pub suppressed: u64,
    /// Events older than what was published.
    pub stale: u64,
    /// Changes that mean nothing to any rule.
    pub filtered: u64,
    /// Changes held now, waiting for a person.
    pub held: u64,
    /// How its log was kept when it was last looked at.
    pub look: Option<LookStatus>,
    /// When its log was last proven to come through; none = the source has no such proof, or not yet.
    pub canary: Option<CanaryStatus>,
}

/// How the reading of one table stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotStatus {
    /// The table.
    pub table: String,
    /// All of it has been read and stored.
    pub done: bool,
    /// When that was.
    pub done_at: Option<Timestamp>,
    /// Rows read so far.
    pub rows: u64,
    /// Rows that the source's catalogue believes it has.
    pub estimate: Option<u64>,
    /// Rows a second since it is read without a break.
    pub rows_per_second: Option<u64>,
    /// Seconds until it is done at that rate, about.
    pub eta_seconds: Option<u64>,
    /// When something of it was read last, or its reading went on.
    pub read_at: Option<Timestamp>,
    /// It has been read, but the log has left its rows unclear since it began to be: it is read again
    /// then.
    pub again_at: Option<Timestamp>,
    /// Within a pause of the settings, until then.
    pub paused_until: Option<Timestamp>,
    /// Why it does not go on.
    pub problem: Option<String>,
}

/// One held item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldItem {
    /// `mapping` or the destination's name.
    pub by: String,
    /// The rule or event type.
    pub what: String,
    /// The row or event key.
    pub key: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Whether a state file is of a version that no agent of this version has opened yet.
fn is_older(db: &Connection) -> Result<bool, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(version < 4)
}

/// How the reading of each table stands.
fn tables(db: &Connection, source: &str) -> Result<Vec<SnapshotStatus>, StoreError> {
    if is_older(db)? {
        return Ok(Vec::new());
    }
    let mut query = db.prepare_cached(
        "SELECT p.table_name, p.done, p.done_at, p.row_count, p.estimate, p.run_at, p.run_rows,
           p.read_at, p.paused_until, p.problem,
           CASE WHEN p.done AND p.marked THEN coalesce(p.rest_until, p.done_at) END
         FROM snapshot p JOIN source s ON s.id = p.source WHERE s.name = ?1 ORDER BY p.table_name",
    )?;
    let rows = query.query_map([source], |row| {
        let done: bool = row.get(1)?;
        let moment = |at: Option<i64>| at.map(from_millis);
        let (run_at, read_at): (Option<i64>, Option<i64>) = (row.get(5)?, row.get(7)?);
        let rows = count(row.get(3)?);
        let estimate = row.get::<_, Option<i64>>(4)?.map(count);
        let in_run = rows.saturating_sub(count(row.get(6)?));
        let paused_until: Option<i64> = row.get(8)?;
        let millis = run_at.zip(read_at).map_or(0, |(run, read)| read - run);
        let rows_per_second = (!done && millis > 0 && in_run > 0)
            .then(|| in_run.saturating_mul(1_000) / count(millis));
        let left = estimate.and_then(|estimate| estimate.checked_sub(rows));
        let eta_seconds = rows_per_second
            .filter(|rate| *rate > 0)
            .and_then(|rate| Some(left?.div_ceil(rate)));
        Ok(SnapshotStatus {
            table: row.get(0)?,
            done,
            done_at: moment(row.get(2)?),
            rows,
            estimate,
            rows_per_second,
            eta_seconds,
            // It goes on only when its pause ends.
            read_at: moment(run_at.filter(|_| paused_until.is_none()).max(read_at)),
            again_at: moment(row.get(10)?),
            paused_until: moment(paused_until),
            problem: row.get(9)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The tables of each request that waits, in words.
fn asked(db: &Connection, source: &str) -> Result<Vec<String>, StoreError> {
    if is_older(db)? {
        return Ok(Vec::new());
    }
    let mut query =
        db.prepare_cached("SELECT tables FROM resync_request WHERE source = ?1 ORDER BY id")?;
    let rows = query.query_map([source], |row| row.get::<_, Option<String>>(0))?;
    let mut found = Vec::new();
    for row in rows {
        found.push(match row? {
            None => "every table".to_owned(),
            Some(text) => serde_json::from_str::<Vec<String>>(&text)
                .map_err(|_| StoreError::Invariant("a request does not parse".to_owned()))?
                .join(", "),
        });
    }
    Ok(found)
}

fn count(value: i64) -> u64 {
    value.unsigned_abs()
}

impl StateReader {
    /// Opens a state folder for reading.
    ///
    /// # Errors
    /// See [`StoreError`]. A folder without a state file is an empty state.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            folder: folder.to_owned(),
            connection: folder::open_reader(folder)?,
        })
    }

    /// The process that owns the folder, if one does.
    pub fn running(&self) -> Option<u32> {
        folder::owner(&self.folder).and_then(|(pid, owned)| owned.then_some(pid))
    }

    /// Whether there is a state file.
    pub fn exists(&self) -> bool {
        self.connection.is_some()
    }

    /// Every source.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn sources(&self) -> Result<Vec<SourceStatus>, StoreError> {
        let Some(db) = &self.connection else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT s.name, s.epoch, s.checkpoint, s.updated_at, s.committed_at,
               (SELECT count(*) FROM snapshot p WHERE p.source = s.id AND p.done = 1),
               (SELECT count(*) FROM snapshot p WHERE p.source = s.id),
               (SELECT coalesce(sum(row_count), 0) FROM snapshot p WHERE p.source = s.id),
               (SELECT count(*) FROM held h WHERE h.source = s.id), s.problem
             FROM source s ORDER BY s.name",
        )?;
        let rows = query.query_map([], |row| {
            let updated: i64 = row.get(3)?;
            Ok(SourceStatus {
                name: row.get(0)?,
                epoch: row.get(1)?,
                checkpoint: row.get(2)?,
                updated_at: (updated != 0).then(|| from_millis(updated)),
                committed_at: row.get::<_, Option<i64>>(4)?.map(from_millis),
                snapshot_done: count(row.get(5)?),
                snapshot_tables: count(row.get(6)?),
                snapshot_rows: count(row.get(7)?),
                held: count(row.get(8)?),
                problem: row.get(9)?,
                partly: Vec::new(),
                resync_asked: Vec::new(),
                tables: Vec::new(),
                changes: 0,
                events: 0,
                suppressed: 0,
                stale: 0,
                filtered: 0,
                look: None,
                canary: None,
            })
        })?;
        let mut all: Vec<SourceStatus> = rows.collect::<Result<_, _>>()?;
        for source in &mut all {
            let scope = format!("source:{}", source.name);
            if source.problem.is_none() && !is_older(db)? {
                source.partly = partial::of(db, &source.name)?;
            }
            source.resync_asked = asked(db, &source.name)?;
            source.tables = tables(db, &source.name)?;
            source.changes = self.counter(&scope, "changes")?;
            source.events = self.counter(&scope, "events")?;
            source.suppressed = self.counter(&scope, "suppressed")?;
            source.stale = self.counter(&scope, "stale")?;
            source.filtered = self.counter(&scope, "filtered")?;
            source.look = look::of(db, &source.name)?;
            source.canary = canary::of(db, &source.name)?;
        }
        Ok(all)
    }

    /// The oldest held items, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn held(&self, limit: u32) -> Result<Vec<HeldItem>, StoreError> {
        let Some(db) = &self.connection else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT 'mapping', rule, coalesce(event_key, table_name || ' ' || row_key), reason,
               held_at FROM held
             UNION ALL
             SELECT n.name, o.event_type, o.key,
               coalesce(d.cause, d.held_cause, 'held'), d.updated_at
             FROM delivery d JOIN outbox o ON o.offset = d.offset
               JOIN destination n ON n.id = d.destination
             WHERE d.state = 'held'
             ORDER BY 5 LIMIT ?1",
        )?;
        let rows = query.query_map(params![limit], |row| {
            Ok(HeldItem {
                by: row.get(0)?,
                what: row.get(1)?,
                key: row.get(2)?,
                reason: row.get(3)?,
                since: from_millis(row.get(4)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The file's format, and the one that this version writes; `None` = there is no file.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn format(&self) -> Result<Option<(i64, i64)>, StoreError> {
        let Some(db) = &self.connection else {
            return Ok(None);
        };
        Ok(Some((migrate::format(db)?, migrate::known())))
    }

    /// The file, if it is of this format or a newer one.
    pub(crate) fn of_format(&self, least: i64) -> Result<Option<&Connection>, StoreError> {
        match self.newest()? {
            Some(db) if crate::migrate::format(db)? >= least => Ok(Some(db)),
            _ => Ok(None),
        }
    }

    /// The file, if an agent of this version has opened it, or one of the format before, which has the same indexes by
    /// other conditions; `None` = there is none, or it is older.
    pub(crate) fn newest(&self) -> Result<Option<&Connection>, StoreError> {
        let Some(db) = &self.connection else {
            return Ok(None);
        };
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((version >= 7).then_some(db))
    }

    pub(crate) fn counter(&self, scope: &str, name: &str) -> Result<u64, StoreError> {
        let Some(db) = &self.connection else {
            return Ok(0);
        };
        let value: i64 = db
            .prepare_cached(
                "SELECT coalesce(sum(value), 0) FROM counter WHERE scope = ?1 AND name = ?2",
            )?
            .query_row(params![scope, name], |row| row.get(0))?;
        Ok(count(value))
    }
}

//! What comparisons came to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::reading;
use crate::error::StoreError;
use crate::status::StateReader;
use crate::{Store, counter, from_millis, millis};

/// Differences written in one transaction: what waits for the writer waits no longer for them.
const STEP: usize = 500;
/// Comparisons of a destination that are kept, and those whose differences are.
const RUNS_KEPT: i64 = 400;
const DIFFERENCES_KEPT: i64 = 5;
/// Where the comparisons are counted.
const SCOPE: &str = "reconcile";
const RUNS: &str = "runs";
/// Behind so many others, one that is not whole never will be.
const UNFINISHED: i64 = 100;

/// How a key compares that does not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileClass {
    /// The destination has nothing of it.
    Missing,
    /// The destination has what was told to be gone.
    Extra,
    /// The destination has something else.
    Different,
    /// What was told is still on its way, or held.
    ExpectedLag,
    /// It could not be compared.
    Unknown,
}

impl ReconcileClass {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Missing,
        Self::Extra,
        Self::Different,
        Self::ExpectedLag,
        Self::Unknown,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
            Self::ExpectedLag => "expected_lag",
            Self::Unknown => "unknown",
        }
    }

    /// Whether telling the key again may mend it.
    pub fn is_difference(self) -> bool {
        match self {
            Self::Missing | Self::Extra | Self::Different => true,
            Self::ExpectedLag | Self::Unknown => false,
        }
    }
}

/// How many keys of an event type were compared, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReconcileCount {
    /// The type.
    pub event_type: String,
    /// Keys in all.
    pub looked_at: u64,
    /// The destination holds what was told.
    pub agree: u64,
    /// By class.
    pub missing: u64,
    /// By class.
    pub extra: u64,
    /// By class.
    pub different: u64,
    /// By class: expected lag.
    pub lagging: u64,
    /// By class.
    pub unknown: u64,
}

impl ReconcileCount {
    /// Counts a key; no class = it agrees.
    pub fn add(&mut self, class: Option<ReconcileClass>) {
        self.looked_at += 1;
        *match class {
            None => &mut self.agree,
            Some(ReconcileClass::Missing) => &mut self.missing,
            Some(ReconcileClass::Extra) => &mut self.extra,
            Some(ReconcileClass::Different) => &mut self.different,
            Some(ReconcileClass::ExpectedLag) => &mut self.lagging,
            Some(ReconcileClass::Unknown) => &mut self.unknown,
        } += 1;
    }

    /// Keys that the destination holds otherwise.
    pub fn differing(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// A key that does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileDifference {
    /// The key's place, by which it is told again.
    #[serde(skip)]
    pub lane: i64,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The key.
    pub key: String,
    /// How.
    pub class: ReconcileClass,
    /// What was told.
    pub ours: String,
    /// What the destination holds, or why that is not known.
    pub theirs: String,
    /// When the destination was told of it last.
    pub since: Option<Timestamp>,
}

/// A comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileRun {
    /// With which destination.
    pub destination: String,
    /// When it began.
    pub began_at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// The settings asked for it, not a person.
    pub scheduled: bool,
    /// So many keys at most; `None` = every one.
    pub sample: Option<u32>,
    /// By which keys were chosen.
    pub seed: u32,
    /// By event type.
    pub types: Vec<ReconcileCount>,
}

/// The newest comparison of an event type with a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileStatus {
    /// With which destination.
    pub destination: String,
    /// When it began.
    pub began_at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// The settings asked for it, not a person.
    pub scheduled: bool,
    /// What it came to.
    pub count: ReconcileCount,
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count_of(row: &Row<'_>) -> rusqlite::Result<ReconcileCount> {
    let number = |name: &str| row.get::<_, i64>(name).map(i64::unsigned_abs);
    Ok(ReconcileCount {
        event_type: row.get("event_type")?,
        looked_at: number("looked_at")?,
        agree: number("agree")?,
        missing: number("missing")?,
        extra: number("extra")?,
        different: number("different")?,
        lagging: number("lagging")?,
        unknown: number("unknown")?,
    })
}

impl Store {
    /// Keeps what a comparison came to: its number.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn reconciled(
        &self,
        made: ReconcileRun,
        differences: Vec<ReconcileDifference>,
    ) -> Result<i64, StoreError> {
        // A number of its own first: others may be made at the same time.
        let run = self
            .writer
            .run(|db| {
                counter::add(db, SCOPE, RUNS, 1)?;
                Ok(db.query_row(
                    "SELECT value FROM counter WHERE scope = ?1 AND name = ?2",
                    [SCOPE, RUNS],
                    |row| row.get(0),
                )?)
            })
            .await?;
        // The differences before the comparison: who sees that sees all of them.
        let mut rest = differences;
        while !rest.is_empty() {
            let more = rest.split_off(rest.len().min(STEP));
            let some = std::mem::replace(&mut rest, more);
            let written = self.writer.run(move |db| write(db, run, &some));
            written.await?;
        }
        self.writer
            .run(move |db| {
                for count in &made.types {
                    insert(db, run, &made, count)?;
                }
                forget(db, &made.destination, run)
            })
            .await?;
        Ok(run)
    }
}

fn write(db: &Connection, run: i64, some: &[ReconcileDifference]) -> Result<(), StoreError> {
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO reconcile_difference
           (run, lane, event_type, key, class, ours, theirs, since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for one in some {
        insert.execute(params![
            run,
            one.lane,
            one.event_type,
            one.key,
            one.class.name(),
            one.ours,
            one.theirs,
            one.since.map(millis)
        ])?;
    }
    Ok(())
}

fn insert(
    db: &Connection,
    run: i64,
    made: &ReconcileRun,
    count: &ReconcileCount,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO reconcile_run (run, event_type, destination, began_at, took_ms, scheduled,
           sample, seed, looked_at, agree, missing, extra, different, lagging, unknown)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        run,
        count.event_type,
        made.destination,
        millis(made.began_at),
        whole(made.took_ms),
        made.scheduled,
        made.sample,
        made.seed,
        whole(count.looked_at),
        whole(count.agree),
        whole(count.missing),
        whole(count.extra),
        whole(count.different),
        whole(count.lagging),
        whole(count.unknown)
    ])?;
    Ok(())
}

/// Old comparisons go, and what a crash left of one that did not end.
fn forget(db: &Connection, destination: &str, run: i64) -> Result<(), StoreError> {
    for (table, kept) in [("run", RUNS_KEPT), ("difference", DIFFERENCES_KEPT)] {
        db.execute(
            &format!(
                "DELETE FROM reconcile_{table} WHERE run IN
                   (SELECT DISTINCT run FROM reconcile_run WHERE destination = ?1
                    ORDER BY run DESC LIMIT -1 OFFSET ?2)"
            ),
            params![destination, kept],
        )?;
    }
    db.execute(
        "DELETE FROM reconcile_difference WHERE run < ?1
           AND run NOT IN (SELECT run FROM reconcile_run)",
        [run - UNFINISHED],
    )?;
    Ok(())
}

impl StateReader {
    /// A comparison; `None` where it is not known any more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconcile_run(&self, run: i64) -> Result<Option<ReconcileRun>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(None);
        };
        let mut query =
            db.prepare_cached("SELECT * FROM reconcile_run WHERE run = ?1 ORDER BY event_type")?;
        let mut rows = query.query([run])?;
        let mut made: Option<ReconcileRun> = None;
        while let Some(row) = rows.next()? {
            let began_at: i64 = row.get("began_at")?;
            let took_ms: i64 = row.get("took_ms")?;
            let known = match &mut made {
                Some(known) => known,
                None => made.insert(ReconcileRun {
                    destination: row.get("destination")?,
                    began_at: from_millis(began_at),
                    took_ms: took_ms.unsigned_abs(),
                    scheduled: row.get("scheduled")?,
                    sample: row.get("sample")?,
                    seed: row.get("seed")?,
                    types: Vec::new(),
                }),
            };
            known.types.push(count_of(row)?);
        }
        Ok(made)
    }

    /// The keys of a comparison that do not agree, in the order of type and key.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconcile_differences(&self, run: i64) -> Result<Vec<ReconcileDifference>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT lane, event_type, key, class, ours, theirs, since FROM reconcile_difference
             WHERE run = ?1 ORDER BY event_type, key",
        )?;
        let rows = query.query_map([run], |row| {
            let class: String = row.get(3)?;
            let known = ReconcileClass::ALL
                .into_iter()
                .find(|one| one.name() == class);
            Ok(ReconcileDifference {
                lane: row.get(0)?,
                event_type: row.get(1)?,
                key: row.get(2)?,
                class: known.unwrap_or(ReconcileClass::Unknown),
                ours: row.get(4)?,
                theirs: row.get(5)?,
                since: row.get::<_, Option<i64>>(6)?.map(from_millis),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The newest comparison of each event type with each destination.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconciled(&self) -> Result<Vec<ReconcileStatus>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached("SELECT * FROM reconcile_run ORDER BY run")?;
        let mut rows = query.query([])?;
        let mut newest: BTreeMap<(String, String), ReconcileStatus> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let took_ms: i64 = row.get("took_ms")?;
            let one = ReconcileStatus {
                destination: row.get("destination")?,
                began_at: from_millis(row.get("began_at")?),
                took_ms: took_ms.unsigned_abs(),
                scheduled: row.get("scheduled")?,
                count: count_of(row)?,
            };
            let place = (one.destination.clone(), one.count.event_type.clone());
            newest.insert(place, one);
        }
        Ok(newest.into_values().collect())
    }

    /// The newest comparison with a destination.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconcile_newest(&self, destination: &str) -> Result<Option<i64>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(None);
        };
        Ok(db.query_row(
            "SELECT max(run) FROM reconcile_run INDEXED BY reconcile_run_of
             WHERE destination = ?1",
            [destination],
            |row| row.get(0),
        )?)
    }

    /// When the settings last had a destination compared; `None` = never.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconciled_by_schedule(
        &self,
        destination: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(None);
        };
        let at: Option<i64> = db
            .prepare_cached(
                "SELECT max(began_at) FROM reconcile_run INDEXED BY reconcile_run_of
                 WHERE destination = ?1 AND scheduled = 1",
            )?
            .query_row([destination], |row| row.get(0))?;
        Ok(at.map(from_millis))
    }
}

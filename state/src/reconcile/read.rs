//! What comparisons came to, read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::reading;
use super::run::{
    ReconcileClass, ReconcileCount, ReconcileDifference, ReconcileRun, ReconcileStatus,
    ReconcileSum, ReconcileWith,
};
use crate::error::StoreError;
use crate::from_millis;
use crate::status::StateReader;

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
        untold: number("untold")?,
        notes: serde_json::from_str(&row.get::<_, String>("notes")?).unwrap_or_default(),
    })
}

fn with_of(row: &Row<'_>) -> rusqlite::Result<ReconcileWith> {
    let side: String = row.get("side")?;
    Ok(ReconcileWith::of(&side, row.get("name")?))
}

fn sums(db: &Connection, run: i64) -> Result<Vec<ReconcileSum>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT table_name, what, ours, theirs, class FROM reconcile_sum
         WHERE run = ?1 ORDER BY place",
    )?;
    let rows = query.query_map([run], |row| {
        let class: Option<String> = row.get(4)?;
        Ok(ReconcileSum {
            table: row.get(0)?,
            what: row.get(1)?,
            ours: row.get(2)?,
            theirs: row.get(3)?,
            class: class.and_then(|name| ReconcileClass::of(&name)),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
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
                    with: with_of(row)?,
                    began_at: from_millis(began_at),
                    took_ms: took_ms.unsigned_abs(),
                    scheduled: row.get("scheduled")?,
                    sample: row.get("sample")?,
                    seed: row.get("seed")?,
                    types: Vec::new(),
                    sums: Vec::new(),
                }),
            };
            known.types.push(count_of(row)?);
        }
        if let Some(made) = &mut made {
            made.sums = sums(db, run)?;
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
            let known = ReconcileClass::of(&class);
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

    /// The newest comparison of each event type with each destination and source.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconciled(&self) -> Result<Vec<ReconcileStatus>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached("SELECT * FROM reconcile_run ORDER BY run")?;
        let mut rows = query.query([])?;
        let mut newest: BTreeMap<(ReconcileWith, String), ReconcileStatus> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let took_ms: i64 = row.get("took_ms")?;
            let one = ReconcileStatus {
                with: with_of(row)?,
                began_at: from_millis(row.get("began_at")?),
                took_ms: took_ms.unsigned_abs(),
                scheduled: row.get("scheduled")?,
                count: count_of(row)?,
            };
            let place = (one.with.clone(), one.count.event_type.clone());
            newest.insert(place, one);
        }
        Ok(newest.into_values().collect())
    }

    /// The newest comparison with a destination or a source.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconcile_newest(&self, with: &ReconcileWith) -> Result<Option<i64>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(None);
        };
        let (side, name) = with.words();
        Ok(db.query_row(
            "SELECT max(run) FROM reconcile_run INDEXED BY reconcile_run_of
             WHERE side = ?1 AND name = ?2",
            [side, name],
            |row| row.get(0),
        )?)
    }

    /// When the settings last had it compared; `None` = never.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconciled_by_schedule(
        &self,
        with: &ReconcileWith,
    ) -> Result<Option<Timestamp>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(None);
        };
        let (side, name) = with.words();
        let at: Option<i64> = db
            .prepare_cached(
                "SELECT began_at FROM reconcile_run INDEXED BY reconcile_run_of
                 WHERE side = ?1 AND name = ?2 AND scheduled = 1 ORDER BY run DESC LIMIT 1",
            )?
            .query_row(params![side, name], |row| row.get(0))
            .optional()?;
        Ok(at.map(from_millis))
    }
}

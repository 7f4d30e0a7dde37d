//! How the last day was: of each series the largest value of each minute, for charts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::Store;
use crate::error::StoreError;
use crate::status::StateReader;

/// Samples stay for so long: a day, and the hour that a chart begins in.
const KEPT_MINUTES: i64 = 25 * 60;
/// Series that are taken at once; further ones are left out.
const SERIES_MAX: usize = 512;

/// What was measured of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What, and of what: `lag:erp`.
    pub series: String,
    /// How much.
    pub value: u64,
}

/// By series: the minutes, as their beginnings, and the largest value of each; oldest first.
pub type Samples = BTreeMap<String, Vec<(Timestamp, u64)>>;

fn minute_of(moment: Timestamp) -> i64 {
    moment.as_second().div_euclid(60)
}

impl Store {
    /// Keeps what was measured now; of a minute that has a value already, the larger one stays. What
    /// is older than a day leaves, and what a clock that was wrong put ahead of now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sample(&self, now: Timestamp, measured: Vec<Sample>) -> Result<(), StoreError> {
        let minute = minute_of(now);
        self.writer
            .run(move |db| {
                let mut keep = db.prepare_cached(
                    "INSERT INTO sample (minute, series, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (minute, series) DO UPDATE SET value = max(value, excluded.value)",
                )?;
                for sample in measured.into_iter().take(SERIES_MAX) {
                    let value = i64::try_from(sample.value).unwrap_or(i64::MAX);
                    keep.execute(params![minute, sample.series, value])?;
                }
                db.prepare_cached("DELETE FROM sample WHERE minute < ?1 OR minute > ?2")?
                    .execute([minute - KEPT_MINUTES, minute])?;
                Ok(())
            })
            .await
    }
}

impl StateReader {
    /// What was measured at or after a moment.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn samples(&self, since: Timestamp) -> Result<Samples, StoreError> {
        let mut found = Samples::new();
        let Some(db) = self.newest()? else {
            return Ok(found);
        };
        if !is_there(db)? {
            return Ok(found);
        }
        let mut query = db.prepare_cached(
            "SELECT minute, series, value FROM sample WHERE minute >= ?1 ORDER BY minute",
        )?;
        let mut rows = query.query([minute_of(since)])?;
        while let Some(row) = rows.next()? {
            let minute: i64 = row.get(0)?;
            let value: i64 = row.get(2)?;
            let at = Timestamp::from_second(minute.saturating_mul(60));
            let point = (at.unwrap_or(Timestamp::UNIX_EPOCH), value.unsigned_abs());
            found.entry(row.get(1)?).or_default().push(point);
        }
        Ok(found)
    }
}

/// A file of an older version has no such table until the agent has opened it.
fn is_there(db: &Connection) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'sample')")?
        .query_row([], |row| row.get(0))?)
}

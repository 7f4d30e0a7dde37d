//! Keeping what comparisons came to.

use rusqlite::{Connection, params};

use super::run::{
    ReconcileClass, ReconcileCount, ReconcileDifference, ReconcileRun, ReconcileSum, ReconcileWith,
};
use crate::error::StoreError;
use crate::{Store, counter, millis};

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

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
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
                for (place, sum) in (0_i64..).zip(&made.sums) {
                    added_up(db, run, place, sum)?;
                }
                forget(db, &made.with, run)
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
    let (side, name) = made.with.words();
    db.prepare_cached(
        "INSERT INTO reconcile_run (run, event_type, side, name, began_at, took_ms, scheduled,
           sample, seed, looked_at, agree, missing, extra, different, lagging, unknown, untold,
           notes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?
    .execute(params![
        run,
        count.event_type,
        side,
        name,
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
        whole(count.unknown),
        whole(count.untold),
        serde_json::json!(count.notes).to_string()
    ])?;
    Ok(())
}

fn added_up(db: &Connection, run: i64, place: i64, sum: &ReconcileSum) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO reconcile_sum (run, place, table_name, what, ours, theirs, class)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        run,
        place,
        sum.table,
        sum.what,
        sum.ours,
        sum.theirs,
        sum.class.map(ReconcileClass::name)
    ])?;
    Ok(())
}

/// Old comparisons go, and what a crash left of one that did not end.
fn forget(db: &Connection, with: &ReconcileWith, run: i64) -> Result<(), StoreError> {
    let (side, name) = with.words();
    for (table, kept) in [
        ("difference", DIFFERENCES_KEPT),
        ("sum", DIFFERENCES_KEPT),
        ("run", RUNS_KEPT),
    ] {
        db.execute(
            &format!(
                "DELETE FROM reconcile_{table} WHERE run IN
                   (SELECT DISTINCT run FROM reconcile_run WHERE side = ?1 AND name = ?2
                    ORDER BY run DESC LIMIT -1 OFFSET ?3)"
            ),
            params![side, name, kept],
        )?;
    }
    db.execute(
        "DELETE FROM reconcile_difference WHERE run < ?1
           AND run NOT IN (SELECT run FROM reconcile_run)",
        [run - UNFINISHED],
    )?;
    Ok(())
}

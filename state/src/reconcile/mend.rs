//! Keys that a comparison found differing are told again.

use contract::EventType;
use rusqlite::{Connection, params};

use crate::command::Step;
use crate::delivery::Desk;
use crate::error::StoreError;
use crate::from_millis;
use crate::replay::{Candidate, Ready, ready};
use crate::status::StateReader;
use crate::{held_steps, replay_steps};

/// Keys told in one step.
const STEP: i64 = 500;

/// Differing keys of a comparison behind a place, in order.
fn differing(db: &Connection, run: i64, after: i64) -> Result<Vec<Candidate>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT p.id, p.source, p.event_type, p.key, p.offset, p.occurred_at
         FROM reconcile_difference d JOIN published p ON p.id = d.lane
         WHERE d.run = ?1 AND d.lane > ?2 AND d.class IN ('missing', 'extra', 'different')
         ORDER BY d.lane LIMIT ?3",
    )?;
    let mut rows = query.query(params![run, after, STEP])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(2)?;
        let Ok(event_type) = name.parse::<EventType>() else {
            continue;
        };
        let place: i64 = row.get(0)?;
        all.push(Candidate {
            place,
            source: row.get(1)?,
            event_type,
            key: row.get(3)?,
            lane: place,
            offset: row.get(4)?,
            occurred_at: row.get::<_, Option<i64>>(5)?.map(from_millis),
        });
    }
    Ok(all)
}

/// One step: what is on its way anyway is left alone.
pub(crate) fn step(
    desk: &Desk<'_>,
    run: i64,
    tenant: &str,
    progress: i64,
) -> Result<Step, StoreError> {
    let all = differing(desk.db, run, progress)?;
    let mut done = 0;
    for one in &all {
        match ready(desk.db, desk.destination, false, one, i64::MAX)? {
            Ready::OnItsWay => continue,
            Ready::Held(offset) => held_steps::again(desk, offset, "sent again by a repair")?,
            Ready::Free => replay_steps::tell_state(desk, one, tenant)?,
        }
        done += 1;
    }
    Ok(Step {
        next: all.last().map(|last| last.place),
        done,
    })
}

impl StateReader {
    /// How many keys of a comparison would be told again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reconcile_repairable(&self, run: i64) -> Result<u64, StoreError> {
        let Some(db) = super::reading(self)? else {
            return Ok(0);
        };
        let count: i64 = db.query_row(
            "SELECT count(*) FROM reconcile_difference d JOIN published p ON p.id = d.lane
             WHERE d.run = ?1 AND d.class IN ('missing', 'extra', 'different')",
            [run],
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
    }
}

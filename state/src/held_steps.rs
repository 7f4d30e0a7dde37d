//! What a person does about held items, in steps: sends them again, or gives them up.

use contract::delivery::DeliveryEvent;
use rusqlite::{Connection, params};

use crate::command::Step;
use crate::delivery::Desk;
use crate::error::StoreError;
use crate::held::{CHANGES, DELIVERIES, HeldEntry, HeldFilter, change, delivery};

/// Deliveries retried or given up in one step.
const STEP: i64 = 500;

/// Held deliveries of a destination behind an offset that fit, and where to go on.
fn some(
    desk: &Desk<'_>,
    which: &HeldFilter,
    after: i64,
    upto: i64,
) -> Result<(Vec<i64>, Option<i64>), StoreError> {
    let mut query = desk.db.prepare_cached(&format!(
        "{DELIVERIES} AND d.offset > ?2 AND d.offset <= ?3 ORDER BY d.offset LIMIT ?4"
    ))?;
    let rows = query.query_map(params![desk.destination, after, upto, STEP], |row| {
        Ok((row.get::<_, i64>(1)?, delivery(row)?))
    })?;
    let mut offsets = Vec::new();
    let (mut seen, mut last) = (0, after);
    for row in rows {
        let (offset, entry) = row?;
        (seen, last) = (seen + 1, offset);
        if which.takes(&entry) {
            offsets.push(offset);
        }
    }
    Ok((offsets, (seen == STEP).then_some(last)))
}

/// Sends held deliveries again; guards let them pass.
pub(crate) fn retry(
    desk: &Desk<'_>,
    which: &HeldFilter,
    by: &str,
    after: i64,
    upto: i64,
) -> Result<Step, StoreError> {
    let (offsets, next) = some(desk, which, after, upto)?;
    for offset in &offsets {
        again(desk, *offset, &format!("sent again by {by}"))?;
    }
    Ok(Step {
        next,
        done: offsets.len() as u64,
    })
}

/// One held delivery leaves again.
pub(crate) fn again(desk: &Desk<'_>, offset: i64, cause: &str) -> Result<(), StoreError> {
    desk.own(
        offset,
        &DeliveryEvent::Replayed,
        Some("operator"),
        Some(cause),
    )?;
    desk.db
        .prepare_cached(
            "UPDATE delivery SET approved = 1,
               needs = CASE WHEN EXISTS (SELECT 1 FROM delivery e INDEXED BY delivery_lane
                 WHERE e.destination = ?1 AND e.lane = delivery.needs AND e.state IN
                   ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held'))
                 THEN needs END
             WHERE destination = ?1 AND offset = ?2",
        )?
        .execute([desk.destination, offset])?;
    Ok(())
}

/// Gives held deliveries up.
pub(crate) fn drop_deliveries(
    desk: &Desk<'_>,
    which: &HeldFilter,
    by: &str,
    why: &str,
    after: i64,
    upto: i64,
) -> Result<Step, StoreError> {
    let (offsets, next) = some(desk, which, after, upto)?;
    let cause = format!("dropped by {by}: {why}");
    for offset in &offsets {
        desk.own(
            *offset,
            &DeliveryEvent::Discard,
            Some("operator"),
            Some(&cause),
        )?;
    }
    Ok(Step {
        next,
        done: offsets.len() as u64,
    })
}

/// Gives changes up that a mapping held. How many those were.
pub(crate) fn drop_changes(db: &Connection, which: &HeldFilter) -> Result<u64, StoreError> {
    let mut query = db.prepare_cached(CHANGES)?;
    let entries: Vec<HeldEntry> = query.query_map([], change)?.collect::<Result<_, _>>()?;
    let mut dropped = 0;
    for entry in entries.iter().filter(|entry| which.takes(entry)) {
        dropped += db
            .prepare_cached("DELETE FROM held WHERE id = ?1")?
            .execute([entry.id.parse::<i64>().unwrap_or(-1)])?;
    }
    Ok(dropped as u64)
}

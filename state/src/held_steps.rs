//! What a person does about held items, in steps: sends them again, or gives them up.

use contract::delivery::DeliveryEvent;
use rusqlite::{Connection, OptionalExtension, params};

use crate::command::Step;
use crate::delivery::{Desk, needs};
use crate::enqueue;
use crate::error::StoreError;
use crate::held::{CHANGES, DELIVERIES, HeldFilter, change, delivery};

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
        approve(desk, *offset)?;
    }
    Ok(Step {
        next,
        done: offsets.len() as u64,
    })
}

/// Lets held deliveries leave again, `approved` past the guards, else as far as none stops them.
pub(crate) fn look_again(
    desk: &Desk<'_>,
    which: &HeldFilter,
    by: &str,
    approved: bool,
    (after, upto): (i64, i64),
) -> Result<Step, StoreError> {
    let (offsets, next) = some(desk, which, after, upto)?;
    for offset in &offsets {
        again(desk, *offset, &format!("looked at again for {by}"))?;
        if approved {
            approve(desk, *offset)?;
        }
    }
    Ok(Step {
        next,
        done: offsets.len() as u64,
    })
}

/// One held delivery leaves again, where no guard stops it.
pub(crate) fn again(desk: &Desk<'_>, offset: i64, cause: &str) -> Result<(), StoreError> {
    desk.own(
        offset,
        &DeliveryEvent::Replayed,
        Some("operator"),
        Some(cause),
    )?;
    needs::wait_for(desk, offset, needs::still_needed(desk, offset)?)
}

/// A person lets a delivery pass the guards. A zero is told for the tombstone behind it: who lets the
/// one pass means both.
fn approve(desk: &Desk<'_>, offset: i64) -> Result<(), StoreError> {
    let (db, destination) = (desk.db, desk.destination);
    enqueue::approve(db, destination, offset)?;
    let zero: Option<i64> = db
        .prepare_cached(
            "SELECT d.lane FROM delivery d JOIN outbox o ON o.offset = d.offset
             WHERE d.destination = ?1 AND d.offset = ?2 AND d.tombstone = 1 AND o.op = 'upsert'",
        )?
        .query_row([destination, offset], |row| row.get(0))
        .optional()?;
    let Some(lane) = zero else {
        return Ok(());
    };
    db.prepare_cached(
        "UPDATE delivery SET approved = 1 WHERE destination = ?1 AND tombstone = 1 AND offset =
           (SELECT min(offset) FROM delivery INDEXED BY delivery_lane
            WHERE destination = ?1 AND lane = ?3 AND offset > ?2 AND state IN
              ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held'))",
    )?
    .execute([destination, offset, lane])?;
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

/// Gives changes up that a mapping held.
pub(crate) fn drop_changes(
    db: &Connection,
    which: &HeldFilter,
    after: i64,
    upto: i64,
) -> Result<Step, StoreError> {
    let mut query = db.prepare_cached(&format!(
        "{CHANGES} WHERE h.id > ?1 AND h.id <= ?2 ORDER BY h.id LIMIT ?3"
    ))?;
    let rows = query.query_map([after, upto, STEP], |row| {
        Ok((row.get::<_, i64>(0)?, change(row)?))
    })?;
    let mut ids = Vec::new();
    let (mut seen, mut last) = (0, after);
    for row in rows {
        let (id, entry) = row?;
        (seen, last) = (seen + 1, id);
        if which.takes(&entry) {
            ids.push(id);
        }
    }
    let mut delete = db.prepare_cached("DELETE FROM held WHERE id = ?1")?;
    for id in &ids {
        delete.execute([id])?;
    }
    Ok(Step {
        next: (seen == STEP).then_some(last),
        done: ids.len() as u64,
    })
}

//! What a person does about held items, in steps: sends them again, or gives them up.

use contract::delivery::DeliveryEvent;
use rusqlite::{Connection, OptionalExtension};

use crate::command::Step;
use crate::delivery::{Desk, needs};
use crate::error::StoreError;
use crate::held::HeldFilter;
use crate::held_pages;
use crate::queue;

/// Deliveries retried or given up in one step.
const STEP: usize = 500;

/// Held deliveries of a destination behind an offset that fit, and where to go on.
fn some(
    desk: &Desk<'_>,
    which: &HeldFilter,
    after: i64,
    upto: i64,
) -> Result<(Vec<i64>, Option<i64>), StoreError> {
    if !which.ids.is_empty() {
        return named(desk, which, after, upto);
    }
    let span = (after, upto);
    let items = held_pages::deliveries(desk.db, desk.destination, which, span, STEP)?;
    let next = (items.len() == STEP).then(|| items.last().map_or(after, |(offset, _)| *offset));
    let fit = items.into_iter().filter(|(_, entry)| which.takes(entry));
    Ok((fit.map(|(offset, _)| offset).collect(), next))
}

/// The same of those that are named: however many are held, these alone are looked at.
fn named(
    desk: &Desk<'_>,
    which: &HeldFilter,
    after: i64,
    upto: i64,
) -> Result<(Vec<i64>, Option<i64>), StoreError> {
    let mut all = Vec::new();
    for id in &which.ids {
        match held_pages::place(desk.db, id)? {
            Some((of, offset)) if of == desk.destination && offset > after && offset <= upto => {
                all.push(offset);
            }
            _ => {}
        }
    }
    all.sort_unstable();
    all.dedup();
    let more = all.len() > STEP;
    all.truncate(STEP);
    let next = all.last().copied().filter(|_| more);
    let mut offsets = Vec::new();
    for offset in all {
        let entry = held_pages::one(desk.db, desk.destination, offset)?;
        if entry.is_some_and(|entry| which.takes(&entry)) {
            offsets.push(offset);
        }
    }
    Ok((offsets, next))
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
    queue::approve(db, destination, offset)?;
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
            WHERE destination = ?1 AND lane = ?3 AND offset > ?2 AND open = 1)",
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
    let items = held_pages::changes(db, after, upto, STEP)?;
    let next = (items.len() == STEP).then(|| items.last().map_or(after, |(id, _)| *id));
    let fit = items.into_iter().filter(|(_, entry)| which.takes(entry));
    let ids: Vec<i64> = fit.map(|(id, _)| id).collect();
    let mut delete = db.prepare_cached("DELETE FROM held WHERE id = ?1")?;
    for id in &ids {
        delete.execute([id])?;
    }
    Ok(Step {
        next,
        done: ids.len() as u64,
    })
}

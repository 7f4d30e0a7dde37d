//! Deliveries that wait: for a time, for an answer, or for another delivery.

use contract::delivery::{DeliveryEvent, StateName};
use contract::{EventKey, EventType, Outgoing, Resend, Taken, clock};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::Ask;
use super::record::Desk;
use super::row::taken;
use crate::error::StoreError;
use crate::{from_millis, kind, millis};

/// Unknown deliveries resolved, and waits ended, per turn at most.
const RESOLVE_MAX: i64 = 256;

/// Deliveries in a state, those that are due longest first; `until` = due by then.
pub(super) fn offsets_in(
    desk: &Desk<'_>,
    state: StateName,
    limit: i64,
    until: Option<Timestamp>,
) -> Result<Vec<i64>, StoreError> {
    let mut query = desk.db.prepare_cached(
        "SELECT offset FROM delivery INDEXED BY delivery_waiting
         WHERE destination = ?1 AND state = ?2
           AND (state = 'sending' OR state = 'unknown' OR state = 'accepted' OR state = 'backoff'
             OR state = 'held')
           AND (?3 IS NULL OR due_at <= ?3) ORDER BY due_at LIMIT ?4",
    )?;
    let rows = query.query_map(
        params![desk.destination, state.name(), until.map(millis), limit],
        |row| row.get(0),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those that were put off by a clock that was ahead of now are due as long after now as they were after that: a retry
/// in a minute that was written down when the clock was a day ahead is not due in a day.
pub(super) fn set_back(desk: &Desk<'_>) -> Result<(), StoreError> {
    for state in ["sending", "unknown", "accepted", "backoff"] {
        desk.db
            .prepare_cached(
                "UPDATE delivery INDEXED BY delivery_waiting
                 SET due_at = due_at - (updated_at - ?3), until_at = until_at - (updated_at - ?3),
                   updated_at = ?3
                 WHERE destination = ?1 AND state = ?2 AND updated_at > ?3
                   AND (state = 'sending' OR state = 'unknown' OR state = 'accepted' OR state = 'backoff'
                     OR state = 'held')",
            )?
            .execute(params![desk.destination, state, millis(desk.now)])?;
    }
    Ok(())
}

/// Requests may be out until then, whatever their deadlines say: those were written down by another clock.
pub(super) fn out_until(desk: &Desk<'_>, until: Timestamp) -> Result<(), StoreError> {
    for state in ["sending", "unknown"] {
        desk.db
            .prepare_cached(
                "UPDATE delivery INDEXED BY delivery_waiting SET due_at = ?3
                 WHERE destination = ?1 AND state = ?2 AND due_at < ?3
                   AND (state = 'sending' OR state = 'unknown' OR state = 'accepted' OR state = 'backoff'
                     OR state = 'held')",
            )?
            .execute(params![desk.destination, state, millis(until)])?;
    }
    Ok(())
}

/// Decides about unknown deliveries whose deadline has passed; those that are to be read first.
pub(super) fn resolve_unknown(
    desk: &Desk<'_>,
    resend: Resend,
    ask: Option<Ask>,
) -> Result<Vec<Outgoing>, StoreError> {
    let event = match resend {
        Resend::Safe => DeliveryEvent::Resend { due: desk.now },
        Resend::Unsafe => DeliveryEvent::CannotTell,
        Resend::Verify => {
            let Some(ask) = ask else {
                return Ok(Vec::new());
            };
            let asked = leased(desk, StateName::Unknown, ask)?.into_iter();
            return Ok(asked.map(|taken| taken.outgoing).collect());
        }
    };
    for offset in offsets_in(desk, StateName::Unknown, RESOLVE_MAX, Some(desk.now))? {
        desk.own(offset, &event, None, None)?;
    }
    Ok(Vec::new())
}

/// Accepted deliveries that are to be asked about now.
pub(super) fn follow_up(desk: &Desk<'_>, ask: Option<Ask>) -> Result<Vec<Taken>, StoreError> {
    ask.map_or(Ok(Vec::new()), |ask| leased(desk, StateName::Accepted, ask))
}

/// Due ones of a state, each put off until whoever asks about it is surely done: a restart between
/// costs that time and nothing else.
fn leased(desk: &Desk<'_>, state: StateName, ask: Ask) -> Result<Vec<Taken>, StoreError> {
    let limit = i64::try_from(ask.events_max).unwrap_or(i64::MAX);
    let until = clock::after(desk.now, ask.lease);
    let mut all = Vec::new();
    for offset in offsets_in(desk, state, limit, Some(desk.now))? {
        if let Some(one) = taken(desk.db, desk.destination, offset)? {
            lease(desk.db, desk.destination, offset, until)?;
            all.push(one);
        }
    }
    Ok(all)
}

/// Puts off the question about a delivery.
pub(super) fn lease(
    db: &Connection,
    destination: i64,
    offset: i64,
    until: Timestamp,
) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE delivery SET due_at = ?3 WHERE destination = ?1 AND offset = ?2")?
        .execute(params![destination, offset, millis(until)])?;
    Ok(())
}

/// Holds what waits in vain: what it needs has been held, or has been failing, for longer than the
/// limit. What is on its way without a failure is waited for however long that takes: a backlog, a
/// pause and an outage are no reason to hold anything.
pub(super) fn end_waits(desk: &Desk<'_>) -> Result<(), StoreError> {
    let mut left = RESOLVE_MAX;
    for lane in desk.in_vain.take() {
        left -= hold_those_that_need(desk, lane, left)?;
    }
    let held: Vec<(i64, i64, i64)> = desk
        .db
        .prepare_cached(
            "SELECT offset, lane, coalesce(failing_since, updated_at)
             FROM delivery INDEXED BY delivery_waiting
             WHERE destination = ?1 AND state = 'held' AND due_at <= ?2
               AND (state = 'sending' OR state = 'unknown' OR state = 'accepted' OR state = 'backoff'
                 OR state = 'held')
             ORDER BY due_at LIMIT ?3",
        )?
        .query_map(
            params![desk.destination, millis(desk.now), RESOLVE_MAX],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?
        .collect::<Result<_, _>>()?;
    for (offset, lane, since) in held {
        let due = if since <= desk.too_long() {
            left -= hold_those_that_need(desk, lane, left)?;
            if left == 0 {
                break;
            }
            None
        } else {
            Some(since.saturating_add(desk.wait_millis()))
        };
        desk.db
            .prepare_cached(
                "UPDATE delivery SET due_at = ?3 WHERE destination = ?1 AND offset = ?2",
            )?
            .execute(params![desk.destination, offset, due])?;
    }
    Ok(())
}

/// Holds what waits for a lane, so many at most; how many those were.
fn hold_those_that_need(desk: &Desk<'_>, lane: i64, most: i64) -> Result<i64, StoreError> {
    let waiting: Vec<i64> = desk
        .db
        .prepare_cached(
            "SELECT offset FROM delivery INDEXED BY delivery_needs
             WHERE destination = ?1 AND needs = ?2 AND state = 'queued' AND needs IS NOT NULL
             ORDER BY offset LIMIT ?3",
        )?
        .query_map([desk.destination, lane, most], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let why = waits_for(desk, lane)?;
    for offset in &waiting {
        desk.own(
            *offset,
            &DeliveryEvent::Orphaned,
            Some("dependency"),
            Some(&why),
        )?;
    }
    Ok(i64::try_from(waiting.len()).unwrap_or(most))
}

/// What a delivery waits for, in words.
fn waits_for(desk: &Desk<'_>, lane: i64) -> Result<String, StoreError> {
    let found: Option<(String, String, String, Option<String>)> = desk
        .db
        .prepare_cached(
            "SELECT p.event_type, p.key, d.state, d.cause
             FROM delivery d INDEXED BY delivery_lane JOIN published p ON p.id = d.lane
             WHERE d.destination = ?1 AND d.lane = ?2 AND d.open = 1
             ORDER BY d.offset LIMIT 1",
        )?
        .query_row(params![desk.destination, lane], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((event_type, key, state, cause)) = found else {
        return Ok("what it is about was not delivered in time".to_owned());
    };
    let known: Option<EventType> = event_type.parse().ok();
    let what = known.map_or("predecessor", kind::word);
    let name = known
        .and_then(|event_type| EventKey::parse(event_type.schema(), &key))
        .and_then(|key| Some(key.fields().last()?.1.clone()))
        .unwrap_or(key);
    let stands = match state.as_str() {
        "held" => "is held",
        "backoff" => "fails again and again",
        _ => "was not delivered in time",
    };
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    Ok(format!("its {what} {name} {stands}{cause}"))
}

/// When something of a destination that waits is due next.
pub(super) fn next_due(desk: &Desk<'_>) -> Result<Option<Timestamp>, StoreError> {
    let due: Option<i64> = desk
        .db
        .prepare_cached(
            "SELECT min(due) FROM (
               SELECT min(due_at) AS due FROM delivery INDEXED BY delivery_waiting
                 WHERE destination = ?1 AND state = 'backoff'
               UNION ALL
               SELECT min(due_at) FROM delivery INDEXED BY delivery_waiting
                 WHERE destination = ?1 AND state = 'unknown'
               UNION ALL
               SELECT min(due_at) FROM delivery INDEXED BY delivery_waiting
                 WHERE destination = ?1 AND state = 'accepted'
               UNION ALL
               SELECT min(due_at) FROM delivery INDEXED BY delivery_waiting
                 WHERE destination = ?1 AND state = 'held')",
        )?
        .query_row([desk.destination], |row| row.get(0))?;
    Ok(due.map(from_millis))
}

//! What waits for another delivery, or was held for one, when that is done.

use contract::delivery::DeliveryEvent;
use contract::{Body, EventKey, EventType};
use rusqlite::{OptionalExtension, params};

use super::record::Desk;
use crate::error::StoreError;
use crate::{enqueue, kind};

/// What waits for a lane waits no longer: it is `there` and does not end soon, or nothing of it is
/// to come any more. What was held for it leaves when it is there; what a person dropped does not.
pub(super) fn release(desk: &Desk<'_>, lane: i64, there: bool) -> Result<(), StoreError> {
    let (db, destination) = (desk.db, desk.destination);
    let goes_on: bool = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_lane
               WHERE destination = ?1 AND lane = ?2 AND open = 1
                 AND (tombstone = 1 OR NOT ?3))",
        )?
        .query_row(params![destination, lane, there], |row| row.get(0))?;
    if goes_on {
        return Ok(());
    }
    // Of one order there may be several shipments, and a shipment may be of several orders.
    let several: Vec<i64> = db
        .prepare_cached(
            "SELECT offset FROM delivery INDEXED BY delivery_needs
             WHERE destination = ?1 AND needs = ?2 AND state = 'queued' AND needs IS NOT NULL
               AND kind IN (?3, ?4)",
        )?
        .query_map(
            params![
                destination,
                lane,
                kind::code(EventType::Shipment),
                kind::code(EventType::Return)
            ],
            |row| row.get(0),
        )?
        .collect::<Result<_, _>>()?;
    for offset in several {
        wait_for(desk, offset, still_needed(desk, offset)?)?;
    }
    db.prepare_cached(
        "UPDATE delivery INDEXED BY delivery_needs SET needs = NULL
         WHERE destination = ?1 AND needs = ?2 AND state = 'queued' AND needs IS NOT NULL",
    )?
    .execute([destination, lane])?;
    if !there {
        return Ok(());
    }
    let held: Vec<i64> = db
        .prepare_cached(
            "SELECT offset FROM delivery INDEXED BY delivery_needs_held
             WHERE destination = ?1 AND needs = ?2 AND state = 'held' AND needs IS NOT NULL
               AND held_cause = 'dependency'",
        )?
        .query_map([destination, lane], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for offset in held {
        let why = "what it was held for was delivered";
        desk.own(
            offset,
            &DeliveryEvent::Replayed,
            Some("released"),
            Some(why),
        )?;
        wait_for(desk, offset, still_needed(desk, offset)?)?;
    }
    Ok(())
}

/// The lane that an event still has to wait for: one that is on its way and that the destination was
/// not told of yet. What is there, and only changes or is told again, is there all the same.
pub(crate) fn still_needed(desk: &Desk<'_>, offset: i64) -> Result<Option<i64>, StoreError> {
    let Some((source, needed)) = needed(desk, offset)? else {
        return Ok(None);
    };
    let (db, destination) = (desk.db, desk.destination);
    for (event_type, key) in needed {
        let lane = enqueue::unfinished(db, destination, source, event_type, &key)?;
        let Some(lane) = lane else {
            continue;
        };
        let there: bool = db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM told_to
                   WHERE destination = ?1 AND kind = ?2 AND lane = ?3)
                 AND NOT EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_lane
                   WHERE destination = ?1 AND lane = ?3 AND tombstone = 1 AND open = 1)",
            )?
            .query_row(params![destination, kind::code(event_type), lane], |row| {
                row.get(0)
            })?;
        if !there {
            enqueue::look_again(db, destination, lane)?;
            return Ok(Some(lane));
        }
    }
    Ok(None)
}

/// Makes a delivery wait for a lane, or for none.
pub(crate) fn wait_for(desk: &Desk<'_>, offset: i64, lane: Option<i64>) -> Result<(), StoreError> {
    desk.db
        .prepare_cached("UPDATE delivery SET needs = ?3 WHERE destination = ?1 AND offset = ?2")?
        .execute(params![desk.destination, offset, lane])?;
    Ok(())
}

/// The lane that an event hangs on, whatever stands there: when it is delivered again, the event
/// may be taken.
pub(super) fn lane_of(desk: &Desk<'_>, offset: i64) -> Result<Option<i64>, StoreError> {
    let Some((source, needed)) = needed(desk, offset)? else {
        return Ok(None);
    };
    let mut lane = None;
    for (event_type, key) in needed {
        let unfinished = enqueue::unfinished(desk.db, desk.destination, source, event_type, &key)?;
        if unfinished.is_some() {
            return Ok(unfinished);
        }
        if lane.is_none() {
            lane = desk
                .db
                .prepare_cached(
                    "SELECT id FROM published WHERE source = ?1 AND event_type = ?2 AND key = ?3",
                )?
                .query_row(params![source, event_type.name(), key], |row| row.get(0))
                .optional()?;
        }
    }
    Ok(lane)
}

/// What an event needs, and the source that tells it.
type Needed = (i64, Vec<(EventType, String)>);

fn needed(desk: &Desk<'_>, offset: i64) -> Result<Option<Needed>, StoreError> {
    let found: Option<(i64, String, String, String)> = desk
        .db
        .prepare_cached("SELECT source, event_type, key, json FROM outbox WHERE offset = ?1")?
        .query_row([offset], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((source, name, key, json)) = found else {
        return Ok(None);
    };
    let broken = || StoreError::Invariant("a stored event does not parse".to_owned());
    let event_type: EventType = name.parse().map_err(|()| broken())?;
    let schema = event_type.schema();
    let json: serde_json::Value = serde_json::from_str(&json).map_err(|_| broken())?;
    let body = json.get("body").filter(|body| !body.is_null());
    let body = body
        .map(|body| Body::from_json(schema, body))
        .transpose()
        .map_err(|_| broken())?;
    let key = EventKey::parse(schema, &key).ok_or_else(broken)?;
    Ok(Some((source, kind::needs(event_type, &key, body.as_ref()))))
}

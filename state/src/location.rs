//! A location that a person stopped at a destination: a flood, a stock-take.
//!
//! Frozen, nothing is told of its stock: what would leave is held, in its lane, until the location is
//! released. At zero, nothing to sell is told of all of it, and of whatever changes there meanwhile;
//! released, what there really is is told again. A telling that the source knows nothing of gets the
//! next version of its key, so that receivers that compare versions take it.

use std::path::Path;

use contract::body::availability;
use contract::{Event, EventKey, EventOp, EventType};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::command::{Command, Step};
use crate::delivery::Desk;
use crate::error::StoreError;
use crate::held::HeldFilter;
use crate::status::StateReader;
use crate::{folder, from_millis, held_steps, millis, replay_steps};

/// How a location is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Nothing is told of its stock.
    Freeze,
    /// Nothing to sell is told of its stock.
    Zero,
}

impl Stop {
    fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Zero => "zero",
        }
    }

    fn parse(name: &str) -> Self {
        // Whatever else it may be called some day, less is told.
        if name == "zero" {
            Self::Zero
        } else {
            Self::Freeze
        }
    }
}

/// A location that is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationStop {
    /// The location, as events name it.
    pub location: String,
    /// How.
    pub stop: Stop,
    /// It is released by itself then; `None` = when a person does.
    pub until: Option<Timestamp>,
    /// Since when.
    pub since: Timestamp,
    /// Who asked.
    pub by: String,
    /// Why, in that person's words.
    pub why: String,
}

/// Published keys looked at in one step.
const STEP: i64 = 500;

const TYPE: EventType = EventType::InventoryAvailability;

/// The location of a key of this type; `None` where the type has none that can be stopped.
pub(crate) fn of_key(event_type: EventType, key: &EventKey) -> Option<&str> {
    if event_type != TYPE {
        return None;
    }
    let mut fields = key.fields().iter();
    fields
        .find(|(name, _)| *name == "location")
        .map(|(_, location)| location.as_str())
}

/// The locations that are stopped at a destination.
pub(crate) fn stops(db: &Connection, destination: i64) -> Result<Vec<LocationStop>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT location, stop, until_at, since_at, asked_by, why FROM location_stop
         WHERE destination = ?1 ORDER BY location",
    )?;
    let rows = query.query_map([destination], stop_in)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How a key's location is stopped, if it is.
pub(crate) fn stop_of<'s>(
    stops: &'s [LocationStop],
    event_type: EventType,
    key: &EventKey,
) -> Option<&'s LocationStop> {
    if stops.is_empty() {
        return None;
    }
    let location = of_key(event_type, key)?;
    stops.iter().find(|stop| stop.location == location)
}

/// The event with nothing to sell; `None` where it has nothing to sell anyway, or is no stock.
pub(crate) fn unsellable(event: &Event) -> Option<Event> {
    if event.envelope.event_type != TYPE || event.envelope.op != EventOp::Upsert {
        return None;
    }
    let body = event.body.as_ref()?;
    let zero = availability::unsellable(body)?;
    Some(Event::new(event.envelope.clone(), Some(zero)))
}

/// Why a frozen location's stock may not leave.
pub(crate) fn frozen(stops: &[LocationStop], key: &str) -> Option<String> {
    let key = EventKey::parse(TYPE.schema(), key)?;
    let stop = stop_of(stops, TYPE, &key).filter(|stop| stop.stop == Stop::Freeze)?;
    let until = stop
        .until
        .map_or_else(String::new, |until| format!(" until {until}"));
    Some(format!(
        "location {} is frozen{until} by {}: {}; lighterman location release {} lets it go on",
        stop.location, stop.by, stop.why, stop.location
    ))
}

/// A step of stopping a location. One that is told as nothing to sell stays so: it must be released before
/// anything else may be said of it.
pub(crate) fn stop(
    desk: &Desk<'_>,
    stop: &LocationStop,
    tenant: &str,
    progress: i64,
    upto: i64,
) -> Result<Step, StoreError> {
    if progress != 0 {
        return go_on(desk, &stop.location, &stop.by, tenant, progress, upto, true);
    }
    desk.db
        .prepare_cached(
            "INSERT INTO location_stop
               (destination, location, stop, until_at, since_at, asked_by, why, tenant)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT DO UPDATE SET
               stop = CASE location_stop.stop WHEN 'zero' THEN 'zero' ELSE excluded.stop END,
               until_at = excluded.until_at, since_at = excluded.since_at,
               asked_by = excluded.asked_by, why = excluded.why, tenant = excluded.tenant",
        )?
        .execute(params![
            desk.destination,
            stop.location,
            stop.stop.name(),
            stop.until.map(millis),
            millis(desk.now),
            stop.by,
            stop.why,
            tenant
        ])?;
    desk.stops_changed();
    Ok(Step {
        next: (stop.stop == Stop::Zero).then_some(1),
        done: 0,
    })
}

/// A step of releasing a location.
pub(crate) fn release(
    desk: &Desk<'_>,
    location: &str,
    by: &str,
    tenant: &str,
    progress: i64,
    upto: i64,
) -> Result<Step, StoreError> {
    if progress != 0 {
        return go_on(desk, location, by, tenant, progress, upto, false);
    }
    let stop: Option<String> = desk
        .db
        .prepare_cached(
            "DELETE FROM location_stop WHERE destination = ?1 AND location = ?2 RETURNING stop",
        )?
        .query_row(params![desk.destination, location], |row| row.get(0))
        .optional()?;
    desk.stops_changed();
    let next = stop.map(|stop| match Stop::parse(&stop) {
        Stop::Zero => 1,
        Stop::Freeze => -1,
    });
    Ok(Step { next, done: 0 })
}

/// Above zero, stock is told behind a place in `published`; then, below it, what a freeze held behind an
/// offset is looked at again.
fn go_on(
    desk: &Desk<'_>,
    location: &str,
    by: &str,
    tenant: &str,
    progress: i64,
    upto: i64,
    zero: bool,
) -> Result<Step, StoreError> {
    if progress > 0 {
        let step = tell(desk, location, tenant, progress - 1, zero)?;
        let next = step.next.map_or(-1, |place| place + 1);
        return Ok(Step {
            next: Some(next),
            ..step
        });
    }
    let which = HeldFilter {
        cause: Some("guard".to_owned()),
        event_type: Some(TYPE.name().to_owned()),
        key: Some(location.to_owned()),
        ..HeldFilter::default()
    };
    // What is held there as the last of a key is nothing to sell, too.
    let place = (-progress - 1, upto);
    let step = held_steps::look_again(desk, &which, by, zero, place)?;
    let next = step.next.map(|place| -place - 1);
    Ok(Step { next, ..step })
}

/// Tells the stock of a location behind a place in `published`: as nothing to sell, or as it is. What has
/// nothing to sell anyway was and is told like that.
fn tell(
    desk: &Desk<'_>,
    location: &str,
    tenant: &str,
    after: i64,
    zero: bool,
) -> Result<Step, StoreError> {
    let types = &desk.rules.event_types;
    if !types.is_empty() && !types.contains(&TYPE) {
        return Ok(Step {
            next: None,
            done: 0,
        });
    }
    let mut query = desk.db.prepare_cached(
        "SELECT id, key FROM published
         WHERE id > ?1 AND event_type = ?2 AND body IS NOT NULL ORDER BY id LIMIT ?3",
    )?;
    let rows = query.query_map(params![after, TYPE.name(), STEP], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let (mut seen, mut last, mut done) = (0, after, 0);
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        let (place, key) = row;
        (seen, last) = (seen + 1, place);
        let parsed = EventKey::parse(TYPE.schema(), &key);
        if parsed.as_ref().and_then(|key| of_key(TYPE, key)) != Some(location) {
            continue;
        }
        done += u64::from(replay_steps::tell_next(desk, place, tenant, zero)?);
    }
    Ok(Step {
        next: (seen == STEP).then_some(last),
        done,
    })
}

/// A stop by its destination's name, and our customer.
type Stopped = (String, LocationStop, String);

/// The locations that are stopped in a state file, as far as it can be read.
pub(crate) fn stopped_in(file: &Path) -> Vec<Stopped> {
    let read = || -> Result<Vec<Stopped>, StoreError> {
        let db = folder::read_only(file)?;
        let mut query = db.prepare(
            "SELECT l.location, l.stop, l.until_at, l.since_at, l.asked_by, l.why, l.tenant, n.name
             FROM location_stop l JOIN destination n ON n.id = l.destination",
        )?;
        let rows = query.query_map([], |row| Ok((row.get(7)?, stop_in(row)?, row.get(6)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    if file.exists() {
        read().unwrap_or_default()
    } else {
        Vec::new()
    }
}

/// The locations that are stopped in a state file, in words.
pub(crate) fn stopped_names(file: &Path) -> Vec<String> {
    let stops = stopped_in(file).into_iter();
    stops
        .map(|(destination, stop, _)| format!("{} at {destination}", stop.location))
        .collect()
}

/// Stops these too, where nothing is said of them.
pub(crate) fn stop_as_well(db: &Connection, stops: &[Stopped]) -> Result<(), StoreError> {
    for (destination, stop, tenant) in stops {
        db.execute(
            "INSERT OR IGNORE INTO location_stop
               (destination, location, stop, until_at, since_at, asked_by, why, tenant)
             SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM destination WHERE name = ?1",
            params![
                destination,
                stop.location,
                stop.stop.name(),
                stop.until.map(millis),
                millis(stop.since),
                stop.by,
                stop.why,
                tenant
            ],
        )?;
    }
    Ok(())
}

fn stop_in(row: &Row<'_>) -> rusqlite::Result<LocationStop> {
    Ok(LocationStop {
        location: row.get(0)?,
        stop: Stop::parse(&row.get::<_, String>(1)?),
        until: row.get::<_, Option<i64>>(2)?.map(from_millis),
        since: from_millis(row.get(3)?),
        by: row.get(4)?,
        why: row.get(5)?,
    })
}

/// Asks for the release of what is stopped until now.
pub(crate) fn expire(desk: &Desk<'_>) -> Result<(), StoreError> {
    let mut query = desk.db.prepare_cached(
        "UPDATE location_stop SET until_at = NULL WHERE destination = ?1 AND until_at <= ?2
         RETURNING location, tenant",
    )?;
    let rows = query.query_map(params![desk.destination, millis(desk.now)], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        let (location, tenant) = row;
        let command = Command::Release {
            location,
            by: "agent".to_owned(),
            tenant,
        };
        crate::command::insert_own(desk, &command)?;
    }
    Ok(())
}

impl StateReader {
    /// The locations that are stopped, by destination.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn location_stops(&self) -> Result<Vec<(String, LocationStop)>, StoreError> {
        let Some(db) = self.of_format(7)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached("SELECT id, name FROM destination ORDER BY name")?;
        let rows = query.query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?;
        let mut all = Vec::new();
        for row in rows {
            let (id, name) = row?;
            let found = stops(db, id)?;
            all.extend(found.into_iter().map(|stop| (name.clone(), stop)));
        }
        Ok(all)
    }

    /// The locations that stock was ever told of, in order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn locations(&self) -> Result<Vec<String>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT key FROM published WHERE event_type = ?1 AND body IS NOT NULL",
        )?;
        let mut rows = query.query([TYPE.name()])?;
        let mut all = std::collections::BTreeSet::new();
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            let key = EventKey::parse(TYPE.schema(), &key);
            if let Some(location) = key.as_ref().and_then(|key| of_key(TYPE, key))
                && !all.contains(location)
            {
                all.insert(location.to_owned());
            }
        }
        Ok(all.into_iter().collect())
    }
}

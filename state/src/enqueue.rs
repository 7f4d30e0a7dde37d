//! An event into the outbox, and a delivery of it for each destination that takes its type: how
//! soon it is to leave, what it must wait for, and what of its lane gives way to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use contract::event::digest;
use contract::{Decimal, Event, EventKind, EventOp, EventType, Origin};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::capture::Route;
use crate::error::StoreError;
use crate::location::{self, LocationStop, Stop};
use crate::{counter, kind, millis};

/// Tombstones, and less to sell: the channel must not sell what is not there.
const FIRST: i64 = 0;
/// More to sell.
const MORE: i64 = 1;
/// Everything else.
const REST: i64 = 2;
/// Added for what only repeats how things are: snapshots and replays stay behind what changes now.
const REPEATS: i64 = 10;

/// All priorities.
pub(crate) const PRIORITIES: [i64; 6] = [
    FIRST,
    MORE,
    REST,
    REPEATS + FIRST,
    REPEATS + MORE,
    REPEATS + REST,
];

/// Whether a delivery of this priority only repeats how things are.
pub(crate) fn repeats(priority: i64) -> bool {
    priority >= REPEATS
}

/// Puts events of one commit into the outbox.
pub(crate) struct Enqueue<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) source: i64,
    pub(crate) routes: &'a [Route],
    pub(crate) now: Timestamp,
    /// Types of which the source ever told anything: what was never told cannot be waited for.
    told: RefCell<BTreeMap<EventType, bool>>,
    /// Locations that are stopped at each destination that was asked about.
    stops: RefCell<BTreeMap<i64, Vec<LocationStop>>>,
}

/// What an event is to a destination.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) offset: i64,
    pub(crate) lane: i64,
    pub(crate) kind: i64,
    /// Newer events do not supersede it.
    pub(crate) stays: bool,
    pub(crate) tombstone: bool,
    pub(crate) measure: Option<Decimal>,
    /// It repeats what was told.
    pub(crate) repeats: bool,
    pub(crate) needs: Option<i64>,
}

impl<'a> Enqueue<'a> {
    pub(crate) fn new(
        db: &'a Connection,
        source: i64,
        routes: &'a [Route],
        now: Timestamp,
    ) -> Self {
        Self {
            db,
            source,
            routes,
            now,
            told: RefCell::default(),
            stops: RefCell::default(),
        }
    }

    /// Stores the event. Its place in the outbox.
    pub(crate) fn outbox(&self, event: &Event, key: &str) -> Result<i64, StoreError> {
        self.outbox_for(event, key, None)
    }

    /// As [`Self::outbox`], of an event that stands for another one at one destination.
    fn outbox_for(
        &self,
        event: &Event,
        key: &str,
        copy_of: Option<i64>,
    ) -> Result<i64, StoreError> {
        let envelope = &event.envelope;
        let event_type = envelope.event_type;
        let json = event.json();
        self.db
            .prepare_cached(
                "INSERT INTO outbox (source, event_id, event_type, key, op, idempotency_key, tenant,
                   occurred_at, created_at, digest, json, copy_of)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                self.source,
                event.id.as_str(),
                event_type.name(),
                key,
                envelope.op.name(),
                event.idempotency_key(),
                &*envelope.tenant,
                millis(envelope.occurred_at),
                millis(self.now),
                digest(&[&json]),
                json,
                copy_of
            ])?;
        let offset = self.db.last_insert_rowid();
        tracing::debug!(
            code = "event.stored",
            source = &*envelope.source,
            stage = "commit",
            event_id = event.id.as_str(),
            event_type = event_type.name(),
            op = envelope.op.name(),
            origin = envelope.origin.name(),
            rule = envelope.mapping.rule,
            position = %envelope.version,
            offset,
            "an event goes into the outbox"
        );
        Ok(offset)
    }

    /// A delivery for each destination that takes the event.
    pub(crate) fn deliveries(
        &self,
        event: &Event,
        offset: i64,
        lane: i64,
        stays: bool,
    ) -> Result<(), StoreError> {
        let envelope = &event.envelope;
        let event_type = envelope.event_type;
        let mut delivery = Delivery {
            offset,
            lane,
            kind: kind::code(event_type),
            stays,
            tombstone: envelope.op == EventOp::Delete,
            measure: kind::measure(event_type, event.body.as_ref()),
            repeats: envelope.origin == Origin::Snapshot,
            needs: None,
        };
        if event.kind() == EventKind::State {
            self.told.borrow_mut().insert(event_type, true);
        }
        let mut needed = None;
        for route in self.routes.iter().filter(|route| route.takes(event_type)) {
            let needed = needed
                .get_or_insert_with(|| kind::needs(event_type, &envelope.key, event.body.as_ref()));
            delivery.needs = self.first_unfinished(route, needed)?;
            if let Some(lane) = delivery.needs {
                look_again(self.db, route.destination, lane)?;
            }
            if let Some(zero) = self.zeroed(route.destination, event)? {
                let key = envelope.key.text();
                let zeroed = Delivery {
                    offset: self.outbox_for(&zero, &key, Some(offset))?,
                    measure: kind::measure(event_type, zero.body.as_ref()),
                    ..delivery.clone()
                };
                deliver(self.db, route.destination, &zeroed, self.now)?;
                approve(self.db, route.destination, zeroed.offset)?;
                continue;
            }
            deliver(self.db, route.destination, &delivery, self.now)?;
        }
        Ok(())
    }

    /// The event as a destination is to be told it whose location is told as nothing to sell there.
    fn zeroed(&self, destination: i64, event: &Event) -> Result<Option<Event>, StoreError> {
        let envelope = &event.envelope;
        if envelope.event_type != EventType::InventoryAvailability {
            return Ok(None);
        }
        let mut known = self.stops.borrow_mut();
        let stops = match known.entry(destination) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => place.insert(location::stops(self.db, destination)?),
        };
        let stop = location::stop_of(stops, envelope.event_type, &envelope.key);
        Ok(stop
            .filter(|stop| stop.stop == Stop::Zero)
            .and_then(|_| location::unsellable(event)))
    }

    /// The lane of the first of these that the destination is still to get.
    fn first_unfinished(
        &self,
        route: &Route,
        needed: &[(EventType, String)],
    ) -> Result<Option<i64>, StoreError> {
        for (event_type, key) in needed {
            if !route.takes(*event_type) || !self.ever_told(*event_type)? {
                continue;
            }
            let lane = unfinished(self.db, route.destination, self.source, *event_type, key)?;
            if lane.is_some() {
                return Ok(lane);
            }
        }
        Ok(None)
    }

    fn ever_told(&self, event_type: EventType) -> Result<bool, StoreError> {
        if let Some(told) = self.told.borrow().get(&event_type) {
            return Ok(*told);
        }
        let told = self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM published WHERE source = ?1 AND event_type = ?2)",
            )?
            .query_row(params![self.source, event_type.name()], |row| row.get(0))?;
        self.told.borrow_mut().insert(event_type, told);
        Ok(told)
    }
}

/// The lane of a key if a delivery of it is unfinished.
pub(crate) fn unfinished(
    db: &Connection,
    destination: i64,
    source: i64,
    event_type: EventType,
    key: &str,
) -> Result<Option<i64>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT p.id FROM published p WHERE p.source = ?2 AND p.event_type = ?3 AND p.key = ?4
               AND EXISTS (SELECT 1 FROM delivery d INDEXED BY delivery_lane
                 WHERE d.destination = ?1 AND d.lane = p.id
                   AND (d.state = 'queued' OR d.state = 'sending' OR d.state = 'unknown' OR d.state = 'accepted'
                     OR d.state = 'backoff' OR d.state = 'held'))",
        )?
        .query_row(
            params![destination, source, event_type.name(), key],
            |row| row.get(0),
        )
        .optional()?)
}

/// Something new waits for a lane: where that is held, it must be looked at whether it waits in vain.
pub(crate) fn look_again(db: &Connection, destination: i64, lane: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE delivery INDEXED BY delivery_lane SET due_at = 0
         WHERE destination = ?1 AND lane = ?2 AND state = 'held'",
    )?
    .execute([destination, lane])?;
    Ok(())
}

/// One delivery; what of its lane has not left gives way to it.
pub(crate) fn deliver(
    db: &Connection,
    destination: i64,
    delivery: &Delivery,
    now: Timestamp,
) -> Result<(), StoreError> {
    let state = kind::kind(delivery.kind) == EventKind::State;
    let failing_since = if state {
        supersede(db, destination, delivery.lane, now)?
    } else {
        None
    };
    let (priority, empties) = match &delivery.measure {
        // The end of what is not there takes nothing away.
        _ if delivery.tombstone => (FIRST, has(db, destination, delivery)?),
        Some(measure) if delivery.kind == kind::code(EventType::InventoryAvailability) => rank(
            *measure,
            told(db, destination, delivery.kind, delivery.lane)?,
        ),
        _ => (REST, false),
    };
    let priority = priority + if delivery.repeats { REPEATS } else { 0 };
    db.prepare_cached(
        "INSERT INTO delivery (destination, offset, lane, state, tombstone, updated_at, created_at,
           priority, kind, measure, dropping, needs, failing_since)
         VALUES (?1, ?2, ?3, 'queued', ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        destination,
        delivery.offset,
        delivery.lane,
        delivery.stays,
        millis(now),
        priority,
        delivery.kind,
        delivery.measure.map(|measure| measure.to_string()),
        empties && state,
        delivery.needs,
        failing_since
    ])?;
    Ok(())
}

/// `delivery::next` on Newer: only what surely did not happen gives way, and a tombstone never
/// does. Since when what gives way has been failing, or held.
fn supersede(
    db: &Connection,
    destination: i64,
    lane: i64,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let mut since: Option<i64> = None;
    let mut superseded = 0;
    let mut statement = db.prepare_cached(
        "UPDATE delivery INDEXED BY delivery_lane
         SET state = 'superseded', updated_at = ?3
         WHERE destination = ?1 AND lane = ?2 AND tombstone = 0
           AND (state = 'queued' OR state = 'sending' OR state = 'unknown' OR state = 'accepted'
             OR state = 'backoff' OR state = 'held')
           AND (state = 'queued' OR state = 'backoff' OR state = 'held')
         RETURNING failing_since",
    )?;
    let mut rows = statement.query(params![destination, lane, millis(now)])?;
    while let Some(row) = rows.next()? {
        superseded += 1;
        since = [since, row.get(0)?].into_iter().flatten().min();
    }
    if superseded > 0 {
        let scope = crate::delivery::scope(db, destination)?;
        counter::add(db, &scope, "superseded", superseded)?;
    }
    Ok(since)
}

/// No guard stops it: a person asked for it.
pub(crate) fn approve(db: &Connection, destination: i64, offset: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE delivery SET approved = 1 WHERE destination = ?1 AND offset = ?2")?
        .execute([destination, offset])?;
    Ok(())
}

/// What the destination was told last of a key's measure.
pub(crate) fn told(
    db: &Connection,
    destination: i64,
    kind: i64,
    lane: i64,
) -> Result<Option<Decimal>, StoreError> {
    let found: Option<Option<String>> = db
        .prepare_cached(
            "SELECT measure FROM told_to WHERE destination = ?1 AND kind = ?2 AND lane = ?3",
        )?
        .query_row(params![destination, kind, lane], |row| row.get(0))
        .optional()?;
    Ok(found.flatten().and_then(|text| text.parse().ok()))
}

/// Whether the destination was told of a key, or may be about to be.
fn has(db: &Connection, destination: i64, delivery: &Delivery) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM told_to
               WHERE destination = ?1 AND kind = ?2 AND lane = ?3)
             OR EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_lane
               WHERE destination = ?1 AND lane = ?3 AND tombstone = 0
                 AND (state = 'queued' OR state = 'sending' OR state = 'unknown' OR state = 'accepted'
                   OR state = 'backoff' OR state = 'held')
                 AND (state = 'sending' OR state = 'unknown' OR state = 'accepted'))",
        )?
        .query_row(params![destination, delivery.kind, delivery.lane], |row| {
            row.get(0)
        })?)
}

/// How soon a quantity is to leave, and whether it takes away the last of what was there. Where
/// nothing was told, the channel may hold anything: nothing to sell goes first.
fn rank(measure: Decimal, told: Option<Decimal>) -> (i64, bool) {
    let nothing = measure <= Decimal::ZERO;
    match told {
        None => (if nothing { FIRST } else { MORE }, false),
        Some(told) if measure < told => (FIRST, nothing && told > Decimal::ZERO),
        Some(told) if measure > told => (MORE, false),
        Some(_) => (REST, false),
    }
}

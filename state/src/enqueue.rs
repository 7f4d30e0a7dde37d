//! An event into the outbox, and a delivery of it for each destination that takes its type: what it must
//! wait for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use contract::event::digest;
use contract::{Event, EventKind, EventOp, EventType, Origin};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::capture::Route;
use crate::error::StoreError;
use crate::kept::Kept;
use crate::keys::Keys;
use crate::location::{self, LocationStop, Stop};
use crate::queue::{self, Delivery, Queue};
use crate::{counter, kind, millis};

const INSERT_EVENT: &str = "INSERT INTO outbox (source, event_id, event_type, key, op,
    idempotency_key, tenant, occurred_at, created_at, digest, json, copy_of)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

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
    /// Generations of the rules that tell: none of them changes while events go into the outbox.
    generations: RefCell<BTreeMap<String, i64>>,
    /// Deliveries that gave way, by destination.
    superseded: RefCell<BTreeMap<i64, u64>>,
    insert_event: Kept<'a>,
    queue: Queue<'a>,
    /// What was told of a key.
    pub(crate) keys: Keys<'a>,
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
            generations: RefCell::default(),
            superseded: RefCell::default(),
            insert_event: Kept::new(db, INSERT_EVENT),
            queue: Queue::new(db),
            keys: Keys::new(db),
        }
    }

    /// Writes the totals.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        for (destination, count) in self.superseded.into_inner() {
            if count > 0 {
                let scope = crate::delivery::scope(self.db, destination)?;
                counter::add(self.db, &scope, "superseded", count)?;
            }
        }
        Ok(())
    }

    /// A rule's generation.
    pub(crate) fn generation(&self, rule: &str) -> Result<i64, StoreError> {
        if let Some(known) = self.generations.borrow().get(rule) {
            return Ok(*known);
        }
        let found = self
            .db
            .prepare_cached("SELECT generation FROM rule WHERE source = ?1 AND name = ?2")?
            .query_row(params![self.source, rule], |row| row.get(0))
            .optional()?;
        let generation = found.unwrap_or_default();
        let mut known = self.generations.borrow_mut();
        known.insert(rule.to_owned(), generation);
        Ok(generation)
    }

    /// As [`Queue::deliver`], and what gives way is counted.
    fn deliver(&self, destination: i64, delivery: &Delivery) -> Result<(), StoreError> {
        let gone = self.queue.deliver(destination, delivery, self.now)?;
        *self.superseded.borrow_mut().entry(destination).or_default() += gone;
        Ok(())
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
        let key_of_it = event.idempotency_key();
        let written = digest(&[&json]);
        self.insert_event.run(|insert| {
            insert.execute(params![
                self.source,
                event.id.as_str(),
                event_type.name(),
                key,
                envelope.op.name(),
                key_of_it,
                &*envelope.tenant,
                millis(envelope.occurred_at),
                millis(self.now),
                written,
                json,
                copy_of
            ])
        })?;
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
                self.deliver(route.destination, &zeroed)?;
                queue::approve(self.db, route.destination, zeroed.offset)?;
                continue;
            }
            self.deliver(route.destination, &delivery)?;
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
                 WHERE d.destination = ?1 AND d.lane = p.id AND d.open = 1)",
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
         WHERE destination = ?1 AND lane = ?2 AND open = 1 AND state = 'held'",
    )?
    .execute([destination, lane])?;
    Ok(())
}

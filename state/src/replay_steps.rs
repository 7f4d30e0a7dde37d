//! The steps of a replay: each event that is told again gets a place of its own in the outbox.

use std::sync::Arc;

use contract::event::digest;
use contract::{Body, Envelope, Event, EventKey, EventOp, EventType, MappingRef, Origin, Outgoing};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::command::Step;
use crate::delivery::Desk;
use crate::enqueue;
use crate::error::StoreError;
use crate::location::{self, LocationStop, Stop};
use crate::queue::{self, Delivery};
use crate::replay::{Candidate, Ready, ReplayFilter, candidates, ready};
use crate::{held_steps, kind, millis};

/// One step of a replay. States come first, under their places; then facts, under places below zero.
pub(crate) fn step(
    desk: &Desk<'_>,
    which: &ReplayFilter,
    tenant: &str,
    progress: i64,
    upto: i64,
) -> Result<Step, StoreError> {
    let facts = progress < 0;
    let after = if facts { -progress - 1 } else { progress };
    let types = &desk.rules.event_types;
    // One second's worth: the next step waits for as long as this one's take.
    let most = which
        .per_second
        .map_or(usize::MAX, |rate| rate.max(1) as usize);
    let (all, next) = candidates(desk.db, facts, which, types, after, upto, most)?;
    let mut done = 0;
    for one in &all {
        match ready(desk.db, desk.destination, facts, one, upto)? {
            Ready::OnItsWay => continue,
            Ready::Held(offset) => held_steps::again(desk, offset, "sent again by a replay")?,
            Ready::Free if facts => tell_fact(desk, one)?,
            Ready::Free => tell_state(desk, one, tenant)?,
        }
        done += 1;
    }
    let next = match (facts, next) {
        (false, Some(place)) => Some(place),
        (false, None) => Some(-1),
        (true, Some(place)) => Some(-place - 1),
        (true, None) => None,
    };
    Ok(Step { next, done })
}

/// An event as it is to be told again.
struct Again {
    event_id: String,
    op: String,
    idempotency_key: String,
    tenant: String,
    occurred_at: i64,
    json: String,
    body: Option<Body>,
}

pub(crate) fn tell_state(desk: &Desk<'_>, one: &Candidate, tenant: &str) -> Result<(), StoreError> {
    if told_as_nothing(&desk.location_stops()?, one) && tell_next(desk, one.place, tenant, true)? {
        return Ok(());
    }
    let again = match stored(desk.db, one)? {
        Some(again) => again,
        None => made_anew(desk.db, one, tenant, desk.now)?,
    };
    let offset = insert(desk, one, &again)?;
    // Known only now: the place makes the key one of its own.
    let plain = again.idempotency_key.split("/r").next().unwrap_or_default();
    let idempotency_key = format!("{plain}/r{offset}");
    let json = with_idempotency_key(&again.json, &idempotency_key)?;
    desk.db
        .prepare_cached(
            "UPDATE outbox SET idempotency_key = ?2, json = ?3, digest = ?4 WHERE offset = ?1",
        )?
        .execute(params![offset, idempotency_key, json, digest(&[&json])])?;
    desk.db
        .prepare_cached("UPDATE published SET offset = ?2 WHERE id = ?1")?
        .execute([one.place, offset])?;
    let key = EventKey::parse(one.event_type.schema(), &one.key);
    let needed = key.map(|key| kind::needs(one.event_type, &key, again.body.as_ref()));
    let mut needs = None;
    for (event_type, key) in needed.unwrap_or_default() {
        let types = &desk.rules.event_types;
        if needs.is_none() && (types.is_empty() || types.contains(&event_type)) {
            needs = enqueue::unfinished(desk.db, desk.destination, one.source, event_type, &key)?;
        }
    }
    if let Some(lane) = needs {
        enqueue::look_again(desk.db, desk.destination, lane)?;
    }
    let tombstone = again.op == EventOp::Delete.name();
    let delivery = Delivery {
        offset,
        lane: one.lane,
        kind: kind::code(one.event_type),
        stays: tombstone,
        tombstone,
        measure: kind::measure(one.event_type, again.body.as_ref()),
        repeats: true,
        needs,
    };
    desk.deliver(&delivery)
}

fn tell_fact(desk: &Desk<'_>, one: &Candidate) -> Result<(), StoreError> {
    let Some(again) = stored(desk.db, one)? else {
        return Ok(());
    };
    let delivery = Delivery {
        offset: insert(desk, one, &again)?,
        lane: one.lane,
        kind: kind::FACT,
        stays: false,
        tombstone: false,
        measure: None,
        repeats: true,
        needs: None,
    };
    desk.deliver(&delivery)
}

fn insert(desk: &Desk<'_>, one: &Candidate, again: &Again) -> Result<i64, StoreError> {
    desk.db
        .prepare_cached(
            "INSERT INTO outbox (source, event_id, event_type, key, op, idempotency_key, tenant,
               occurred_at, created_at, digest, json, copy_of)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            one.source,
            again.event_id,
            one.event_type.name(),
            one.key,
            again.op,
            again.idempotency_key,
            again.tenant,
            again.occurred_at,
            millis(desk.now),
            digest(&[&again.json]),
            again.json,
            one.offset.unwrap_or(0)
        ])?;
    let offset = desk.db.last_insert_rowid();
    tracing::debug!(
        code = "event.told_again",
        event_id = again.event_id,
        event_type = one.event_type.name(),
        op = again.op,
        offset,
        "an event goes into the outbox again"
    );
    Ok(offset)
}

/// The event as it stands in the outbox.
fn stored(db: &Connection, one: &Candidate) -> Result<Option<Again>, StoreError> {
    let Some(offset) = one.offset else {
        return Ok(None);
    };
    let found = db
        .prepare_cached(
            "SELECT event_id, op, idempotency_key, tenant, occurred_at, json FROM outbox
             WHERE offset = ?1",
        )?
        .query_row([offset], |row| {
            Ok(Again {
                event_id: row.get(0)?,
                op: row.get(1)?,
                idempotency_key: row.get(2)?,
                tenant: row.get(3)?,
                occurred_at: row.get(4)?,
                json: row.get(5)?,
                body: None,
            })
        })
        .optional()?;
    let Some(mut again) = found else {
        return Ok(None);
    };
    let json: serde_json::Value = serde_json::from_str(&again.json).map_err(|_| broken())?;
    if let Some(body) = json.get("body") {
        again.body = Some(Body::from_json(one.event_type.schema(), body).map_err(|_| broken())?);
    }
    Ok(Some(again))
}

/// What was told last of a state's key, as it would leave again for a destination; nothing is written.
pub(crate) fn outgoing(
    db: &Connection,
    one: &Candidate,
    tenant: &str,
    source: &str,
    destination: Option<i64>,
    now: Timestamp,
) -> Result<Outgoing, StoreError> {
    let zero = match destination {
        Some(destination) => told_as_nothing(&location::stops(db, destination)?, one),
        None => false,
    };
    let again = match stored(db, one)?.filter(|_| !zero) {
        Some(again) => again,
        None if zero => {
            let (event, _) = published(db, one.place, tenant, one.occurred_at, now)?;
            Again::of(location::unsellable(&event).unwrap_or(event), tenant)
        }
        None => made_anew(db, one, tenant, now)?,
    };
    let op = [EventOp::Upsert, EventOp::Delete]
        .into_iter()
        .find(|op| op.name() == again.op);
    Ok(Outgoing {
        offset: one.offset.unwrap_or_default(),
        id: again.event_id,
        event_type: one.event_type,
        key: one.key.clone(),
        op: op.ok_or_else(broken)?,
        idempotency_key: again.idempotency_key,
        origin: format!("{}/{source}", again.tenant),
        occurred_at: crate::from_millis(again.occurred_at),
        attempt: 1,
        json: again.json.into(),
    })
}

fn broken() -> StoreError {
    StoreError::Invariant("a stored event does not parse".to_owned())
}

/// The event of what was published last: same place in the source's log, same key and body.
fn made_anew(
    db: &Connection,
    one: &Candidate,
    tenant: &str,
    now: Timestamp,
) -> Result<Again, StoreError> {
    let (event, _) = published(db, one.place, tenant, one.occurred_at, now)?;
    Ok(Again::of(event, tenant))
}

/// What was published last, as an event, and its source.
fn published(
    db: &Connection,
    place: i64,
    tenant: &str,
    occurred_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(Event, i64), StoreError> {
    let (version, body, rule, source, event_type, key, id) = db
        .prepare_cached(
            "SELECT p.version, p.body, p.rule, s.name, p.event_type, p.key, s.id FROM published p
             JOIN source s ON s.id = p.source WHERE p.id = ?1",
        )?
        .query_row([place], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, Option<String>>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
                row.get::<_, String>(4)?,
                row.get::<_, String>(5)?,
                row.get::<_, i64>(6)?,
            ))
        })?;
    let event_type: EventType = event_type.parse().map_err(|()| broken())?;
    let schema = event_type.schema();
    let body = match body {
        Some(text) => {
            let json = serde_json::from_str(&text).map_err(|_| broken())?;
            Some(Body::from_json(schema, &json).map_err(|_| broken())?)
        }
        None => None,
    };
    let event = Event::new(
        Envelope {
            tenant: Arc::from(tenant),
            source: Arc::from(source),
            event_type,
            key: EventKey::parse(schema, &key).ok_or_else(broken)?,
            renamed_from: None,
            version: crate::snapshot::parse(&version)?,
            op: if body.is_some() {
                EventOp::Upsert
            } else {
                EventOp::Delete
            },
            origin: Origin::Live,
            occurred_at: occurred_at.unwrap_or(now),
            occurred_at_exact: false,
            read_at: now,
            transaction: 0,
            // What stood there then is gone with the event; only the rule is known.
            mapping: Arc::new(MappingRef {
                pack: String::new(),
                version: String::new(),
                digest: String::new(),
                rule,
            }),
            fact_key: None,
            reason: None,
            warnings: Vec::new(),
        },
        body,
    );
    Ok((event, id))
}

impl Again {
    fn of(event: Event, tenant: &str) -> Self {
        Self {
            event_id: event.id.as_str().to_owned(),
            op: event.envelope.op.name().to_owned(),
            idempotency_key: event.idempotency_key().to_owned(),
            tenant: tenant.to_owned(),
            occurred_at: millis(event.envelope.occurred_at),
            json: event.json(),
            body: event.body,
        }
    }
}

/// Whether a key's location is told as nothing to sell.
fn told_as_nothing(stops: &[LocationStop], one: &Candidate) -> bool {
    EventKey::parse(one.event_type.schema(), &one.key)
        .and_then(|key| Some(location::stop_of(stops, one.event_type, &key)?.stop))
        .is_some_and(|stop| stop == Stop::Zero)
}

/// Tells stock as nothing to sell, or as it is, under the next version of its key: nothing at the source
/// changed, but a receiver must take it. Whether there was something to sell.
pub(crate) fn tell_next(
    desk: &Desk<'_>,
    place: i64,
    tenant: &str,
    zero: bool,
) -> Result<bool, StoreError> {
    let (event, source) = published(desk.db, place, tenant, None, desk.now)?;
    let Some(nothing) = location::unsellable(&event) else {
        return Ok(false);
    };
    let event = if zero { nothing } else { event };
    let event = event.behind(&event.envelope.version);
    let one = Candidate {
        place,
        source,
        event_type: event.envelope.event_type,
        key: event.envelope.key.text(),
        lane: place,
        offset: None,
        occurred_at: None,
    };
    let version = event.envelope.version.to_string();
    let again = Again::of(event, tenant);
    let offset = insert(desk, &one, &again)?;
    // What the source tells next is newer still.
    desk.db
        .prepare_cached("UPDATE published SET version = ?2, offset = ?3 WHERE id = ?1")?
        .execute(params![place, version, (!zero).then_some(offset)])?;
    let delivery = Delivery {
        offset,
        lane: place,
        kind: kind::code(one.event_type),
        stays: false,
        tombstone: false,
        measure: kind::measure(one.event_type, again.body.as_ref()),
        // A person's word is news.
        repeats: false,
        needs: None,
    };
    desk.deliver(&delivery)?;
    if zero {
        queue::approve(desk.db, desk.destination, offset)?;
    }
    Ok(true)
}

fn with_idempotency_key(json: &str, key: &str) -> Result<String, StoreError> {
    let mut value: serde_json::Value = serde_json::from_str(json).map_err(|_| broken())?;
    let member = value.get_mut("idempotency_key").ok_or_else(broken)?;
    *member = serde_json::Value::String(key.to_owned());
    Ok(value.to_string())
}

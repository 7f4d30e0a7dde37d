//! What the deliver loop reads and writes: which deliveries may leave, and what became of them.
//!
//! Statements name their index: without statistics SQLite would take the primary key and walk the
//! whole backlog; a name it cannot use is an error at once.
//!
//! The lane rule lives in one query: only the oldest unfinished delivery of a lane may leave. The
//! states follow `contract::delivery::next`, so a step that machine does not allow is refused.

use bytes::Bytes;
use contract::delivery::{DeliveryEvent, DeliveryState, HeldCause, StateName, next};
use contract::event::digest;
use contract::{Answer, EventOp, EventType, Outgoing, Resend, clock};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::time::Duration;

use crate::error::StoreError;
use crate::{Store, counter, from_millis, millis};

/// What happened to one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// The event's place in the outbox.
    pub offset: i64,
    /// What.
    pub event: DeliveryEvent,
    /// Why, in plain words; no secrets, no row values.
    pub cause: Option<String>,
    /// The API's answer.
    pub answer: Option<Answer>,
}

/// How many events one pick may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PickLimits {
    /// Most events.
    pub events_max: usize,
    /// Most bytes, about; one event may exceed it.
    pub bytes_max: usize,
    /// A request started now is over within this time.
    pub request_timeout: Duration,
}

impl Store {
    /// The destination of that name, made if it is new.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn destination(&self, name: &str) -> Result<i64, StoreError> {
        let name = name.to_owned();
        self.writer
            .run(move |db| {
                db.execute(
                    "INSERT INTO destination (name) VALUES (?1) ON CONFLICT DO NOTHING",
                    [&name],
                )?;
                Ok(db.query_row(
                    "SELECT id FROM destination WHERE name = ?1",
                    [&name],
                    |row| row.get(0),
                )?)
            })
            .await
    }

    /// After a restart: every request that was out is unknown now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn recover(&self, destination: i64, now: Timestamp) -> Result<u64, StoreError> {
        self.writer
            .run(move |db| {
                let offsets = offsets_in(db, destination, StateName::Sending, i64::MAX, now)?;
                for offset in &offsets {
                    let happened = Happened {
                        offset: *offset,
                        event: DeliveryEvent::Lost,
                        cause: Some("the agent stopped while the request was out".to_owned()),
                        answer: None,
                    };
                    record(db, destination, &happened, now)?;
                }
                Ok(offsets.len() as u64)
            })
            .await
    }

    /// Records outcomes, resolves unknown deliveries whose deadline has passed, and picks what may
    /// leave now, marking it as sending: all durable when it returns.
    ///
    /// # Errors
    /// See [`StoreError`]; a step the state machine forbids is [`StoreError::Invariant`].
    pub async fn turn(
        &self,
        destination: i64,
        outcomes: Vec<Happened>,
        resend: Resend,
        pick_limits: Option<PickLimits>,
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, StoreError> {
        self.writer
            .run(move |db| {
                for happened in &outcomes {
                    record(db, destination, happened, now)?;
                }
                resolve_unknown(db, destination, resend, now)?;
                match pick_limits {
                    Some(limits) => pick(db, destination, limits, now),
                    None => Ok(Vec::new()),
                }
            })
            .await
    }

    /// When the next waiting delivery of a destination is due, if any waits.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn next_due(&self, destination: i64) -> Result<Option<Timestamp>, StoreError> {
        self.writer
            .run(move |db| {
                let due: Option<i64> = db
                    .prepare_cached(
                        "SELECT min(due) FROM (
                           SELECT min(due_at) AS due FROM delivery INDEXED BY delivery_waiting
                             WHERE destination = ?1 AND state = 'backoff' AND state IN
                               ('sending', 'unknown', 'accepted', 'backoff', 'held')
                           UNION ALL
                           SELECT min(due_at) FROM delivery INDEXED BY delivery_waiting
                             WHERE destination = ?1 AND state = 'unknown' AND state IN
                               ('sending', 'unknown', 'accepted', 'backoff', 'held'))",
                    )?
                    .query_row([destination], |row| row.get(0))?;
                Ok(due.map(from_millis))
            })
            .await
    }
}

/// The counters' scope of a destination.
pub(crate) fn scope(db: &Connection, destination: i64) -> Result<String, StoreError> {
    Ok(db
        .prepare_cached("SELECT 'destination:' || name FROM destination WHERE id = ?1")?
        .query_row([destination], |row| row.get(0))?)
}

fn offsets_in(
    db: &Connection,
    destination: i64,
    state: StateName,
    limit: i64,
    until: Timestamp,
) -> Result<Vec<i64>, StoreError> {
    let any_time = limit == i64::MAX;
    let mut query = db.prepare_cached(
        "SELECT offset FROM delivery INDEXED BY delivery_waiting
         WHERE destination = ?1 AND state = ?2
           AND state IN ('sending', 'unknown', 'accepted', 'backoff', 'held')
           AND (?5 OR due_at <= ?3) ORDER BY due_at LIMIT ?4",
    )?;
    let rows = query.query_map(
        params![destination, state.name(), millis(until), limit, any_time],
        |row| row.get(0),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Unknown deliveries resolved per turn at most.
const RESOLVE_MAX: i64 = 256;

fn resolve_unknown(
    db: &Connection,
    destination: i64,
    resend: Resend,
    now: Timestamp,
) -> Result<(), StoreError> {
    for offset in offsets_in(db, destination, StateName::Unknown, RESOLVE_MAX, now)? {
        let event = match resend {
            Resend::Safe => DeliveryEvent::Resend { due: now },
            Resend::Unsafe | Resend::Verify => DeliveryEvent::CannotTell,
        };
        record(
            db,
            destination,
            &Happened {
                offset,
                event,
                cause: None,
                answer: None,
            },
            now,
        )?;
    }
    Ok(())
}

fn state_of(row: &Row<'_>) -> rusqlite::Result<Option<DeliveryState>> {
    let name: String = row.get("state")?;
    let due: Option<i64> = row.get("due_at")?;
    let moment = due.map_or(Timestamp::MIN, from_millis);
    let until: Option<i64> = row.get("until_at")?;
    let ticket: Option<String> = row.get("ticket")?;
    let cause: Option<String> = row.get("held_cause")?;
    let Some(name) = StateName::ALL
        .into_iter()
        .find(|state| state.name() == name)
    else {
        return Ok(None);
    };
    Ok(Some(match name {
        StateName::Queued => DeliveryState::Queued,
        StateName::Sending => DeliveryState::Sending { deadline: moment },
        StateName::Unknown => DeliveryState::Unknown { deadline: moment },
        StateName::Accepted => DeliveryState::Accepted {
            ticket: ticket.unwrap_or_default(),
            due: moment,
            until: until.map_or(Timestamp::MAX, from_millis),
        },
        StateName::Backoff => DeliveryState::Backoff { due: moment },
        StateName::Held => {
            let known = HeldCause::ALL
                .into_iter()
                .find(|c| Some(c.name()) == cause.as_deref());
            DeliveryState::Held {
                cause: known.unwrap_or(HeldCause::Ambiguous),
            }
        }
        StateName::Delivered => DeliveryState::Delivered,
        StateName::Superseded => DeliveryState::Superseded,
        StateName::Discarded => DeliveryState::Discarded,
    }))
}

/// Applies one thing that happened to one delivery.
fn record(
    db: &Connection,
    destination: i64,
    happened: &Happened,
    now: Timestamp,
) -> Result<(), StoreError> {
    let found = db
        .prepare_cached(
            "SELECT d.state, d.due_at, d.until_at, d.ticket, d.held_cause, d.lane, d.tombstone, o.event_type
             FROM delivery d JOIN outbox o ON o.offset = d.offset
             WHERE d.destination = ?1 AND d.offset = ?2",
        )?
        .query_row(params![destination, happened.offset], |row| {
            let event_type: String = row.get("event_type")?;
            let lane: i64 = row.get("lane")?;
            let tombstone: bool = row.get("tombstone")?;
            Ok((state_of(row)?, event_type, lane, tombstone))
        })
        .optional()?;
    let Some((Some(state), event_type, lane, tombstone)) = found else {
        return Err(StoreError::Invariant(format!(
            "delivery {} of destination {destination} is not in the outbox",
            happened.offset
        )));
    };
    let event_type: EventType = event_type
        .parse()
        .map_err(|()| StoreError::Invariant("an event type in the outbox is unknown".to_owned()))?;
    let mut after = next(&state, &happened.event, event_type.kind())
        .map_err(|illegal| StoreError::Invariant(illegal.to_string()))?;
    // A newer state may have been queued while this one was out. Now that it surely did not
    // happen, it gives way at once instead of overwriting or blocking the newer one.
    if after.name().supersedable() && !tombstone && newer_waits(db, destination, lane, happened)? {
        after = next(&after, &DeliveryEvent::Newer, event_type.kind())
            .map_err(|illegal| StoreError::Invariant(illegal.to_string()))?;
    }
    let (due, held_cause, ticket) = match &after {
        DeliveryState::Sending { deadline } | DeliveryState::Unknown { deadline } => {
            (Some(millis(*deadline)), None, None)
        }
        DeliveryState::Backoff { due } => (Some(millis(*due)), None, None),
        DeliveryState::Accepted { ticket, due, .. } => {
            (Some(millis(*due)), None, Some(ticket.clone()))
        }
        DeliveryState::Held { cause } => (None, Some(cause.name()), None),
        DeliveryState::Queued
        | DeliveryState::Delivered
        | DeliveryState::Superseded
        | DeliveryState::Discarded => (None, None, None),
    };
    let until = match &after {
        DeliveryState::Accepted { until, .. } => Some(millis(*until)),
        _ => None,
    };
    let picked = matches!(happened.event, DeliveryEvent::Picked { .. });
    let answer = happened.answer.as_ref();
    db.prepare_cached(
        "UPDATE delivery SET state = ?3, due_at = ?4, held_cause = ?5, ticket = ?6,
           cause = CASE WHEN ?12 THEN cause ELSE coalesce(?7, cause) END,
           answer_status = coalesce(?8, answer_status),
           answer_body = coalesce(?9, answer_body), latency_ms = coalesce(?10, latency_ms),
           updated_at = ?11, attempt = attempt + ?12, until_at = ?13
         WHERE destination = ?1 AND offset = ?2",
    )?
    .execute(params![
        destination,
        happened.offset,
        after.name().name(),
        due,
        held_cause,
        ticket,
        happened.cause,
        answer.and_then(|a| a.status),
        answer.map(|a| a.body.as_str()),
        answer.map(|a| i64::try_from(a.latency_ms).unwrap_or(i64::MAX)),
        millis(now),
        picked,
        until
    ])?;
    let counted = match after.name() {
        StateName::Delivered => "delivered",
        StateName::Held => "held",
        StateName::Superseded => "superseded",
        StateName::Backoff => "retried",
        StateName::Queued
        | StateName::Sending
        | StateName::Unknown
        | StateName::Accepted
        | StateName::Discarded => return Ok(()),
    };
    counter::add(db, &scope(db, destination)?, counted, 1)
}

fn newer_waits(
    db: &Connection,
    destination: i64,
    lane: i64,
    happened: &Happened,
) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_lane
               WHERE destination = ?1 AND lane = ?2 AND offset > ?3 AND ?2 >= 0
                 AND state IN ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held'))",
        )?
        .query_row(params![destination, lane, happened.offset], |row| {
            row.get(0)
        })?)
}

/// Picks heads of lanes: due back-offs first, then queued ones in outbox order.
fn pick(
    db: &Connection,
    destination: i64,
    limits: PickLimits,
    now: Timestamp,
) -> Result<Vec<Outgoing>, StoreError> {
    let limit = i64::try_from(limits.events_max).unwrap_or(i64::MAX);
    for offset in offsets_in(db, destination, StateName::Backoff, limit, now)? {
        let due = Happened {
            offset,
            event: DeliveryEvent::Due,
            cause: None,
            answer: None,
        };
        record(db, destination, &due, now)?;
    }
    let mut heads = db.prepare_cached(
        "SELECT d.offset, d.attempt, o.event_id, o.event_type, o.key, o.op, o.idempotency_key,
           o.tenant, o.occurred_at, o.digest, o.json, s.name AS source
         FROM delivery d INDEXED BY delivery_queued
           CROSS JOIN outbox o ON o.offset = d.offset JOIN source s ON s.id = o.source
         WHERE d.destination = ?1 AND d.state = 'queued' AND NOT EXISTS (
           SELECT 1 FROM delivery e INDEXED BY delivery_lane
           WHERE e.destination = d.destination AND e.lane = d.lane AND e.offset < d.offset
             AND e.state IN ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held'))
         ORDER BY d.offset LIMIT ?2",
    )?;
    let mut rows = heads.query(params![destination, limit])?;
    let mut picked = Vec::new();
    let mut bytes = 0_usize;
    while let Some(row) = rows.next()? {
        let outgoing = outgoing(row)?;
        bytes += outgoing.json.len();
        if !picked.is_empty() && bytes > limits.bytes_max {
            break;
        }
        picked.push(outgoing);
    }
    drop(rows);
    let deadline = clock::after(now, limits.request_timeout);
    for outgoing in &picked {
        let event = DeliveryEvent::Picked { deadline };
        let happened = Happened {
            offset: outgoing.offset,
            event,
            cause: None,
            answer: None,
        };
        record(db, destination, &happened, now)?;
    }
    Ok(picked)
}

fn outgoing(row: &Row<'_>) -> Result<Outgoing, StoreError> {
    let json: String = row.get("json")?;
    let written: String = row.get("digest")?;
    if digest(&[&json]) != written {
        return Err(StoreError::Invariant(
            "an outbox event changed on disk".to_owned(),
        ));
    }
    let event_type: String = row.get("event_type")?;
    let op: String = row.get("op")?;
    let unknown = || StoreError::Invariant("an outbox event has an unknown type".to_owned());
    let tenant: String = row.get("tenant")?;
    let source: String = row.get("source")?;
    Ok(Outgoing {
        offset: row.get("offset")?,
        id: row.get("event_id")?,
        event_type: event_type.parse().map_err(|()| unknown())?,
        key: row.get("key")?,
        op: match op.as_str() {
            "upsert" => EventOp::Upsert,
            "delete" => EventOp::Delete,
            "fact" => EventOp::Fact,
            "correction" => EventOp::Correction,
            _ => return Err(unknown()),
        },
        idempotency_key: row.get("idempotency_key")?,
        origin: format!("{tenant}/{source}"),
        occurred_at: from_millis(row.get("occurred_at")?),
        attempt: row.get::<_, u32>("attempt")? + 1,
        json: Bytes::from(json),
    })
}

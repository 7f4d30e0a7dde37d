//! One event into the outbox: whether it is news, its version, and what of its lane it supersedes.

use std::borrow::Cow;

use contract::event::{OUT_OF_SCOPE, SOFT_FLAG, digest};
use contract::{Envelope, Event, EventKey, EventKind, EventOp, EventType, Position};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::capture::{CaptureReport, Published, Route, Truncated};
use crate::error::StoreError;
use crate::fact::Told;
use crate::{counter, millis};

/// Puts an event into the outbox, unless the same or something newer was told.
pub(crate) fn publish(
    db: &Connection,
    source: i64,
    published: &Published,
    routes: &[Route],
    now: Timestamp,
    report: &mut CaptureReport,
) -> Result<(), StoreError> {
    let mut event = Cow::Borrowed(&published.event);
    let key = event.envelope.key.text();
    let lane = match event.kind() {
        EventKind::Fact => {
            match crate::fact::told(db, source, &event)? {
                Told::New => {}
                Told::Same => {
                    report.suppressed += 1;
                    return Ok(());
                }
                Told::Other => event = Cow::Owned(event.corrected()),
            }
            fact_lane(event.envelope.event_type, &key)
        }
        EventKind::State => {
            let known: Option<Known> = db
                .prepare_cached(
                    "SELECT id, version, digest, body, rule FROM published
                     WHERE source = ?1 AND event_type = ?2 AND key = ?3",
                )?
                .query_row(
                    params![source, event.envelope.event_type.name(), key],
                    |row| {
                        Ok(Known {
                            id: row.get(0)?,
                            version: row.get(1)?,
                            digest: row.get(2)?,
                            body: row.get(3)?,
                            rule: row.get(4)?,
                        })
                    },
                )
                .optional()?;
            // The end of a rule's row ends nothing that another rule tells: the row passed from
            // one to the other, or both tell the key.
            let rule = &event.envelope.mapping.rule;
            if event.envelope.op == EventOp::Delete
                && let Some(known) = &known
                && known.rule != *rule
                && crate::rules::is_active(db, source, &known.rule)?
            {
                report.suppressed += 1;
                return Ok(());
            }
            if let Some(known) = &known
                && event.envelope.version.to_string() <= known.version
            {
                // A row that is told again by another mapping may be read at the very place where
                // it was read before, and what the log tells of that place comes behind both.
                if !published.related && !at_place(&event.envelope.version, &known.version)? {
                    report.stale += 1;
                    return Ok(());
                }
                event = Cow::Owned(behind(&event, &known.version)?);
            }
            // Its row is there but says nothing, and nobody was ever told of it.
            if known.is_none() && matches!(event.envelope.reason, Some(OUT_OF_SCOPE | SOFT_FLAG)) {
                report.suppressed += 1;
                return Ok(());
            }
            if published.zero_first
                && event.envelope.op == EventOp::Delete
                && let Some(known) = &known
                && let Some((zero, tombstone)) = zero_first(&event, known)?
            {
                // A zero that a newer event could supersede would never arrive.
                enqueue(db, source, &zero, &key, known.id, true, routes, now)?;
                report.events += 1;
                event = Cow::Owned(tombstone);
            }
            let envelope = &event.envelope;
            let version = envelope.version.to_string();
            if let Some(known) = &known
                && known.digest == event.body_digest
            {
                let id = known.id;
                // What is not sent needs no place of its own behind what was.
                let version = published.event.envelope.version.to_string();
                db.prepare_cached(
                    "UPDATE published SET version = max(version, ?2), rule = ?3,
                       generation = coalesce((SELECT generation FROM rule
                         WHERE source = ?4 AND name = ?3), 0)
                     WHERE id = ?1",
                )?
                .execute(params![id, version, envelope.mapping.rule, source])?;
                report.suppressed += 1;
                return Ok(());
            }
            db.prepare_cached(
                "INSERT INTO published
                   (source, event_type, key, rule, version, digest, body, generation)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, coalesce((SELECT generation FROM rule
                   WHERE source = ?1 AND name = ?4), 0))
                 ON CONFLICT (source, event_type, key) DO UPDATE SET rule = excluded.rule,
                   version = excluded.version, digest = excluded.digest,
                   body = excluded.body, generation = excluded.generation
                 RETURNING id",
            )?
            .query_row(
                params![
                    source,
                    envelope.event_type.name(),
                    key,
                    envelope.mapping.rule,
                    version,
                    event.body_digest,
                    event.body_json()
                ],
                |row| row.get(0),
            )?
        }
    };
    let stays = event.envelope.op == EventOp::Delete;
    enqueue(db, source, &event, &key, lane, stays, routes, now)?;
    report.events += 1;
    Ok(())
}

/// What was last published of a key.
struct Known {
    id: i64,
    version: String,
    digest: String,
    /// `None` = a tombstone.
    body: Option<String>,
    /// The rule that told it.
    rule: String,
}

/// Whether a version is of the same place in the log as one that was told, or of a later one.
fn at_place(version: &Position, told: &str) -> Result<bool, StoreError> {
    let told = crate::snapshot::parse(told)?;
    Ok((version.epoch, &version.pos) >= (told.epoch, &told.pos))
}

/// The event as the next version behind `version`.
fn behind(event: &Event, version: &str) -> Result<Event, StoreError> {
    let known = crate::snapshot::parse(version)?;
    Ok(event.behind(&known))
}

/// The zero that goes before a tombstone, and the tombstone behind it; none where zero, or nothing,
/// is what was told.
fn zero_first(tombstone: &Event, known: &Known) -> Result<Option<(Event, Event)>, StoreError> {
    let Some(body) = &known.body else {
        return Ok(None);
    };
    let broken = || StoreError::Invariant("a published body does not parse".to_owned());
    let json = serde_json::from_str(body).map_err(|_| broken())?;
    let schema = tombstone.envelope.event_type.schema();
    let told = contract::Body::from_json(schema, &json).map_err(|_| broken())?;
    Ok(tombstone.zero_first(&told))
}

#[expect(clippy::too_many_arguments, reason = "one row of the outbox")]
fn enqueue(
    db: &Connection,
    source: i64,
    event: &Event,
    key: &str,
    lane: i64,
    stays: bool,
    routes: &[Route],
    now: Timestamp,
) -> Result<(), StoreError> {
    let envelope = &event.envelope;
    let json = event.json();
    db.prepare_cached(
        "INSERT INTO outbox (source, event_id, event_type, key, op, idempotency_key, tenant,
           occurred_at, created_at, digest, json)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        source,
        event.id.as_str(),
        envelope.event_type.name(),
        key,
        envelope.op.name(),
        event.idempotency_key(),
        &*envelope.tenant,
        millis(envelope.occurred_at),
        millis(now),
        digest(&[&json]),
        json
    ])?;
    let offset = db.last_insert_rowid();
    for route in routes
        .iter()
        .filter(|route| route.takes(envelope.event_type))
    {
        if event.kind() == EventKind::State {
            // `delivery::next` on Newer: only what surely did not happen gives way, and a
            // tombstone never does.
            let superseded = db
                .prepare_cached(
                    "UPDATE delivery INDEXED BY delivery_lane
                     SET state = 'superseded', updated_at = ?3
                     WHERE destination = ?1 AND lane = ?2 AND tombstone = 0
                       AND state IN ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held')
                       AND state IN ('queued', 'backoff', 'held')",
                )?
                .execute(params![route.destination, lane, millis(now)])?;
            if superseded > 0 {
                let scope = crate::delivery::scope(db, route.destination)?;
                counter::add(db, &scope, "superseded", superseded as u64)?;
            }
        }
        db.prepare_cached(
            "INSERT INTO delivery (destination, offset, lane, state, tombstone, updated_at)
             VALUES (?1, ?2, ?3, 'queued', ?4, ?5)",
        )?
        .execute(params![route.destination, offset, lane, stays, millis(now)])?;
    }
    Ok(())
}

/// A fact's lane: negative, so that it never meets a `published.id`. Two facts on one lane by
/// chance only wait for each other.
fn fact_lane(event_type: EventType, key: &str) -> i64 {
    let text = digest(&[event_type.name(), key]);
    let head = u64::from_str_radix(text.get(..15).unwrap_or("0"), 16).unwrap_or(0);
    -1 - i64::try_from(head).unwrap_or(0)
}

/// Keys turned into tombstones per step of a truncate: bounds memory, not the transaction.
const TRUNCATE_STEP: i64 = 500;

/// Turns every published key of an emptied table's rule into a tombstone.
pub(crate) fn truncate(
    db: &Connection,
    source: i64,
    truncated: &Truncated,
    routes: &[Route],
    now: Timestamp,
    report: &mut CaptureReport,
) -> Result<(), StoreError> {
    let event_type = truncated.envelope.event_type;
    let rule = &truncated.envelope.mapping.rule;
    let mut after = 0_i64;
    loop {
        let step: Vec<(i64, String)> = db
            .prepare_cached(
                "SELECT id, key FROM published INDEXED BY published_by_rule
                 WHERE source = ?1 AND rule = ?2 AND body IS NOT NULL AND id > ?3
                   AND event_type = ?4
                 ORDER BY id LIMIT ?5",
            )?
            .query_map(
                params![source, rule, after, event_type.name(), TRUNCATE_STEP],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?
            .collect::<Result<_, _>>()?;
        let Some((last, _)) = step.last() else {
            return Ok(());
        };
        after = *last;
        for (_, key) in &step {
            let key = EventKey::parse(event_type.schema(), key).ok_or_else(|| {
                StoreError::Invariant("a published key does not fit its event type".to_owned())
            })?;
            let envelope = Envelope {
                key,
                ..truncated.envelope.clone()
            };
            let published = Published {
                event: Event::new(envelope, None),
                row_key: String::new(),
                related: false,
                zero_first: truncated.zero_first,
            };
            publish(db, source, &published, routes, now, report)?;
        }
    }
}

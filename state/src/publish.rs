//! Whether an event is news, and its version; what is goes into the outbox.

use std::borrow::Cow;

use contract::event::{OUT_OF_SCOPE, SOFT_FLAG};
use contract::{Envelope, Event, EventKey, EventKind, EventOp, Position};
use rusqlite::params;

use crate::capture::{CaptureReport, Published, Truncated};
use crate::enqueue::Enqueue;
use crate::error::StoreError;
use crate::fact::Told;
use crate::keys::Known;
use crate::kind::fact_lane;

/// Puts an event into the outbox, unless the same or something newer was told.
pub(crate) fn publish(
    desk: &Enqueue<'_>,
    published: &Published,
    report: &mut CaptureReport,
) -> Result<(), StoreError> {
    let (db, source) = (desk.db, desk.source);
    let mut event = Cow::Borrowed(&published.event);
    let key = event.envelope.key.text();
    let (lane, offset) = match event.kind() {
        EventKind::Fact => {
            match crate::fact::told(desk, &event)? {
                Told::New => {}
                Told::Same => {
                    report.suppressed += 1;
                    return Ok(());
                }
                Told::Other => event = Cow::Owned(event.corrected()),
            }
            let lane = fact_lane(event.envelope.event_type, &key);
            (lane, desk.outbox(&event, &key)?)
        }
        EventKind::State => {
            let with_zero = published.zero_first && event.envelope.op == EventOp::Delete;
            let known = desk.keys.known(source, &event, &key, with_zero)?;
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
            if with_zero
                && let Some(known) = &known
                && let Some((zero, tombstone)) = zero_first(&event, known)?
            {
                // A zero that a newer event could supersede would never arrive.
                let offset = desk.outbox(&zero, &key)?;
                desk.deliveries(&zero, offset, known.id, true)?;
                report.events += 1;
                event = Cow::Owned(tombstone);
            }
            let rule = &event.envelope.mapping.rule;
            if let Some(known) = &known
                && known.digest == event.body_digest
            {
                // What is not sent needs no place of its own behind what was.
                let version = published.event.envelope.version.to_string();
                desk.keys
                    .same(known, &version, rule, desk.generation(rule)?)?;
                report.suppressed += 1;
                return Ok(());
            }
            let offset = desk.outbox(&event, &key)?;
            let generation = desk.generation(rule)?;
            let id = match &known {
                Some(known) => desk.keys.anew(&event, known, generation, offset)?,
                None => desk.keys.first(source, &event, &key, generation, offset)?,
            };
            (id, offset)
        }
    };
    let stays = event.envelope.op == EventOp::Delete;
    desk.deliveries(&event, offset, lane, stays)?;
    report.events += 1;
    Ok(())
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

/// Keys turned into tombstones per step of a truncate: bounds memory, not the transaction.
const TRUNCATE_STEP: i64 = 500;

/// Turns every published key of an emptied table's rule into a tombstone.
pub(crate) fn truncate(
    desk: &Enqueue<'_>,
    truncated: &Truncated,
    report: &mut CaptureReport,
) -> Result<(), StoreError> {
    let (db, source) = (desk.db, desk.source);
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
            publish(desk, &published, report)?;
        }
    }
}

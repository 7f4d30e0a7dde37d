//! The story of a key: what the source told, the event it became, each attempt and each answer.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use crate::attempt::{self, Attempt};
use crate::error::StoreError;
use crate::held::{HeldEntry, HeldFilter};
use crate::status::StateReader;
use crate::{from_millis, queue};

/// One event of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceEvent {
    /// Its place in the outbox.
    pub offset: i64,
    /// The event's id.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// Its key.
    pub key: String,
    /// Upsert, delete, fact, correction.
    pub op: String,
    /// The source's name.
    pub source: String,
    /// The place of the change in the source's log.
    pub position: String,
    /// The mapping's rule.
    pub rule: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it came into the outbox.
    pub stored_at: Timestamp,
    /// It repeats an earlier one, as an operator asked.
    pub replayed: bool,
    /// The event as it is sent: JSON.
    pub json: String,
    /// What became of it, by destination.
    pub deliveries: Vec<TraceDelivery>,
}

/// What became of an event at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceDelivery {
    /// The destination's name.
    pub destination: String,
    /// The delivery's state.
    pub state: String,
    /// Since when.
    pub since: Timestamp,
    /// What holds it.
    pub held_cause: Option<String>,
    /// Why, in plain words.
    pub cause: Option<String>,
    /// How often it was sent.
    pub attempt: u32,
    /// When it is due again.
    pub due_at: Option<Timestamp>,
    /// It waits for another delivery.
    pub waits: bool,
    /// The last answer's status.
    pub status: Option<u16>,
    /// The start of the last answer's body.
    pub body: Option<String>,
    /// Time until the last answer.
    pub latency_ms: Option<u64>,
    /// Every attempt that was not simply applied at the first try, oldest first.
    pub attempts: Vec<Attempt>,
}

/// The story of the keys that hold a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The events that stand in the outbox, oldest first.
    pub events: Vec<TraceEvent>,
    /// There are older ones than `limit` let through.
    pub cut: bool,
    /// Changes of such keys that a mapping holds.
    pub held: Vec<HeldEntry>,
}

impl StateReader {
    /// The story of all keys in which a text stands: the newest `limit` events. Events leave the
    /// outbox in time (`retention`).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn trace(&self, key: &str, limit: usize) -> Result<Trace, StoreError> {
        let mut trace = Trace::default();
        let Some(db) = self.newest()? else {
            return Ok(trace);
        };
        let most = i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1;
        let mut query = db.prepare_cached(&format!(
            "{EVENT} WHERE instr(o.key, ?1) > 0 ORDER BY o.offset DESC LIMIT ?2"
        ))?;
        let mut rows = query.query(params![key, most])?;
        while let Some(row) = rows.next()? {
            if trace.events.len() == limit {
                trace.cut = true;
                break;
            }
            trace.events.push(event(db, row)?);
        }
        trace.events.reverse();
        let of_mapping = HeldFilter {
            by: Some("mapping".to_owned()),
            ..HeldFilter::default()
        };
        self.held_each(&of_mapping, |entry| {
            if trace.held.len() < limit && entry.key.contains(key) {
                trace.held.push(entry);
            }
            trace.held.len() < limit
        })?;
        Ok(trace)
    }
}

/// Events of the outbox.
const EVENT: &str =
    "SELECT o.offset, o.event_id, o.event_type, o.key, o.op, s.name, o.json, o.occurred_at,
       o.created_at, o.copy_of
     FROM outbox o JOIN source s ON s.id = o.source";

fn event(db: &Connection, row: &Row<'_>) -> Result<TraceEvent, StoreError> {
    let json: String = row.get(6)?;
    let (position, rule) = provenance(&json);
    let offset = row.get(0)?;
    Ok(TraceEvent {
        offset,
        event_id: row.get(1)?,
        event_type: row.get(2)?,
        key: row.get(3)?,
        op: row.get(4)?,
        source: row.get(5)?,
        position,
        rule,
        occurred_at: from_millis(row.get(7)?),
        stored_at: from_millis(row.get(8)?),
        replayed: row.get::<_, Option<i64>>(9)?.is_some(),
        json,
        deliveries: deliveries(db, offset)?,
    })
}

/// Where a delivery stands, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rests {
    /// The destination's name.
    pub destination: String,
    /// The delivery's state.
    pub state: String,
    /// Since when.
    pub since: Timestamp,
}

impl TraceDelivery {
    /// Nothing more happens to it by itself.
    pub fn is_at_rest(&self) -> bool {
        is_at_rest(&self.state)
    }
}

impl Rests {
    /// Nothing more happens to it by itself.
    pub fn is_at_rest(&self) -> bool {
        is_at_rest(&self.state)
    }
}

fn is_at_rest(state: &str) -> bool {
    ["delivered", "superseded", "discarded", "held"].contains(&state)
}

/// The newest of a destination that wait for other deliveries.
const WAIT_FOR_OTHERS: &str = "SELECT offset FROM delivery INDEXED BY delivery_needs
  WHERE destination = ?1 AND state = 'queued' AND needs IS NOT NULL ORDER BY offset DESC LIMIT ?2";
/// And that are out, or failed. With IN, too: so the index of files before format 8 wants it.
const OUT: &str = "SELECT offset FROM delivery INDEXED BY delivery_waiting
  WHERE destination = ?1
    AND (state = 'sending' OR state = 'unknown' OR state = 'accepted' OR state = 'backoff')
    AND state IN ('sending', 'unknown', 'accepted', 'backoff', 'held')
  ORDER BY offset DESC LIMIT ?2";

impl StateReader {
    /// The offset of the newest event; 0 where there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn newest_offset(&self) -> Result<i64, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(0);
        };
        let mut query = db.prepare_cached("SELECT coalesce(max(offset), 0) FROM outbox")?;
        Ok(query.query_row([], |row| row.get(0))?)
    }

    /// The offsets of events some of whose deliveries are not at rest, the newest `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn unfinished_offsets(&self, limit: usize) -> Result<Vec<i64>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let limit_rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut offsets = BTreeSet::new();
        for destination in crate::held::destinations(db)? {
            // Of the queued ones each priority has its order in the index.
            for priority in queue::PRIORITIES {
                let mut query = db.prepare_cached(
                    "SELECT offset FROM delivery INDEXED BY delivery_queued
                     WHERE destination = ?1 AND state = 'queued' AND needs IS NULL AND priority = ?3
                     ORDER BY offset DESC LIMIT ?2",
                )?;
                let of = params![destination, limit_rows, priority];
                let rows = query.query_map(of, |row| row.get(0))?;
                offsets.extend(rows.collect::<Result<Vec<i64>, _>>()?);
            }
            for sql in [WAIT_FOR_OTHERS, OUT] {
                let mut query = db.prepare_cached(sql)?;
                let rows = query.query_map([destination, limit_rows], |row| row.get(0))?;
                offsets.extend(rows.collect::<Result<Vec<i64>, _>>()?);
            }
        }
        Ok(offsets.into_iter().rev().take(limit).collect())
    }

    /// Offsets behind one, the oldest `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn offsets_behind(&self, offset: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut query = db.prepare_cached(
            "SELECT offset FROM outbox WHERE offset > ?1 ORDER BY offset LIMIT ?2",
        )?;
        let rows = query.query_map([offset, limit], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The offsets of events with a held delivery, the newest `limit` of each destination.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn held_offsets(&self, limit: usize) -> Result<Vec<i64>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let limit_rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut offsets = Vec::new();
        for destination in crate::held::destinations(db)? {
            let mut query = db.prepare_cached(
                "SELECT offset FROM delivery INDEXED BY delivery_held
                 WHERE destination = ?1 AND state = 'held' ORDER BY offset DESC LIMIT ?2",
            )?;
            let rows = query.query_map([destination, limit_rows], |row| row.get(0))?;
            offsets.extend(rows.collect::<Result<Vec<i64>, _>>()?);
        }
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        offsets.dedup();
        offsets.truncate(limit);
        Ok(offsets)
    }

    /// Where the deliveries of an event stand.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn rests(&self, offset: i64) -> Result<Vec<Rests>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT n.name, d.state, d.updated_at FROM destination n CROSS JOIN delivery d
             WHERE d.destination = n.id AND d.offset = ?1",
        )?;
        let rows = query.query_map([offset], |row| {
            Ok(Rests {
                destination: row.get(0)?,
                state: row.get(1)?,
                since: from_millis(row.get(2)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The ids of those events that changes made: neither a first load nor a replay.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn changes_among(&self, offsets: &[i64]) -> Result<Vec<String>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT event_id FROM outbox WHERE offset = ?1 AND copy_of IS NULL
               AND json_extract(json, '$.origin') IS NOT 'snapshot'",
        )?;
        let mut ids = Vec::new();
        for offset in offsets {
            let found: Option<String> = query.query_row([offset], |row| row.get(0)).optional()?;
            ids.extend(found);
        }
        Ok(ids)
    }

    /// The story of one event; nothing where it has left the outbox.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn story(&self, offset: i64) -> Result<Option<TraceEvent>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(None);
        };
        let mut query = db.prepare_cached(&format!("{EVENT} WHERE o.offset = ?1"))?;
        let mut rows = query.query([offset])?;
        match rows.next()? {
            Some(row) => Ok(Some(event(db, row)?)),
            None => Ok(None),
        }
    }
}

fn provenance(json: &str) -> (String, String) {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let version = value.get("version");
    let part = |name: &str| {
        let found = version.and_then(|version| version.get(name));
        found.map_or_else(String::new, |found| match found {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    // As positions are written everywhere else, so that one is found by the other.
    let (epoch, pos, seq) = (part("epoch"), part("pos"), part("seq"));
    let position = format!("{epoch:0>10}/{pos}/{seq:0>10}");
    let rule = value.get("mapping").and_then(|mapping| mapping.get("rule"));
    let rule = rule.and_then(|rule| rule.as_str()).unwrap_or_default();
    (position, rule.to_owned())
}

fn deliveries(db: &Connection, offset: i64) -> Result<Vec<TraceDelivery>, StoreError> {
    let mut found = Vec::new();
    for destination in crate::held::destinations(db)? {
        let mut query = db.prepare_cached(
            "SELECT n.name, d.state, d.updated_at, d.held_cause, d.cause, d.attempt, d.due_at,
               d.needs IS NOT NULL AND d.state = 'queued', d.answer_status, d.answer_body,
               d.latency_ms
             FROM delivery d JOIN destination n ON n.id = d.destination
             WHERE d.destination = ?1 AND d.offset = ?2",
        )?;
        let mut rows = query.query([destination, offset])?;
        while let Some(row) = rows.next()? {
            let state: String = row.get(1)?;
            let held = state == "held";
            found.push(TraceDelivery {
                destination: row.get(0)?,
                since: from_millis(row.get(2)?),
                held_cause: row.get::<_, Option<String>>(3)?.filter(|_| held),
                cause: row.get(4)?,
                attempt: row.get(5)?,
                due_at: row
                    .get::<_, Option<i64>>(6)?
                    .filter(|_| !held)
                    .map(from_millis),
                waits: row.get(7)?,
                status: row.get(8)?,
                body: row.get(9)?,
                latency_ms: row.get::<_, Option<i64>>(10)?.map(i64::unsigned_abs),
                attempts: attempt::of(db, destination, offset)?,
                state,
            });
        }
    }
    Ok(found)
}

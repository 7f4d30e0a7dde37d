//! Telling again what was told.
//!
//! Of a state's key that is what was told last, never anything older: the event as it stands in the
//! outbox, or, where it has left that, made anew of what was published. It gets a place of its own
//! in the outbox and goes through its lane like anything else, with the same id; its idempotency key
//! ends in `/r` and that place, so that it takes effect where the first one did. Of facts it is each
//! that still stands in the outbox, under the id and key it had: told twice, it counts once.

use contract::{EventKey, EventType, Outgoing};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::status::StateReader;
use crate::{from_millis, kind, older};

/// What is told again: all that fits everything given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplayFilter {
    /// Of this key: the whole of it, or one of its parts (a SKU, an order's number).
    pub key: Option<String>,
    /// Happened at or after.
    pub from: Option<Timestamp>,
    /// Happened before.
    pub to: Option<Timestamp>,
    /// Of these event types; empty = any.
    pub types: Vec<String>,
    /// At most so many of them in a second; `None` = as fast as the state file takes them.
    pub per_second: Option<u32>,
}

/// What a replay would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReplayCount {
    /// States that would be told again.
    pub states: u64,
    /// Facts that would be told again.
    pub facts: u64,
    /// What is on its way anyway.
    pub on_their_way: u64,
    /// What is held now and would be sent again.
    pub held: u64,
}

/// Rows looked at in one step.
const STEP: i64 = 500;

/// Something to tell again.
pub(crate) struct Candidate {
    /// The place in `published`, or in the outbox.
    pub(crate) place: i64,
    pub(crate) source: i64,
    pub(crate) event_type: EventType,
    pub(crate) key: String,
    pub(crate) lane: i64,
    /// Where it stands in the outbox, if it still does.
    pub(crate) offset: Option<i64>,
    pub(crate) occurred_at: Option<Timestamp>,
}

/// What may be done with it.
pub(crate) enum Ready {
    Free,
    OnItsWay,
    Held(i64),
}

impl ReplayFilter {
    fn takes(&self, types: &[EventType], one: &Candidate) -> bool {
        let name = one.event_type.name();
        let within = |moment: Option<Timestamp>| match moment {
            Some(at) => self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to),
            None => self.from.is_none() && self.to.is_none(),
        };
        (types.is_empty() || types.contains(&one.event_type))
            && (self.types.is_empty() || self.types.iter().any(|wanted| wanted == name))
            && within(one.occurred_at)
            && self
                .key
                .as_deref()
                .is_none_or(|key| kind::is_meant(name, &one.key, key))
    }

    /// A text that stands in every key that is meant; empty = in any.
    fn part(&self) -> String {
        let escaped = |key: &str| EventKey::new(vec![("", key.to_owned())]).text();
        match self.key.as_deref() {
            // The whole key as one text, or a part of it as it stands in that text.
            Some(key) if key.contains('|') => key.to_owned(),
            Some(key) => escaped(key),
            None => String::new(),
        }
    }
}

/// States behind a place in `published`, or facts behind one in the outbox, that are meant, `most` at
/// most; and behind which place the next ones are looked for, where there may be more.
pub(crate) fn candidates(
    db: &Connection,
    facts: bool,
    which: &ReplayFilter,
    types: &[EventType],
    after: i64,
    upto: i64,
    most: usize,
) -> Result<(Vec<Candidate>, Option<i64>), StoreError> {
    let sql = if facts {
        "SELECT offset, source, event_type, key, offset, occurred_at FROM outbox
         WHERE offset > ?1 AND offset <= ?2 AND op IN ('fact', 'correction') AND copy_of IS NULL
           AND instr(key, ?3) > 0 ORDER BY offset LIMIT ?4"
    } else {
        "SELECT id, source, event_type, key, offset, occurred_at FROM published
         WHERE id > ?1 AND (?2 IS NULL OR true) AND instr(key, ?3) > 0 ORDER BY id LIMIT ?4"
    };
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![after, upto, which.part(), STEP])?;
    let (mut all, mut seen, mut last) = (Vec::new(), 0, after);
    while let Some(row) = rows.next()? {
        if all.len() >= most {
            return Ok((all, Some(last)));
        }
        seen += 1;
        last = row.get(0)?;
        let name: String = row.get(2)?;
        let Ok(event_type) = name.parse::<EventType>() else {
            continue;
        };
        let key: String = row.get(3)?;
        let one = Candidate {
            place: last,
            source: row.get(1)?,
            event_type,
            lane: if facts {
                kind::fact_lane(event_type, &key)
            } else {
                last
            },
            key,
            offset: row.get(4)?,
            occurred_at: row.get::<_, Option<i64>>(5)?.map(from_millis),
        };
        if which.takes(types, &one) {
            all.push(one);
        }
    }
    Ok((all, (seen == STEP).then_some(last)))
}

/// Whether the lane of something is free of what was not delivered yet. Of facts, several stand in
/// one lane, a fact and its corrections: those that this replay tells, which stand behind `upto`,
/// hinder none of the others, and only the held one itself is sent again.
pub(crate) fn ready(
    db: &Connection,
    destination: i64,
    facts: bool,
    one: &Candidate,
    upto: i64,
) -> Result<Ready, StoreError> {
    let unfinished = older::unfinished(db)?;
    let newest: Option<(i64, String, Option<i64>)> = db
        .prepare_cached(&format!(
            "SELECT d.offset, d.state, o.copy_of FROM delivery d INDEXED BY delivery_lane
               JOIN outbox o ON o.offset = d.offset
             WHERE d.destination = ?1 AND d.lane = ?2 AND {unfinished}
               AND NOT (?3 AND d.offset > ?4 AND o.copy_of IS NOT NULL)
             ORDER BY d.offset DESC LIMIT 1"
        ))?
        .query_row(params![destination, one.lane, facts, upto], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(match newest {
        None => Ready::Free,
        Some((offset, state, copy_of))
            if state == "held" && (!facts || copy_of.unwrap_or(offset) == one.place) =>
        {
            Ready::Held(offset)
        }
        Some(_) => Ready::OnItsWay,
    })
}

/// Whether an event on its way out repeats one that was told.
pub fn is_replayed(outgoing: &Outgoing) -> bool {
    outgoing.idempotency_key.starts_with(&outgoing.id) && outgoing.idempotency_key != outgoing.id
}

impl StateReader {
    /// What a replay to a destination, which gets these types (empty = all), would do now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn replay_count(
        &self,
        destination: &str,
        types: &[EventType],
        which: &ReplayFilter,
    ) -> Result<ReplayCount, StoreError> {
        let mut count = ReplayCount::default();
        let Some(db) = self.newest()? else {
            return Ok(count);
        };
        let id: Option<i64> = db
            .query_row(
                "SELECT id FROM destination WHERE name = ?1",
                [destination],
                |row| row.get(0),
            )
            .optional()?;
        let Some(id) = id else {
            return Ok(count);
        };
        for facts in [false, true] {
            let mut after = Some(0);
            while let Some(from) = after {
                let (all, next) = candidates(db, facts, which, types, from, i64::MAX, usize::MAX)?;
                for one in &all {
                    match ready(db, id, facts, one, i64::MAX)? {
                        Ready::OnItsWay => count.on_their_way += 1,
                        Ready::Held(_) => count.held += 1,
                        Ready::Free if facts => count.facts += 1,
                        Ready::Free => count.states += 1,
                    }
                }
                after = next;
            }
        }
        Ok(count)
    }
}

//! One delivery into the queue: how soon it is to leave, and what of its lane gives way to it.

use contract::{Decimal, EventKind, EventType};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::kept::Kept;
use crate::{attempt, kind, millis};

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

/// What puts deliveries into the queue, for as long as a desk works.
#[derive(Debug)]
pub(crate) struct Queue<'a> {
    db: &'a Connection,
    before: Kept<'a>,
    insert: Kept<'a>,
}

const BEFORE: &str = "SELECT
    (SELECT measure FROM told_to WHERE destination = ?1 AND kind = ?3 AND lane = ?2),
    EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_lane
      WHERE destination = ?1 AND lane = ?2 AND open = 1)";

const INSERT: &str =
    "INSERT INTO delivery (destination, offset, lane, state, open, tombstone, updated_at,
    created_at, priority, kind, measure, dropping, needs, failing_since)
  VALUES (?1, ?2, ?3, 'queued', 1, ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

impl<'a> Queue<'a> {
    pub(crate) fn new(db: &'a Connection) -> Self {
        Self {
            db,
            before: Kept::new(db, BEFORE),
            insert: Kept::new(db, INSERT),
        }
    }

    /// One delivery; what of its lane has not left gives way to it. How many those are.
    pub(crate) fn deliver(
        &self,
        destination: i64,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let db = self.db;
        let state = kind::kind(delivery.kind) == EventKind::State;
        let (mut told, mut gone, mut failing_since) = (None, 0, None);
        if state {
            let busy;
            (told, busy) = self.before(destination, delivery)?;
            if busy {
                (gone, failing_since) = supersede(db, destination, delivery.lane, now)?;
            }
        }
        let (priority, empties) = match &delivery.measure {
            // The end of what is not there takes nothing away.
            _ if delivery.tombstone => (FIRST, has(db, destination, delivery)?),
            Some(measure) if delivery.kind == kind::code(EventType::InventoryAvailability) => {
                rank(*measure, told)
            }
            _ => (REST, false),
        };
        let priority = priority + if delivery.repeats { REPEATS } else { 0 };
        let measure = delivery.measure.map(|measure| measure.to_string());
        self.insert.run(|insert| {
            insert.execute(params![
                destination,
                delivery.offset,
                delivery.lane,
                delivery.stays,
                millis(now),
                priority,
                delivery.kind,
                measure,
                empties && state,
                delivery.needs,
                failing_since
            ])
        })?;
        Ok(gone)
    }

    /// What the destination was told last of the key's measure, and whether anything of its lane is unfinished.
    fn before(
        &self,
        destination: i64,
        delivery: &Delivery,
    ) -> Result<(Option<Decimal>, bool), StoreError> {
        let of = params![destination, delivery.lane, delivery.kind];
        self.before.run(|before| {
            before.query_row(of, |row| {
                let told = row.get_ref(0)?.as_str_or_null()?;
                Ok((told.and_then(|text| text.parse().ok()), row.get(1)?))
            })
        })
    }
}

/// `delivery::next` on Newer: only what surely did not happen gives way, and a tombstone never
/// does. What may still arrive is sent again first: it came late, behind the newer one, and whoever knows events by
/// their ids would take it for news. How many gave way, and since when one of them has been failing, or held.
fn supersede(
    db: &Connection,
    destination: i64,
    lane: i64,
    now: Timestamp,
) -> Result<(u64, Option<i64>), StoreError> {
    let mut of_lane = db.prepare_cached(
        "SELECT offset, failing_since, attempt > 0 AND state <> 'held'
         FROM delivery INDEXED BY delivery_lane
         WHERE destination = ?1 AND lane = ?2 AND tombstone = 0 AND open = 1
           AND (state = 'queued' OR state = 'backoff' OR state = 'held')",
    )?;
    let mut rows = of_lane.query(params![destination, lane])?;
    let mut found: Vec<(i64, Option<i64>)> = Vec::new();
    while let Some(row) = rows.next()? {
        let (offset, tried) = (row.get(0)?, row.get(2)?);
        if !(tried && attempt::in_doubt(db, destination, offset)?) {
            found.push((offset, row.get(1)?));
        }
    }
    // One at a time: SQLite builds no table for what it has changed.
    let mut gives_way = db.prepare_cached(
        "UPDATE delivery SET state = 'superseded', open = NULL, updated_at = ?3
         WHERE destination = ?1 AND offset = ?2",
    )?;
    for (offset, _) in &found {
        gives_way.execute(params![destination, offset, millis(now)])?;
    }
    let since = found.iter().filter_map(|(_, since)| *since).min();
    Ok((found.len() as u64, since))
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
               WHERE destination = ?1 AND lane = ?3 AND tombstone = 0 AND open = 1
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

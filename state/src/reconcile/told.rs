//! What was told last of each key, and whether a destination has got it.

use std::collections::BinaryHeap;

use contract::{EventType, Outgoing};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::reading;
use crate::error::StoreError;
use crate::replay::Candidate;
use crate::status::StateReader;
use crate::{from_millis, kind, older, replay_steps};

/// What was told last of a state's key.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldKey {
    /// The key's place: the same as long as the state file is.
    pub lane: i64,
    /// The event as it would be told again.
    pub outgoing: Outgoing,
    /// Which telling it is: another one has another mark.
    pub mark: (String, Option<i64>),
    /// Something of the key has not been delivered: the delivery's state.
    pub undelivered: Option<String>,
    /// When the destination was told last of it.
    pub told_at: Option<Timestamp>,
}

/// Spreads numbers evenly, the same ones in the same way for ever (splitmix64's last step).
fn spread(seed: u32, lane: i64) -> u64 {
    let mut x = lane.unsigned_abs() ^ (u64::from(seed) << 32);
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn names(types: &[EventType]) -> String {
    let names: Vec<&str> = types.iter().map(|one| one.name()).collect();
    serde_json::json!(names).to_string()
}

impl StateReader {
    /// Keys of these types behind a place, in order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn told_lanes(
        &self,
        types: &[EventType],
        after: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT id FROM published WHERE id > ?1
               AND event_type IN (SELECT value FROM json_each(?2)) ORDER BY id LIMIT ?3",
        )?;
        let rows = query.query_map(params![after, names(types), limit], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// So many keys of these types, chosen evenly by a seed; the same ones each time, as long as no key
    /// comes or goes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn told_sample(
        &self,
        types: &[EventType],
        count: u32,
        seed: u32,
    ) -> Result<Vec<i64>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT id FROM published WHERE event_type IN (SELECT value FROM json_each(?1))",
        )?;
        let mut rows = query.query([names(types)])?;
        // The lowest of the spread numbers; of more there is nothing in memory.
        let mut chosen: BinaryHeap<(u64, i64)> = BinaryHeap::new();
        while let Some(row) = rows.next()? {
            let lane: i64 = row.get(0)?;
            chosen.push((spread(seed, lane), lane));
            if chosen.len() > count as usize {
                chosen.pop();
            }
        }
        let mut lanes: Vec<i64> = chosen.into_iter().map(|(_, lane)| lane).collect();
        lanes.sort_unstable();
        Ok(lanes)
    }

    /// What was told last of these keys, for a destination; keys that are gone are not in it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn told_keys(
        &self,
        destination: &str,
        tenant: &str,
        lanes: &[i64],
        now: Timestamp,
    ) -> Result<Vec<ToldKey>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(Vec::new());
        };
        let destination: Option<i64> = db
            .query_row(
                "SELECT id FROM destination WHERE name = ?1",
                [destination],
                |row| row.get(0),
            )
            .optional()?;
        // One moment for all of them.
        let snapshot = db.unchecked_transaction()?;
        let mut all = Vec::with_capacity(lanes.len());
        for lane in lanes {
            all.extend(told(db, destination, tenant, *lane, now)?);
        }
        drop(snapshot);
        Ok(all)
    }
}

fn told(
    db: &Connection,
    destination: Option<i64>,
    tenant: &str,
    lane: i64,
    now: Timestamp,
) -> Result<Option<ToldKey>, StoreError> {
    let found = db
        .prepare_cached(
            "SELECT p.source, p.event_type, p.key, p.version, p.offset, p.occurred_at, s.name
             FROM published p JOIN source s ON s.id = p.source WHERE p.id = ?1",
        )?
        .query_row([lane], |row| {
            let version: String = row.get(3)?;
            let occurred_at: Option<i64> = row.get(5)?;
            Ok((
                (row.get::<_, i64>(0)?, row.get::<_, String>(1)?),
                (row.get::<_, String>(2)?, version),
                (row.get::<_, Option<i64>>(4)?, occurred_at.map(from_millis)),
                row.get::<_, String>(6)?,
            ))
        })
        .optional()?;
    let Some(((source, name), (key, version), (offset, occurred_at), source_name)) = found else {
        return Ok(None);
    };
    let Ok(event_type) = name.parse::<EventType>() else {
        return Ok(None);
    };
    let one = Candidate {
        place: lane,
        source,
        event_type,
        key,
        lane,
        offset,
        occurred_at,
    };
    let outgoing = replay_steps::outgoing(db, &one, tenant, &source_name, destination, now)?;
    let (undelivered, told_at) = match destination {
        None => (None, None),
        Some(id) => (
            undelivered(db, id, lane)?,
            told_at(db, id, kind::code(event_type), lane)?,
        ),
    };
    Ok(Some(ToldKey {
        lane,
        outgoing,
        mark: (version, offset),
        undelivered,
        told_at,
    }))
}

fn undelivered(db: &Connection, destination: i64, lane: i64) -> Result<Option<String>, StoreError> {
    let unfinished = older::unfinished(db)?;
    Ok(db
        .prepare_cached(&format!(
            "SELECT d.state FROM delivery d INDEXED BY delivery_lane
             WHERE d.destination = ?1 AND d.lane = ?2 AND {unfinished}
             ORDER BY d.offset DESC LIMIT 1"
        ))?
        .query_row([destination, lane], |row| row.get(0))
        .optional()?)
}

fn told_at(
    db: &Connection,
    destination: i64,
    kind: i64,
    lane: i64,
) -> Result<Option<Timestamp>, StoreError> {
    let at: Option<i64> = db
        .prepare_cached(
            "SELECT sent_at FROM told_to WHERE destination = ?1 AND kind = ?2 AND lane = ?3",
        )?
        .query_row([destination, kind, lane], |row| row.get(0))
        .optional()?;
    Ok(at.map(from_millis))
}

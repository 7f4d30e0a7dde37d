//! How much flows, by event type and destination, as far as the file can tell: it keeps events for a
//! while only, so every count says how far back it goes. Each question looks at a bounded number of rows.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::clock;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;

use crate::error::StoreError;
use crate::prune::Retention;
use crate::status::StateReader;
use crate::{from_millis, millis};

/// Newest events, and newest deliveries of a destination, that are looked at.
const NEWEST_MAX: usize = 20_000;
/// Oldest deliveries of each way to wait that are looked at.
const OLDEST_MAX: i64 = 1_000;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// How much flows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// By event type: those that rules in force tell, and those that were told within the last day.
    pub types: Vec<TypeFlow>,
    /// The counts of types begin here; `None` = they are of the whole last day.
    pub since: Option<Timestamp>,
    /// What waits, by destination and event type; held events, first loads and replays apart.
    pub waiting: Vec<WaitingFlow>,
    /// What was delivered, by destination.
    pub delivered: Vec<DeliveredFlow>,
}

/// Events of a type that were captured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TypeFlow {
    /// The type's name.
    pub event_type: String,
    /// Within the last minute.
    pub minute: u64,
    /// Within the last hour.
    pub hour: u64,
    /// Within the last day, see [`Flow::since`].
    pub day: u64,
}

/// Events of a type that wait for a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingFlow {
    /// Its name.
    pub destination: String,
    /// The type's name.
    pub event_type: String,
    /// So many.
    pub count: u64,
    /// There are more: only the oldest were looked at.
    pub or_more: bool,
    /// When the oldest of them was committed at the source.
    pub oldest_at: Timestamp,
}

/// What left for a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DeliveredFlow {
    /// Its name.
    pub destination: String,
    /// Delivered within the last minute.
    pub minute: u64,
    /// Delivered within the last hour.
    pub hour: u64,
    /// Attempts of the last hour that failed.
    pub failed_hour: u64,
    /// There may be more of each: only the newest events were looked at.
    pub or_more: bool,
}

impl StateReader {
    /// How much flows.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn flow(&self, now: Timestamp, retention: Retention) -> Result<Flow, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Flow::default());
        };
        let mut flow = captured(db, now, retention)?;
        for id in crate::held::destinations(db)? {
            let name: String = db
                .prepare_cached("SELECT name FROM destination WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            flow.delivered.push(delivered(db, id, &name, now)?);
            flow.waiting.extend(waiting(db, id, &name)?);
        }
        Ok(flow)
    }
}

/// Whether a moment lies within a time before now.
fn within(at: Timestamp, time: Duration, now: Timestamp) -> bool {
    clock::until(at, now) < time
}

fn captured(db: &Connection, now: Timestamp, retention: Retention) -> Result<Flow, StoreError> {
    let mut types: BTreeMap<String, TypeFlow> = BTreeMap::new();
    let mut in_force =
        db.prepare_cached("SELECT DISTINCT event_type FROM rule WHERE active = 1")?;
    for name in in_force.query_map([], |row| row.get::<_, String>(0))? {
        types.entry(name?).or_default();
    }
    // Offsets are given in the order of time.
    let mut newest = db.prepare_cached(
        "SELECT event_type, created_at, copy_of IS NOT NULL FROM outbox ORDER BY offset DESC LIMIT ?1",
    )?;
    let limit = i64::try_from(NEWEST_MAX).unwrap_or(i64::MAX);
    let mut rows = newest.query([limit])?;
    let (mut looked, mut oldest, mut whole) = (0, now, false);
    while let Some(row) = rows.next()? {
        let at = from_millis(row.get(1)?);
        if !within(at, DAY, now) {
            whole = true;
            break;
        }
        looked += 1;
        oldest = at;
        // A replay tells again, and captures nothing.
        if row.get(2)? {
            continue;
        }
        let one = types.entry(row.get(0)?).or_default();
        one.minute += u64::from(within(at, MINUTE, now));
        one.hour += u64::from(within(at, HOUR, now));
        one.day += 1;
    }
    let full = looked >= NEWEST_MAX || looked as u64 >= retention.rows_max;
    let since = match (whole, full) {
        (true, _) => None,
        (false, true) => Some(oldest),
        // The rest was forgotten, or never was.
        (false, false) if retention.keep >= DAY => None,
        (false, false) => Some(from_millis(
            millis(now) - i64::try_from(retention.keep.as_millis()).unwrap_or(i64::MAX),
        )),
    };
    let types = types.into_iter();
    Ok(Flow {
        types: types
            .map(|(event_type, one)| TypeFlow { event_type, ..one })
            .collect(),
        since,
        ..Flow::default()
    })
}

fn delivered(
    db: &Connection,
    destination: i64,
    name: &str,
    now: Timestamp,
) -> Result<DeliveredFlow, StoreError> {
    let mut flow = DeliveredFlow {
        destination: name.to_owned(),
        ..DeliveredFlow::default()
    };
    let limit = i64::try_from(NEWEST_MAX).unwrap_or(i64::MAX);
    let mut newest = db.prepare_cached(
        "SELECT state = 'delivered', updated_at FROM delivery WHERE destination = ?1
         ORDER BY offset DESC LIMIT ?2",
    )?;
    let mut looked = 0;
    let mut rows = newest.query(params![destination, limit])?;
    while let Some(row) = rows.next()? {
        looked += 1;
        let at = from_millis(row.get(1)?);
        if row.get(0)? {
            flow.minute += u64::from(within(at, MINUTE, now));
            flow.hour += u64::from(within(at, HOUR, now));
        }
    }
    let mut attempts = db.prepare_cached(
        "SELECT at FROM (SELECT at, outcome FROM attempt WHERE destination = ?1
           ORDER BY offset DESC, number DESC LIMIT ?2)
         WHERE outcome IN ('retry', 'rejected', 'unknown', 'conflict')",
    )?;
    for at in attempts.query_map(params![destination, limit], |row| row.get(0))? {
        flow.failed_hour += u64::from(within(from_millis(at?), HOUR, now));
    }
    flow.or_more = looked >= NEWEST_MAX;
    Ok(flow)
}

/// The ways to wait, each answered by an index, oldest first. What is said with IN is what the indexes of files before
/// format 8 ask for; an agent that is upgraded and not started yet has one.
const READY: &str = "SELECT o.event_type, o.occurred_at
  FROM delivery d INDEXED BY delivery_queued CROSS JOIN outbox o ON o.offset = d.offset
  WHERE d.destination = ?1 AND d.state = 'queued' AND d.needs IS NULL AND d.priority = ?2
  ORDER BY d.offset LIMIT ?3";
const NEEDS: &str = "SELECT o.event_type, o.occurred_at
  FROM delivery d INDEXED BY delivery_needs CROSS JOIN outbox o ON o.offset = d.offset
  WHERE d.destination = ?1 AND d.state = 'queued' AND d.needs IS NOT NULL AND d.priority < ?2
  LIMIT ?3";
const OUT: &str = "SELECT o.event_type, o.occurred_at
  FROM delivery d INDEXED BY delivery_waiting CROSS JOIN outbox o ON o.offset = d.offset
  WHERE d.destination = ?1 AND d.state IN ('sending', 'unknown', 'accepted', 'backoff')
    AND (d.state = 'sending' OR d.state = 'unknown' OR d.state = 'accepted' OR d.state = 'backoff')
    AND d.state IN ('sending', 'unknown', 'accepted', 'backoff', 'held') AND d.priority < ?2
  LIMIT ?3";

/// From here on a priority only repeats (`queue.rs`).
const REPEATS: i64 = 10;

fn waiting(db: &Connection, destination: i64, name: &str) -> Result<Vec<WaitingFlow>, StoreError> {
    let mut found: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    let mut or_more = false;
    let ways = [
        (READY, 0),
        (READY, 1),
        (READY, 2),
        (NEEDS, REPEATS),
        (OUT, REPEATS),
    ];
    for (sql, priority) in ways {
        let mut query = db.prepare_cached(sql)?;
        let mut rows = query.query(params![destination, priority, OLDEST_MAX])?;
        let mut looked = 0;
        while let Some(row) = rows.next()? {
            looked += 1;
            let at: i64 = row.get(1)?;
            let (count, oldest) = found.entry(row.get(0)?).or_insert((0, at));
            *count += 1;
            *oldest = at.min(*oldest);
        }
        or_more |= looked >= OLDEST_MAX;
    }
    let found = found.into_iter();
    let one = |(event_type, (count, oldest))| WaitingFlow {
        destination: name.to_owned(),
        event_type,
        count,
        or_more,
        oldest_at: from_millis(oldest),
    };
    Ok(found.map(one).collect())
}

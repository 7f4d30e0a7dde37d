//! How destinations stand, for `status`.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use crate::error::StoreError;
use crate::from_millis;
use crate::held::HeldCount;
use crate::pause::Paused;
use crate::status::StateReader;

/// How one destination stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DestinationStatus {
    /// Its name.
    pub name: String,
    /// Events not yet delivered, held ones apart.
    pub backlog: u64,
    /// Of those, requests out now.
    pub sending: u64,
    /// Of those, outcomes unknown.
    pub unknown: u64,
    /// Of those, taken by the API and not applied yet.
    pub accepted: u64,
    /// Of those, waiting after a failure.
    pub backoff: u64,
    /// Of those, waiting for another delivery: a price for its product.
    pub waiting: u64,
    /// Deliveries held now.
    pub held: u64,
    /// Those by their cause.
    pub held_by_cause: Vec<HeldCount>,
    /// When the oldest undelivered event happened.
    pub oldest_undelivered_at: Option<Timestamp>,
    /// Events delivered in all.
    pub delivered: u64,
    /// Events superseded in all.
    pub superseded: u64,
    /// Events that an operator dropped, or that were only compared, in all.
    pub discarded: u64,
    /// Failed attempts in all.
    pub retried: u64,
    /// Why the newest failed attempt failed.
    pub last_cause: Option<String>,
    /// A person stopped it.
    pub paused: Option<Paused>,
    /// It is to stop when what was there has left.
    pub draining: bool,
    /// The API said that it is too much; nothing leaves before then.
    pub throttled_until: Option<Timestamp>,
    /// Nothing is sent, only compared.
    pub shadow: Option<ShadowStatus>,
}

/// What was compared in shadow mode, in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ShadowStatus {
    /// The destination held the same.
    pub same: u64,
    /// It held something else.
    pub differs: u64,
    /// It could not be compared.
    pub unknown: u64,
    /// A guard would have held it.
    pub guarded: u64,
}

/// What waits, as the index of it wants it said: that of this format, and that of the formats before.
const WAITING: &str = "(state = 'sending' OR state = 'unknown' OR state = 'accepted'
    OR state = 'backoff' OR state = 'held')
  AND state IN ('sending', 'unknown', 'accepted', 'backoff', 'held')";

impl StateReader {
    /// Every destination.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn destinations(&self) -> Result<Vec<DestinationStatus>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for id in crate::held::destinations(db)? {
            all.push(one(db, id)?);
        }
        let held = self.held_counts()?;
        for destination in &mut all {
            let scope = format!("destination:{}", destination.name);
            let counter = |name| self.counter(&scope, name);
            destination.delivered = counter("delivered")?;
            destination.superseded = counter("superseded")?;
            destination.discarded = counter("discarded")?;
            destination.retried = counter("retried")?;
            if let Some(shadow) = &mut destination.shadow {
                *shadow = ShadowStatus {
                    same: counter("shadow_same")?,
                    differs: counter("shadow_differs")?,
                    unknown: counter("shadow_unknown")?,
                    guarded: counter("shadow_guarded")?,
                };
            }
            let own = held.iter().filter(|count| count.by == destination.name);
            destination.held_by_cause = own.cloned().collect();
        }
        Ok(all)
    }
}

/// How many there are, and the first of them.
type Counted = (u64, Option<i64>);

fn one(db: &Connection, id: i64) -> Result<DestinationStatus, StoreError> {
    let counted = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?));
    let state = |name: &str| -> Result<Counted, StoreError> {
        Ok(db
            .prepare_cached(&format!(
                "SELECT count(*), min(offset) FROM delivery INDEXED BY delivery_waiting
                 WHERE destination = ?1 AND state = ?2 AND {WAITING}"
            ))?
            .query_row(params![id, name], counted)?)
    };
    let count = |sql: &str| -> Result<Counted, StoreError> {
        Ok(db.prepare_cached(sql)?.query_row([id], counted)?)
    };
    let ready = count(
        "SELECT count(*), min(offset) FROM delivery INDEXED BY delivery_queued
         WHERE destination = ?1 AND state = 'queued' AND needs IS NULL",
    )?;
    let waiting = count(
        "SELECT count(*), min(offset) FROM delivery INDEXED BY delivery_needs
         WHERE destination = ?1 AND state = 'queued' AND needs IS NOT NULL",
    )?;
    let (sending, unknown) = (state("sending")?, state("unknown")?);
    let (accepted, backoff) = (state("accepted")?, state("backoff")?);
    let undelivered = [ready, waiting, sending, unknown, accepted, backoff];
    let oldest = undelivered.iter().filter_map(|(_, first)| *first).min();
    let mut status = db
        .prepare_cached(&format!(
            "SELECT name, paused, paused_until, throttled_until, shadow,
               (SELECT o.occurred_at FROM outbox o WHERE o.offset = ?2),
               (SELECT cause FROM delivery INDEXED BY delivery_waiting
                 WHERE destination = d.id AND cause IS NOT NULL AND {WAITING}
                 ORDER BY updated_at DESC LIMIT 1)
             FROM destination d WHERE id = ?1"
        ))?
        .query_row(params![id, oldest], standing)?;
    status.sending = sending.0;
    status.unknown = unknown.0;
    status.accepted = accepted.0;
    status.backoff = backoff.0;
    status.held = state("held")?.0;
    status.waiting = waiting.0;
    status.backlog = undelivered.iter().map(|(count, _)| count).sum();
    Ok(status)
}

fn standing(row: &Row<'_>) -> rusqlite::Result<DestinationStatus> {
    let moment = |at: Option<i64>| at.map(from_millis);
    let paused: i64 = row.get(1)?;
    let until = moment(row.get(2)?);
    let shadow: bool = row.get(4)?;
    Ok(DestinationStatus {
        name: row.get(0)?,
        paused: (paused == 1).then_some(Paused { until }),
        draining: paused == 2,
        throttled_until: moment(row.get(3)?),
        shadow: shadow.then(ShadowStatus::default),
        oldest_undelivered_at: moment(row.get(5)?),
        last_cause: row.get(6)?,
        ..DestinationStatus::default()
    })
}

//! One thing that happened to one delivery, and all that follows from it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use contract::delivery::{DeliveryEvent, DeliveryState, StateName, next};
use contract::{Answer, EventKind};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::row::state_of;
use super::said::{Happened, Said};
use super::{HeldNow, Rules};
use crate::error::StoreError;
use crate::guards::{self, Guarded};
use crate::{attempt, counter, kind, millis};

/// A conflict may be settled by the next try so often.
const CONFLICTS_MAX: i64 = 5;
/// Whoever answered so often that nobody can tell will not tell.
const DOUBTS_ANSWERED_MAX: i64 = 3;
/// And so often without an answer.
const DOUBTS_MAX: i64 = 20;

/// A turn's place of work: one destination, one moment, one transaction.
pub(crate) struct Desk<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) destination: i64,
    pub(crate) rules: &'a Rules,
    pub(crate) now: Timestamp,
    counts: RefCell<BTreeMap<&'static str, u64>>,
    held: RefCell<Vec<HeldNow>>,
    /// Whether too much of a kind goes, which a turn works out once: it counts what waits, too.
    brakes: RefCell<BTreeMap<i64, Option<String>>>,
}

/// A delivery as it stands.
struct Standing {
    state: DeliveryState,
    kind: i64,
    lane: i64,
    tombstone: bool,
    attempt: i64,
    created_at: i64,
    measure: Option<String>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(
        db: &'a Connection,
        destination: i64,
        rules: &'a Rules,
        now: Timestamp,
    ) -> Self {
        Self {
            db,
            destination,
            rules,
            now,
            counts: RefCell::default(),
            held: RefCell::default(),
            brakes: RefCell::default(),
        }
    }

    /// Why a delivery may not leave; `None` = it may.
    pub(super) fn stops(&self, one: &Guarded) -> Result<Option<String>, StoreError> {
        let (db, destination, guards) = (self.db, self.destination, &self.rules.guards);
        let why = guards::stops(db, destination, guards, one)?;
        let Some(mass) = guards.mass_drop.filter(|_| why.is_none() && one.dropping) else {
            return Ok(why);
        };
        if let Some(known) = self.brakes.borrow().get(&one.kind) {
            return Ok(known.clone());
        }
        let why = guards::too_many(db, destination, mass, one.kind, self.now)?;
        self.brakes.borrow_mut().insert(one.kind, why.clone());
        Ok(why)
    }

    pub(crate) fn count(&self, name: &'static str) {
        *self.counts.borrow_mut().entry(name).or_default() += 1;
    }

    /// Writes the totals; what became held meanwhile.
    pub(crate) fn finish(self) -> Result<Vec<HeldNow>, StoreError> {
        let counts = self.counts.into_inner();
        if !counts.is_empty() {
            let scope = super::scope(self.db, self.destination)?;
            for (name, value) in counts {
                counter::add(self.db, &scope, name, value)?;
            }
        }
        Ok(self.held.into_inner())
    }

    fn standing(&self, offset: i64) -> Result<Standing, StoreError> {
        let found = self
            .db
            .prepare_cached(
                "SELECT state, due_at, until_at, ticket, held_cause, lane, tombstone, kind, attempt,
                   created_at, measure
                 FROM delivery WHERE destination = ?1 AND offset = ?2",
            )?
            .query_row(params![self.destination, offset], |row| {
                Ok(state_of(row)?.map(|state| {
                    Ok::<_, rusqlite::Error>(Standing {
                        state,
                        kind: row.get("kind")?,
                        lane: row.get("lane")?,
                        tombstone: row.get("tombstone")?,
                        attempt: row.get("attempt")?,
                        created_at: row.get("created_at")?,
                        measure: row.get("measure")?,
                    })
                }))
            })
            .optional()?
            .flatten();
        found.transpose()?.ok_or_else(|| {
            StoreError::Invariant(format!(
                "delivery {offset} of destination {} is not in the outbox",
                self.destination
            ))
        })
    }

    /// Applies one outcome.
    pub(crate) fn record(&self, happened: &Happened) -> Result<(), StoreError> {
        let standing = self.standing(happened.offset)?;
        if happened.said.is_shadow() {
            // It never left: a newer state may have taken its place while it was compared.
            if standing.state.name() != StateName::Queued {
                return Ok(());
            }
            self.count(match happened.said {
                Said::Same => "shadow_same",
                Said::Differs => "shadow_differs",
                _ => "shadow_unknown",
            });
        }
        let (offset, said) = (happened.offset, happened.said);
        let answered = happened.answer.as_ref().and_then(|a| a.status).is_some();
        let mut event = happened.event.clone();
        let late = match &standing.state {
            DeliveryState::Accepted { until, .. } => *until <= self.now,
            _ => false,
        };
        let mut said = said;
        let mut cause = happened.cause.as_deref();
        if late && matches!(event, DeliveryEvent::Waiting { .. }) {
            event = DeliveryEvent::Lost;
            said = Said::Unknown;
            cause =
                Some("it was taken for later, and not applied within the time that it may take");
        }
        match said {
            Said::Conflict if matches!(event, DeliveryEvent::Transient { .. }) => {
                let (before, _) = attempt::count(self.db, self.destination, offset, said.name())?;
                if before + 1 >= CONFLICTS_MAX {
                    event = DeliveryEvent::Conflicted;
                }
            }
            Said::Missing if matches!(event, DeliveryEvent::Transient { .. }) => {
                let limit = self.rules.dependency_wait;
                if standing.created_at <= millis(before(self.now, limit)) {
                    event = DeliveryEvent::Orphaned;
                }
            }
            Said::Doubt { again } => {
                let (all, told) = attempt::count(self.db, self.destination, offset, said.name())?;
                let told = told + i64::from(answered);
                if told < DOUBTS_ANSWERED_MAX && all + 1 < DOUBTS_MAX {
                    self.remember(&standing, happened, said, cause)?;
                    return super::waiting::lease(self.db, self.destination, offset, again);
                }
            }
            _ => {}
        }
        let first = said == Said::Applied && standing.attempt <= 1;
        if !(first || said.is_shadow() || said == Said::NotSent || said == Said::Waiting) {
            self.remember(&standing, happened, said, cause)?;
        }
        self.step(offset, &standing, &event, cause, happened.answer.as_ref())
    }

    fn remember(
        &self,
        standing: &Standing,
        happened: &Happened,
        said: Said,
        cause: Option<&str>,
    ) -> Result<(), StoreError> {
        let row = attempt::Row {
            attempt: standing.attempt,
            outcome: said.name(),
            answer: happened.answer.as_ref(),
            cause,
        };
        attempt::add(self.db, self.destination, happened.offset, &row, self.now)
    }

    /// One step that nobody answered: of our own, or a person's. `outcome` is kept with it.
    pub(crate) fn own(
        &self,
        offset: i64,
        event: &DeliveryEvent,
        outcome: Option<&str>,
        cause: Option<&str>,
    ) -> Result<(), StoreError> {
        let standing = self.standing(offset)?;
        if let Some(outcome) = outcome {
            let row = attempt::Row {
                attempt: standing.attempt,
                outcome,
                answer: None,
                cause,
            };
            attempt::add(self.db, self.destination, offset, &row, self.now)?;
        }
        self.step(offset, &standing, event, cause, None)
    }

    fn step(
        &self,
        offset: i64,
        standing: &Standing,
        event: &DeliveryEvent,
        cause: Option<&str>,
        answer: Option<&Answer>,
    ) -> Result<(), StoreError> {
        let kind = kind::kind(standing.kind);
        let illegal =
            |illegal: contract::delivery::Illegal| StoreError::Invariant(illegal.to_string());
        let mut after = next(&standing.state, event, kind).map_err(illegal)?;
        // A newer state may have been queued while this one was out. Now that it surely did not
        // happen, it gives way at once instead of overwriting or blocking the newer one.
        if after.name().supersedable()
            && !standing.tombstone
            && kind == EventKind::State
            && self.newer_waits(standing.lane, offset)?
        {
            after = next(&after, &DeliveryEvent::Newer, kind).map_err(illegal)?;
        }
        self.write(offset, event, &after, cause, answer)?;
        match &after {
            DeliveryState::Delivered => {
                self.count("delivered");
                if kind == EventKind::State {
                    self.told(standing)?;
                }
            }
            DeliveryState::Held { cause } => {
                self.count("held");
                self.held.borrow_mut().push(HeldNow {
                    offset,
                    cause: *cause,
                });
            }
            DeliveryState::Superseded => self.count("superseded"),
            DeliveryState::Discarded => self.count("discarded"),
            DeliveryState::Backoff { .. } => self.count("retried"),
            DeliveryState::Queued
            | DeliveryState::Sending { .. }
            | DeliveryState::Unknown { .. }
            | DeliveryState::Accepted { .. } => {}
        }
        if after.name().is_final() && kind::is_needed(standing.kind) {
            let there = after == DeliveryState::Delivered && !standing.tombstone;
            self.release(standing.lane, there)?;
        }
        Ok(())
    }

    fn write(
        &self,
        offset: i64,
        event: &DeliveryEvent,
        after: &DeliveryState,
        cause: Option<&str>,
        answer: Option<&Answer>,
    ) -> Result<(), StoreError> {
        let (due, until, held_cause, ticket) = match after {
            DeliveryState::Sending { deadline } | DeliveryState::Unknown { deadline } => {
                (Some(millis(*deadline)), None, None, None)
            }
            DeliveryState::Backoff { due } => (Some(millis(*due)), None, None, None),
            DeliveryState::Accepted { ticket, due, until } => (
                Some(millis(*due)),
                Some(millis(*until)),
                None,
                Some(ticket.as_str()),
            ),
            DeliveryState::Held { cause } => (None, None, Some(cause.name()), None),
            DeliveryState::Queued
            | DeliveryState::Delivered
            | DeliveryState::Superseded
            | DeliveryState::Discarded => (None, None, None, None),
        };
        let picked = matches!(event, DeliveryEvent::Picked { .. });
        self.db
            .prepare_cached(
                "UPDATE delivery SET state = ?3, due_at = ?4, held_cause = ?5, ticket = ?6,
                   cause = CASE WHEN ?12 THEN cause ELSE coalesce(?7, cause) END,
                   answer_status = coalesce(?8, answer_status),
                   answer_body = coalesce(?9, answer_body),
                   latency_ms = coalesce(?10, latency_ms),
                   updated_at = ?11, attempt = attempt + ?12, until_at = ?13
                 WHERE destination = ?1 AND offset = ?2",
            )?
            .execute(params![
                self.destination,
                offset,
                after.name().name(),
                due,
                held_cause,
                ticket,
                cause,
                answer.and_then(|a| a.status),
                answer.map(|a| attempt::bounded(&a.body)),
                answer.map(|a| i64::try_from(a.latency_ms).unwrap_or(i64::MAX)),
                millis(self.now),
                picked,
                until
            ])?;
        Ok(())
    }

    fn newer_waits(&self, lane: i64, offset: i64) -> Result<bool, StoreError> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_lane
                   WHERE destination = ?1 AND lane = ?2 AND offset > ?3
                     AND state IN ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held'))",
            )?
            .query_row(params![self.destination, lane, offset], |row| row.get(0))?)
    }

    /// The destination has been told of a key.
    fn told(&self, standing: &Standing) -> Result<(), StoreError> {
        if standing.tombstone && standing.measure.is_none() {
            self.db
                .prepare_cached(
                    "DELETE FROM told_to WHERE destination = ?1 AND kind = ?2 AND lane = ?3",
                )?
                .execute(params![self.destination, standing.kind, standing.lane])?;
            return Ok(());
        }
        self.db
            .prepare_cached(
                "INSERT INTO told_to (destination, kind, lane, measure, sent_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET measure = excluded.measure, sent_at = excluded.sent_at",
            )?
            .execute(params![
                self.destination,
                standing.kind,
                standing.lane,
                standing.measure,
                millis(self.now)
            ])?;
        Ok(())
    }

    /// What waits for a lane waits no longer: it is `there` and does not end soon, or nothing of it is
    /// to come any more.
    fn release(&self, lane: i64, there: bool) -> Result<(), StoreError> {
        self.db
            .prepare_cached(
                "UPDATE delivery SET needs = NULL
                 WHERE destination = ?1 AND needs = ?2 AND state = 'queued'
                   AND NOT EXISTS (SELECT 1 FROM delivery e INDEXED BY delivery_lane
                     WHERE e.destination = ?1 AND e.lane = ?2 AND e.state IN
                       ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held')
                       AND (e.tombstone = 1 OR NOT ?3))",
            )?
            .execute(params![self.destination, lane, there])?;
        Ok(())
    }
}

/// `now` less a wait.
pub(super) fn before(now: Timestamp, wait: std::time::Duration) -> Timestamp {
    let wait = jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::MAX);
    contract::clock::minus(now, wait)
}

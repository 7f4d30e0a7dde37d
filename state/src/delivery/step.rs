//! A delivery's next state, written down, and what follows from it.

use contract::delivery::{DeliveryEvent, DeliveryState, next};
use contract::{Answer, EventKind};
use rusqlite::params;

use super::record::Desk;
use super::row::{Standing, delivered};
use super::{HeldNow, needs};
use crate::error::StoreError;
use crate::{attempt, kind, millis, queue};

/// What happens to it now.
pub(super) struct Step<'a> {
    pub(super) event: &'a DeliveryEvent,
    pub(super) cause: Option<&'a str>,
    pub(super) answer: Option<&'a Answer>,
    /// The API was tried.
    pub(super) tried: bool,
}

pub(super) const WRITE: &str = "UPDATE delivery SET state = ?3, due_at = ?4, held_cause = ?5,
    ticket = ?6, cause = CASE WHEN ?12 THEN cause ELSE coalesce(?7, cause) END,
    answer_status = coalesce(?8, answer_status), answer_body = coalesce(?9, answer_body),
    latency_ms = coalesce(?10, latency_ms), updated_at = ?11, attempt = attempt + ?12,
    until_at = ?13, failing_since = ?14
  WHERE destination = ?1 AND offset = ?2";

/// As [`WRITE`], of what is finished by it.
pub(super) const FINISH: &str = "UPDATE delivery SET state = ?3, open = NULL, due_at = NULL,
    held_cause = NULL, ticket = NULL, until_at = NULL, failing_since = NULL,
    cause = coalesce(?4, cause), answer_status = coalesce(?5, answer_status),
    answer_body = coalesce(?6, answer_body), latency_ms = coalesce(?7, latency_ms), updated_at = ?8
  WHERE destination = ?1 AND offset = ?2";

pub(super) const TELL: &str = "INSERT OR REPLACE INTO told_to
    (destination, kind, lane, measure, sent_at)
  VALUES (?1, ?2, ?3, ?4, ?5)";

impl Desk<'_> {
    pub(super) fn step(
        &self,
        offset: i64,
        standing: &Standing,
        step: &Step<'_>,
    ) -> Result<(), StoreError> {
        let event = step.event;
        let kind = kind::kind(standing.kind);
        let illegal =
            |illegal: contract::delivery::Illegal| StoreError::Invariant(illegal.to_string());
        let mut after = next(&standing.state, event, kind).map_err(illegal)?;
        let since = self.failing_since(standing, &after, step);
        // A newer state may have been queued while this one was out. Now that it surely did not
        // happen, it gives way at once instead of overwriting or blocking the newer one.
        if after.name().supersedable()
            && !standing.tombstone
            && kind == EventKind::State
            && self.newer_waits(standing.lane, offset)?
            && !self.may_arrive(&after, offset)?
        {
            after = next(&after, &DeliveryEvent::Newer, kind).map_err(illegal)?;
            self.hand_on(standing.lane, offset, since)?;
        }
        self.write(offset, standing, step, &after, since)?;
        match &after {
            DeliveryState::Delivered => {
                self.count("delivered");
                if !queue::repeats(standing.priority) {
                    let told = delivered(self.db, offset)?;
                    self.delivered.borrow_mut().extend(told);
                }
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
            needs::release(self, standing.lane, there)?;
        }
        Ok(())
    }

    /// Since when it has been failing or held, or what it took the place of.
    fn failing_since(
        &self,
        standing: &Standing,
        after: &DeliveryState,
        step: &Step<'_>,
    ) -> Option<i64> {
        let known = standing.failing_since;
        match after {
            DeliveryState::Held { .. } | DeliveryState::Unknown { .. } => {
                known.or(Some(millis(self.now)))
            }
            DeliveryState::Backoff { .. } if step.tried => {
                let since = known.unwrap_or(millis(self.now));
                if kind::is_needed(standing.kind) && since <= self.too_long() {
                    self.in_vain.borrow_mut().push(standing.lane);
                }
                Some(since)
            }
            DeliveryState::Queued if *step.event == DeliveryEvent::Replayed => None,
            DeliveryState::Queued
            | DeliveryState::Backoff { .. }
            | DeliveryState::Sending { .. } => known,
            DeliveryState::Accepted { .. }
            | DeliveryState::Delivered
            | DeliveryState::Superseded
            | DeliveryState::Discarded => None,
        }
    }

    /// A newer one takes the place of what has been failing: the lane has been, whatever it holds.
    fn hand_on(&self, lane: i64, offset: i64, since: Option<i64>) -> Result<(), StoreError> {
        let Some(since) = since else {
            return Ok(());
        };
        self.db
            .prepare_cached(
                "UPDATE delivery INDEXED BY delivery_lane
                 SET failing_since = min(coalesce(failing_since, ?4), ?4)
                 WHERE destination = ?1 AND lane = ?2 AND offset > ?3 AND tombstone = 0 AND open = 1",
            )?
            .execute([self.destination, lane, offset, since])?;
        Ok(())
    }

    fn write(
        &self,
        offset: i64,
        standing: &Standing,
        step: &Step<'_>,
        after: &DeliveryState,
        since: Option<i64>,
    ) -> Result<(), StoreError> {
        let (cause, answer) = (step.cause, step.answer);
        let status = answer.and_then(|a| a.status);
        let body = answer.map(|a| attempt::bounded(&a.body));
        let latency = answer.map(|a| i64::try_from(a.latency_ms).unwrap_or(i64::MAX));
        if after.name().is_final() {
            self.finish.run(|finish| {
                finish.execute(params![
                    self.destination,
                    offset,
                    after.name().name(),
                    cause,
                    status,
                    body,
                    latency,
                    millis(self.now)
                ])
            })?;
            return Ok(());
        }
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
            DeliveryState::Held { cause } => {
                // Then those that need it are held, too.
                let due = since.filter(|_| kind::is_needed(standing.kind));
                let due = due.map(|since| since.saturating_add(self.wait_millis()));
                (due, None, Some(cause.name()), None)
            }
            DeliveryState::Queued
            | DeliveryState::Delivered
            | DeliveryState::Superseded
            | DeliveryState::Discarded => (None, None, None, None),
        };
        let picked = matches!(step.event, DeliveryEvent::Picked { .. });
        self.write.run(|write| {
            write.execute(params![
                self.destination,
                offset,
                after.name().name(),
                due,
                held_cause,
                ticket,
                cause,
                status,
                body,
                latency,
                millis(self.now),
                picked,
                until,
                since
            ])
        })?;
        Ok(())
    }

    /// It is to be sent again, and what was sent of it before may still arrive. What is held is not: a newer state ends
    /// the wait for a person.
    fn may_arrive(&self, after: &DeliveryState, offset: i64) -> Result<bool, StoreError> {
        let held = matches!(after, DeliveryState::Held { .. });
        Ok(!held && attempt::in_doubt(self.db, self.destination, offset)?)
    }

    fn newer_waits(&self, lane: i64, offset: i64) -> Result<bool, StoreError> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_lane
                   WHERE destination = ?1 AND lane = ?2 AND offset > ?3 AND open = 1)",
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
        self.tell.run(|tell| {
            tell.execute(params![
                self.destination,
                standing.kind,
                standing.lane,
                standing.measure,
                millis(self.now)
            ])
        })?;
        Ok(())
    }
}

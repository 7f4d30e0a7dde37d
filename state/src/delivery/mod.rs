//! What the deliver loop reads and writes: which deliveries may leave, and what became of them.
//!
//! Statements name their index: without statistics SQLite would take the primary key and walk the
//! whole backlog; a name it cannot use is an error at once.
//!
//! The lane rule lives in one query: only the oldest unfinished delivery of a lane may leave. The
//! states follow `contract::delivery::next`, so a step that machine does not allow is refused.

#[cfg(test)]
mod cost;
pub(crate) mod needs;
mod pick;
#[cfg(test)]
mod plans;
mod record;
mod row;
mod said;
mod step;
mod waiting;

use std::time::Duration;

use contract::delivery::{DeliveryEvent, HeldCause, StateName};
use contract::{EventType, Outgoing, Resend, Taken};
use jiff::Timestamp;
use rusqlite::Connection;

use crate::Store;
use crate::command::{self, Done};
use crate::error::StoreError;
use crate::guards::Guards;
use crate::pause::{self, Notes, Paused};

pub use pick::is_suspect;
pub(crate) use record::Desk;
pub use said::{Happened, Said};

/// How many events one pick may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PickLimits {
    /// Most events.
    pub events_max: usize,
    /// Most requests, each of an equal part of the events and bytes. What failed again and again
    /// shares none with others.
    pub batches_max: usize,
    /// Most bytes, about; one event may exceed it.
    pub bytes_max: usize,
    /// A request started now is over within this time.
    pub request_timeout: Duration,
}

/// How many events may be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Most events.
    pub events_max: usize,
    /// Whoever asks is done within this time.
    pub lease: Duration,
}

/// What a destination's settings say of its deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What stops a delivery.
    pub guards: Guards,
    /// How long a delivery waits for another one.
    pub dependency_wait: Duration,
    /// Event types that the destination gets; empty = all.
    pub event_types: Vec<EventType>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            guards: Guards::default(),
            dependency_wait: Duration::from_hours(1),
            event_types: Vec::new(),
        }
    }
}

/// One turn of a deliver loop.
#[derive(Debug, Clone)]
pub struct Turn {
    /// What came back since the last one.
    pub outcomes: Vec<Happened>,
    /// What to do about unknown outcomes.
    pub resend: Resend,
    /// What may leave; `None` = nothing.
    pub pick: Option<PickLimits>,
    /// What of unknown and accepted deliveries may be asked about; `None` = nothing.
    pub ask: Option<Ask>,
    /// Nothing leaves: what would is only compared.
    pub shadow: bool,
    /// Whether to look for what a person asked.
    pub commands: bool,
    /// What is to be known after a restart, where that has changed.
    pub notes: Option<Notes>,
    /// The moment.
    pub now: Timestamp,
}

impl Turn {
    /// A turn that records and picks nothing.
    pub fn at(now: Timestamp) -> Self {
        Self {
            outcomes: Vec::new(),
            resend: Resend::Unsafe,
            pick: None,
            ask: None,
            shadow: false,
            commands: false,
            notes: None,
            now,
        }
    }
}

/// A change that a destination has now been told of as it happened: neither a first load nor a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveredNow {
    /// Its type.
    pub event_type: EventType,
    /// When it was committed at the source; when it was read, where the source does not tell.
    pub occurred_at: Timestamp,
}

/// A delivery that became held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldNow {
    /// The event's place in the outbox.
    pub offset: i64,
    /// Why.
    pub cause: HeldCause,
}

/// What a turn found; all of it durable.
#[derive(Debug, Default)]
pub struct Turned {
    /// Events that leave now.
    pub picked: Vec<Outgoing>,
    /// Accepted ones that are to be asked about now.
    pub taken: Vec<Taken>,
    /// Unknown ones that are to be read now.
    pub doubtful: Vec<Outgoing>,
    /// When something that waits is due next.
    pub next_due: Option<Timestamp>,
    /// Nothing leaves, because a person said so.
    pub paused: Option<Paused>,
    /// What became held.
    pub held: Vec<HeldNow>,
    /// What was delivered.
    pub delivered: Vec<DeliveredNow>,
    /// What a person asked and has now been done.
    pub done: Vec<Done>,
    /// More of it is still to be done.
    pub more: bool,
}

impl Store {
    /// The destination of that name, made if it is new.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn destination(&self, name: &str) -> Result<i64, StoreError> {
        let name = name.to_owned();
        self.writer
            .run(move |db| {
                db.execute(
                    "INSERT INTO destination (name) VALUES (?1) ON CONFLICT DO NOTHING",
                    [&name],
                )?;
                Ok(db.query_row(
                    "SELECT id FROM destination WHERE name = ?1",
                    [&name],
                    |row| row.get(0),
                )?)
            })
            .await
    }

    /// After a restart: every request that was out is unknown now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn recover(&self, destination: i64, now: Timestamp) -> Result<u64, StoreError> {
        self.writer
            .run(move |db| {
                let rules = Rules::default();
                let desk = Desk::new(db, destination, &rules, now);
                waiting::set_back(&desk)?;
                let offsets = waiting::offsets_in(&desk, StateName::Sending, i64::MAX, None)?;
                for offset in &offsets {
                    let why = "the agent stopped while the request was out";
                    desk.own(*offset, &DeliveryEvent::Lost, Some("unknown"), Some(why))?;
                }
                desk.finish()?;
                Ok(offsets.len() as u64)
            })
            .await
    }

    /// The clock was set back to `now`: what waits is due as long after it was put off as before. A restart does the
    /// same by itself ([`Store::recover`]).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn clock_set_back(&self, destination: i64, now: Timestamp) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let rules = Rules::default();
                waiting::set_back(&Desk::new(db, destination, &rules, now))
            })
            .await
    }

    /// The clock was set forth, or nobody knows how long ago requests left: none whose outcome is not known is
    /// decided before `until`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn requests_out_until(
        &self,
        destination: i64,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let rules = Rules::default();
                waiting::out_until(&Desk::new(db, destination, &rules, until), until)
            })
            .await
    }

    /// Records outcomes, does what a person asked, resolves what waits and is due, and picks what may
    /// leave now, marking it as sending: all durable when it returns.
    ///
    /// # Errors
    /// See [`StoreError`]; a step the state machine forbids is [`StoreError::Invariant`].
    pub async fn turn(
        &self,
        destination: i64,
        turn: Turn,
        rules: std::sync::Arc<Rules>,
    ) -> Result<Turned, StoreError> {
        self.writer
            .run_for(turn.outcomes.len(), move |db| {
                take_turn(db, destination, &turn, &rules)
            })
            .await
    }
}

fn take_turn(
    db: &Connection,
    destination: i64,
    turn: &Turn,
    rules: &Rules,
) -> Result<Turned, StoreError> {
    let desk = Desk::new(db, destination, rules, turn.now);
    let mut turned = Turned::default();
    for happened in &turn.outcomes {
        desk.record(happened)?;
    }
    if !turn.outcomes.is_empty() {
        failpoint::at!("state.turn.recorded")?;
    }
    if let Some(notes) = &turn.notes {
        pause::note(db, destination, notes)?;
    }
    if turn.commands {
        (turned.done, turned.more) = command::steps(&desk)?;
    }
    let (paused, upto) = pause::look(&desk)?;
    waiting::end_waits(&desk)?;
    // Who pauses wants no request at all, also none that only asks.
    let ask = turn.ask.filter(|_| paused.is_none());
    turned.doubtful = waiting::resolve_unknown(&desk, turn.resend, ask)?;
    // Each batch that is asked about takes the place of one that would leave.
    let mut limits = turn.pick;
    let one = ask.map_or(0, |ask| ask.events_max);
    let take = |limits: &mut Option<PickLimits>| {
        if let Some(limits) = limits {
            let left = limits.events_max.saturating_sub(one);
            limits.bytes_max = limits.bytes_max / limits.events_max.max(1) * left;
            limits.events_max = left;
            limits.batches_max = limits.batches_max.saturating_sub(1).max(1);
        }
    };
    if !turned.doubtful.is_empty() {
        take(&mut limits);
    }
    if limits.is_none_or(|limits| limits.events_max > 0) {
        turned.taken = waiting::follow_up(&desk, ask)?;
        if !turned.taken.is_empty() {
            take(&mut limits);
        }
    }
    let limits = limits.filter(|limits| limits.events_max > 0);
    if let (Some(limits), None) = (limits, &paused) {
        turned.picked = pick::pick(&desk, limits, upto, turn.shadow)?;
    }
    turned.paused = paused;
    turned.next_due = waiting::next_due(&desk)?;
    turned.delivered = desk.delivered();
    turned.held = desk.finish()?;
    Ok(turned)
}

/// The counters' scope of a destination.
pub(crate) fn scope(db: &Connection, destination: i64) -> Result<String, StoreError> {
    Ok(db
        .prepare_cached("SELECT 'destination:' || name FROM destination WHERE id = ?1")?
        .query_row([destination], |row| row.get(0))?)
}

//! One thing that happened to one delivery, and all that follows from it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use contract::delivery::{DeliveryEvent, DeliveryState, StateName};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use super::row::{STANDING, Standing, standing_in};
use super::said::{Happened, Said};
use super::step::{FINISH, Step, TELL, WRITE};
use super::{DeliveredNow, HeldNow, Rules, needs};
use crate::error::StoreError;
use crate::guards::{self, Guarded};
use crate::kept::Kept;
use crate::location::{self, LocationStop};
use crate::queue::{Delivery, Queue};
use crate::{attempt, counter, from_millis, millis};

/// A conflict may be settled by the next try so often.
const CONFLICTS_MAX: i64 = 5;
/// Whoever answered so often that nobody can tell will not tell.
const DOUBTS_ANSWERED_MAX: i64 = 3;
/// And so often without an answer.
const DOUBTS_MAX: i64 = 20;
/// An API that cannot be asked for so long is not waited for any longer.
const NOT_ASKED_MAX: SignedDuration = SignedDuration::from_hours(24);

/// A turn's place of work: one destination, one moment, one transaction.
pub(crate) struct Desk<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) destination: i64,
    pub(crate) rules: &'a Rules,
    pub(crate) now: Timestamp,
    counts: RefCell<BTreeMap<&'static str, u64>>,
    pub(super) held: RefCell<Vec<HeldNow>>,
    pub(super) delivered: RefCell<Vec<DeliveredNow>>,
    /// Whether too much of a kind goes, which a turn works out once: it counts what waits, too.
    brakes: RefCell<BTreeMap<i64, Option<String>>>,
    /// Locations that are stopped here, once they were looked up.
    stops: RefCell<Option<Rc<[LocationStop]>>>,
    /// Lanes that others may need, and that have been failing for longer than those wait.
    pub(super) in_vain: RefCell<Vec<i64>>,
    standing: Kept<'a>,
    pub(super) write: Kept<'a>,
    pub(super) finish: Kept<'a>,
    pub(super) tell: Kept<'a>,
    queue: Queue<'a>,
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
            delivered: RefCell::default(),
            brakes: RefCell::default(),
            stops: RefCell::default(),
            in_vain: RefCell::default(),
            standing: Kept::new(db, STANDING),
            write: Kept::new(db, WRITE),
            finish: Kept::new(db, FINISH),
            tell: Kept::new(db, TELL),
            queue: Queue::new(db),
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

    /// Locations that are stopped here.
    pub(crate) fn location_stops(&self) -> Result<Rc<[LocationStop]>, StoreError> {
        let mut known = self.stops.borrow_mut();
        if let Some(stops) = known.as_ref() {
            return Ok(Rc::clone(stops));
        }
        let stops = Rc::from(location::stops(self.db, self.destination)?);
        Ok(Rc::clone(known.insert(stops)))
    }

    /// They are to be looked up again.
    pub(crate) fn stops_changed(&self) {
        self.stops.take();
    }

    pub(crate) fn count(&self, name: &'static str) {
        self.count_some(name, 1);
    }

    fn count_some(&self, name: &'static str, some: u64) {
        *self.counts.borrow_mut().entry(name).or_default() += some;
    }

    /// One more delivery; what of its lane has not left gives way to it.
    pub(crate) fn deliver(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let gone = self.queue.deliver(self.destination, delivery, self.now)?;
        self.count_some("superseded", gone);
        Ok(())
    }

    /// What was delivered meanwhile.
    pub(super) fn delivered(&self) -> Vec<DeliveredNow> {
        self.delivered.take()
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
        let found = self.standing.run(|standing| {
            let found = standing.query_row([self.destination, offset], standing_in);
            found.optional()
        })?;
        found.flatten().ok_or_else(|| {
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
        // An API that could not be asked has not said that it is not applied.
        if late && answered && matches!(event, DeliveryEvent::Waiting { .. }) {
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
                let since = attempt::missing_since(self.db, self.destination, offset)?;
                if since.unwrap_or(millis(self.now)) <= self.too_long() {
                    event = DeliveryEvent::Orphaned;
                    // When that is told again, this leaves by itself.
                    needs::wait_for(self, offset, needs::lane_of(self, offset)?)?;
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
            Said::NotAsked { again, latest } => {
                let since = self.now.duration_since(from_millis(standing.updated_at));
                if since < NOT_ASKED_MAX {
                    self.remember(&standing, happened, said, cause)?;
                    // The longer it lasts, the rarer it is asked.
                    let grown = contract::clock::after(self.now, since.unsigned_abs() / 2);
                    let again = again.max(grown.min(latest));
                    return super::waiting::lease(self.db, self.destination, offset, again);
                }
            }
            _ => {}
        }
        let first = said == Said::Applied && standing.attempt <= 1;
        if !(first || said.is_shadow() || said == Said::NotSent || said == Said::Waiting) {
            self.remember(&standing, happened, said, cause)?;
        }
        let step = Step {
            event: &event,
            cause,
            answer: happened.answer.as_ref(),
            // What was not even sent did not fail.
            tried: said != Said::NotSent,
        };
        self.step(offset, &standing, &step)
    }

    /// How long anything waits for another.
    pub(super) fn wait_millis(&self) -> i64 {
        i64::try_from(self.rules.dependency_wait.as_millis()).unwrap_or(i64::MAX / 2)
    }

    /// What began before this has taken longer than anything waits for another.
    pub(super) fn too_long(&self) -> i64 {
        millis(before(self.now, self.rules.dependency_wait))
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
        let step = Step {
            event,
            cause,
            answer: None,
            tried: true,
        };
        self.step(offset, &standing, &step)
    }
}

/// `now` less a wait.
pub(super) fn before(now: Timestamp, wait: std::time::Duration) -> Timestamp {
    let wait = jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::MAX);
    contract::clock::minus(now, wait)
}

//! Loop 2: outbox to destination.
//!
//! Each turn is one transaction: record the outcomes that came back, then mark what may leave now
//! as sending. Calls of the adapter run beside the loop, at most as many as the destination allows,
//! and nothing is queued in memory between the outbox and a request: what cannot leave now stays in
//! the outbox, where newer states of its keys take its place.

mod calls;
mod circuit;
mod gate;
mod limiter;
mod outcome;
mod reading;
mod report;
mod said;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use contract::delivery::DeliveryEvent;
use contract::{DestinationTraits, Outgoing, clock};
use jiff::Timestamp;
use state::{Ask, Happened, Notes, PickLimits, Rules, Said, StoreError, Turn, Turned};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::observe::DestinationMeter;
use crate::retry::SERVER_HINT_MAX;
use crate::{Common, DestinationPlan, pace, stopped};
use calls::{Calls, Ended, batches};
use circuit::Circuit;
use gate::Door;
use limiter::{Limiter, Wait};
use outcome::Judge;

pub use reading::{ReadingDoor, ReadingGate};
pub use settings::DeliverySettings;

/// Looks at the outbox, and for what a person asks, at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A request's deadline is its timeout and this, for what happens before and after it; more where
/// the store was slow to say that the request may leave.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);
/// But never more than this: a machine that slept looks like a slow store.
const DEADLINE_MARGIN_MAX: Duration = Duration::from_mins(1);
/// So long before the limits let a request through it is picked and waits at the gate: what picking costs would be
/// missing from each second's requests. A newer state does not take the place of what was picked.
const LEAD: Duration = Duration::from_millis(100);
/// A clock that goes back by less was only kept right.
const SET_BACK_MIN: Duration = Duration::from_secs(1);
/// A clock that is further ahead than the time that passed was set forth, or the machine slept.
const SET_FORTH_MIN: Duration = Duration::from_secs(1);
/// Between two tries to write to a full disk.
const FULL_WAIT: Duration = Duration::from_secs(5);

struct Deliver {
    common: Arc<Common>,
    plan: DestinationPlan,
    id: i64,
    traits: DestinationTraits,
    meter: Arc<DestinationMeter>,
    rules: Arc<Rules>,
    circuit: Circuit,
    /// What a deadline has beside the request's timeout.
    margin: Duration,
    /// What is to stand in the store for the next start, and what does.
    notes: Notes,
    stored: Notes,
    /// When the API was last said to limit us.
    throttled_at: Option<Instant>,
    /// A person stopped it, and that was said.
    paused: bool,
    /// The day's quota is used up, and that was said.
    used_up: bool,
    /// The newest turn asked about what was sent: where only one call may run, the next one sends.
    asked_last: bool,
    /// When the store was last asked what a person wants.
    looked_at: Option<Instant>,
    /// The wall clock at the turn before, and when that was.
    turned_at: Timestamp,
    turned: Instant,
}

/// What may happen in a turn.
struct Room {
    /// Calls that may start.
    calls: usize,
    /// Nothing may before this has passed, by our own limits.
    wait: Option<Duration>,
}

/// Runs one destination until told to stop.
pub(crate) async fn run(
    common: Arc<Common>,
    plan: DestinationPlan,
    id: i64,
    wake: Arc<Notify>,
    drain_max: Duration,
) -> Result<(), StoreError> {
    let unknown = common.store.recover(id, common.clock.now()).await?;
    let notes = common.store.notes(id).await?;
    let shadow = plan.settings.shadow;
    tracing::info!(
        code = "delivery.started",
        destination = plan.name,
        unknown,
        shadow,
        "deliver started"
    );
    if notes.shadow && !shadow {
        tracing::warn!(
            code = "delivery.was_shadow",
            destination = plan.name,
            hint = format!("lighterman replay --destination {}", plan.name),
            "the destination was in shadow mode: what was only compared then was not sent"
        );
    }
    let traits = plan.settings.within(plan.destination.traits());
    let now = Instant::now();
    let mut limiter = Limiter::new(&traits, plan.settings.rate, now);
    if let Some(day) = limiter.day() {
        let used = u32::try_from(notes.quota_used).unwrap_or(u32::MAX);
        (day.day, day.noted, day.used) = (notes.quota_day, used, used);
        day.noting = used;
    }
    if let Some(until) = notes.throttled_until {
        // However wrong the clock was when that was noted.
        let rest = clock::until(common.clock.now(), until).min(SERVER_HINT_MAX);
        limiter.rest_until(now + rest);
    }
    let meter = common
        .meters
        .destination(&plan.name, &plan.settings.promised);
    let (woken, clock) = (Arc::clone(&wake), Arc::clone(&common.clock));
    let door = Door::new(limiter, woken, clock, Arc::clone(&meter));
    plan.settings.reading.open(&door);
    let mut calls = Calls {
        destination: Arc::clone(&plan.destination),
        door,
        running: JoinSet::new(),
        asking: 0,
    };
    let rules = Rules {
        guards: plan.settings.guards,
        dependency_wait: plan.settings.dependency_wait,
        event_types: plan.event_types.clone(),
    };
    let mut deliver = Deliver {
        common,
        plan,
        id,
        traits,
        meter,
        rules: Arc::new(rules),
        circuit: Circuit::new(),
        margin: DEADLINE_MARGIN,
        notes,
        stored: notes,
        throttled_at: None,
        paused: false,
        used_up: false,
        asked_last: false,
        looked_at: None,
        turned_at: Timestamp::MIN,
        turned: Instant::now(),
    };
    let mut outcomes: Vec<Happened> = Vec::new();
    let mut stop = deliver.common.stop.clone();
    loop {
        if *stop.borrow() || stop.has_changed().is_err() {
            return deliver.drain(calls, outcomes, drain_max).await;
        }
        failpoint::crash!("task.deliver");
        deliver.look_at_clock().await?;
        let room = deliver.room(&calls);
        let turned = deliver.turn(&mut outcomes, &calls, &room).await?;
        let full = turned.picked.len() >= room.calls * deliver.traits.batch_events_max;
        let (next_due, more) = (turned.next_due, turned.more);
        deliver.start(turned, &mut calls);
        let wait = deliver.wait(full, next_due, more, &room);
        tokio::select! {
            biased;
            () = stopped(&mut stop) => {}
            Some(ended) = calls.running.join_next() => {
                deliver.take(ended, &mut calls, &mut outcomes);
                while let Some(ended) = calls.running.try_join_next() {
                    deliver.take(ended, &mut calls, &mut outcomes);
                }
            }
            () = wake.notified() => {}
            () = deliver.common.clock.sleep(wait) => {}
        }
    }
}

impl Deliver {
    /// Where somebody set the clock back, what waits is due as long after it was put off as it was to be, and not when
    /// the clock is there again. Where somebody set it forth, also between two lives of the agent, deadlines have
    /// passed of requests that are still on their way: what became of them is decided when they surely are over. The
    /// moment that was looked at, by which the turn goes: by a later one the clock may have been set again.
    async fn look_at_clock(&mut self) -> Result<Timestamp, StoreError> {
        loop {
            let (now, at) = (self.common.clock.now(), Instant::now());
            let passed = at.saturating_duration_since(self.turned);
            let back = clock::until(now, self.turned_at);
            let store = &self.common.store;
            if back >= SET_BACK_MIN {
                match store.clock_set_back(self.id, now).await {
                    Ok(()) => {}
                    // The next turn comes to it.
                    Err(StoreError::Full) => return Ok(now),
                    Err(error) => return Err(error),
                }
                self.circuit.set_back(back);
                tracing::warn!(
                    code = "delivery.clock_set_back",
                    destination = self.plan.name,
                    elapsed_ms = u64::try_from(back.as_millis()).unwrap_or(u64::MAX),
                    "the machine's clock was set back: what waits for its next try is due by the new time"
                );
            } else if clock::until(clock::after(self.turned_at, passed), now) >= SET_FORTH_MIN {
                let until = clock::after(now, self.traits.request_timeout + DEADLINE_MARGIN);
                match store.requests_out_until(self.id, until).await {
                    Ok(()) => {}
                    Err(error @ StoreError::Full) => {
                        if self.sleeps_while_full(&error).await {
                            // As if it had not been set: nothing is decided by it.
                            return Ok(clock::after(self.turned_at, passed));
                        }
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            } else {
                (self.turned_at, self.turned) = (now, at);
                return Ok(now);
            }
            // It may have been set again meanwhile.
            (self.turned_at, self.turned) = (now, at);
        }
    }

    /// Waits until there may be room on the disk again; true = the agent is to stop.
    async fn sleeps_while_full(&self, error: &StoreError) -> bool {
        tracing::error!(code = "state.disk_full",
            destination = self.plan.name, stage = "deliver", error = %error,
            hint = error.hint(), "delivery waits for disk space");
        self.common.sleep(FULL_WAIT).await
    }

    /// What may start now: one probe while the destination is in trouble, nothing within a pause,
    /// and never more than the limits let through at once.
    fn room(&mut self, calls: &Calls) -> Room {
        let nothing = |wait: Option<Duration>| Room { calls: 0, wait };
        let now = self.common.clock.now();
        if let Some(rest) = self.circuit.rest(now) {
            return nothing(Some(rest));
        }
        let settings = &self.plan.settings;
        if let Some(until) = pace::paused_until(&settings.pauses, &settings.zone, now) {
            return nothing(Some(clock::until(now, until)));
        }
        let running = calls.running.len();
        let mut limiter = calls.door.limiter();
        let at_once = if self.circuit.is_broken() || settings.shadow {
            1
        } else {
            limiter.calls()
        };
        let free = at_once.saturating_sub(running);
        if free == 0 {
            return nothing(None);
        }
        if let Some(day) = limiter.day() {
            let (today, left) = today(&settings.zone, now);
            day.is(today, Instant::now() + left);
        }
        let ready = limiter.ready(Instant::now() + LEAD);
        if ready == Err(Wait::Quota)
            && let Some(day) = limiter.day()
        {
            // What is noted by the turn that comes now leaves in the one behind it.
            if let Some(noting) = day.take_portion() {
                (self.notes.quota_day, self.notes.quota_used) = (day.day, i64::from(noting));
                self.used_up = false;
                return nothing(Some(Duration::ZERO));
            }
            if day.is_used_up() && !self.used_up {
                self.used_up = true;
                tracing::warn!(
                    code = "delivery.quota_used",
                    destination = self.plan.name,
                    requests = day.max,
                    "the day's quota of requests is used up: events wait for the next day"
                );
            }
        }
        match ready {
            // Those that have started and not come to the gate yet take their share.
            Ok(ready) => Room {
                calls: free.min(ready.saturating_sub(calls.door.promised())),
                wait: None,
            },
            Err(Wait::Until(at)) => {
                nothing(Some(at.saturating_duration_since(Instant::now() + LEAD)))
            }
            Err(Wait::Quota) => nothing(Some(LOOK_EVERY)),
        }
    }

    async fn turn(
        &mut self,
        outcomes: &mut Vec<Happened>,
        calls: &Calls,
        room: &Room,
    ) -> Result<Turned, StoreError> {
        let notes = self.noteworthy(calls);
        let looks = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        loop {
            self.meter.turned();
            let now = self.look_at_clock().await?;
            let timeout = self.traits.request_timeout + self.margin;
            let events = |calls: usize| calls * self.traits.batch_events_max;
            let asks = room.calls > 0
                && calls.asking == 0
                && !self.plan.settings.shadow
                && (room.calls > 1 || !self.asked_last);
            let turn = Turn {
                outcomes: outcomes.clone(),
                resend: self.traits.resend,
                pick: (room.calls > 0).then_some(PickLimits {
                    events_max: events(room.calls),
                    batches_max: room.calls,
                    bytes_max: room.calls * self.traits.batch_bytes_max,
                    request_timeout: timeout,
                }),
                ask: asks.then_some(Ask {
                    events_max: self.traits.batch_events_max,
                    lease: timeout,
                }),
                shadow: self.plan.settings.shadow,
                commands: looks,
                notes,
                now,
            };
            if !outcomes.is_empty() {
                failpoint::crash!("deliver.record");
            }
            let rules = Arc::clone(&self.rules);
            match self.common.store.turn(self.id, turn, rules).await {
                Ok(mut turned) => {
                    outcomes.clear();
                    self.meter.delivered(&turned.delivered, now);
                    self.meter.held(&turned.held);
                    if let Some(notes) = notes {
                        self.stored = notes;
                        if let Some(day) = calls.door.limiter().day() {
                            day.noted();
                        }
                        calls.door.opened();
                    }
                    if looks {
                        self.looked_at = (!turned.more).then(Instant::now);
                    }
                    self.say(&turned);
                    if !turned.picked.is_empty()
                        && !self.plan.settings.shadow
                        && !self.leaves_in_time(now)
                    {
                        let due = self.common.clock.now();
                        let late = std::mem::take(&mut turned.picked);
                        outcomes.extend(late.iter().map(|outgoing| not_sent(outgoing, due)));
                        if turned.taken.is_empty() && turned.doubtful.is_empty() {
                            continue;
                        }
                    }
                    return Ok(turned);
                }
                Err(error @ StoreError::Full) => {
                    if self.sleeps_while_full(&error).await {
                        return Ok(Turned::default());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether requests picked at `picked_at` are over by their deadline when they leave now. Behind
    /// it a lost one is decided, and a newer event of its key may leave: a request that is still out
    /// then would put the older state in the newer one's place. Where the store is slow, the next
    /// ones get more time.
    fn leaves_in_time(&mut self, picked_at: Timestamp) -> bool {
        let late = clock::until(picked_at, self.common.clock.now());
        let margin = self.margin;
        self.margin = (2 * late).clamp(DEADLINE_MARGIN, DEADLINE_MARGIN_MAX);
        // However slow the store, something leaves.
        late <= margin || margin == DEADLINE_MARGIN_MAX
    }

    /// Starts the calls of a turn.
    fn start(&mut self, turned: Turned, calls: &mut Calls) {
        self.asked_last = !turned.taken.is_empty() || !turned.doubtful.is_empty();
        if !turned.taken.is_empty() {
            calls.follow_up(turned.taken);
        }
        if !turned.doubtful.is_empty() {
            calls.verify(turned.doubtful);
        }
        for batch in batches(turned.picked, &self.traits) {
            if self.plan.settings.shadow {
                calls.compare(batch);
            } else {
                said::leave(&self.plan.name, &batch);
                calls.send(batch, self.circuit.counted());
            }
        }
    }

    /// How long to sleep when nothing wakes the loop.
    fn wait(&self, full: bool, next_due: Option<Timestamp>, more: bool, room: &Room) -> Duration {
        if more {
            return Duration::ZERO;
        }
        if let Some(wait) = room.wait {
            return wait.min(LOOK_EVERY);
        }
        if full {
            // Something waits for a free call; a finishing one wakes the loop. Where the limits let
            // more through at once than calls may run, the next turn says so.
            return LOOK_EVERY;
        }
        let now = self.common.clock.now();
        match next_due {
            // What is due and did not leave waits for something else.
            Some(due) if due > now => clock::until(now, due).min(LOOK_EVERY),
            _ => LOOK_EVERY,
        }
    }

    fn take(
        &mut self,
        ended: Result<Ended, tokio::task::JoinError>,
        calls: &mut Calls,
        outcomes: &mut Vec<Happened>,
    ) {
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // A panicking adapter is a bug that must not be lived with: its events stay
                // sending in the store, and the next start makes them unknown.
                if error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
                return;
            }
        };
        let judge = Judge {
            traits: &self.traits,
            retry: &self.plan.retry,
            now: self.common.clock.now(),
            chance: self.common.chance.of_thousand(),
        };
        match ended {
            Ended::Sent(sent, passes, counted) => {
                for (outgoing, outcome) in &sent {
                    said::became(&self.plan.name, "deliver", outgoing, outcome);
                    // Each waits a time of its own.
                    let judge = Judge {
                        chance: self.common.chance.of_thousand(),
                        ..judge
                    };
                    let happened = judge.sent(outgoing, outcome.clone(), passes);
                    self.meter.outcome(happened.said);
                    outcomes.push(happened);
                }
                self.count(&sent, passes);
                self.judge_destination(&sent, passes, counted, calls);
            }
            Ended::Followed(followed) => {
                calls.asking = calls.asking.saturating_sub(1);
                for (taken, outcome) in &followed {
                    said::became(&self.plan.name, "poll", &taken.outgoing, outcome);
                }
                let happened = followed
                    .into_iter()
                    .filter_map(|(taken, outcome)| judge.followed(&taken, outcome));
                let meter = &self.meter;
                outcomes.extend(happened.inspect(|happened| meter.outcome(happened.said)));
            }
            Ended::Verified(verified, passes) => {
                calls.asking = calls.asking.saturating_sub(1);
                for (outgoing, outcome) in &verified {
                    said::became(&self.plan.name, "verify", outgoing, outcome);
                }
                let happened = verified
                    .into_iter()
                    .filter_map(|(outgoing, outcome)| judge.verified(&outgoing, outcome, passes));
                let meter = &self.meter;
                outcomes.extend(happened.inspect(|happened| meter.outcome(happened.said)));
            }
            // What our own limits left no room for is compared another time.
            Ended::Compared(_, passes) if passes.only_refused() => {}
            Ended::Compared(compared, _) => {
                let happened = compared.iter();
                outcomes.extend(happened.map(|(outgoing, said)| Judge::compared(outgoing, said)));
            }
        }
    }

    /// Lets requests that are out end, records what they say, and leaves the rest as sending: the
    /// next start treats it as unknown.
    async fn drain(
        &mut self,
        mut calls: Calls,
        mut outcomes: Vec<Happened>,
        drain_max: Duration,
    ) -> Result<(), StoreError> {
        let clock = Arc::clone(&self.common.clock);
        let limit = clock.sleep(drain_max);
        tokio::pin!(limit);
        loop {
            tokio::select! {
                biased;
                ended = calls.running.join_next() => match ended {
                    Some(ended) => self.take(ended, &mut calls, &mut outcomes),
                    None => break,
                },
                () = &mut limit => break,
            }
        }
        let turn = Turn {
            outcomes,
            resend: self.traits.resend,
            ..Turn::at(self.look_at_clock().await?)
        };
        let rules = Arc::clone(&self.rules);
        self.common.store.turn(self.id, turn, rules).await?;
        tracing::info!(
            code = "delivery.stopped",
            destination = self.plan.name,
            unfinished = calls.running.len(),
            "deliver stopped"
        );
        Ok(())
    }
}

/// Which day it is, in days since 1970, and how much of it is left.
fn today(zone: &jiff::tz::TimeZone, now: Timestamp) -> (i64, Duration) {
    let date = zone.to_datetime(now).date();
    let days = date.duration_since(jiff::civil::date(1970, 1, 1));
    let tomorrow = date.tomorrow().ok();
    let midnight = tomorrow.and_then(|date| zone.to_timestamp(date.at(0, 0, 0, 0)).ok());
    let left = midnight.map_or(LOOK_EVERY, |midnight| clock::until(now, midnight));
    (days.as_hours() / 24, left)
}

/// It was marked as sending and did not leave.
fn not_sent(outgoing: &Outgoing, due: Timestamp) -> Happened {
    Happened {
        offset: outgoing.offset,
        event: DeliveryEvent::Transient { due },
        said: Said::NotSent,
        cause: Some("the state file took long to answer".to_owned()),
        answer: None,
    }
}

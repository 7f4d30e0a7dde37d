//! Loop 2: outbox to destination.
//!
//! Each turn is one transaction: record the outcomes that came back, then mark what may leave now
//! as sending. Requests run beside the loop, at most as many as the destination allows, and
//! nothing is queued in memory between the outbox and a request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use contract::delivery::DeliveryEvent;
use contract::gate::Open;
use contract::{Answer, DestinationTraits, Outcome, Outgoing, clock};
use jiff::Timestamp;
use rand::RngExt;
use state::{Happened, PickLimits, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::{Common, DestinationPlan, stopped};

/// Looks at the outbox at least this often, whatever woke or did not.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A request's deadline is its timeout and this, for what happens before and after it; more where
/// the store was slow to say that the request may leave.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);
/// But never more than this: a machine that slept looks like a slow store.
const DEADLINE_MARGIN_MAX: Duration = Duration::from_mins(1);
/// Between two tries to write to a full disk.
const FULL_WAIT: Duration = Duration::from_secs(5);

type Finished = Vec<(Outgoing, Outcome)>;

struct Deliver {
    common: Arc<Common>,
    plan: DestinationPlan,
    id: i64,
    traits: DestinationTraits,
    /// Failures in a row without a success: the destination itself is in trouble.
    failures: u32,
    /// Nothing leaves before this.
    pause_until: Timestamp,
    /// What a deadline has beside the request's timeout.
    margin: Duration,
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
    tracing::info!(destination = plan.name, unknown, "deliver started");
    let traits = plan.destination.traits();
    let mut deliver = Deliver {
        common,
        plan,
        id,
        traits,
        failures: 0,
        pause_until: Timestamp::MIN,
        margin: DEADLINE_MARGIN,
    };
    let mut requests: JoinSet<Finished> = JoinSet::new();
    let mut outcomes: Vec<Happened> = Vec::new();
    let mut stop = deliver.common.stop.clone();
    loop {
        if *stop.borrow() || stop.has_changed().is_err() {
            return deliver.drain(requests, outcomes, drain_max).await;
        }
        let picked = deliver.turn(&mut outcomes, requests.len()).await?;
        let full = picked.len() >= deliver.events_free(requests.len());
        for batch in batches(picked, deliver.traits) {
            let destination = Arc::clone(&deliver.plan.destination);
            requests.spawn(async move {
                let report = destination.deliver(&batch, &Open).await;
                batch.into_iter().zip(report.outcomes()).collect()
            });
        }
        let wait = deliver.wait(full).await?;
        tokio::select! {
            biased;
            () = stopped(&mut stop) => {}
            Some(ended) = requests.join_next() => {
                deliver.take(ended, &mut outcomes);
                while let Some(ended) = requests.try_join_next() {
                    deliver.take(ended, &mut outcomes);
                }
            }
            () = wake.notified() => {}
            () = deliver.common.clock.sleep(wait) => {}
        }
    }
}

impl Deliver {
    /// Requests that may start now: one probe while the destination is in trouble.
    fn requests_free(&self, running: usize) -> usize {
        let allowed = if self.failures > 0 {
            1
        } else {
            self.traits.requests_max
        };
        allowed.saturating_sub(running)
    }

    fn events_free(&self, running: usize) -> usize {
        self.requests_free(running) * self.traits.batch_events_max
    }

    async fn turn(
        &mut self,
        outcomes: &mut Vec<Happened>,
        running: usize,
    ) -> Result<Vec<Outgoing>, StoreError> {
        loop {
            let now = self.common.clock.now();
            let free = self.requests_free(running);
            let limits = (free > 0 && now >= self.pause_until).then_some(PickLimits {
                events_max: free * self.traits.batch_events_max,
                bytes_max: free * self.traits.batch_bytes_max,
                request_timeout: self.traits.request_timeout + self.margin,
            });
            let turned = self
                .common
                .store
                .turn(self.id, outcomes.clone(), self.traits.resend, limits, now)
                .await;
            match turned {
                Ok(picked) => {
                    outcomes.clear();
                    if picked.is_empty() || self.leaves_in_time(now) {
                        return Ok(picked);
                    }
                    let due = self.common.clock.now();
                    outcomes.extend(picked.iter().map(|outgoing| Happened {
                        offset: outgoing.offset,
                        event: DeliveryEvent::Transient { due },
                        cause: Some("the state file took long to answer".to_owned()),
                        answer: None,
                    }));
                }
                Err(error @ StoreError::Full) => {
                    tracing::error!(destination = self.plan.name, stage = "deliver", error = %error,
                        hint = error.hint(), "delivery waits for disk space");
                    if self.common.sleep(FULL_WAIT).await {
                        return Ok(Vec::new());
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

    /// How long to sleep when nothing wakes the loop.
    async fn wait(&self, full: bool) -> Result<Duration, StoreError> {
        let now = self.common.clock.now();
        if now < self.pause_until {
            return Ok(clock::until(now, self.pause_until).min(LOOK_EVERY));
        }
        if full {
            // Something waits for a free request; a finishing one wakes the loop.
            return Ok(LOOK_EVERY);
        }
        let due = self.common.store.next_due(self.id).await?;
        Ok(due.map_or(LOOK_EVERY, |due| clock::until(now, due).min(LOOK_EVERY)))
    }

    fn take(
        &mut self,
        ended: Result<Finished, tokio::task::JoinError>,
        outcomes: &mut Vec<Happened>,
    ) {
        let finished = match ended {
            Ok(finished) => finished,
            Err(error) => {
                // A panicking adapter is a bug that must not be lived with: its events stay
                // sending in the store, and the next start makes them unknown.
                if error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
                return;
            }
        };
        let now = self.common.clock.now();
        let mut succeeded = false;
        let mut trouble = None;
        for (outgoing, outcome) in finished {
            match &outcome {
                Outcome::Applied(_) | Outcome::Accepted { .. } | Outcome::Rejected { .. } => {
                    succeeded = true;
                }
                Outcome::Retry { cause, after, .. } => trouble = Some((cause.clone(), *after)),
                Outcome::Conflict { .. } | Outcome::Missing { .. } => succeeded = true,
                Outcome::Unknown { cause, .. } => trouble = Some((cause.clone(), None)),
            }
            outcomes.push(self.happened(&outgoing, outcome, now));
        }
        if succeeded {
            if self.failures > 0 {
                tracing::info!(destination = self.plan.name, "destination answers again");
            }
            self.failures = 0;
            self.pause_until = Timestamp::MIN;
        } else if let Some((cause, after)) = trouble {
            self.failures = self.failures.saturating_add(1);
            let chance = rand::rng().random_range(0..=1_000);
            let wait = self.plan.retry.wait(self.failures, chance, after);
            self.pause_until = clock::after(now, wait);
            if self.failures == 1 || self.failures.is_multiple_of(10) {
                tracing::warn!(
                    destination = self.plan.name,
                    stage = "deliver",
                    error = cause,
                    failures = self.failures,
                    "destination fails, events wait in the outbox"
                );
            }
        }
    }

    fn happened(&self, outgoing: &Outgoing, outcome: Outcome, now: Timestamp) -> Happened {
        let (event, cause, answer): (_, _, Option<Answer>) = match outcome {
            Outcome::Applied(answer) => (DeliveryEvent::Applied, None, Some(answer)),
            Outcome::Accepted { ticket, answer } => {
                let due = clock::after(now, self.traits.accepted_poll);
                let until = clock::after(now, self.traits.accepted_max);
                (
                    DeliveryEvent::Took { ticket, due, until },
                    None,
                    Some(answer),
                )
            }
            Outcome::Retry {
                after,
                cause,
                answer,
            } => {
                let chance = rand::rng().random_range(0..=1_000);
                let wait = self.plan.retry.wait(outgoing.attempt, chance, after);
                let due = clock::after(now, wait);
                (DeliveryEvent::Transient { due }, Some(cause), Some(answer))
            }
            Outcome::Rejected { cause, answer } => {
                tracing::error!(destination = self.plan.name, stage = "deliver",
                    event_id = outgoing.id, event_type = %outgoing.event_type, error = cause,
                    hint = "lighterman status", "an event is held: the API refused it");
                (DeliveryEvent::Rejected, Some(cause), Some(answer))
            }
            Outcome::Conflict { cause, answer } | Outcome::Missing { cause, answer } => {
                let chance = rand::rng().random_range(0..=1_000);
                let wait = self.plan.retry.wait(outgoing.attempt, chance, None);
                let due = clock::after(now, wait);
                (DeliveryEvent::Transient { due }, Some(cause), Some(answer))
            }
            Outcome::Unknown { cause, answer } => (DeliveryEvent::Lost, Some(cause), answer),
        };
        Happened {
            offset: outgoing.offset,
            event,
            cause,
            answer,
        }
    }

    /// Lets requests that are out end, records what they say, and leaves the rest as sending: the
    /// next start treats it as unknown.
    async fn drain(
        &mut self,
        mut requests: JoinSet<Finished>,
        mut outcomes: Vec<Happened>,
        drain_max: Duration,
    ) -> Result<(), StoreError> {
        let clock = Arc::clone(&self.common.clock);
        let limit = clock.sleep(drain_max);
        tokio::pin!(limit);
        loop {
            tokio::select! {
                ended = requests.join_next() => match ended {
                    Some(ended) => self.take(ended, &mut outcomes),
                    None => break,
                },
                () = &mut limit => break,
            }
        }
        let now = self.common.clock.now();
        self.common
            .store
            .turn(self.id, outcomes, self.traits.resend, None, now)
            .await?;
        tracing::info!(
            destination = self.plan.name,
            unfinished = requests.len(),
            "deliver stopped"
        );
        Ok(())
    }
}

/// Splits what was picked into requests within the destination's limits, in outbox order.
fn batches(picked: Vec<Outgoing>, traits: DestinationTraits) -> Vec<Vec<Outgoing>> {
    let mut rest = VecDeque::from(picked);
    let mut all = Vec::new();
    while let Some(first) = rest.pop_front() {
        let mut bytes = first.json.len();
        let mut batch = vec![first];
        while batch.len() < traits.batch_events_max
            && let Some(next) = rest.pop_front_if(|next| {
                bytes += next.json.len();
                bytes <= traits.batch_bytes_max
            })
        {
            batch.push(next);
        }
        all.push(batch);
    }
    all
}

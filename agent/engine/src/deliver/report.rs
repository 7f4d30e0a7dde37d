//! What a destination's loop says to people and counts for monitoring, and notes for its next start.

use std::time::Duration;

use contract::delivery::HeldCause;
use contract::{Answer, Outcome, Outgoing, clock};
use state::{Notes, Turned};
use tokio::time::Instant;

use super::calls::Calls;
use super::gate::Passes;
use super::{Deliver, circuit, said};

/// That an API limits us is said again when it had not for so long.
const THROTTLED_AGAIN: Duration = Duration::from_mins(10);

impl Deliver {
    /// What is to stand in the store, where that is something else than what does.
    pub(super) fn noteworthy(&mut self, calls: &Calls) -> Option<Notes> {
        let moment = Instant::now();
        let until = calls.door.limiter().not_before(moment);
        let until = until.map(|at| {
            clock::after(
                self.common.clock.now(),
                at.saturating_duration_since(moment),
            )
        });
        // The moment is worked out anew each time: only its coming, going and moving on counts.
        let same = match (self.stored.throttled_until, until) {
            (Some(a), Some(b)) => b.duration_since(a).abs() < jiff::SignedDuration::from_secs(1),
            (a, b) => a == b,
        };
        if !same {
            self.notes.throttled_until = until;
        }
        self.notes.shadow = self.plan.settings.shadow;
        if let Some(until) = until {
            let said = self.throttled_at.replace(moment);
            if said.is_none_or(|at| at.elapsed() > THROTTLED_AGAIN) {
                tracing::warn!(
                    code = "delivery.throttled",
                    destination = self.plan.name,
                    until = until.to_string(),
                    "the destination limits us: events wait in the outbox"
                );
            }
        }
        (self.notes != self.stored).then_some(self.notes)
    }

    /// Says what a person should know of a turn, each thing once.
    pub(super) fn say(&mut self, turned: &Turned) {
        let destination = &self.plan.name;
        for done in &turned.done {
            tracing::info!(
                code = "command.done",
                destination,
                count = done.count,
                error = done.problem,
                "done as asked: {}",
                done.what
            );
        }
        let paused = turned.paused.is_some();
        if paused != self.paused {
            self.paused = paused;
            if let Some(paused) = turned.paused {
                let until = paused.until.map(|until| until.to_string());
                tracing::warn!(
                    code = "destination.paused",
                    destination,
                    until,
                    "the destination is paused: nothing leaves"
                );
            } else {
                tracing::info!(
                    code = "destination.resumed",
                    destination,
                    "the destination goes on"
                );
            }
        }
        for cause in HeldCause::ALL {
            // What an API refused was said with its own words.
            let count = turned
                .held
                .iter()
                .filter(|held| held.cause == cause)
                .count();
            if count > 0 && cause != HeldCause::Rejected {
                tracing::error!(
                    code = "delivery.held",
                    destination,
                    count,
                    cause = cause.name(),
                    hint = "lighterman held list",
                    "events are held for a person"
                );
            }
        }
    }

    /// Counts a call that sent events: its answers, and what had been tried before.
    pub(super) fn count(&self, sent: &[(Outgoing, Outcome)], passes: Passes) {
        if passes.only_refused() {
            self.meter.limited();
            return;
        }
        let mut before: Option<Option<&Answer>> = None;
        for (outgoing, outcome) in sent {
            // Events of one request have its answer in common.
            let answer = outcome.answer();
            if before != Some(answer) {
                self.meter.answered(answer);
                before = Some(answer);
            }
            if outgoing.attempt > 1 {
                self.meter.retried();
            }
        }
    }

    /// What the outcomes of a call say of the destination as a whole.
    pub(super) fn judge_destination(
        &mut self,
        sent: &[(Outgoing, Outcome)],
        passes: Passes,
        counted: u64,
        calls: &Calls,
    ) {
        let mut succeeded = false;
        let mut trouble = None;
        for (outgoing, outcome) in sent {
            match outcome {
                Outcome::Applied(_)
                | Outcome::Accepted { .. }
                | Outcome::Conflict { .. }
                | Outcome::Missing { .. } => succeeded = true,
                Outcome::Rejected { answer, .. } => {
                    succeeded = true;
                    tracing::error!(code = "delivery.refused",
                        destination = self.plan.name, stage = "deliver",
                        event_id = outgoing.id, event_type = %outgoing.event_type,
                        error = &*said::of_event(answer),
                        hint = "lighterman held list", "an event is held: the API refused it");
                }
                Outcome::Retry {
                    cause,
                    after,
                    answer,
                } => trouble = Some((said::of_destination(cause, answer.status), *after)),
                Outcome::Unknown { cause, answer } => {
                    let status = answer.as_ref().and_then(|answer| answer.status);
                    trouble = Some((said::of_destination(cause, status), None));
                }
            }
        }
        let mut limiter = calls.door.limiter();
        if passes.only_refused() {
            return;
        }
        if succeeded || trouble.is_some() {
            self.meter.fails(!succeeded);
        }
        let turned = if succeeded {
            limiter.succeeded();
            self.circuit.succeeded()
        } else if let Some((cause, after)) = trouble {
            limiter.failed(Instant::now());
            let chance = self.common.chance.of_thousand();
            let now = self.common.clock.now();
            let turned = self
                .circuit
                .failed(&self.plan.retry, chance, after, counted, now);
            if let circuit::Turned::Fails(failures) = turned {
                tracing::warn!(
                    code = "destination.fails",
                    destination = self.plan.name,
                    stage = "deliver",
                    error = &*cause,
                    failures,
                    "destination fails, events wait in the outbox"
                );
            }
            turned
        } else {
            return;
        };
        if turned == circuit::Turned::Answers {
            tracing::info!(
                code = "destination.answers",
                destination = self.plan.name,
                "destination answers again"
            );
        }
    }
}

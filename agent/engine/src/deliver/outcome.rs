//! What an adapter reported, as what happens to a delivery: pure.

use std::time::Duration;

use contract::delivery::DeliveryEvent;
use contract::{Answer, Compared, DestinationTraits, Outcome, Outgoing, Taken, clock};
use jiff::Timestamp;
use state::{Happened, Said};

use super::gate::Passes;
use crate::retry::RetryPolicy;

/// Whether a question was not answered, or only by a failure that passes: of the network, the API, or
/// our login.
fn passes_by(answer: Option<&Answer>) -> bool {
    match answer.and_then(|answer| answer.status) {
        None | Some(401 | 403 | 407 | 408 | 425 | 429) => true,
        Some(status) => status >= 500,
    }
}

/// What outcomes are judged by.
pub(super) struct Judge<'a> {
    pub(super) traits: &'a DestinationTraits,
    pub(super) retry: &'a RetryPolicy,
    pub(super) now: Timestamp,
    /// Of 0 to 1000.
    pub(super) chance: u16,
}

impl Judge<'_> {
    fn due(&self, attempt: u32, after: Option<Duration>) -> Timestamp {
        clock::after(self.now, self.retry.wait(attempt, self.chance, after))
    }

    /// Of an event that was sent.
    pub(super) fn sent(&self, outgoing: &Outgoing, outcome: Outcome, passes: Passes) -> Happened {
        let transient = |after| DeliveryEvent::Transient {
            due: self.due(outgoing.attempt, after),
        };
        let (event, said, cause, answer) = match outcome {
            Outcome::Applied(answer) => (DeliveryEvent::Applied, Said::Applied, None, Some(answer)),
            Outcome::Accepted { ticket, answer } => {
                let due = clock::after(self.now, self.traits.accepted_poll);
                let until = clock::after(self.now, self.traits.accepted_max);
                let took = DeliveryEvent::Took { ticket, due, until };
                (took, Said::Accepted, None, Some(answer))
            }
            // Nothing left: it may as soon as there is room, and no attempt was made.
            Outcome::Retry { cause, answer, .. }
                if passes.only_refused() && answer.status.is_none() =>
            {
                let event = DeliveryEvent::Transient { due: self.now };
                (event, Said::NotSent, Some(cause), None)
            }
            Outcome::Retry {
                after,
                cause,
                answer,
            } => (transient(after), Said::Retry, Some(cause), Some(answer)),
            Outcome::Rejected { cause, answer } => (
                DeliveryEvent::Rejected,
                Said::Rejected,
                Some(cause),
                Some(answer),
            ),
            Outcome::Conflict { cause, answer } => {
                (transient(None), Said::Conflict, Some(cause), Some(answer))
            }
            Outcome::Missing { cause, answer } => {
                (transient(None), Said::Missing, Some(cause), Some(answer))
            }
            Outcome::Unknown { cause, answer } => {
                (DeliveryEvent::Lost, Said::Unknown, Some(cause), answer)
            }
        };
        Happened {
            offset: outgoing.offset,
            event,
            said,
            cause,
            answer,
        }
    }

    /// Of an event that the API had taken for later. `None` = it could not be asked; its turn comes
    /// again.
    pub(super) fn followed(&self, taken: &Taken, outcome: Outcome) -> Option<Happened> {
        let waiting = |ticket: String, after: Option<Duration>| DeliveryEvent::Waiting {
            ticket,
            due: clock::after(
                self.now,
                after.unwrap_or_default().max(self.traits.accepted_poll),
            ),
        };
        let (event, said, cause, answer) = match outcome {
            Outcome::Applied(answer) => (DeliveryEvent::Applied, Said::Applied, None, Some(answer)),
            Outcome::Accepted { ticket, answer } => {
                (waiting(ticket, None), Said::Waiting, None, Some(answer))
            }
            Outcome::Retry { answer, .. } if answer.status.is_none() => return None,
            Outcome::Retry {
                after,
                cause,
                answer,
            } => (
                waiting(taken.ticket.clone(), after),
                Said::Waiting,
                Some(cause),
                Some(answer),
            ),
            Outcome::Rejected { cause, answer } => (
                DeliveryEvent::Rejected,
                Said::Rejected,
                Some(cause),
                Some(answer),
            ),
            // It came to nothing: what may be done then is what may be done with any lost request.
            Outcome::Conflict { cause, answer } | Outcome::Missing { cause, answer } => (
                DeliveryEvent::Lost,
                Said::Unknown,
                Some(cause),
                Some(answer),
            ),
            Outcome::Unknown { cause, answer } => {
                (DeliveryEvent::Lost, Said::Unknown, Some(cause), answer)
            }
        };
        Some(Happened {
            offset: taken.outgoing.offset,
            event,
            said,
            cause,
            answer,
        })
    }

    /// Of an event of which nobody knew whether it was applied, and which was read. `None` = it could
    /// not be read; its turn comes again.
    pub(super) fn verified(
        &self,
        outgoing: &Outgoing,
        outcome: Outcome,
        passes: Passes,
    ) -> Option<Happened> {
        if passes.only_refused() {
            return None;
        }
        let again = self.due(outgoing.attempt, None);
        let (event, said, cause, answer) = match outcome {
            Outcome::Applied(answer) => (DeliveryEvent::Applied, Said::Applied, None, Some(answer)),
            Outcome::Rejected { cause, answer } => (
                DeliveryEvent::Rejected,
                Said::Rejected,
                Some(cause),
                Some(answer),
            ),
            Outcome::Retry { cause, answer, .. }
            | Outcome::Conflict { cause, answer }
            | Outcome::Missing { cause, answer } => (
                DeliveryEvent::Resend { due: again },
                Said::NotThere,
                Some(cause),
                Some(answer),
            ),
            Outcome::Accepted { answer, .. } => (
                DeliveryEvent::CannotTell,
                Said::Doubt { again },
                Some("it is still on its way".to_owned()),
                Some(answer),
            ),
            // It could not be asked: that says nothing of the event.
            Outcome::Unknown { cause, answer } if passes_by(answer.as_ref()) => (
                DeliveryEvent::CannotTell,
                Said::NotAsked {
                    again,
                    latest: clock::after(self.now, self.retry.max),
                },
                Some(cause),
                answer,
            ),
            Outcome::Unknown { cause, answer } => (
                DeliveryEvent::CannotTell,
                Said::Doubt { again },
                Some(cause),
                answer,
            ),
        };
        Some(Happened {
            offset: outgoing.offset,
            event,
            said,
            cause,
            answer,
        })
    }

    /// Of an event that was only compared.
    pub(super) fn compared(outgoing: &Outgoing, compared: &Compared) -> Happened {
        let (said, cause) = match compared {
            Compared::Same => (Said::Same, "shadow: it holds the same".to_owned()),
            Compared::Differs { holds, would } => {
                let shown = |text: &str| {
                    if text.is_empty() {
                        "nothing".to_owned()
                    } else {
                        text.to_owned()
                    }
                };
                let (holds, would) = (shown(holds), shown(would));
                let cause = format!("shadow: holds {holds}, would hold {would}");
                (Said::Differs, cause)
            }
            Compared::CannotTell { cause } => {
                (Said::NotCompared, format!("shadow: not compared: {cause}"))
            }
        };
        Happened {
            offset: outgoing.offset,
            event: DeliveryEvent::Discard,
            said,
            cause: Some(cause),
            answer: None,
        }
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;

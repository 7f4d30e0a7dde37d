//! The destination trait: what an adapter for an API does.
//!
//! An adapter speaks the API and reports exactly one [`Outcome`] for each event it was given. It
//! never retries, never waits for a back-off and never decides about order: the engine does.
//! How fast it may send, it asks the [`Gate`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::event::{EventKind, EventOp, EventType};
use crate::finding::Finding;
use crate::gate::{Gate, Limits};
use crate::listing::{ListedPage, NotListed};

/// Most bytes of an API's answer that are kept.
pub const ANSWER_BODY_BYTES_MAX: usize = 2_048;

/// An event on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Place in our outbox.
    pub offset: i64,
    /// Event id; the same on every attempt.
    pub id: String,
    /// Type.
    pub event_type: EventType,
    /// Key as one text.
    pub key: String,
    /// Upsert, delete, fact, correction.
    pub op: EventOp,
    /// What the receiver stores to recognise what it holds; a fact's corrections have it too.
    pub idempotency_key: String,
    /// Tenant and source, for `ce-source`.
    pub origin: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// This attempt's number, from 1.
    pub attempt: u32,
    /// The event's canonical JSON.
    pub json: Bytes,
}

impl Outgoing {
    /// State or fact.
    pub fn kind(&self) -> EventKind {
        self.event_type.kind()
    }

    /// What a server that leaves out repetitions is to know them by.
    pub fn repetition_key(&self) -> &str {
        self.event_type
            .repetition_key(&self.id, &self.idempotency_key)
    }
}

/// What the API answered, kept for the operator. Never logged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Status code, where there is one.
    pub status: Option<u16>,
    /// The start of the body, at most [`ANSWER_BODY_BYTES_MAX`] bytes.
    pub body: String,
    /// Time from the first byte sent to the answer.
    pub latency_ms: u64,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The API has it, in effect.
    Applied(Answer),
    /// The API took it and will apply it later.
    Accepted {
        /// How to ask about it.
        ticket: String,
        /// The answer.
        answer: Answer,
    },
    /// Surely not applied; may work later.
    Retry {
        /// Not before this time has passed, when the API says so.
        after: Option<Duration>,
        /// Why.
        cause: String,
        /// The answer, if any.
        answer: Answer,
    },
    /// Surely not applied and never will be as it is: a person must look.
    Rejected {
        /// Why.
        cause: String,
        /// The answer.
        answer: Answer,
    },
    /// Surely not applied, for the API holds something else than what the change was made from
    /// (409, 412), and reading again did not settle it.
    Conflict {
        /// Why.
        cause: String,
        /// The answer.
        answer: Answer,
    },
    /// Surely not applied, for the API does not have what the event is about: the product of a
    /// price, the order of a shipment. It may come.
    Missing {
        /// What is missing, in the business's words.
        cause: String,
        /// The answer.
        answer: Answer,
    },
    /// May or may not have been applied.
    Unknown {
        /// Why.
        cause: String,
        /// The answer, where one came that says nothing.
        answer: Option<Answer>,
    },
}

impl Outcome {
    /// Nobody can tell, and no answer came.
    pub fn unknown(cause: impl Into<String>) -> Self {
        Self::Unknown {
            cause: cause.into(),
            answer: None,
        }
    }

    /// What the API answered; `None` = nothing came.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Applied(answer)
            | Self::Accepted { answer, .. }
            | Self::Retry { answer, .. }
            | Self::Rejected { answer, .. }
            | Self::Conflict { answer, .. }
            | Self::Missing { answer, .. } => Some(answer),
            Self::Unknown { answer, .. } => answer.as_ref(),
        }
        .filter(|answer| **answer != Answer::default())
    }

    /// Surely not applied, without an answer: nothing was sent.
    pub fn not_sent(cause: impl Into<String>) -> Self {
        Self::Retry {
            after: None,
            cause: cause.into(),
            answer: Answer::default(),
        }
    }
}

/// One outcome per event of a batch. An event the adapter forgot counts as unknown, never as
/// success.
#[derive(Debug)]
pub struct Report(Vec<Option<Outcome>>);

impl Report {
    /// A report for a batch of `len` events.
    pub fn new(len: usize) -> Self {
        Self(vec![None; len])
    }

    /// The same outcome for every event.
    pub fn all(len: usize, outcome: &Outcome) -> Self {
        Self(vec![Some(outcome.clone()); len])
    }

    /// Sets the outcome of the batch's event at `index`; out of range is ignored.
    pub fn set(&mut self, index: usize, outcome: Outcome) {
        if let Some(slot) = self.0.get_mut(index) {
            *slot = Some(outcome);
        }
    }

    /// The outcomes, in batch order.
    pub fn outcomes(self) -> Vec<Outcome> {
        let forgotten = || Outcome::unknown("the adapter reported no outcome");
        self.0
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(forgotten))
            .collect()
    }
}

/// What may be done with an event whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Sending again is safe: the API recognises the idempotency key, or sets absolute values.
    Safe,
    /// Sending again could do it twice, but [`Destination::verify`] can tell whether it happened.
    Verify,
    /// Sending again could do it twice, and nothing can tell: a person must decide.
    Unsafe,
}

/// An event that the API took for later.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The event.
    pub outgoing: Outgoing,
    /// How to ask about it, as [`Outcome::Accepted`] said.
    pub ticket: String,
}

/// What a destination holds of a key, beside what we would send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// It holds what the event says.
    Same,
    /// It holds something else. Short texts for a person, such as `5` and `7`.
    Differs {
        /// What it holds; empty = nothing of that key.
        holds: String,
        /// What it would hold.
        would: String,
    },
    /// It cannot be asked, or what it says cannot be compared.
    CannotTell {
        /// Why.
        cause: String,
    },
}

/// What the engine must know about an API before it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestinationTraits {
    /// Most events in one request.
    pub batch_events_max: usize,
    /// Most bytes in one request, about; one event may exceed it.
    pub batch_bytes_max: usize,
    /// Most requests at once.
    pub requests_max: usize,
    /// What to do about unknown outcomes.
    pub resend: Resend,
    /// A call of [`Destination::deliver`] is over within this time, whatever it sends.
    pub request_timeout: Duration,
    /// How much may be sent, as far as that is known beforehand.
    pub limits: Limits,
    /// How long the API may take to apply what it took for later ([`Outcome::Accepted`]).
    pub accepted_max: Duration,
    /// How long to wait between two questions about that.
    pub accepted_poll: Duration,
}

impl DestinationTraits {
    /// One event in a request, one request at a time, nothing known of limits: what an adapter
    /// changes where it knows more.
    pub fn modest() -> Self {
        Self {
            batch_events_max: 1,
            batch_bytes_max: 1 << 20,
            requests_max: 1,
            resend: Resend::Unsafe,
            request_timeout: Duration::from_secs(30),
            limits: Limits::default(),
            accepted_max: Duration::from_hours(2),
            accepted_poll: Duration::from_secs(30),
        }
    }
}

/// Builds a destination from checked settings and its name; made by an adapter's `read`.
pub type BuildDestination = Arc<dyn Fn(&str) -> Result<Arc<dyn Destination>, String> + Send + Sync>;

/// A system we write to.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Limits and habits; constant for the life of the value.
    fn traits(&self) -> DestinationTraits;

    /// Looks whether the API can be reached and accepts our credentials. Sends no event. Answers
    /// within 20 seconds.
    async fn check(&self) -> Vec<Finding>;

    /// Goes through recorded exchanges with the API, without a network; `None` = nothing is recorded
    /// for this kind.
    fn recorded(&self) -> Option<Vec<Finding>> {
        None
    }

    /// Sends a batch of at least one event, each of another key, and reports an outcome for each.
    /// Called in parallel up to `requests_max`; returns within `request_timeout`. Each request
    /// passes the gate first, and what the API says of its limits is told to it. The same event
    /// may come again after a crash, with the same id.
    async fn deliver(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report;

    /// Asks what became of events that the API took for later: applied, rejected, not known to the
    /// API any more (unknown), or still on the way (accepted, with the ticket to ask by next time).
    /// Only called where `deliver` reports [`Outcome::Accepted`].
    async fn follow_up(&self, taken: &[Taken], _gate: &dyn Gate) -> Report {
        Report::new(taken.len())
    }

    /// Reads whether events whose outcome is unknown were applied: applied; retry, which says that
    /// they surely were not; or unknown. Only called where `resend` is [`Resend::Verify`], when no
    /// request of them can be out any more.
    async fn verify(&self, batch: &[Outgoing], _gate: &dyn Gate) -> Report {
        Report::new(batch.len())
    }

    /// Reads what the API holds of each event's key and compares; one answer for each event, in
    /// order. Changes nothing.
    async fn compare(&self, batch: &[Outgoing], _gate: &dyn Gate) -> Vec<Compared> {
        let cause = "this destination cannot be read".to_owned();
        vec![Compared::CannotTell { cause }; batch.len()]
    }

    /// Whether it can list all that it has of a type.
    fn lists(&self, _event_type: EventType) -> bool {
        false
    }

    /// Reads a page of all that it has of a type: the first one, or the one behind what the page before called the
    /// next. Changes nothing; returns within `request_timeout`. Only called where [`Destination::lists`] says so.
    async fn list(
        &self,
        _event_type: EventType,
        _after: Option<&str>,
        _gate: &dyn Gate,
    ) -> Result<ListedPage, NotListed> {
        Err(NotListed {
            cause: "this destination does not list what it has".to_owned(),
            again: None,
        })
    }

    /// What each event's key is called in those lists; `None` = it is not in them. Asks nobody.
    fn called(&self, batch: &[Outgoing]) -> Vec<Option<String>> {
        vec![None; batch.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_event_is_unknown() {
        let mut report = Report::new(2);
        report.set(0, Outcome::Applied(Answer::default()));
        report.set(7, Outcome::Applied(Answer::default()));
        let outcomes = report.outcomes();
        assert!(matches!(outcomes[0], Outcome::Applied(_)));
        assert!(matches!(outcomes[1], Outcome::Unknown { .. }));
        assert_eq!(outcomes.len(), 2);
    }
}

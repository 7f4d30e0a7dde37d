//! What may stand in the log of an answer, and the lines that follow one event.
//!
//! An API's own words never do: they may name people, or say again what we sent. They are kept with the
//! delivery, for `lighterman held` and `trace`.

use std::borrow::Cow;

use contract::{Answer, Outcome, Outgoing};

/// Why an event was refused: the words are about it, so only what kind of answer it was.
pub(super) fn of_event(answer: &Answer) -> Cow<'static, str> {
    match answer.status {
        Some(status) => of_status(status),
        None => Cow::Borrowed("refused; what was said is kept with the event"),
    }
}

/// Why the destination as a whole is in trouble. Where there was no answer, the words are our own.
pub(super) fn of_destination(cause: &str, status: Option<u16>) -> Cow<'_, str> {
    match status {
        Some(status) => of_status(status),
        None => Cow::Borrowed(cause),
    }
}

fn of_status(status: u16) -> Cow<'static, str> {
    Cow::Owned(match status {
        300..=399 => format!("HTTP {status}: redirects are not followed; set the final address"),
        401 | 403 | 407 => format!("HTTP {status}: our login is refused"),
        _ => format!("HTTP {status}"),
    })
}

/// Says of each event that it leaves.
pub(super) fn leave(destination: &str, batch: &[Outgoing]) {
    for outgoing in batch {
        tracing::debug!(
            code = "delivery.sent",
            destination,
            stage = "deliver",
            event_id = outgoing.id,
            event_type = outgoing.event_type.name(),
            op = outgoing.op.name(),
            offset = outgoing.offset,
            attempt = outgoing.attempt,
            "an event leaves"
        );
    }
}

/// Says what became of an event, as far as is known.
pub(super) fn became(destination: &str, stage: &str, outgoing: &Outgoing, outcome: &Outcome) {
    let (outcome, answer) = match outcome {
        Outcome::Applied(answer) => ("applied", Some(answer)),
        Outcome::Accepted { answer, .. } => ("accepted", Some(answer)),
        Outcome::Retry { answer, .. } => ("retry", Some(answer)),
        Outcome::Rejected { answer, .. } => ("rejected", Some(answer)),
        Outcome::Conflict { answer, .. } => ("conflict", Some(answer)),
        Outcome::Missing { answer, .. } => ("missing", Some(answer)),
        Outcome::Unknown { answer, .. } => ("unknown", answer.as_ref()),
    };
    tracing::debug!(
        code = "delivery.answered",
        destination,
        stage,
        event_id = outgoing.id,
        event_type = outgoing.event_type.name(),
        offset = outgoing.offset,
        attempt = outgoing.attempt,
        outcome,
        status = answer.and_then(|answer| answer.status),
        elapsed_ms = answer.map(|answer| answer.latency_ms),
        "what became of an event"
    );
}

//! Events, attempts and answers as a token may see them.
//!
//! What an API answered may repeat what it was sent, and so may the reason why it refused it: both are for who
//! may read all of the event's type.

use contract::EventType;
use serde_json::{Value, json};
use state::{Attempt, HeldEntry};

use super::token::Token;
use crate::operate::meaning;

/// Parts of an event that say more of its body than whoever may read only some of it may know: a digest by
/// which values can be guessed, and warnings.
const OF_ALL: [&str; 2] = ["body_digest", "warnings"];

/// An event as it is sent.
pub(super) fn event(token: &Token, event_type: &str, text: &str) -> Value {
    let Ok(Value::Object(mut event)) = serde_json::from_str(text) else {
        return Value::Null;
    };
    if !token.reads_all_of(event_type) {
        for part in OF_ALL {
            event.remove(part);
        }
    }
    let Ok(known) = event_type.parse::<EventType>() else {
        event.remove("body");
        return Value::Object(event);
    };
    if let Some(body) = event.get_mut("body") {
        let whole = std::mem::take(body);
        *body = token.allowed(known).of(whole);
    }
    Value::Object(event)
}

/// What was tried.
pub(super) fn attempt(token: &Token, event_type: &str, attempt: &Attempt) -> Value {
    let all = token.reads_all_of(event_type);
    json!({
        "at": attempt.at,
        "attempt": attempt.attempt,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "latency_ms": attempt.latency_ms,
        "cause": attempt.cause.as_ref().filter(|_| all),
        "answer": attempt.body.as_ref().filter(|_| all),
    })
}

/// Something that is held.
pub(super) fn held(token: &Token, entry: &HeldEntry) -> Value {
    let (means, fix) = meaning(&entry.cause);
    // Why a mapping holds something has no value of its row in it.
    let all = entry.change.is_some() || token.reads_all_of(&entry.event_type);
    json!({
        "id": entry.id,
        "by": entry.by,
        "cause": entry.cause,
        "means": means,
        "fix": fix,
        "event_type": entry.event_type,
        "key": entry.key,
        "since": entry.since,
        "attempts": entry.attempts,
        "status": entry.status,
        "reason": Some(&entry.reason).filter(|_| all),
        "answer": entry.body.as_ref().filter(|_| all),
        "change": entry.change,
    })
}

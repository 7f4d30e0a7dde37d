//! How a source and a destination stand, in the words that `status`, the page, `/health/ready` and the dead man's
//! switch have in common. Who says them decides which of them are said, and how bad they are.

use std::time::Duration;

use contract::look::span;
use jiff::Timestamp;
use state::{DestinationStatus, Paused, SourceStatus};

use crate::counted::{counted, does};

/// Why a source, or a part of it, is not captured.
pub(crate) fn not_captured(source: &SourceStatus, running: bool) -> Option<String> {
    let name = &source.name;
    if let Some(problem) = &source.problem {
        return Some(format!("Source {name} does NOT run: {problem}"));
    }
    if source.partly.is_empty() {
        return None;
    }
    let (runs, parts) = (
        does(u64::from(running), "runs", "ran"),
        source.partly.join("; "),
    );
    Some(format!("Source {name} {runs}, but not all of it: {parts}"))
}

/// It is captured, so far behind its log.
pub(crate) fn captured(name: &str, lag: Option<Duration>) -> String {
    match lag {
        Some(lag) => format!("Source {name} is captured, {} behind its log.", span(lag)),
        None => format!("Source {name} is captured."),
    }
}

/// Nobody can tell its silence from a dead capture.
pub(crate) fn not_proven(name: &str, age: Duration, how: &str) -> String {
    format!(
        "Source {name}: NOTHING has proven for {} that its log comes through; that no changes come may mean that \
         capture is dead. The last proof: {how}.",
        span(age)
    )
}

/// A heartbeat is late.
pub(crate) fn not_come_round(name: &str, sent_at: Option<Timestamp>) -> String {
    let of = sent_at.map_or_else(String::new, |at| format!(" of {at}"));
    format!(
        "Source {name}: the heartbeat{of} has NOT come round through its log: that it flows is not proven."
    )
}

/// Its capture loop is stuck.
pub(crate) fn still(name: &str, time: Duration) -> String {
    format!(
        "Source {name}: capture has not turned for {}; restart the agent.",
        span(time)
    )
}

/// What a person did to a destination.
pub(crate) fn paused(one: &DestinationStatus) -> Option<String> {
    let name = &one.name;
    let until = match &one.paused {
        Some(Paused { until: Some(until) }) => until.to_string(),
        Some(Paused { until: None }) => "a person resumes it".to_owned(),
        None => {
            let text = format!(
                "{name} sends what was there when it was told to drain, and is paused then."
            );
            return one.draining.then_some(text);
        }
    };
    Some(format!(
        "{name} is PAUSED until {until}: nothing leaves; events wait in order."
    ))
}

/// Nothing that is sent to it works.
pub(crate) fn fails(name: &str, time: Duration) -> String {
    format!("Every request to {name} has failed for {}.", span(time))
}

/// What is told again, or for the first time: it is late for nobody.
pub(crate) fn repeats(name: &str, count: u64) -> String {
    let (events, wait) = (counted(count, "event"), does(count, "waits", "wait"));
    format!("{events} of a first load or a replay {wait} for {name}.")
}

/// What waits for a destination, the oldest change for so long; `None` = no change does.
pub(crate) fn backlog(one: &DestinationStatus, oldest: Option<Duration>) -> String {
    let (name, count) = (&one.name, one.backlog);
    match oldest {
        None if count == 0 => format!("{name} has everything that was captured."),
        None => format!("{name} has every change. {}", repeats(name, count)),
        Some(age) => {
            let (events, wait) = (counted(count, "event"), does(count, "waits", "wait"));
            format!("{events} {wait} for {name}, the oldest for {}.", span(age))
        }
    }
}

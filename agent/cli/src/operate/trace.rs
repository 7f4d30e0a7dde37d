//! `lighterman trace`: the story of a key, from the source's change to the API's answer.

use std::fmt::Write as _;

use clap::Args;
use state::{Attempt, StateReader, Trace, TraceDelivery, TraceEvent};

use super::{Failed, shown};
use crate::config::Config;
use crate::plain::line;
use crate::{Common, Exit, load, out, refuse};

/// Shows what became of a key: the source's change, the event, each attempt and each answer.
#[derive(Debug, Args)]
pub(crate) struct TraceOptions {
    #[command(flatten)]
    common: Common,
    /// Any piece of the key: a SKU, an order's number.
    #[arg(long)]
    key: String,
    /// So many events, the newest.
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

pub(super) fn trace(options: &TraceOptions) -> Exit {
    let json = options.common.json;
    match load(&options.common) {
        Ok(config) => {
            run(&config, options, json).unwrap_or_else(|failed| failed.refuse("trace", json))
        }
        Err(findings) => refuse(&findings, json),
    }
}

fn run(config: &Config, options: &TraceOptions, json: bool) -> Result<Exit, Failed> {
    let reader = StateReader::open(&config.state_folder)?;
    let trace = reader.trace(&options.key, options.limit)?;
    if json {
        out(&serde_json::json!(trace).to_string());
        return Ok(Exit::Ok);
    }
    say(&options.key, &trace);
    Ok(Exit::Ok)
}

fn say(key: &str, trace: &Trace) {
    let key = line(key);
    if trace.events.is_empty() && trace.held.is_empty() {
        out(&format!(
            "Nothing of {key} stands in the outbox, and nothing of it is held. Events leave it after a while \
             (retention); lighterman replay --key {key} tells again what was told last."
        ));
        return;
    }
    if trace.cut {
        out(".. older ones are left out (--limit)");
    }
    for event in &trace.events {
        told(event);
    }
    for item in &trace.held {
        out(&format!(
            "{}  held by a mapping: {}",
            shown(item.since),
            line(&item.reason)
        ));
        out(&format!("  lighterman held show {}", item.id));
    }
}

fn told(event: &TraceEvent) {
    let again = if event.replayed {
        ", told again by a person"
    } else {
        ""
    };
    out(&format!(
        "{} {} {}",
        event.event_type,
        line(&event.key),
        event.event_id
    ));
    out(&format!(
        "  {}  source {} changed it, at {}",
        shown(event.occurred_at),
        event.source,
        event.position
    ));
    out(&format!(
        "  {}  rule {} made it an event ({}{again}): {}",
        shown(event.stored_at),
        event.rule,
        event.op,
        body(&event.json)
    ));
    for delivery in &event.deliveries {
        at_destination(delivery);
    }
}

/// The event's body alone: the rest stands above.
fn body(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json)
        .ok()
        .and_then(|event| event.get("body").map(ToString::to_string))
        .unwrap_or_else(|| "the key is gone".to_owned())
}

fn at_destination(delivery: &TraceDelivery) {
    for one in &delivery.attempts {
        attempt(one, &format!("  {}: ", delivery.destination));
    }
    let mut text = format!(
        "  {}  {}: {}",
        shown(delivery.since),
        delivery.destination,
        delivery.state
    );
    if let Some(cause) = &delivery.held_cause {
        let _ = write!(text, " ({cause})");
    }
    if delivery.attempt > 0 {
        let _ = write!(text, ", attempt {}", delivery.attempt);
    }
    if let Some(status) = delivery.status {
        let _ = write!(text, ", HTTP {status}");
    }
    if let Some(latency) = delivery.latency_ms {
        let _ = write!(text, " after {latency} ms");
    }
    if delivery.waits {
        text.push_str(", waits for another delivery");
    }
    if let Some(due) = delivery.due_at {
        let _ = write!(text, ", due {}", shown(due));
    }
    if let Some(cause) = &delivery.cause {
        let _ = write!(text, ": {}", line(cause));
    }
    out(&text);
    if let Some(answer) = delivery.body.as_deref().filter(|answer| !answer.is_empty()) {
        out(&format!("      answer: {}", line(answer)));
    }
}

/// An attempt, as a line.
pub(super) fn attempt(attempt: &Attempt, before: &str) {
    let status = attempt
        .status
        .map(|status| format!(", HTTP {status}"))
        .unwrap_or_default();
    let latency = attempt
        .latency_ms
        .map(|ms| format!(" after {ms} ms"))
        .unwrap_or_default();
    let cause = attempt
        .cause
        .as_deref()
        .map(|cause| format!(": {}", line(cause)))
        .unwrap_or_default();
    out(&format!(
        "{before}{}  attempt {} {}{status}{latency}{cause}",
        shown(attempt.at),
        attempt.attempt,
        attempt.outcome
    ));
    if let Some(answer) = attempt.body.as_deref().filter(|answer| !answer.is_empty()) {
        out(&format!("      answer: {}", line(answer)));
    }
}

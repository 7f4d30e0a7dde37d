//! Events at rest as traces, in the JSON form of OTLP: from the source's commit to the outbox, to each destination, and
//! each attempt there.
//!
//! All ids are made of the event's id, so whoever tells of an event, before a restart or behind it, tells of the same
//! trace.

use contract::trace_context::{WHOLE, span_id, trace_id};
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use state::{Attempt, TraceDelivery, TraceEvent};

/// What a span is of, as OTLP counts it.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;

/// Whether an event's way is a change's, and not a first load or a replay.
pub(super) fn is_change(event: &TraceEvent) -> bool {
    let json: Json = serde_json::from_str(&event.json).unwrap_or_default();
    let snapshot = json.get("origin").and_then(Json::as_str) == Some("snapshot");
    !event.replayed && !snapshot
}

/// The spans of an event.
pub(super) fn spans(event: &TraceEvent) -> Vec<Json> {
    let trace = trace_id(&event.event_id);
    let of = |what: &str| span_id(&event.event_id, what);
    let root = of(WHOLE);
    let end = event.deliveries.iter().map(|one| one.since).max();
    let end = end.unwrap_or(event.stored_at).max(event.stored_at);
    let begin = event.occurred_at.min(event.stored_at);
    let span =
        |id: &str, parent: Option<&str>, name: String, kind: u8, times: (Timestamp, Timestamp)| {
            let mut span = json!({
                "traceId": trace, "spanId": id, "name": name, "kind": kind,
                "startTimeUnixNano": nanos(times.0), "endTimeUnixNano": nanos(times.1.max(times.0)),
            });
            if let (Some(parent), Some(span)) = (parent, span.as_object_mut()) {
                span.insert("parentSpanId".to_owned(), json!(parent));
            }
            span
        };
    let mut whole = span(
        &root,
        None,
        event.event_type.clone(),
        INTERNAL,
        (begin, end),
    );
    with(
        &mut whole,
        &[
            ("lighterman.source", json!(event.source)),
            ("lighterman.event_id", json!(event.event_id)),
            ("lighterman.event_type", json!(event.event_type)),
            ("lighterman.op", json!(event.op)),
            ("lighterman.rule", json!(event.rule)),
            ("lighterman.position", json!(event.position)),
            ("lighterman.key_hash", json!(span_id(&event.key, "key"))),
        ],
    );
    let mut capture = span(
        &of("capture"),
        Some(&root),
        format!("capture {}", event.source),
        INTERNAL,
        (begin, event.stored_at),
    );
    with(&mut capture, &[("lighterman.source", json!(event.source))]);
    let mut all = vec![whole, capture];
    for delivery in &event.deliveries {
        let id = of(&format!("deliver\0{}", delivery.destination));
        let name = format!("deliver {}", delivery.destination);
        let times = (event.stored_at, delivery.since);
        let mut one = span(&id, Some(&root), name, INTERNAL, times);
        with(
            &mut one,
            &[
                ("lighterman.destination", json!(delivery.destination)),
                ("lighterman.outcome", json!(delivery.state)),
                ("lighterman.attempts", json!(delivery.attempt)),
            ],
        );
        if let Some(cause) = &delivery.held_cause {
            with(&mut one, &[("lighterman.held_cause", json!(cause))]);
            fails(&mut one);
        }
        all.push(one);
        for (n, attempt) in attempts(delivery).iter().enumerate() {
            let own = of(&format!("attempt\0{}\0{n}", delivery.destination));
            let took = jiff::SignedDuration::from_millis(
                i64::try_from(attempt.latency_ms.unwrap_or_default()).unwrap_or_default(),
            );
            let left = attempt.at.checked_sub(took).unwrap_or(attempt.at);
            let name = format!("attempt {}", delivery.destination);
            let mut tried = span(&own, Some(&id), name, CLIENT, (left, attempt.at));
            with(
                &mut tried,
                &[
                    ("lighterman.attempt", json!(attempt.attempt)),
                    ("lighterman.outcome", json!(attempt.outcome)),
                ],
            );
            if let Some(status) = attempt.status {
                with(&mut tried, &[("http.response.status_code", json!(status))]);
            }
            if !["applied", "accepted", "waiting"].contains(&attempt.outcome.as_str()) {
                fails(&mut tried);
            }
            all.push(tried);
        }
    }
    all
}

/// What was tried. What was applied at once is not kept by itself: the delivery has it.
fn attempts(delivery: &TraceDelivery) -> Vec<Attempt> {
    let mut all = delivery.attempts.clone();
    if all.is_empty() && delivery.attempt > 0 && delivery.state == "delivered" {
        all.push(Attempt {
            attempt: delivery.attempt,
            at: delivery.since,
            outcome: "applied".to_owned(),
            status: delivery.status,
            body: None,
            latency_ms: delivery.latency_ms,
            cause: None,
        });
    }
    all
}

/// Adds attributes.
fn with(span: &mut Json, attributes: &[(&str, Json)]) {
    let Some(span) = span.as_object_mut() else {
        return;
    };
    let there = span.entry("attributes").or_insert_with(|| json!([]));
    if let Some(there) = there.as_array_mut() {
        there.extend(
            attributes
                .iter()
                .map(|(key, value)| super::attribute(key, value)),
        );
    }
}

fn fails(span: &mut Json) {
    if let Some(span) = span.as_object_mut() {
        span.insert("status".to_owned(), json!({ "code": 2 }));
    }
}

/// A moment as OTLP's JSON has it: 64-bit numbers are texts.
fn nanos(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

//! Events at rest as traces, in the JSON form of OTLP: from the source's commit to the outbox, to each destination, and
//! each attempt there.
//!
//! All ids are made of the event's id, so whoever tells of an event, before a restart or behind it, tells of the same
//! trace.

use contract::trace_context::{Context, WHOLE, span_id, trace_id};
use engine::observe::Batch;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use state::{Attempt, TraceDelivery, TraceEvent};

/// What a span is of, as OTLP counts it.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
/// How a span that went well says so, and one that did not.
const OK: u8 = 1;
const ERROR: u8 = 2;

/// Rows of an attempt that are no request.
const BY_HAND: [&str; 2] = ["operator", "released"];

/// Whether an event's way is a change's, and not a first load or a replay.
pub(super) fn is_change(event: &TraceEvent) -> bool {
    let json: Json = serde_json::from_str(&event.json).unwrap_or_default();
    let snapshot = json.get("origin").and_then(Json::as_str) == Some("snapshot");
    !event.replayed && !snapshot
}

/// A span in a trace.
fn span(
    context: &Context,
    parent: Option<&str>,
    name: &str,
    kind: u8,
    (begin, end): (Timestamp, Timestamp),
) -> Json {
    let mut span = json!({
        "traceId": context.trace_id, "spanId": context.span_id, "name": name, "kind": kind,
        "startTimeUnixNano": nanos(begin), "endTimeUnixNano": nanos(end.max(begin)),
    });
    if let (Some(parent), Some(span)) = (parent, span.as_object_mut()) {
        span.insert("parentSpanId".to_owned(), json!(parent));
    }
    span
}

/// A span of an event's trace, by what it is of.
fn of(event: &TraceEvent, what: &str) -> Context {
    Context {
        trace_id: trace_id(&event.event_id),
        span_id: span_id(&event.event_id, what),
    }
}

/// What a delivery's span is of.
fn delivers(destination: &str) -> String {
    format!("deliver\0{destination}")
}

/// The spans of an event.
pub(super) fn spans(event: &TraceEvent) -> Vec<Json> {
    let root = of(event, WHOLE);
    let below = Some(root.span_id.as_str());
    let end = event.deliveries.iter().map(|one| one.since).max();
    let end = end.unwrap_or(event.stored_at).max(event.stored_at);
    let begin = event.occurred_at.min(event.stored_at);
    let mut whole = span(&root, None, &event.event_type, INTERNAL, (begin, end));
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
        &of(event, "capture"),
        below,
        &format!("capture {}", event.source),
        INTERNAL,
        (begin, event.stored_at),
    );
    with(&mut capture, &[("lighterman.source", json!(event.source))]);
    let mut all = vec![whole, capture];
    for delivery in &event.deliveries {
        let own = of(event, &delivers(&delivery.destination));
        let name = format!("deliver {}", delivery.destination);
        let times = (event.stored_at, delivery.since);
        let mut one = span(&own, below, &name, INTERNAL, times);
        came_to(&mut one, delivery);
        all.push(one);
        for (n, attempt) in attempts(delivery).iter().enumerate() {
            let id = of(event, &format!("attempt\0{}\0{n}", delivery.destination));
            all.push(tried(&id, &own, delivery, attempt));
        }
    }
    all
}

/// What followed when a delivery had been held since then: until it was held no more, or again. The delivery's own
/// span is told already and stays what it is, so this is another one, linked with it.
pub(super) fn held(event: &TraceEvent, delivery: &TraceDelivery, since: Timestamp) -> Vec<Json> {
    let root = of(event, WHOLE);
    let name = &delivery.destination;
    let begun = since.as_millisecond();
    let own = of(event, &format!("held\0{name}\0{begun}"));
    let times = (since, delivery.since);
    let below = Some(root.span_id.as_str());
    let mut one = span(&own, below, &format!("held {name}"), INTERNAL, times);
    came_to(&mut one, delivery);
    let is_delivered = delivery.state == "delivered";
    if let Some(one) = one.as_object_mut() {
        if is_delivered {
            one.insert("status".to_owned(), json!({ "code": OK }));
        }
        one.insert(
            "links".to_owned(),
            json!([link(&of(event, &delivers(name)))]),
        );
    }
    let mut all = vec![one];
    let later = attempts(delivery).into_iter();
    // What a person did is a row of its own, and no request.
    let later = later.filter(|one| one.at > since && !BY_HAND.contains(&one.outcome.as_str()));
    for attempt in later {
        let at = attempt.at.as_millisecond();
        let id = of(event, &format!("attempt\0{name}\0at {at}"));
        all.push(tried(&id, &own, delivery, &attempt));
    }
    all
}

/// A request that was about several events, linked with the traces of those that changes made.
pub(super) fn batch(destination: &str, batch: &Batch, changes: &[String]) -> Json {
    let name = format!("batch {destination}");
    let mut one = span(
        &batch.context,
        None,
        &name,
        CLIENT,
        (batch.began, batch.ended),
    );
    let events = batch.offsets.len() + batch.unnamed;
    with(
        &mut one,
        &[
            ("lighterman.destination", json!(destination)),
            ("lighterman.events", json!(events)),
        ],
    );
    if let Some(status) = batch.status {
        with(&mut one, &[("http.response.status_code", json!(status))]);
    }
    if batch.status.is_none_or(|status| status >= 400) {
        fails(&mut one);
    }
    let links: Vec<Json> = changes.iter().map(|id| link(&Context::of(id))).collect();
    if let Some(one) = one.as_object_mut() {
        one.insert("links".to_owned(), json!(links));
        if batch.unnamed > 0 {
            one.insert("droppedLinksCount".to_owned(), json!(batch.unnamed));
        }
    }
    one
}

fn link(context: &Context) -> Json {
    json!({ "traceId": context.trace_id, "spanId": context.span_id })
}

/// What a delivery has come to.
fn came_to(span: &mut Json, delivery: &TraceDelivery) {
    with(
        span,
        &[
            ("lighterman.destination", json!(delivery.destination)),
            ("lighterman.outcome", json!(delivery.state)),
            ("lighterman.attempts", json!(delivery.attempt)),
        ],
    );
    if let Some(cause) = &delivery.held_cause {
        with(span, &[("lighterman.held_cause", json!(cause))]);
        fails(span);
    }
}

/// A request, or what became of it.
fn tried(own: &Context, parent: &Context, delivery: &TraceDelivery, attempt: &Attempt) -> Json {
    let took = jiff::SignedDuration::from_millis(
        i64::try_from(attempt.latency_ms.unwrap_or_default()).unwrap_or_default(),
    );
    let left = attempt.at.checked_sub(took).unwrap_or(attempt.at);
    let name = format!("attempt {}", delivery.destination);
    let below = Some(parent.span_id.as_str());
    let mut one = span(own, below, &name, CLIENT, (left, attempt.at));
    with(
        &mut one,
        &[
            ("lighterman.attempt", json!(attempt.attempt)),
            ("lighterman.outcome", json!(attempt.outcome)),
        ],
    );
    if let Some(status) = attempt.status {
        with(&mut one, &[("http.response.status_code", json!(status))]);
    }
    if !["applied", "accepted", "waiting"].contains(&attempt.outcome.as_str()) {
        fails(&mut one);
    }
    one
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
        span.insert("status".to_owned(), json!({ "code": ERROR }));
    }
}

/// A moment as OTLP's JSON has it: 64-bit numbers are texts.
fn nanos(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

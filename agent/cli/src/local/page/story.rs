//! What became of a key, from the source's change to the API's answer.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};
use state::{Attempt, Trace, TraceDelivery, TraceEvent};

use super::Page;
use super::gate::Fields;
use super::held::pretty;
use super::session::Visitor;
use super::view::{self, asking, time};

const PLACE: &str = "/page/trace";

/// Events shown, the newest.
const SHOWN: usize = 20;
const KEY_MAX: usize = 200;

pub(super) async fn show(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
) -> Response {
    let fields = Fields::of_uri(&uri);
    let key: Option<String> = fields
        .get("key")
        .map(|key| key.chars().take(KEY_MAX).collect());
    let trace = match &key {
        None => None,
        Some(key) => {
            let wanted = key.clone();
            match page.read(move |reader| reader.trace(&wanted, SHOWN)).await {
                Ok(trace) => Some(trace),
                Err(sentence) => return view::broken(&page, &visitor, PLACE, &sentence),
            }
        }
    };
    let content = html! {
        h1 { "Trace a SKU or an order" }
        form .search method="get" action=(PLACE) role="search" {
            label for="key" { "Any piece of the key: a SKU, an order's number" }
            div .actions {
                input #key name="key" type="search" value=[key.as_deref()] required maxlength=(KEY_MAX)
                    spellcheck="false" autocapitalize="none";
                button type="submit" { "Trace" }
            }
        }
        @if let (Some(key), Some(trace)) = (&key, &trace) {
            (found(key, trace))
        }
    };
    let title = key
        .as_deref()
        .map_or("Trace".to_owned(), |key| format!("Trace {key}"));
    view::whole(&page, &visitor, PLACE, &title, &content)
}

fn found(key: &str, trace: &Trace) -> Markup {
    html! {
        @if trace.events.is_empty() && trace.held.is_empty() {
            p role="status" {
                "Nothing of " strong { (key) } " stands in the outbox, and nothing of it is held. Events leave it \
                 after a while (retention); " code { "lighterman replay --key " (key) }
                " tells again what was told last."
            }
        } @else {
            p role="status" {
                @if trace.cut { "The newest " (trace.events.len()) " events are shown; older ones are left out." }
                @else { (crate::operate::counted(trace.events.len() as u64, "event")) ", newest first." }
            }
        }
        @for item in &trace.held {
            section .card {
                h2 { "Held by a mapping: " (item.key) }
                p { (item.reason) }
                p { a href=(asking("/page/held/item", &[("id", &item.id)])) { "What to do about it" } }
            }
        }
        @for event in trace.events.iter().rev() { (told(event)) }
    }
}

fn told(event: &TraceEvent) -> Markup {
    html! {
        section .card {
            h2 { (event.key) }
            p .small { (event.event_type) " · " (event.event_id) }
            ol .steps {
                li {
                    (time(event.occurred_at)) " source " strong { (event.source) } " changed it, at "
                    code { (event.position) }
                }
                li {
                    (time(event.stored_at)) " rule " strong { (event.rule) } " made it an event ("
                    (event.op) @if event.replayed { ", told again by a person" } ")"
                    details {
                        summary { "The event" }
                        pre tabindex="0" { (pretty(&event.json)) }
                    }
                }
                @for delivery in &event.deliveries {
                    @for one in &delivery.attempts {
                        li { (attempt(one, Some(&delivery.destination))) }
                    }
                    li { (stands(delivery)) }
                }
            }
        }
    }
}

fn stands(delivery: &TraceDelivery) -> Markup {
    html! {
        (time(delivery.since)) " " strong { (delivery.destination) } ": "
        span .state.(delivery.state) { (delivery.state) }
        @if let Some(cause) = &delivery.held_cause { " (" (cause) ")" }
        @if delivery.attempt > 0 { ", attempt " (delivery.attempt) }
        @if let Some(status) = delivery.status { ", HTTP " (status) }
        @if let Some(latency) = delivery.latency_ms { " after " (latency) " ms" }
        @if delivery.waits { ", waits for another delivery" }
        @if let Some(due) = delivery.due_at { ", due " (time(due)) }
        @if let Some(cause) = unsaid(delivery.cause.as_deref(), delivery.status) { ": " (cause) }
        (answered(delivery.body.as_deref()))
    }
}

/// An attempt, on one line, and what was answered below it.
pub(super) fn attempt(attempt: &Attempt, destination: Option<&str>) -> Markup {
    html! {
        (time(attempt.at)) " "
        @if let Some(name) = destination { strong { (name) } ": " }
        "attempt " (attempt.attempt) " " strong { (attempt.outcome) }
        @if let Some(status) = attempt.status { ", HTTP " (status) }
        @if let Some(latency) = attempt.latency_ms { " after " (latency) " ms" }
        @if let Some(cause) = unsaid(attempt.cause.as_deref(), attempt.status) { ": " (cause) }
        (answered(attempt.body.as_deref()))
    }
}

/// A cause that says more than the status beside it.
fn unsaid(cause: Option<&str>, status: Option<u16>) -> Option<&str> {
    let said = status.map(|status| format!("HTTP {status}"));
    cause.filter(|cause| said.as_deref() != Some(*cause))
}

fn answered(body: Option<&str>) -> Markup {
    html! {
        @if let Some(body) = body.filter(|body| !body.is_empty()) {
            p .answer { "Answer: " (body) }
        }
    }
}

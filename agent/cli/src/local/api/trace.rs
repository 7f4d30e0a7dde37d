//! The story of a key.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use state::{TraceDelivery, TraceEvent};

use super::super::json as answer;
use super::problem::Problem;
use super::query::Query;
use super::token::Token;
use super::{Api, view};

const SHOWN: usize = 20;
const SHOWN_MAX: usize = 100;

/// `GET /api/v1/trace`.
pub(super) async fn trace(
    State(api): State<Arc<Api>>,
    Extension(token): Extension<Arc<Token>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), &["key", "limit"])?;
    let limit = query.number("limit", SHOWN_MAX, SHOWN)?;
    let key = query.text("key").filter(|key| !key.is_empty());
    let Some(key) = key.map(str::to_owned) else {
        return Err(Problem::bad(
            "the query has no key",
            "key=100XLG, or any other piece of a key",
        ));
    };
    let form = api
        .readers
        .look(move |reader, _| {
            let trace = reader.trace(&key, limit)?;
            let events = trace.events.iter();
            let held = trace.held.iter();
            Ok(json!({
                "events": events
                    .filter(|one| token.sees(&one.event_type))
                    .map(|one| event(&token, one))
                    .collect::<Vec<_>>(),
                "cut": trace.cut,
                "held": held
                    .filter(|one| token.sees(&one.event_type))
                    .map(|one| view::held(&token, one))
                    .collect::<Vec<_>>(),
            }))
        })
        .await?;
    Ok(answer(StatusCode::OK, &form))
}

fn event(token: &Token, event: &TraceEvent) -> Value {
    let deliveries = event.deliveries.iter();
    let of = |one: &TraceDelivery| delivery(token, &event.event_type, one);
    json!({
        "offset": event.offset,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "key": event.key,
        "op": event.op,
        "source": event.source,
        "position": event.position,
        "rule": event.rule,
        "occurred_at": event.occurred_at,
        "stored_at": event.stored_at,
        "replayed": event.replayed,
        "event": view::event(token, &event.event_type, &event.json),
        "deliveries": deliveries.map(of).collect::<Vec<_>>(),
    })
}

fn delivery(token: &Token, event_type: &str, one: &TraceDelivery) -> Value {
    let all = token.reads_all_of(event_type);
    let attempts = one.attempts.iter();
    json!({
        "destination": one.destination,
        "state": one.state,
        "since": one.since,
        "held_cause": one.held_cause,
        "attempt": one.attempt,
        "due_at": one.due_at,
        "waits": one.waits,
        "status": one.status,
        "latency_ms": one.latency_ms,
        "cause": one.cause.as_ref().filter(|_| all),
        "answer": one.body.as_ref().filter(|_| all),
        "attempts": attempts
            .map(|one| view::attempt(token, event_type, one))
            .collect::<Vec<_>>(),
    })
}

//! How the agent and its destinations stand.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use state::DestinationStatus;

use super::super::health::Ready;
use super::super::json as answer;
use super::Api;
use super::problem::Problem;
use super::query::Query;

/// `GET /api/v1/status`.
pub(super) async fn status(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let standing = api.seen.look().await;
    let ready = Ready::of(&api.seen, &standing);
    let state = standing.state.as_ref().map_err(|error| unreadable(error))?;
    let form = json!({
        "at": standing.at,
        "since": api.seen.began,
        "version": env!("CARGO_PKG_VERSION"),
        "health": ready,
        "sources": state.sources,
        "destinations": shown(&state.destinations),
        "held": state.held,
        "state": {
            "database_bytes": state.size.database_bytes,
            "wal_bytes": state.size.wal_bytes,
        },
    });
    Ok(answer(StatusCode::OK, &form))
}

/// `GET /api/v1/destinations`.
pub(super) async fn destinations(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let standing = api.seen.look().await;
    let state = standing.state.as_ref().map_err(|error| unreadable(error))?;
    let form = json!({ "at": standing.at, "destinations": shown(&state.destinations) });
    Ok(answer(StatusCode::OK, &form))
}

/// Without what APIs said last, which may repeat what they were sent.
fn shown(destinations: &[DestinationStatus]) -> Vec<DestinationStatus> {
    let without = |one: &DestinationStatus| DestinationStatus {
        last_cause: None,
        ..one.clone()
    };
    destinations.iter().map(without).collect()
}

fn unreadable(error: &str) -> Problem {
    Problem::unavailable(
        format!("the state file cannot be read: {error}"),
        "lighterman status says more",
    )
}

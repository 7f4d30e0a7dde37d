//! The agent's own small server: what monitoring asks, and rooms for more beside it.
//!
//! It lives beside the two loops and shares nothing with them but counters: it reads the state file
//! through a connection of its own, one short statement at a time. So whoever asks, however often or
//! slowly, holds up neither capture nor delivery.

mod api;
mod health;
mod metrics;
mod page;
mod process;
mod seen;
mod server;
mod settings;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

pub(crate) use health::{CANARY_MAX, TURN_MAX};
pub(crate) use metrics::numbers;
pub(crate) use page::keep_samples;
pub(crate) use seen::{Seen, Watched};
pub(crate) use server::serve;
pub(crate) use settings::{LocalSettings, read};

/// What there is, for whoever asks for something else.
const PLACES: &str = "Lighterman's local server. Here are:\n\
    /health/live   the process answers\n\
    /health/ready  whether changes flow, and if not, why\n\
    /metrics       numbers for Prometheus\n\
    /api/v1/       data and commands for programs with a token; /api/v1/openapi.json describes it\n\
    /page          the status page, for people\n";

/// A room's paths go here.
fn routes(seen: &Arc<Seen>, settings: &LocalSettings) -> Router {
    Router::new()
        .route("/", get(root))
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(api::routes(seen, settings))
        .merge(page::routes(settings, seen))
        .with_state(Arc::clone(seen))
        .fallback(async || plain(StatusCode::NOT_FOUND, PLACES))
}

/// People get to their page, programs are told what there is.
async fn root(headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT);
    let accepts = accepts.and_then(|kinds| kinds.to_str().ok());
    if accepts.is_some_and(|kinds| kinds.contains("text/html")) {
        let place = [(header::LOCATION, HeaderValue::from_static(page::HOME))];
        return (StatusCode::SEE_OTHER, place).into_response();
    }
    plain(StatusCode::OK, PLACES)
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    answer(status, "text/plain; charset=utf-8", text.into())
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => answer(status, "application/json", text + "\n"),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Response {
    let kind = HeaderValue::from_static(kind);
    (status, [(header::CONTENT_TYPE, kind)], text).into_response()
}

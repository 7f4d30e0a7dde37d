//! Why something is not done, as RFC 9457 has it, and what to do.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use state::StoreError;

use super::super::answer;

/// A refusal.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// What kind, for programs.
    kind: &'static str,
    detail: String,
    fix: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// Why, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            fix: fix.into(),
            headers: Vec::new(),
        }
    }

    /// The request is not one.
    pub(super) fn bad(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request", detail, fix)
    }

    /// There is no such thing.
    pub(super) fn missing(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail, fix)
    }

    /// It does not go together with how things are.
    pub(super) fn conflict(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail, fix)
    }

    /// Not now.
    pub(super) fn unavailable(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "unavailable", detail, fix).with(header::RETRY_AFTER, "5")
    }

    /// With a header; what cannot stand in one is left out.
    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let fix = error.hint();
        let fix = fix.unwrap_or_else(|| "ask again; lighterman status says more".to_owned());
        Self::unavailable(error.to_string(), fix)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let form = json!({
            "type": format!("urn:lighterman:problem:{}", self.kind),
            "title": self.status.canonical_reason().unwrap_or("Refused"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "fix": self.fix,
        });
        let mut response = answer(self.status, "application/problem+json", format!("{form}\n"));
        response.headers_mut().extend(self.headers);
        response
    }
}

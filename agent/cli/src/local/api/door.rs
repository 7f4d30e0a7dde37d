//! Who comes in: a token in the `Authorization` header, and how often.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};

use super::problem::Problem;
use super::rate::Rate;
use super::token::{Scope, Token};

/// Where a token stands.
const HOW: &str = "send Authorization: Bearer and the token's secret; [[local.token]] in the settings names tokens";

pub(super) struct Door {
    known: Vec<(Arc<Token>, Rate)>,
    /// Whoever has a right one comes in all the same.
    unknown: Rate,
}

impl Door {
    pub(super) fn new(tokens: Vec<Token>, unknown_per_minute: u32) -> Self {
        let known = tokens.into_iter().map(|token| {
            let rate = Rate::per_minute(token.per_minute);
            (Arc::new(token), rate)
        });
        Self {
            known: known.collect(),
            unknown: Rate::per_minute(unknown_per_minute),
        }
    }

    /// The token that a request comes with, which may do one of these.
    pub(super) fn enter(
        &self,
        headers: &HeaderMap,
        scopes: &[Scope],
    ) -> Result<Arc<Token>, Problem> {
        let mut said = headers.get_all(header::AUTHORIZATION).iter();
        let Some(first) = said.next() else {
            let what = "this is only for who has a token";
            return Err(stranger(what, "Bearer realm=\"lighterman\""));
        };
        let text = first.to_str().ok().filter(|_| said.next().is_none());
        let found = text.and_then(bearer).and_then(|text| self.find(text));
        let Some((token, rate)) = found else {
            return Err(self.refused());
        };
        rate.take().map_err(|wait| {
            let most = token.per_minute;
            too_many(
                format!(
                    "the token {} has its {most} requests of this minute",
                    token.name
                ),
                "wait as long as Retry-After says, ask for larger pages, or raise \
                 requests_per_minute of the token",
                wait,
            )
        })?;
        if scopes.iter().any(|scope| token.may(*scope)) {
            return Ok(Arc::clone(token));
        }
        let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let challenge = format!(
            "Bearer realm=\"lighterman\", error=\"insufficient_scope\", scope=\"{}\"",
            names.join(" ")
        );
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "scope",
            format!(
                "the token {} does not have the scope {}",
                token.name,
                names.join(" or ")
            ),
            format!(
                "add {} to scopes of the token, if it is meant to do this",
                names.join(" or ")
            ),
        )
        .with(header::WWW_AUTHENTICATE, &challenge))
    }

    /// Compares with every token, whichever it is.
    fn find(&self, text: &str) -> Option<&(Arc<Token>, Rate)> {
        let mut found = None;
        for known in &self.known {
            if known.0.secret.is(text) {
                found = Some(known);
            }
        }
        found
    }

    fn refused(&self) -> Problem {
        tracing::warn!(
            code = "api.token_refused",
            hint = "where a program has an old token, give it the new one; else find out who asks",
            "a request to the local API came with a token that nobody knows"
        );
        match self.unknown.take() {
            Ok(()) => stranger(
                "nobody knows this token",
                "Bearer realm=\"lighterman\", error=\"invalid_token\"",
            ),
            Err(wait) => too_many(
                "too many tokens came that nobody knows".to_owned(),
                HOW,
                wait,
            ),
        }
    }
}

/// The token of `Bearer token`, whatever the case of the word.
fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn stranger(what: &str, challenge: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "token", what, HOW)
        .with(header::WWW_AUTHENTICATE, challenge)
}

fn too_many(what: String, fix: &str, wait: Duration) -> Problem {
    // Whole seconds, and not too early.
    let seconds = wait.as_secs() + 1;
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate", what, fix)
        .with(header::RETRY_AFTER, &seconds.to_string())
}

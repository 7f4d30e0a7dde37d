//! What was told is told again.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use contract::EventType;
use serde::Deserialize;
use serde_json::json;
use state::{Command, ReplayFilter};

use super::super::json as answer;
use super::Api;
use super::ask::{Wish, accepted, leave_each};
use super::problem::Problem;
use super::query::{Query, body, moment, one_of, said};
use super::token::Token;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Replay {
    #[serde(deserialize_with = "said")]
    key: Option<String>,
    #[serde(deserialize_with = "said")]
    from: Option<String>,
    #[serde(deserialize_with = "said")]
    to: Option<String>,
    #[serde(deserialize_with = "said")]
    types: Option<Vec<String>>,
    #[serde(deserialize_with = "said")]
    destination: Option<String>,
    #[serde(deserialize_with = "said")]
    dry_run: Option<bool>,
}

/// `POST /api/v1/replay`.
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    Extension(token): Extension<Arc<Token>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let (parts, content) = request.into_parts();
    let asked: Replay = body(&parts.headers, content, true).await?;
    let which = which(&token, &asked)?;
    let watched = &api.seen.watched;
    if let Some(name) = &asked.destination {
        api.destination(name)?;
    }
    let names: Vec<String> = match asked.destination {
        Some(name) => vec![name],
        None => watched.destinations.keys().cloned().collect(),
    };
    // Nothing is told again by mistake.
    if asked.dry_run.unwrap_or(true) {
        let types = watched.event_types.clone();
        let counts = api
            .readers
            .look(move |reader, _| {
                let mut counts = Vec::new();
                for name in names {
                    let of = types.get(&name).map_or(&[][..], Vec::as_slice);
                    let count = reader.replay_count(&name, of, &which)?;
                    counts.push(json!({ "destination": name, "would": count }));
                }
                Ok(counts)
            })
            .await?;
        let form = json!({ "dry_run": true, "replay": counts });
        return Ok(answer(StatusCode::OK, &form));
    }
    let wish = Wish {
        token,
        what: "replay",
        details: json!(which),
    };
    let command = Command::Replay {
        which,
        tenant: watched.tenant.clone(),
    };
    let asked = api
        .readers
        .look(move |reader, folder| leave_each(reader, folder, &wish, &names, &command))
        .await?;
    let (asked, refused) = asked;
    let form = json!({ "dry_run": false, "requests": asked, "refused": refused });
    Ok(accepted(&asked, &form))
}

fn which(token: &Token, asked: &Replay) -> Result<ReplayFilter, Problem> {
    let at = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => moment(text).map(Some).ok_or_else(|| {
            Problem::bad(
                format!("{name} is no moment with a zone"),
                format!("for example \"{name}\": \"2026-11-27T14:30:00Z\""),
            )
        }),
    };
    let known = EventType::ALL.map(EventType::name);
    let types = match &asked.types {
        Some(types) if types.is_empty() => {
            let fix = "leave it out for every type";
            return Err(Problem::bad("types is an empty list", fix));
        }
        Some(types) => {
            for name in types {
                one_of("event type", name, &known)?;
                if !token.sees(name) {
                    return Err(not_its_own(token, name));
                }
            }
            types.clone()
        }
        None => {
            let own = token.types.iter().flatten();
            own.map(|own| own.name().to_owned()).collect()
        }
    };
    // Without a type, everything would be meant.
    if types.is_empty() && token.types.is_some() {
        return Err(not_its_own(token, "any type"));
    }
    Ok(ReplayFilter {
        key: asked.key.clone(),
        from: at("from", &asked.from)?,
        to: at("to", &asked.to)?,
        types,
        per_second: None,
    })
}

/// A token that has `types` acts on nothing else.
pub(super) fn not_its_own(token: &Token, event_type: &str) -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "type",
        format!("the token {} is not for {event_type}", token.name),
        "name one of its types, or add this one to types of the token",
    )
}

//! What is asked of destinations: left in the state file for their loops, as the commands do it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use contract::finding::nearest;
use contract::{Clock, Decimal};
use engine::clock::SystemClock;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};
use state::{AuditEntry, Command, StateReader};

use super::super::json as answer;
use super::Api;
use super::problem::Problem;
use super::query::{Query, body, said};
use super::token::Token;

/// Requests that wait, at most: destinations look each second.
const OPEN_MAX: u64 = 256;
/// A pause ends by itself after a year at most.
pub(super) const MINUTES_MAX: u32 = 366 * 24 * 60;

/// A request that was left.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    request: i64,
    /// Of which destination; of none where mappings hold something.
    destination: Option<String>,
    /// Where to ask what became of it.
    href: String,
}

/// A person's, or a program's, wish.
pub(super) struct Wish {
    pub(super) token: Arc<Token>,
    /// For the record, as in `held.retry`.
    pub(super) what: &'static str,
    pub(super) details: Value,
}

impl Api {
    /// The destinations of the settings.
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.seen.watched.destinations.keys().cloned().collect()
    }

    /// The destination of the settings that a path or body names.
    pub(super) fn destination(&self, name: &str) -> Result<(), Problem> {
        let known = &self.seen.watched.destinations;
        if known.contains_key(name) {
            return Ok(());
        }
        let names = known.keys().map(String::as_str);
        let fix = nearest(name, names.clone()).map_or_else(
            || format!("one of {}", names.collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean {near}?"),
        );
        Err(Problem::missing("there is no such destination", fix))
    }
}

/// Notes a wish in the audit record and leaves it as a request. `destination` is empty where it concerns none.
pub(super) fn leave(
    reader: &StateReader,
    folder: &std::path::Path,
    wish: &Wish,
    destination: &str,
    command: &Command,
) -> Result<Asked, Problem> {
    if reader.requests_open()? >= OPEN_MAX {
        return Err(Problem::unavailable(
            format!("{OPEN_MAX} requests wait to be done already"),
            "ask again when they are done; lighterman status says whether the destinations go on",
        ));
    }
    let now = SystemClock.now();
    let subject = if destination.is_empty() {
        "mapping"
    } else {
        destination
    };
    // Before it is done: nothing is done that is not on record.
    let entry = AuditEntry {
        at: now,
        who: wish.token.who(),
        what: wish.what.to_owned(),
        subject: subject.to_owned(),
        details: wish.details.clone(),
    };
    state::note_audit(folder, &entry)?;
    let request = state::ask(folder, destination, command, now)?.ok_or_else(|| {
        Problem::conflict(
            format!("destination {destination} has never run"),
            "start the agent with it, or look into the log why it refused the changed settings",
        )
    })?;
    tracing::info!(
        code = "api.asked",
        by = wish.token.who(),
        what = wish.what,
        destination = subject,
        "something was asked through the local API"
    );
    Ok(Asked {
        request,
        destination: Some(destination.to_owned()).filter(|name| !name.is_empty()),
        href: format!("/api/v1/requests/{request}"),
    })
}

/// Leaves it for each of these; those that refuse it keep the others from nothing. Where all do, why.
pub(super) fn leave_each<'n>(
    reader: &StateReader,
    folder: &std::path::Path,
    wish: &Wish,
    names: impl IntoIterator<Item = &'n String>,
    command: &Command,
) -> Result<(Vec<Asked>, Vec<Value>), Problem> {
    let (mut asked, mut refused, mut first) = (Vec::new(), Vec::new(), None);
    for name in names {
        match leave(reader, folder, wish, name, command) {
            Ok(one) => asked.push(one),
            Err(problem) => {
                refused.push(json!({ "destination": name, "detail": problem.detail() }));
                first.get_or_insert(problem);
            }
        }
    }
    match first {
        Some(problem) if asked.is_empty() => Err(problem),
        _ => Ok((asked, refused)),
    }
}

/// 202, with where to look.
pub(super) fn accepted(asked: &[Asked], form: &Value) -> Response {
    let mut response = answer(StatusCode::ACCEPTED, form);
    if let [one] = asked
        && let Ok(place) = HeaderValue::from_str(&one.href)
    {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Pause {
    #[serde(deserialize_with = "said")]
    minutes: Option<Number>,
}

impl Pause {
    /// How many, written as 60 or, as some languages do, 60.0.
    fn minutes(&self) -> Result<Option<u32>, Problem> {
        let Some(number) = &self.minutes else {
            return Ok(None);
        };
        let exact = number.to_string().parse::<Decimal>().ok();
        let whole = exact.and_then(|exact| exact.to_string().parse().ok());
        match whole.filter(|minutes| (1..=MINUTES_MAX).contains(minutes)) {
            Some(minutes) => Ok(Some(minutes)),
            None => Err(Problem::bad(
                format!("minutes is no whole number from 1 to {MINUTES_MAX}"),
                "leave it out to pause until it is resumed",
            )),
        }
    }
}

/// `POST /api/v1/destinations/{name}/pause`.
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Extension(token): Extension<Arc<Token>>,
    name: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let (parts, content) = request.into_parts();
    let asked: Pause = body(&parts.headers, content, true).await?;
    let minutes = asked.minutes()?;
    let until = minutes.and_then(|minutes| {
        let span = SignedDuration::from_mins(i64::from(minutes));
        SystemClock.now().checked_add(span).ok()
    });
    let wish = Wish {
        token,
        what: "destination.pause",
        details: json!({ "until": until }),
    };
    of_one(&api, name, wish, Command::Pause { until }).await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Nothing {}

/// `POST /api/v1/destinations/{name}/resume`.
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Extension(token): Extension<Arc<Token>>,
    name: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let (parts, content) = request.into_parts();
    let Nothing {} = body(&parts.headers, content, true).await?;
    let wish = Wish {
        token,
        what: "destination.resume",
        details: json!({}),
    };
    of_one(&api, name, wish, Command::Resume).await
}

async fn of_one(
    api: &Api,
    name: Result<Path<String>, PathRejection>,
    wish: Wish,
    command: Command,
) -> Result<Response, Problem> {
    let name = part(name)?;
    api.destination(&name)?;
    let asked = api
        .readers
        .look(move |reader, folder| Ok([leave(reader, folder, &wish, &name, &command)?]))
        .await?;
    Ok(accepted(&asked, &json!({ "requests": asked })))
}

/// The part of the path that stands for something.
pub(super) fn part<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Problem> {
    path.map(|Path(part)| part)
        .map_err(|_| Problem::missing("there is nothing at this address", super::WHERE))
}

/// `GET /api/v1/requests/{number}`.
pub(super) async fn requested(
    State(api): State<Arc<Api>>,
    number: Result<Path<i64>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let number = part(number)?;
    let found = api
        .readers
        .look(move |reader, _| Ok(reader.requested(number)?))
        .await?;
    let Some(found) = found else {
        return Err(Problem::missing(
            "there is no request of this number; what was done is forgotten after a day",
            "the answer to what was asked has its number",
        ));
    };
    let form = json!({
        "request": found.request,
        "destination": Some(&found.destination).filter(|name| !name.is_empty()),
        "what": found.what,
        "state": match (&found.done_at, &found.problem) {
            (None, _) => "waits",
            (Some(_), None) => "done",
            (Some(_), Some(_)) => "refused",
        },
        "asked_at": found.asked_at,
        "done_at": found.done_at,
        "count": found.count,
        "problem": found.problem,
    });
    Ok(answer(StatusCode::OK, &form))
}

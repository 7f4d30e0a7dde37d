//! `/health/live` and `/health/ready`: whether changes flow, in three questions and plain sentences.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use contract::look::span;
use contract::{Level, clock};
use serde::Serialize;
use state::{DestinationStatus, SourceStatus};

use super::json;
use super::seen::{Seen, Standing, State};

/// The capture loop turns each second; a loop that has not for so long is stuck.
pub(crate) const TURN_MAX: Duration = Duration::from_mins(1);

/// A source's log must have been proven to come through within this time.
pub(crate) const CANARY_MAX: Duration = Duration::from_mins(2);

pub(super) fn routes() -> Router<Arc<Seen>> {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
}

/// The process answers; whether anything flows is the other question.
async fn live(Shared(seen): Shared<Arc<Seen>>) -> Response {
    let form = serde_json::json!({ "live": true, "since": seen.began });
    json(StatusCode::OK, &form)
}

async fn ready(Shared(seen): Shared<Arc<Seen>>) -> Response {
    let standing = seen.look().await;
    let ready = Ready::of(&seen, &standing);
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &ready)
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    pub(super) ready: bool,
    /// What is wrong; empty when nothing is.
    pub(super) wrong: Vec<String>,
    /// Whether every source is captured.
    pub(super) capture: Question,
    /// Whether what was captured is delivered in time.
    pub(super) delivery: Question,
    /// Whether the databases keep their logs long enough.
    pub(super) retention: Question,
}

#[derive(Debug, Serialize)]
pub(super) struct Question {
    pub(super) ok: bool,
    pub(super) sentences: Vec<String>,
    #[serde(skip)]
    wrong: Vec<String>,
}

impl Question {
    fn new() -> Self {
        Self {
            ok: true,
            sentences: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn say(&mut self, ok: bool, sentence: String) {
        if !ok {
            self.ok = false;
            self.wrong.push(sentence.clone());
        }
        self.sentences.push(sentence);
    }
}

impl Ready {
    pub(super) fn of(seen: &Seen, standing: &Standing) -> Self {
        let [mut capture, mut delivery, mut retention] = [(); 3].map(|()| Question::new());
        match &standing.state {
            Err(error) => {
                let sentence = format!("The state file cannot be read: {error}.");
                for question in [&mut capture, &mut delivery, &mut retention] {
                    question.say(false, sentence.clone());
                }
            }
            Ok(_) if !seen.is_running() => capture.say(
                false,
                "The agent is starting: it waits for its sources.".to_owned(),
            ),
            Ok(state) => {
                captured(seen, state, &mut capture);
                delivered(seen, standing, state, &mut delivery);
                kept(seen, &mut retention);
            }
        }
        let mut wrong = Vec::new();
        for question in [&mut capture, &mut delivery, &mut retention] {
            wrong.append(&mut question.wrong);
        }
        wrong.dedup();
        Self {
            ready: wrong.is_empty(),
            wrong,
            capture,
            delivery,
            retention,
        }
    }
}

fn captured(seen: &Seen, state: &State, question: &mut Question) {
    for name in &seen.watched.sources {
        let meter = seen.watched.meters.source(name);
        let found = state.sources.iter().find(|source| source.name == *name);
        let late = meter.log().is_some_and(|log| log.late);
        let wrong = match found {
            None => Some(format!("Source {name} has not been started yet.")),
            Some(found) => trouble(found),
        };
        let still = meter.turned_ago();
        if let Some(wrong) = wrong {
            question.say(false, wrong);
        } else if still >= TURN_MAX {
            question.say(
                false,
                format!(
                    "Source {name}: capture has not turned for {}; restart the agent.",
                    span(still)
                ),
            );
        } else if let Some((age, _)) = meter
            .canary()
            .filter(|(age, _)| !late && *age >= CANARY_MAX)
        {
            question.say(
                false,
                format!(
                    "Source {name}: nothing has proven for {} that its log comes through; lighterman check says more.",
                    span(age)
                ),
            );
        } else if late {
            question.say(
                false,
                format!(
                    "Source {name}: a heartbeat has not come round through its log; lighterman check says more."
                ),
            );
        } else {
            let behind = meter.lag().map_or_else(String::new, |lag| {
                format!(", {} behind when it told last", span(lag))
            });
            question.say(true, format!("Source {name} is captured{behind}."));
        }
    }
}

/// Why a source, or a part of it, does not run.
fn trouble(source: &SourceStatus) -> Option<String> {
    let name = &source.name;
    if let Some(problem) = &source.problem {
        return Some(format!("Source {name} does NOT run: {problem}."));
    }
    if !source.partly.is_empty() {
        let parts = source.partly.join("; ");
        return Some(format!("Source {name} runs, but not all of it: {parts}."));
    }
    let stuck = source.tables.iter().filter(|table| !table.done);
    let mut stuck = stuck.filter_map(|table| Some((&table.table, table.problem.as_ref()?)));
    let (table, problem) = stuck.next()?;
    Some(format!("Source {name}: {table} is not read on: {problem}."))
}

fn delivered(seen: &Seen, standing: &Standing, state: &State, question: &mut Question) {
    let failing = seen.watched.meters.destinations();
    for (name, settings) in &seen.watched.destinations {
        let found = state.destinations.iter().find(|one| one.name == *name);
        let Some(found) = found else {
            question.say(false, format!("{name} has not been started yet."));
            continue;
        };
        if let Some(until) = settings.paused_until(standing.at) {
            let sentence = format!("{name} pauses until {until}, as the settings say.");
            question.say(true, sentence);
            continue;
        }
        let oldest = state.standings.iter().find(|one| one.name == *name);
        let age = oldest.and_then(|one| one.oldest_at);
        let age = age.map(|at| clock::until(at, standing.at));
        let fails = failing.iter().find(|(known, _)| known == name);
        let fails = fails.map_or(Duration::ZERO, |(_, meter)| meter.failing_for());
        let max = seen.watched.oldest_delivery;
        let ok = age.unwrap_or_default() < max && fails < max;
        question.say(ok, sentence(found, age, fails));
    }
}

/// How a destination stands.
fn sentence(found: &DestinationStatus, age: Option<Duration>, fails: Duration) -> String {
    let (name, backlog) = (&found.name, found.backlog);
    let mut text = match age {
        None if backlog == 0 => format!("{name} has everything that was captured"),
        None => {
            format!("{name} has every change; {backlog} events of a first load or a replay wait")
        }
        Some(age) => format!(
            "{backlog} events wait for {name}, the oldest for {}",
            span(age)
        ),
    };
    if found.paused.is_some() {
        text.push_str("; a person has PAUSED it");
    }
    if fails > Duration::ZERO {
        text.push_str("; every request to it has failed for ");
        text.push_str(&span(fails));
    }
    if let Some(cause) = found.last_cause.as_ref().filter(|_| backlog > 0) {
        text.push_str("; last trouble: ");
        text.push_str(cause);
    }
    text.push('.');
    text
}

fn kept(seen: &Seen, question: &mut Question) {
    for name in &seen.watched.sources {
        let Some(log) = seen.watched.meters.source(name).log() else {
            let sentence = format!("Source {name} has no log that a server could drop.");
            question.say(true, sentence);
            continue;
        };
        let sentence = log
            .sentence
            .unwrap_or_else(|| "its log was looked at.".to_owned());
        question.say(
            log.level < Level::Fail,
            format!("Source {name}: {sentence}"),
        );
    }
}

//! `/health/live` and `/health/ready`: whether changes flow, in three questions and plain sentences.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use contract::{Level, clock};
use engine::observe::Meters;
use jiff::Timestamp;
use serde::Serialize;
use state::SourceStatus;

use super::json;
use super::seen::{Seen, Standing, State};
use crate::status::reading::reading;
use crate::status::words;

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
                captured(seen, state, standing.at, &mut capture);
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

fn captured(seen: &Seen, state: &State, now: Timestamp, question: &mut Question) {
    for name in &seen.watched.sources {
        let meters = &seen.watched.meters;
        let found = state.sources.iter().find(|source| source.name == *name);
        let wrong = match found {
            None => Some(format!("Source {name} has not been started yet.")),
            Some(found) => not_captured(meters, found, now),
        };
        let captured = || words::captured(name, meters.source(name).lag());
        question.say(wrong.is_none(), wrong.unwrap_or_else(captured));
    }
}

/// Why a source, or a part of it, is not captured, as far as the running agent knows.
fn not_captured(meters: &Meters, source: &SourceStatus, now: Timestamp) -> Option<String> {
    let name = &source.name;
    if let Some(wrong) = words::not_captured(source, true) {
        return Some(wrong);
    }
    let mut stuck = source.tables.iter();
    let stuck = stuck.find(|table| !table.done && table.problem.is_some());
    if let Some(table) = stuck {
        return Some(reading(name, table, now, true));
    }
    let meter = meters.source(name);
    let still = meter.turned_ago();
    if still >= TURN_MAX {
        return Some(words::still(name, still));
    }
    // A heartbeat that is on its way says more than that there was no proof.
    if meter.log().is_some_and(|log| log.late) {
        let look = source.look.as_ref();
        let sent_at = look.and_then(|look| look.heartbeat_sent_at);
        return Some(words::not_come_round(name, sent_at));
    }
    let (age, how) = meter.canary().filter(|(age, _)| *age >= CANARY_MAX)?;
    Some(words::not_proven(name, age, how))
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
        question.say(age.unwrap_or_default() < max, words::backlog(found, age));
        if let Some(paused) = words::paused(found) {
            question.say(true, paused);
        }
        if fails > Duration::ZERO {
            let mut text = words::fails(name, fails);
            if let Some(cause) = &found.last_cause {
                let _ = write!(text, " The last trouble: {cause}.");
            }
            question.say(fails < max, text);
        }
    }
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

//! What is held: listed, shown, sent again, given up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use contract::EventType;
use serde::Deserialize;
use serde_json::{Value, json};
use state::{Command, HeldCount, HeldEntry, HeldFilter, StateReader};

use super::super::json as answer;
use super::ask::{Wish, accepted, leave, leave_each, part};
use super::problem::Problem;
use super::query::{Query, body, one_of, said};
use super::replay::not_its_own;
use super::token::Token;
use super::{Api, view};
use crate::operate::{CAUSES, MAPPING};

const SHOWN: usize = 50;
const SHOWN_MAX: usize = 500;
/// Held items looked at for one list, and for one holder of what is settled.
const LOOKED_AT_MAX: usize = 20_000;
/// Items named in one request.
pub(super) const IDS_MAX: usize = 500;

/// `GET /api/v1/held`.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(token): Extension<Arc<Token>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let known = ["destination", "cause", "key", "type", "limit"];
    let query = Query::read(query.as_deref(), &known)?;
    let limit = query.number("limit", SHOWN_MAX, SHOWN)?;
    let part = |name: &str| query.text(name).map(str::to_owned);
    let which = HeldFilter {
        ids: Vec::new(),
        by: part("destination"),
        cause: part("cause"),
        key: part("key"),
        event_type: part("type"),
    };
    words(&which)?;
    let known = api.known();
    let form = api
        .readers
        .look(move |reader, _| {
            holder(reader, &known, &which)?;
            listed(reader, &token, &which, limit)
        })
        .await?;
    Ok(answer(StatusCode::OK, &form))
}

fn listed(
    reader: &StateReader,
    token: &Token,
    which: &HeldFilter,
    limit: usize,
) -> Result<Value, Problem> {
    let mut items = Vec::new();
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let all = reader.held_within(which, LOOKED_AT_MAX, |entry| {
        if token.sees(&entry.event_type) {
            if items.len() < limit {
                items.push(view::held(token, &entry));
            }
            *counts.entry((entry.by, entry.cause)).or_default() += 1;
        }
        true
    })?;
    let counts: Vec<Value> = counts
        .into_iter()
        .map(|((by, cause), count)| json!({ "by": by, "cause": cause, "count": count }))
        .collect();
    Ok(json!({ "held": items, "counts": counts, "counted_all": all }))
}

/// `GET /api/v1/held/{id}`.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Extension(token): Extension<Arc<Token>>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let id = part(id)?;
    let form = api
        .readers
        .look(move |reader, _| {
            let found = reader.held_show(&id)?;
            let Some(detail) = found.filter(|one| token.sees(&one.entry.event_type)) else {
                return Err(not_held());
            };
            let event_type = &detail.entry.event_type;
            // A row has columns that no list of fields speaks of.
            let event = match detail.entry.change {
                None => view::event(&token, event_type, &detail.data),
                Some(_) => Value::Null,
            };
            let attempts = detail.attempts.iter();
            Ok(json!({
                "held": view::held(&token, &detail.entry),
                "event": event,
                "attempts": attempts
                    .map(|one| view::attempt(&token, event_type, one))
                    .collect::<Vec<_>>(),
            }))
        })
        .await?;
    Ok(answer(StatusCode::OK, &form))
}

fn not_held() -> Problem {
    let fix = "/api/v1/held shows what is, and what it is called";
    Problem::missing("nothing of this name is held", fix)
}

/// Which items are meant.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Which {
    #[serde(deserialize_with = "said")]
    ids: Option<Vec<String>>,
    #[serde(deserialize_with = "said")]
    destination: Option<String>,
    #[serde(deserialize_with = "said")]
    cause: Option<String>,
    #[serde(deserialize_with = "said")]
    key: Option<String>,
    #[serde(rename = "type", deserialize_with = "said")]
    event_type: Option<String>,
    #[serde(deserialize_with = "said")]
    all: Option<bool>,
    #[serde(deserialize_with = "said")]
    why: Option<String>,
}

impl Which {
    fn filter(&self, token: &Token) -> Result<HeldFilter, Problem> {
        if self
            .ids
            .as_ref()
            .is_some_and(|ids| ids.is_empty() || ids.len() > IDS_MAX)
        {
            return Err(Problem::bad(
                format!("ids has none, or more than {IDS_MAX}"),
                "name some of them, or a cause, key, type or destination",
            ));
        }
        if self.all == Some(false) {
            return Err(Problem::bad(
                "all is false",
                "leave it out, or say which are meant",
            ));
        }
        let which = HeldFilter {
            ids: self.ids.clone().unwrap_or_default(),
            by: self.destination.clone(),
            cause: self.cause.clone(),
            key: self.key.clone(),
            event_type: self.event_type.clone(),
        };
        words(&which)?;
        if which == HeldFilter::default() && self.all.is_none() {
            return Err(Problem::bad(
                "it does not say which items",
                "name ids, or a cause, key, type or destination; \"all\": true is everything",
            ));
        }
        match &which.event_type {
            Some(name) if !token.sees(name) => return Err(not_its_own(token, name)),
            // Which types the named ones are of is seen when they are looked up.
            None if token.types.is_some() && which.ids.is_empty() => {
                return Err(not_its_own(token, "all types"));
            }
            _ => {}
        }
        Ok(which)
    }
}

/// The words of a filter that are of a list.
fn words(which: &HeldFilter) -> Result<(), Problem> {
    if let Some(cause) = &which.cause {
        one_of("cause", cause, &CAUSES)?;
    }
    if let Some(name) = &which.event_type {
        one_of("event type", name, &EventType::ALL.map(EventType::name))?;
    }
    Ok(())
}

/// Whether there is the destination that a filter names: what left the settings may hold something still.
fn holder(
    reader: &StateReader,
    known: &BTreeSet<String>,
    which: &HeldFilter,
) -> Result<(), Problem> {
    let Some(name) = &which.by else {
        return Ok(());
    };
    let holds = |counts: Vec<HeldCount>| counts.iter().any(|one| one.by == *name);
    if name == MAPPING || known.contains(name) || holds(reader.held_counts()?) {
        return Ok(());
    }
    let fix = "/api/v1/destinations lists them; `mapping` is what mappings hold";
    Err(Problem::missing("there is no such destination", fix))
}

/// `POST /api/v1/held/retry`.
pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    Extension(token): Extension<Arc<Token>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let (parts, content) = request.into_parts();
    let asked: Which = body(&parts.headers, content, false).await?;
    if asked.why.is_some() {
        let fix = "leave it out: a reason is given for what is given up";
        return Err(Problem::bad(
            "the body does not fit: unknown field `why`",
            fix,
        ));
    }
    let which = asked.filter(&token)?;
    let who = token.who();
    let settle = move |which: HeldFilter| Command::Retry {
        which,
        by: who.clone(),
    };
    settled(&api, token, "held.retry", which, None, settle).await
}

/// `POST /api/v1/held/drop`.
pub(super) async fn give_up(
    State(api): State<Arc<Api>>,
    Extension(token): Extension<Arc<Token>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let (parts, content) = request.into_parts();
    let asked: Which = body(&parts.headers, content, false).await?;
    let Some(why) = asked.why.clone().filter(|why| !why.is_empty()) else {
        let fix = "\"why\": \"not sold there\", for the record";
        return Err(Problem::bad("it does not say why", fix));
    };
    let which = asked.filter(&token)?;
    let who = token.who();
    let reason = why.clone();
    let settle = move |which: HeldFilter| Command::Drop {
        which,
        by: who.clone(),
        why: reason.clone(),
    };
    settled(&api, token, "held.drop", which, Some(why), settle).await
}

/// Leaves what settles held items for each destination that has some.
async fn settled(
    api: &Api,
    token: Arc<Token>,
    what: &'static str,
    mut which: HeldFilter,
    why: Option<String>,
    settle: impl Fn(HeldFilter) -> Command + Send + 'static,
) -> Result<Response, Problem> {
    let known = api.known();
    let (asked, form) = api
        .readers
        .look(move |reader, folder| {
            holder(reader, &known, &which)?;
            let found = Found::of(reader, &token, &which)?;
            if !which.ids.is_empty() {
                // Only what this token may see: the others are not held, as far as it knows.
                which.ids.retain(|id| !found.not_held.contains(id));
                if which.ids.is_empty() {
                    return Err(not_held());
                }
            }
            let mut details = json!({ "which": which });
            if let (Some(why), Some(details)) = (why, details.as_object_mut()) {
                details.insert("why".to_owned(), why.into());
            }
            let wish = Wish {
                token,
                what,
                details,
            };
            let command = settle(which.clone());
            let drops = matches!(command, Command::Drop { .. });
            let (here, gone): (BTreeSet<_>, BTreeSet<_>) = found
                .destinations
                .into_iter()
                .partition(|name| known.contains(name));
            let (mut asked, refused) = leave_each(reader, folder, &wish, &here, &command)?;
            // What was not looked at may be meant: the agent goes through it in steps.
            if drops && (!found.tables.is_empty() || !found.all_tables) {
                let command = Command::DropChanges { which };
                asked.push(leave(reader, folder, &wish, "", &command)?);
            }
            let tables = found.tables.into_iter().map(|(source, table)| {
                format!("lighterman source resync --source {source} --table {table}")
            });
            let form = json!({
                "requests": asked,
                "refused": refused,
                "not_held": found.not_held,
                "not_in_settings": gone,
                "all_tables": found.all_tables,
                "read_again_by": tables.filter(|_| !drops).collect::<Vec<_>>(),
            });
            Ok((asked, form))
        })
        .await?;
    Ok(accepted(&asked, &form))
}

/// Who holds something of what is meant.
struct Found {
    destinations: BTreeSet<String>,
    /// Sources and tables of changes that mappings hold.
    tables: BTreeSet<(String, String)>,
    /// These are all tables.
    all_tables: bool,
    /// What was named, and is not held.
    not_held: Vec<String>,
}

impl Found {
    fn of(reader: &StateReader, token: &Token, which: &HeldFilter) -> Result<Self, Problem> {
        let mut found = Self {
            destinations: BTreeSet::new(),
            tables: BTreeSet::new(),
            all_tables: true,
            not_held: which.ids.clone(),
        };
        let note = |found: &mut Self, item: HeldEntry| {
            if token.sees(&item.event_type) {
                found.not_held.retain(|id| *id != item.id);
                match item.change {
                    None => found.destinations.insert(item.by),
                    Some(change) => found.tables.insert((change.source, change.table)),
                };
            }
        };
        // These are looked up, and no more of them are named than a request may.
        if !which.ids.is_empty() {
            reader.held_each(which, |item| {
                note(&mut found, item);
                true
            })?;
            return Ok(found);
        }
        let holders: BTreeSet<String> = reader
            .held_counts()?
            .into_iter()
            .map(|one| one.by)
            .collect();
        let meant = |name: &&String| which.by.as_ref().is_none_or(|by| by == *name);
        for holder in holders.iter().filter(meant) {
            let own = HeldFilter {
                by: Some(holder.clone()),
                ..which.clone()
            };
            // One is enough to know that a destination is to be asked; of what mappings hold, each table counts.
            let goes_on = holder == MAPPING;
            let all = reader.held_within(&own, LOOKED_AT_MAX, |item| {
                note(&mut found, item);
                goes_on
            })?;
            // Whether it is among the others is seen by the agent, which goes through them in steps.
            if !all && !goes_on {
                found.destinations.insert(holder.clone());
            }
            found.all_tables &= all || !goes_on;
        }
        Ok(found)
    }
}

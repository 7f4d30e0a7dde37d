//! `lighterman run --dry-run`: what a first load would read and tell, before there is one. Reads a sample of each
//! table; nothing is written, and nothing is sent.

mod sample;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{EventType, Finding};
use serde_json::{Value as Json, json};
use state::{StateReader, StoreError};

use crate::config::{Config, DestinationConfig, SourceConfig};
use crate::status::state_refused;
use crate::{Exit, out, refuse};
use sample::{Sampled, sampled};

pub(crate) async fn dry_run(config: &Config, as_json: bool) -> Exit {
    let mut all = Vec::new();
    let mut failed = Vec::new();
    for source in &config.sources {
        let read = match read_before(config, source) {
            Ok(read) => read,
            Err(error) => return state_refused("open the state folder", &error, as_json),
        };
        match sampled(source, &read).await {
            Ok(one) => all.push(one),
            Err(findings) => failed.extend(findings),
        }
    }
    if !failed.is_empty() {
        refuse(&failed, as_json);
        return Exit::Trouble;
    }
    let destinations: Vec<Told> = config
        .destinations
        .iter()
        .map(|one| Told::of(one, &all))
        .collect();
    if as_json {
        let form = json!({
            "sources": all.iter().map(Sampled::json).collect::<Vec<_>>(),
            "destinations": destinations.iter().map(Told::json).collect::<Vec<_>>(),
        });
        out(&form.to_string());
        return Exit::Ok;
    }
    all.iter().for_each(words::source);
    destinations.iter().for_each(words::destination);
    out(
        "Nothing was written and nothing was sent. A first load tells what is there, with the origin `snapshot`; it ends \
         nothing that a channel has and was never told of.",
    );
    Exit::Ok
}

/// Tables of a source that were read before: a load goes on with the others.
fn read_before(config: &Config, source: &SourceConfig) -> Result<Vec<String>, StoreError> {
    let known = StateReader::open(&config.state_folder)?.sources()?;
    let tables = known.into_iter().filter(|one| one.name == source.name);
    let done = tables.flat_map(|one| one.tables).filter(|table| table.done);
    Ok(done.map(|table| table.table).collect())
}

/// What a destination would be told.
struct Told {
    name: String,
    shadow: bool,
    /// Of each type so many, where that is known.
    events: BTreeMap<EventType, Option<u64>>,
    /// No sooner than in this time, as the settings' rate has it, with one event a request.
    at_one_each: Option<Duration>,
}

impl Told {
    fn of(one: &DestinationConfig, sources: &[Sampled]) -> Self {
        let mut events: BTreeMap<EventType, Option<u64>> = BTreeMap::new();
        for rule in sources.iter().flat_map(|source| &source.rules) {
            if one.event_types.is_empty() || one.event_types.contains(&rule.event_type) {
                let known = events.entry(rule.event_type).or_insert(Some(0));
                *known = known.zip(rule.expected).map(|(one, more)| one + more);
            }
        }
        let total: Option<u64> = events.values().copied().sum();
        let at_one_each = one.settings.rate.zip(total).map(|(rate, total)| {
            let each = rate.per.as_secs_f64() / f64::from(rate.requests.max(1));
            seconds(each, total)
        });
        Self {
            name: one.name.clone(),
            shadow: one.settings.shadow,
            events,
            at_one_each,
        }
    }

    fn json(&self) -> Json {
        let events: serde_json::Map<String, Json> = self
            .events
            .iter()
            .map(|(event_type, count)| (event_type.name().to_owned(), json!(count)))
            .collect();
        json!({
            "destination": self.name,
            "shadow": self.shadow,
            "events": events,
            "seconds_at_one_event_a_request": self.at_one_each.map(|time| time.as_secs()),
        })
    }
}

/// So many times as long as each takes.
#[expect(clippy::cast_precision_loss, reason = "a rough time, for people")]
fn seconds(each: f64, count: u64) -> Duration {
    Duration::try_from_secs_f64(each * count as f64).unwrap_or(Duration::MAX)
}

fn problem(source: &str, found: impl Into<String>) -> Vec<Finding> {
    vec![Finding::fail(format!("source {source}"), found).fix("lighterman check says more")]
}

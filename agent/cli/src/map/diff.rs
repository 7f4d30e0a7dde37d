//! `lighterman map diff`: what another version of a mapping would make of the same rows.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use contract::{Event, EventOp, Finding};
use mappings::trial::{Outcome, Trial};
use mappings::{Given, MappingSet};
use serde_json::{Value as Json, json};

use super::files::{self, MappingFile};
use super::live::{self, Ask};
use super::rows::{Pick, Reader, run};
use crate::plain::line;
use crate::{Exit, out, refuse};

/// Differences of one kind that are shown.
const SHOWN_MAX: usize = 20;

/// Events by type and key, and held rows by rule and row.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Made {
    events: BTreeMap<(&'static str, String), Told>,
    held: BTreeMap<(String, String), Held>,
}

/// What an event says, and the rule that says it.
#[derive(Debug, PartialEq)]
struct Told {
    rule: String,
    body: Json,
}

/// Why something is held, and of which event, where that is known.
#[derive(Debug, PartialEq)]
struct Held {
    reason: String,
    event_type: &'static str,
    key: Option<String>,
}

impl Made {
    pub(super) fn take(&mut self, outcome: &Outcome) {
        for event in &outcome.events {
            let (event_type, key) = (event.envelope.event_type.name(), event.envelope.key.text());
            let told = Told {
                rule: event.envelope.mapping.rule.clone(),
                body: body(event),
            };
            let told = self.events.insert((event_type, key.clone()), told);
            // Zero, and then its tombstone: both are sent.
            if let (Some(told), EventOp::Delete) = (told, event.envelope.op) {
                self.events
                    .insert((event_type, format!("{key}, before it ends")), told);
            }
        }
        for held in &outcome.held {
            let place = (held.mapping.rule.clone(), held.row_key.clone());
            let (event_type, key) = (held.event_type.name(), held.event_key.clone());
            let reason = held.reason.clone();
            let held = Held {
                reason,
                event_type,
                key,
            };
            self.held.insert(place, held);
        }
    }
}

fn body(event: &Event) -> Json {
    let body = event.body.as_ref().map(contract::Body::json);
    body.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Json::Null)
}

/// A field, what it was and what it is.
pub(super) type Changed = (String, Json, Json);

/// What differs.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) same: usize,
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    /// Events, and their fields that are others.
    pub(super) changed: Vec<(String, Vec<Changed>)>,
    pub(super) held: Vec<String>,
    pub(super) freed: Vec<String>,
}

/// Compares two mapping files on rows of a live source, or on those of their tests.
pub(crate) async fn diff(
    old: &Path,
    new: &Path,
    ask: &Ask,
    sample: Option<u32>,
    as_json: bool,
) -> Exit {
    let made = match sample {
        Some(count) => sampled(old, new, ask, count as usize).await,
        None => of_tests(old, new),
    };
    match made {
        Ok((before, after, rows)) => {
            let difference = compare(&before, &after);
            if as_json {
                out(&as_value(&difference, rows).to_string());
            } else {
                show(&difference, rows);
            }
            Exit::Ok
        }
        Err(findings) => refuse(&findings, as_json),
    }
}

async fn sampled(
    old: &Path,
    new: &Path,
    ask: &Ask,
    count: usize,
) -> Result<(Made, Made, usize), Vec<Finding>> {
    let config = live::source(ask)?;
    let tables = live::tables(&config).await?;
    let mut both = Vec::new();
    let mut rows_read = 0;
    for path in [old, new] {
        let set = live::load(&config, path, &tables)?;
        let source = config.capturing(set.tables())?;
        let rules: Vec<String> = set.rules().map(|rule| rule.id).collect();
        let reader = Reader::new(&*source, &tables, &set);
        let rows = reader.read(&rules, &Pick::First(count)).await?;
        rows_read = rows_read.max(rows.changes.len());
        let mut made = Made::default();
        made.take(&run(Some(&*source), &set, &rows, count).await?.outcome);
        both.push(made);
    }
    let after = both.pop().unwrap_or_default();
    Ok((both.pop().unwrap_or_default(), after, rows_read))
}

/// Rows that stand in the tests of either file.
fn of_tests(old: &Path, new: &Path) -> Result<(Made, Made, usize), Vec<Finding>> {
    let file = |path: &Path| {
        let mut found = files::read(&[PathBuf::from(path)])?;
        if let (Some(file), 0) = (found.pop(), found.len()) {
            return Ok(file);
        }
        let what = format!("read {}", path.display());
        Err(vec![Finding::fail(what, "is not one mapping file")])
    };
    let (old, new) = (file(old)?, file(new)?);
    let mut tests: Vec<Given> = old.tests()?;
    for test in new.tests()? {
        let same = |known: &Given| {
            let steps = known.steps.iter().zip(&test.steps);
            let mut steps = steps.map(|(one, other)| {
                one.rows == other.rows
                    && one.deleted == other.deleted
                    && one.answers == other.answers
            });
            known.steps.len() == test.steps.len() && steps.all(|same| same)
        };
        if !tests.iter().any(same) {
            tests.push(test);
        }
    }
    let mut rows = 0;
    let (mut before, mut after) = (Made::default(), Made::default());
    let mut sets: HashMap<(bool, Option<String>), MappingSet> = HashMap::new();
    for (n, test) in tests.iter().enumerate() {
        let steps = test.steps.iter();
        rows += steps.map(|step| step.rows.len()).sum::<usize>();
        for (is_new, file, made) in [(false, &old, &mut before), (true, &new, &mut after)] {
            let place = (is_new, test.company.clone());
            if !sets.contains_key(&place) {
                sets.insert(place.clone(), of_company(file, test.company.as_deref())?);
            }
            let Some(set) = sets.get(&place) else {
                continue;
            };
            made.take_test(n, &test.name, set, test);
        }
    }
    Ok((before, after, rows))
}

fn of_company(file: &MappingFile, company: Option<&str>) -> Result<MappingSet, Vec<Finding>> {
    MappingSet::new(vec![file.load_for(company)?])
}

impl Made {
    /// What a test's rows make, named after its steps: tests do not share rows.
    fn take_test(&mut self, nth: usize, name: &str, set: &MappingSet, test: &Given) {
        let mut trial = Trial::of_test(set);
        for (n, step) in test.steps.iter().enumerate() {
            for answers in &step.answers {
                trial.answer(answers.clone());
            }
            let mut made = Self::default();
            made.take(&trial.step(step, test.steps.get(n + 1)));
            let then = if n > 0 {
                format!(", then {n}")
            } else {
                String::new()
            };
            let of = |key: String| format!("{key} (test {}, {name}{then})", nth + 1);
            for ((event_type, key), told) in made.events {
                self.events.insert((event_type, of(key)), told);
            }
            for ((rule, row), mut held) in made.held {
                held.key = held.key.map(&of);
                self.held.insert((rule, of(row)), held);
            }
        }
    }
}

pub(super) fn compare(before: &Made, after: &Made) -> Difference {
    let mut found = Difference::default();
    let name = |(event_type, key): &(&str, String)| format!("{event_type} {key}");
    for (place, new) in &after.events {
        match before.events.get(place) {
            None => found.added.push(name(place)),
            Some(old) if old.body == new.body => found.same += 1,
            Some(old) => {
                let fields = fields(&old.body, &new.body);
                found.changed.push((name(place), fields));
            }
        }
    }
    let mut keyless: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, held) in &after.held {
        let old = before.held.get(place);
        if old.is_none_or(|old| old.reason != held.reason) {
            let line = format!("{} {}: {}", place.0, place.1, held.reason);
            found.held.push(line);
        }
        if old.is_none() && held.key.is_none() {
            *keyless.entry(&place.0).or_default() += 1;
        }
    }
    for (place, told) in &before.events {
        if after.events.contains_key(place) || keeps(after, place) {
            continue;
        }
        // Whose key cannot be worked out keeps what was told as well, under a key nobody knows: as
        // many of the rule's events are not gone.
        match keyless.get_mut(told.rule.as_str()) {
            Some(left) if *left > 0 => *left -= 1,
            _ => found.removed.push(name(place)),
        }
    }
    for (place, held) in &before.held {
        if !after.held.contains_key(place) {
            let line = format!("{} {}: {}", place.0, place.1, held.reason);
            found.freed.push(line);
        }
    }
    found
}

/// Whether an event is held: then what was told of it last stands.
fn keeps(made: &Made, (event_type, key): &(&str, String)) -> bool {
    let mut held = made.held.values();
    held.any(|held| held.event_type == *event_type && held.key.as_ref() == Some(key))
}

fn fields(old: &Json, new: &Json) -> Vec<Changed> {
    let (Json::Object(before), Json::Object(after)) = (old, new) else {
        // One of them is a tombstone.
        let said = |body: &Json| json!(if body.is_null() { "deleted" } else { "there" });
        return vec![("event".to_owned(), said(old), said(new))];
    };
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let value = |body: &serde_json::Map<String, Json>, name: &String| {
        body.get(name).cloned().unwrap_or(Json::Null)
    };
    names
        .into_iter()
        .map(|name| (name.clone(), value(before, name), value(after, name)))
        .filter(|(_, old, new)| old != new)
        .collect()
}

fn show(found: &Difference, rows: usize) {
    out(&format!(
        "{rows} rows: {} events the same, {} changed, {} added, {} removed, {} newly held, {} no \
         longer held",
        found.same,
        found.changed.len(),
        found.added.len(),
        found.removed.len(),
        found.held.len(),
        found.freed.len()
    ));
    for (event, fields) in found.changed.iter().take(SHOWN_MAX) {
        out(&format!("~ {}", line(event)));
        for (field, old, new) in fields {
            let (old, new) = (text(old), text(new));
            out(&format!("    {field}: {} -> {}", line(&old), line(&new)));
        }
    }
    more(found.changed.len());
    for (sign, events) in [
        ("+", &found.added),
        ("-", &found.removed),
        ("held", &found.held),
        ("no longer held", &found.freed),
    ] {
        for event in events.iter().take(SHOWN_MAX) {
            out(&format!("{sign} {}", line(event)));
        }
        more(events.len());
    }
}

fn more(count: usize) {
    if count > SHOWN_MAX {
        out(&format!(
            "  and {} more; --json lists all",
            count - SHOWN_MAX
        ));
    }
}

pub(super) fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn as_value(found: &Difference, rows: usize) -> Json {
    let changed: Vec<Json> = found
        .changed
        .iter()
        .map(|(event, fields)| {
            let fields = fields.iter();
            let fields: serde_json::Map<String, Json> = fields
                .map(|(name, old, new)| (name.clone(), json!({ "old": old, "new": new })))
                .collect();
            json!({ "event": event, "fields": fields })
        })
        .collect();
    json!({
        "rows": rows,
        "same": found.same,
        "changed": changed,
        "added": found.added,
        "removed": found.removed,
        "held": found.held,
        "no_longer_held": found.freed,
    })
}

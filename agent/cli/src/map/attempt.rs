//! `lighterman map try`: a mapping tried on rows of a live source.

use std::collections::BTreeMap;
use std::path::Path;

use contract::{Event, Finding, TableInfo, TableName, Value};
use mappings::MappingSet;
use mappings::relate::Look;
use serde_json::{Value as Json, json};

use super::live::{self, Ask};
use super::rows::{Pick, Reader, Rows, Tried, run};
use crate::{Exit, out, refuse};

/// Different values of a field that are counted one by one.
const WORDS_MAX: usize = 12;
/// Reasons of held rows that are shown.
const REASONS_MAX: usize = 10;

/// What to try it on.
#[derive(Debug, clap::Args)]
pub(crate) struct On {
    /// The table whose row is tried: its alias in the mapping file, or `schema.table`.
    #[arg(long, requires = "key", conflicts_with = "sample")]
    table: Option<String>,
    /// The row's key: its values in the order of the key's columns, one `--key` for each.
    #[arg(long, requires = "table")]
    key: Vec<String>,
    /// Instead of one row: so many rows of each event's own table, and what became of them.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sample: Option<u32>,
}

/// Tries a mapping file; nothing is written and nothing is sent.
pub(crate) async fn attempt(file: &Path, ask: &Ask, on: &On, as_json: bool) -> Exit {
    match tried(file, ask, on).await {
        Ok((set, rows, tried)) => {
            let sample = on.sample.is_some();
            match (sample, as_json) {
                (true, true) => out(&summary_json(&set, &rows, &tried).to_string()),
                (true, false) => summary(&set, &rows, &tried),
                (false, true) => out(&one_json(&rows, &tried).to_string()),
                (false, false) => one(&rows, &tried),
            }
            if tried.outcome.held.is_empty() {
                Exit::Ok
            } else {
                Exit::Trouble
            }
        }
        Err(findings) => refuse(&findings, as_json),
    }
}

async fn tried(file: &Path, ask: &Ask, on: &On) -> Result<(MappingSet, Rows, Tried), Vec<Finding>> {
    let config = live::source(ask)?;
    let tables = live::tables(&config).await?;
    let set = live::load(&config, file, &tables)?;
    let source = config.capturing(set.tables())?;
    let (rules, pick) = picked(&set, &tables, on)?;
    let set = set.only(&rules);
    let rows = Reader::new(&*source, &tables, &set)
        .read(&rules, &pick)
        .await?;
    if let (Pick::Keys(table, _), true) = (&pick, rows.own.values().all(Vec::is_empty)) {
        let found = "no row of it has this key";
        return Err(vec![Finding::fail(format!("table {table}"), found)]);
    }
    let asked = on.sample.map_or(1, |count| count as usize);
    let tried = run(Some(&*source), &set, &rows, asked).await?;
    Ok((set, rows, tried))
}

/// The rules and rows that are meant.
fn picked(
    set: &MappingSet,
    tables: &[TableInfo],
    on: &On,
) -> Result<(Vec<String>, Pick), Vec<Finding>> {
    let Some(wanted) = &on.table else {
        let rules = set.rules().map(|rule| rule.id).collect();
        let Some(count) = on.sample else {
            let found = "names neither a row nor a sample";
            let fix = "--table stock --key A-1, or --sample 200";
            return Err(vec![Finding::fail("map try", found).fix(fix)]);
        };
        return Ok((rules, Pick::First(count as usize)));
    };
    let known = set.all_tables();
    let alias = set.table_called(wanted);
    let named = |table: &TableName| match &alias {
        Some(alias) => alias == table,
        None => table.to_string() == *wanted || table.name == *wanted,
    };
    let Some(table) = known.iter().find(|table| named(&table.table)) else {
        let names: Vec<String> = known.iter().map(|table| table.table.to_string()).collect();
        let found = format!("the mapping has no table `{wanted}`");
        let fix = format!("one of {}", names.join(", "));
        return Err(vec![Finding::fail("--table", found).fix(fix)]);
    };
    let rules = set.beginning_with(&table.table);
    if rules.is_empty() {
        let using = set.using(&table.table).join(", ");
        let found = format!("no event begins with a row of {}", table.table);
        let fix = format!("it is read by {using}: try a row of that event's own table");
        return Err(vec![Finding::fail("--table", found).fix(fix)]);
    }
    if on.key.len() != table.key.len() {
        let found = format!(
            "{} values for the key [{}]",
            on.key.len(),
            table.key.join(", ")
        );
        let fix = "one --key for each of its columns, in this order";
        return Err(vec![Finding::fail("--key", found).fix(fix)]);
    }
    let info = tables.iter().find(|info| info.table == table.table);
    let values = table.key.iter().zip(&on.key).map(|(column, text)| {
        let kind = info
            .and_then(|info| info.column(column))
            .map(|column| column.kind);
        typed(kind, text)
    });
    Ok((
        rules,
        Pick::Keys(table.table.clone(), vec![values.collect()]),
    ))
}

/// A value as a person wrote it, of the column's kind where it can be read as such.
pub(super) fn typed(kind: Option<contract::ColumnKind>, text: &str) -> Value {
    use contract::ColumnKind;
    let number = match kind {
        Some(ColumnKind::Int | ColumnKind::Decimal) => text.parse().ok(),
        _ => None,
    };
    number.map_or_else(|| Value::Text(text.to_owned()), Value::Decimal)
}

pub(super) fn one(rows: &Rows, tried: &Tried) {
    for look in &tried.looks {
        out(&format!(
            "{}: {}",
            look.rule,
            crate::plain::line(&look.outcome.clone())
        ));
        for row in &look.rows {
            out(&format!("  row {} of {}", row.alias, row.table));
            if row.cells.is_empty() {
                out("    there is none");
            }
            for (column, value) in &row.cells {
                out(&format!("    {column} = {}", shown(value.as_deref())));
            }
        }
        if !look.values.is_empty() {
            out("  expressions");
        }
        for value in &look.values {
            let got = match &value.reason {
                Some(reason) => format!("held: {}", crate::plain::line(reason)),
                None => shown(value.value.as_deref()),
            };
            let written = value.expression.as_ref();
            let written = written.map_or_else(String::new, |text| format!("   <- {text}"));
            out(&format!("    {} = {got}{written}", value.what));
        }
    }
    for event in &tried.outcome.events {
        out(&format!("event {}", pretty(event)));
    }
    for held in &tried.outcome.held {
        out(&format!(
            "held {} {}: {}",
            held.table,
            crate::plain::line(&held.row_key),
            crate::plain::line(&held.reason)
        ));
    }
    if tried.outcome.events.is_empty() && tried.outcome.held.is_empty() {
        out("no event");
    }
    rows.notes
        .iter()
        .for_each(|note| out(&format!("note: {note}")));
}

fn shown(value: Option<&str>) -> String {
    match value {
        Some(text) if text.trim() == text && !text.is_empty() => {
            crate::plain::line(text).into_owned()
        }
        Some(text) => format!("\"{}\"", crate::plain::line(text)),
        None => "null".to_owned(),
    }
}

fn body(event: &Event) -> Json {
    let body = event.body.as_ref().map(contract::Body::json);
    body.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Json::Null)
}

fn event_json(event: &Event) -> Json {
    let envelope = &event.envelope;
    let key: serde_json::Map<String, Json> = envelope
        .key
        .fields()
        .iter()
        .map(|(name, text)| ((*name).to_owned(), json!(text)))
        .collect();
    json!({
        "type": envelope.event_type.name(),
        "rule": envelope.mapping.rule,
        "op": envelope.op,
        "key": key,
        "body": body(event),
        "warnings": envelope.warnings,
    })
}

fn pretty(event: &Event) -> String {
    serde_json::to_string_pretty(&event_json(event)).unwrap_or_default()
}

pub(super) fn one_json(rows: &Rows, tried: &Tried) -> Json {
    let events: Vec<Json> = tried.outcome.events.iter().map(event_json).collect();
    json!({
        "looks": tried.looks,
        "events": events,
        "held": held_json(tried),
        "notes": rows.notes,
    })
}

fn held_json(tried: &Tried) -> Vec<Json> {
    let held = tried.outcome.held.iter();
    held.map(|held| {
        json!({
            "rule": held.mapping.rule,
            "table": held.table.to_string(),
            "row": held.row_key,
            "reason": held.reason,
        })
    })
    .collect()
}

/// What became of a rule's rows.
struct Count {
    rule: String,
    rows: usize,
    events: usize,
    held: BTreeMap<String, usize>,
    no_event: usize,
    /// By field: how often it is null, and its words.
    fields: BTreeMap<String, (usize, BTreeMap<String, usize>)>,
}

fn counts(set: &MappingSet, rows: &Rows, tried: &Tried) -> Vec<Count> {
    let of_rule = |rule: &mappings::RuleInfo| {
        let events: Vec<&Event> = tried
            .outcome
            .events
            .iter()
            .filter(|event| event.envelope.mapping.rule == rule.id)
            .collect();
        let mut fields: BTreeMap<String, (usize, BTreeMap<String, usize>)> = BTreeMap::new();
        for event in &events {
            let body = body(event);
            for name in set.mapped(&rule.id) {
                let (nulls, words) = fields.entry(name.to_owned()).or_default();
                match body.get(name) {
                    None | Some(Json::Null) => *nulls += 1,
                    Some(value @ (Json::String(_) | Json::Bool(_))) => {
                        let text = value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned);
                        *words.entry(text).or_default() += 1;
                    }
                    Some(_) => {}
                }
            }
        }
        let mut held: BTreeMap<String, usize> = BTreeMap::new();
        for one in &tried.outcome.held {
            if one.mapping.rule == rule.id {
                *held.entry(one.reason.clone()).or_default() += 1;
            }
        }
        let looks = tried.looks.iter().filter(|look| look.rule == rule.id);
        let none = |look: &&Look| look.outcome.starts_with("no event");
        Count {
            rows: rows.own.get(&rule.id).map_or(0, Vec::len),
            events: events.len(),
            no_event: looks.filter(none).count(),
            rule: rule.id.clone(),
            held,
            fields,
        }
    };
    set.rules().map(|rule| of_rule(&rule)).collect()
}

fn summary(set: &MappingSet, rows: &Rows, tried: &Tried) {
    for count in counts(set, rows, tried) {
        let held: usize = count.held.values().sum();
        out(&format!(
            "{}: {} rows, {} events, {held} held, {} without an event",
            count.rule, count.rows, count.events, count.no_event
        ));
        let mut reasons: Vec<_> = count.held.iter().collect();
        reasons.sort_by_key(|(reason, times)| (std::cmp::Reverse(**times), (*reason).clone()));
        for (reason, times) in reasons.iter().take(REASONS_MAX) {
            out(&format!("  held {times}: {reason}"));
        }
        if reasons.len() > REASONS_MAX {
            out(&format!(
                "  and {} reasons more",
                reasons.len() - REASONS_MAX
            ));
        }
        for (field, (nulls, words)) in &count.fields {
            out(&format!(
                "  {field}: {}",
                spread(count.events, *nulls, words)
            ));
        }
    }
    if tried.outcome.unchanged > 0 {
        out(&format!(
            "{} events said nothing new",
            tried.outcome.unchanged
        ));
    }
    rows.notes
        .iter()
        .for_each(|note| out(&format!("note: {note}")));
}

fn spread(events: usize, nulls: usize, words: &BTreeMap<String, usize>) -> String {
    let few = words.len() <= WORDS_MAX && words.values().any(|times| *times > 1);
    let mut parts: Vec<String> = Vec::new();
    if few {
        let mut all: Vec<_> = words.iter().collect();
        all.sort_by_key(|(word, times)| (std::cmp::Reverse(**times), (*word).clone()));
        parts.extend(
            all.iter()
                .map(|(word, times)| format!("{} ({times})", shown(Some(word)))),
        );
    } else if events > nulls {
        parts.push(format!("{} values", events - nulls));
    }
    if nulls > 0 {
        parts.push(format!("null ({nulls})"));
    }
    parts.join(", ")
}

fn summary_json(set: &MappingSet, rows: &Rows, tried: &Tried) -> Json {
    let rules: Vec<Json> = counts(set, rows, tried)
        .into_iter()
        .map(|count| {
            let fields: serde_json::Map<String, Json> = count
                .fields
                .into_iter()
                .map(|(field, (nulls, mut words))| {
                    if words.len() > WORDS_MAX {
                        words.clear();
                    }
                    (field, json!({ "null": nulls, "words": words }))
                })
                .collect();
            json!({
                "rule": count.rule,
                "rows": count.rows,
                "events": count.events,
                "held": count.held,
                "no_event": count.no_event,
                "fields": fields,
            })
        })
        .collect();
    json!({ "rules": rules, "unchanged": tried.outcome.unchanged, "notes": rows.notes })
}

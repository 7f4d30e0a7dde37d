//! Rows to drafts of events: pure, and total over every row.

use std::sync::Arc;

use contract::body::availability;
use contract::{
    Body, Envelope, Event, EventKey, EventKind, EventOp, EventType, FieldValue, MappingRef, Op,
    Origin, Row, RowChange, RowKey, TableName, TableShape, Value,
};
use jiff::Timestamp;

use crate::convert::{Converted, convert};
use crate::rule::{Currency, Field, MappingSet, Rule, Term};

/// What a mapping may know beside the row.
#[derive(Debug, Clone)]
pub struct MapContext {
    /// Our customer.
    pub tenant: Arc<str>,
    /// The source's name.
    pub source: Arc<str>,
    /// When the row was read.
    pub read_at: Timestamp,
    /// Why it was read.
    pub origin: Origin,
}

/// A change that cannot become an event without guessing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldChange {
    /// The rule.
    pub mapping: Arc<MappingRef>,
    /// What it would have become.
    pub event_type: EventType,
    /// The table.
    pub table: TableName,
    /// The row's key, or empty.
    pub row_key: String,
    /// The event's key, where it could be worked out.
    pub event_key: Option<String>,
    /// Why: rule, field, column, types. Never the value.
    pub reason: String,
    /// The raw row, for the operator.
    pub row_json: String,
}

/// The source table was emptied: every published key of the rule is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// The rule.
    pub mapping: Arc<MappingRef>,
    /// What it publishes.
    pub event_type: EventType,
}

/// What a change means.
#[derive(Debug, Default)]
pub struct Mapped {
    /// Events, possibly still needing fields of what was published before.
    pub drafts: Vec<Draft>,
    /// What needs a person.
    pub held: Vec<HeldChange>,
    /// Emptied tables.
    pub truncated: Vec<Truncated>,
    /// Rules to which the change means nothing.
    pub filtered: usize,
}

/// An event that may still need fields from what was published before.
#[derive(Debug)]
pub struct Draft {
    envelope: Envelope,
    body: Option<Body>,
    /// Fields whose cells the log left out.
    unchanged: Vec<&'static str>,
    /// Who to name when it cannot be finished.
    blame: Box<HeldChange>,
}

impl Draft {
    /// Identity and provenance.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether [`Draft::finish`] needs the last published body.
    pub fn needs_previous(&self) -> bool {
        !self.unchanged.is_empty()
    }

    /// The event.
    ///
    /// # Errors
    /// When cells the log left out are not known from before, or a required field is missing.
    pub fn finish(self, previous: Option<&Body>) -> Result<Event, Box<HeldChange>> {
        let Self {
            envelope,
            body,
            unchanged,
            mut blame,
        } = self;
        let Some(mut body) = body else {
            return Ok(Event::new(envelope, None));
        };
        let table = blame.table.clone();
        let mut fail = |reason: String| {
            blame.reason = reason;
            Err(blame.clone())
        };
        for name in unchanged {
            let Some(previous) = previous else {
                return fail(format!(
                    "field {name}: the log does not carry its unchanged column and no earlier \
                     value is known; `alter table {table} replica identity full` makes it",
                ));
            };
            if let Some(value) = previous.get(name)
                && let Err(error) = body.set(name, value.clone())
            {
                return fail(error.to_string());
            }
        }
        if envelope.event_type == EventType::InventoryAvailability
            && let Err(error) = availability::derive(&mut body)
        {
            return fail(format!("working out availability: {error}"));
        }
        if let Err(error) = body.complete() {
            return fail(error.to_string());
        }
        Ok(Event::new(envelope, Some(body)))
    }
}

/// A rule bound to a table's columns: the rule's column n is the row's cell `cells[n]`.
#[derive(Debug)]
struct Bound {
    rule: Arc<Rule>,
    cells: Result<Vec<usize>, String>,
}

/// A mapping set, with its rules bound to the table shapes seen so far.
#[derive(Debug)]
pub struct Mapper {
    set: Arc<MappingSet>,
    bound: Vec<(Arc<TableShape>, Vec<Bound>)>,
}

/// Shapes remembered at most; more only means binding again.
const SHAPES_MAX: usize = 256;

impl Mapper {
    /// A mapper that has seen no shape yet.
    pub fn new(set: Arc<MappingSet>) -> Self {
        Self {
            set,
            bound: Vec::new(),
        }
    }

    /// What a change means.
    pub fn apply(&mut self, change: &RowChange, context: &MapContext) -> Mapped {
        let known = self
            .bound
            .iter()
            .position(|(shape, _)| Arc::ptr_eq(shape, &change.shape));
        let at = known.unwrap_or_else(|| {
            if self.bound.len() >= SHAPES_MAX {
                self.bound.clear();
            }
            let bound = bind(&self.set, &change.shape);
            self.bound.push((Arc::clone(&change.shape), bound));
            self.bound.len() - 1
        });
        let mut mapped = Mapped::default();
        for bound in self.bound.get(at).map_or(&[][..], |(_, bound)| bound) {
            apply(bound, change, context, &mut mapped);
        }
        mapped
    }
}

fn bind(set: &MappingSet, shape: &TableShape) -> Vec<Bound> {
    let rules = set
        .rules
        .iter()
        .filter(|rule| rule.table.table == shape.table);
    rules
        .map(|rule| {
            let cell = |name: &String| {
                shape
                    .column(name)
                    .ok_or_else(|| format!("column \"{name}\" is not in table {}", shape.table))
            };
            Bound {
                rule: Arc::clone(rule),
                cells: rule.columns.iter().map(cell).collect(),
            }
        })
        .collect()
}

fn apply(bound: &Bound, change: &RowChange, context: &MapContext, mapped: &mut Mapped) {
    let rule = &bound.rule;
    let kind = rule.event_type.kind();
    if change.op == Op::Truncate {
        match kind {
            EventKind::State => mapped.truncated.push(Truncated {
                mapping: Arc::clone(&rule.reference),
                event_type: rule.event_type,
            }),
            EventKind::Fact => mapped.filtered += 1,
        }
        return;
    }
    let hold = |reason: String, event_key: Option<String>| held(rule, change, reason, event_key);
    let cells = match &bound.cells {
        Ok(cells) => cells,
        Err(reason) => return mapped.held.push(hold(reason.clone(), None)),
    };
    let key_of = |row: &Row| key(rule, cells, row);
    let removed = match (change.op, kind) {
        // What happened stays happened, whoever tidies the ledger.
        (Op::Delete, EventKind::Fact) => {
            mapped.filtered += 1;
            return;
        }
        (Op::Delete, EventKind::State) => change.before.as_ref(),
        _ => None,
    };
    if change.op == Op::Delete {
        let Some(row) = removed else {
            return mapped.held.push(hold(
                "the log does not carry the removed row".to_owned(),
                None,
            ));
        };
        match key_of(row) {
            Ok(key) => mapped.drafts.push(tombstone(rule, change, context, key)),
            Err(reason) => mapped.held.push(hold(reason, None)),
        }
        return;
    }
    let Some(row) = change.after.as_ref() else {
        return mapped
            .held
            .push(hold("the log does not carry the new row".to_owned(), None));
    };
    // Key cells the new row leaves unchanged are those of the old row.
    let filled = filled(row, change.before.as_ref());
    let key = match key_of(&filled) {
        Ok(key) => key,
        Err(reason) => return mapped.held.push(hold(reason, None)),
    };
    if kind == EventKind::State
        && let Some(before) = &change.before
        && let Ok(old) = key_of(before)
        && old != key
    {
        mapped.drafts.push(tombstone(rule, change, context, old));
    }
    let event_key = key.text();
    match fields(rule, cells, &filled) {
        Ok((body, unchanged)) => {
            let op = match (kind, change.op) {
                (EventKind::State, _) => EventOp::Upsert,
                (EventKind::Fact, Op::Update) => EventOp::Correction,
                (EventKind::Fact, _) => EventOp::Fact,
            };
            let fact_key = match (kind, change.key()) {
                (EventKind::State, _) => None,
                (EventKind::Fact, Some(row_key)) => {
                    let company = key.fields().first().map_or("", |(_, company)| company);
                    Some(format!("{company}/{}/{}", change.table(), row_key.as_str()))
                }
                (EventKind::Fact, None) => {
                    let reason = "a fact needs its row's key to be recognised again".to_owned();
                    return mapped.held.push(hold(reason, Some(event_key)));
                }
            };
            let mut envelope = envelope(rule, change, context, key, op);
            envelope.fact_key = fact_key;
            let blame = Box::new(hold(String::new(), Some(event_key)));
            mapped.drafts.push(Draft {
                envelope,
                body: Some(body),
                unchanged,
                blame,
            });
        }
        Err(reason) => mapped.held.push(hold(reason, Some(event_key))),
    }
}

fn filled<'a>(row: &'a Row, before: Option<&Row>) -> std::borrow::Cow<'a, Row> {
    let Some(before) = before.filter(|_| row.contains(&Value::Unchanged)) else {
        return std::borrow::Cow::Borrowed(row);
    };
    let mut full = row.clone();
    for (cell, old) in full.iter_mut().zip(before) {
        if matches!(cell, Value::Unchanged) {
            *cell = old.clone();
        }
    }
    std::borrow::Cow::Owned(full)
}

fn envelope(
    rule: &Rule,
    change: &RowChange,
    context: &MapContext,
    key: EventKey,
    op: EventOp,
) -> Envelope {
    Envelope {
        tenant: Arc::clone(&context.tenant),
        source: Arc::clone(&context.source),
        event_type: rule.event_type,
        key,
        version: change.position.clone(),
        op,
        origin: context.origin,
        occurred_at: change.committed_at.unwrap_or(context.read_at),
        occurred_at_exact: change.committed_at.is_some(),
        read_at: context.read_at,
        transaction: change.transaction,
        mapping: Arc::clone(&rule.reference),
        fact_key: None,
        reason: None,
        warnings: Vec::new(),
    }
}

fn tombstone(rule: &Rule, change: &RowChange, context: &MapContext, key: EventKey) -> Draft {
    let blame = Box::new(held(rule, change, String::new(), Some(key.text())));
    let mut envelope = envelope(rule, change, context, key, EventOp::Delete);
    envelope.reason = Some("hard_delete");
    Draft {
        envelope,
        body: None,
        unchanged: Vec::new(),
        blame,
    }
}

fn held(rule: &Rule, change: &RowChange, reason: String, event_key: Option<String>) -> HeldChange {
    HeldChange {
        mapping: Arc::clone(&rule.reference),
        event_type: rule.event_type,
        table: change.table().clone(),
        row_key: change.key().as_ref().map_or("", RowKey::as_str).to_owned(),
        event_key,
        reason,
        row_json: row_json(change),
    }
}

fn row_json(change: &RowChange) -> String {
    let row = |row: &Option<Row>| {
        let cells = row
            .as_ref()?
            .iter()
            .zip(&change.shape.columns)
            .map(|(cell, name)| {
                let text = match cell {
                    Value::Unchanged => serde_json::json!({ "unchanged": true }),
                    cell => cell
                        .text()
                        .map_or(serde_json::Value::Null, serde_json::Value::String),
                };
                (name.clone(), text)
            });
        Some(cells.collect::<serde_json::Map<_, _>>())
    };
    let form = serde_json::json!({
        "op": change.op.name(),
        "before": row(&change.before),
        "after": row(&change.after),
    });
    form.to_string()
}

fn key(rule: &Rule, cells: &[usize], row: &Row) -> Result<EventKey, String> {
    let mut key = Vec::with_capacity(rule.key.len());
    for field in &rule.key {
        let place = || describe(rule, field);
        match value(field, cells, row).map_err(|reason| format!("{}: {reason}", place()))? {
            Converted::Value(FieldValue::Text(text)) => key.push((field.name, text)),
            Converted::Value(_) | Converted::Null => {
                return Err(format!("{}: a key field must not be null", place()));
            }
            Converted::Unchanged => {
                return Err(format!(
                    "{}: the log does not carry this key column; `alter table {} replica identity \
                     full` makes it",
                    place(),
                    rule.table.table
                ));
            }
        }
    }
    Ok(EventKey::new(key))
}

type Fields = (Body, Vec<&'static str>);

fn fields(rule: &Rule, cells: &[usize], row: &Row) -> Result<Fields, String> {
    let mut body = Body::new(rule.event_type.schema());
    let mut unchanged = Vec::new();
    for field in &rule.fields {
        let place = || describe(rule, field);
        match value(field, cells, row).map_err(|reason| format!("{}: {reason}", place()))? {
            Converted::Value(value) => {
                body.set_at(field.index, value)
                    .map_err(|error| format!("{}: {error}", place()))?;
            }
            Converted::Null if field.required => {
                return Err(format!("{}: a required field must not be null", place()));
            }
            Converted::Null => {}
            Converted::Unchanged => unchanged.push(field.name),
        }
    }
    Ok((body, unchanged))
}

fn describe(rule: &Rule, field: &Field) -> String {
    let column = match &field.term {
        Term::Column(n) | Term::NullCase { column: n, .. } => rule.columns.get(*n),
        Term::Text(_) | Term::Number(_) | Term::Bool(_) => None,
    };
    match column {
        Some(column) => {
            format!(
                "rule {}, field {}, column \"{column}\"",
                rule.reference.rule, field.name
            )
        }
        None => format!("rule {}, field {}", rule.reference.rule, field.name),
    }
}

fn value(field: &Field, cells: &[usize], row: &Row) -> Result<Converted, String> {
    let cell = |n: usize| {
        let index = cells.get(n).copied().unwrap_or(usize::MAX);
        row.get(index)
            .ok_or_else(|| "the row is shorter than its table's columns".to_owned())
    };
    let constant;
    let source = match &field.term {
        Term::Column(n) => cell(*n)?,
        Term::NullCase {
            column,
            when_null,
            when_set,
        } => {
            let chosen = match cell(*column)? {
                Value::Unchanged => return Ok(Converted::Unchanged),
                Value::Null => when_null,
                Value::Text(text) if field.blank_is_null && text.trim().is_empty() => when_null,
                _ => when_set,
            };
            constant = Value::Text(chosen.clone());
            &constant
        }
        Term::Text(text) => {
            constant = Value::Text(text.clone());
            &constant
        }
        Term::Number(number) => {
            constant = Value::Decimal(*number);
            &constant
        }
        Term::Bool(value) => {
            constant = Value::Bool(*value);
            &constant
        }
    };
    let currency = match &field.currency {
        None => None,
        Some(Currency::Fixed(code)) => Some(code.clone()),
        Some(Currency::Column(n)) => match cell(*n)? {
            Value::Unchanged => return Ok(Converted::Unchanged),
            cell => cell.text().map(|code| code.trim().to_owned()),
        },
    };
    convert(source, field, currency)
}

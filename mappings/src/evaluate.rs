//! Working out an event's key and fields from the cells of its row or rows.

use std::borrow::Cow;

use contract::body::availability;
use contract::{Body, EventKey, EventType, FieldValue, Value};

use crate::convert::{Converted, convert, is_currency};
use crate::draft::Gap;
use crate::relate::LookValue;
use crate::rule::{Currency, Field, Formula, Rule, Term};
use crate::sql::{Cells, Stop};

/// What a row says about a field.
enum Got {
    Value(FieldValue),
    Null,
    Gap(Gap),
}

/// Fields as far as they are worked out, for expressions that read them; key fields stand behind.
/// What no expression reads is not kept.
pub(crate) struct Known<'r> {
    values: Vec<Option<Value>>,
    reads: &'r [bool],
}

impl<'r> Known<'r> {
    /// Nothing is known yet.
    pub(crate) fn new(rule: &'r Rule) -> Self {
        Self::of(&rule.reads)
    }

    /// As [`Known::new`], for fields of which `reads` says which are read.
    pub(crate) fn of(reads: &'r [bool]) -> Self {
        let some = reads.contains(&true);
        Self {
            values: vec![None; if some { reads.len() } else { 0 }],
            reads,
        }
    }

    /// With the key's fields.
    pub(crate) fn with_key(mut self, rule: &Rule, key: &EventKey) -> Self {
        let first = rule.event_type.schema().fields.len();
        for (n, (_, text)) in key.fields().iter().enumerate() {
            self.set(first + n, || Value::Text(text.clone()));
        }
        self
    }

    /// With everything a body holds; what it does not hold is null.
    pub(crate) fn with_body(mut self, body: &Body) -> Self {
        for index in 0..body.schema().fields.len() {
            self.set(index, || body.at(index).map_or(Value::Null, plain));
        }
        self
    }

    /// Forgets all values, for the next row.
    pub(crate) fn clear(&mut self) {
        self.values.fill(None);
    }

    pub(crate) fn values(&self) -> &[Option<Value>] {
        &self.values
    }

    fn set(&mut self, index: usize, value: impl FnOnce() -> Value) {
        if self.reads.get(index) == Some(&true)
            && let Some(slot) = self.values.get_mut(index)
        {
            *slot = Some(value());
        }
    }
}

/// A field's value as expressions see it: an amount of money is its number.
fn plain(value: &FieldValue) -> Value {
    match value {
        FieldValue::Text(text) => Value::Text(text.clone()),
        FieldValue::Decimal(number) => Value::Decimal(*number),
        FieldValue::Bool(value) => Value::Bool(*value),
        FieldValue::Date(date) => Value::Date(*date),
        FieldValue::Timestamp(moment) => Value::Timestamp(*moment),
        FieldValue::Money { amount, .. } => Value::Decimal(*amount),
        FieldValue::List(_) | FieldValue::Object(_) | FieldValue::Texts(_) | FieldValue::Map(_) => {
            Value::Null
        }
    }
}

/// The event's key.
///
/// # Errors
/// The field, and why it has no value.
pub(crate) fn key(rule: &Rule, cells: &Cells<'_>) -> Result<EventKey, String> {
    let mut key = Vec::with_capacity(rule.key.len());
    for field in &rule.key {
        let reason = match value(rule, field, cells, &mut []) {
            Ok(Got::Value(FieldValue::Text(text))) => {
                key.push((field.name, text));
                continue;
            }
            Ok(Got::Null) if !field.required => {
                key.push((field.name, String::new()));
                continue;
            }
            Ok(Got::Value(_) | Got::Null) => "a key field must not be null".to_owned(),
            Ok(Got::Gap(_)) => rule.with_hint("the log does not carry this key column".to_owned()),
            Err(reason) => reason,
        };
        return Err(format!("{}: {reason}", rule.describe(field)));
    }
    Ok(EventKey::new(key))
}

/// Works out those of the rule's fields that `wanted` names into `body`.
///
/// # Errors
/// The first field without a value, and why.
pub(crate) fn fields(
    rule: &Rule,
    cells: &Cells<'_>,
    lists: &mut [Vec<Body>],
    known: &mut Known<'_>,
    body: &mut Body,
    wanted: impl Fn(&Field) -> bool,
) -> Result<Vec<(usize, Gap)>, String> {
    let mut gaps = Vec::new();
    for (n, field) in rule.fields.iter().enumerate() {
        if !wanted(field) {
            continue;
        }
        let cells = Cells {
            fields: known.values(),
            ..*cells
        };
        let set = match value(rule, field, &cells, lists) {
            Ok(Got::Value(value)) => {
                known.set(field.index, || plain(&value));
                let set = body.set_at(field.index, value);
                set.map_err(|error| error.to_string())
            }
            Ok(Got::Null) if field.required => Err("a required field must not be null".to_owned()),
            Ok(Got::Null) => {
                known.set(field.index, || Value::Null);
                Ok(())
            }
            Ok(Got::Gap(gap)) => {
                gaps.push((n, gap));
                Ok(())
            }
            Err(reason) => Err(reason),
        };
        set.map_err(|reason| format!("{}: {reason}", rule.describe(field)))?;
    }
    Ok(gaps)
}

/// One object of a list; what its expressions read of its fields goes into `known`.
///
/// # Errors
/// The first field without a value, and why.
pub(crate) fn item(
    rule: &Rule,
    fields: &[Field],
    schema: &'static contract::BodySchema,
    cells: &Cells<'_>,
    known: &mut Known<'_>,
) -> Result<Body, String> {
    let mut body = Body::new(schema);
    for field in fields {
        let cells = Cells {
            fields: known.values(),
            ..*cells
        };
        let reason = match value(rule, field, &cells, &mut []) {
            Ok(Got::Value(value)) => {
                known.set(field.index, || plain(&value));
                match body.set_at(field.index, value) {
                    Ok(()) => continue,
                    Err(error) => error.to_string(),
                }
            }
            Ok(Got::Null) if field.required => "a required field must not be null".to_owned(),
            Ok(Got::Null) => {
                known.set(field.index, || Value::Null);
                continue;
            }
            Ok(Got::Gap(_)) => rule.with_hint("the log does not carry this column".to_owned()),
            Err(reason) => reason,
        };
        return Err(format!("{}: {reason}", rule.describe(field)));
    }
    body.complete().map_err(|error| error.to_string())?;
    Ok(body)
}

fn value(
    rule: &Rule,
    field: &Field,
    cells: &Cells<'_>,
    lists: &mut [Vec<Body>],
) -> Result<Got, String> {
    let converted = match &field.term {
        Term::Constant(value) => Converted::Value(value.clone()),
        Term::Column(n) => convert(Cow::Borrowed(raw(cells, *n)?), field)?,
        Term::Expression(formula) => match formula.expr.value(cells) {
            Ok(value) => convert(value, field)?,
            Err(Stop::Unchanged) => untouched(rule, formula, cells)?,
            Err(Stop::Wrong(reason)) => return Err(reason),
        },
        Term::List(n) => {
            // One field takes the list, and takes it once.
            let items = lists.get_mut(*n).map(std::mem::take).unwrap_or_default();
            return Ok(Got::Value(FieldValue::List(items)));
        }
        Term::Object(schema, fields) => {
            let reads = vec![true; schema.fields.len()];
            let body = item(rule, fields, schema, cells, &mut Known::of(&reads))?;
            let empty = fields.iter().all(|field| body.at(field.index).is_none());
            return Ok(if empty {
                Got::Null
            } else {
                Got::Value(FieldValue::Object(Box::new(body)))
            });
        }
        Term::Texts(fields) => {
            let mut texts = Vec::with_capacity(fields.len());
            for field in fields {
                texts.extend(text(rule, field, cells)?);
            }
            return Ok(Got::Value(FieldValue::Texts(texts)));
        }
        Term::Map(entries) => {
            let mut map = std::collections::BTreeMap::new();
            for (name, field) in entries {
                if let Some(text) = text(rule, field, cells)? {
                    map.insert(name.clone(), text);
                }
            }
            return Ok(if map.is_empty() {
                Got::Null
            } else {
                Got::Value(FieldValue::Map(map))
            });
        }
    };
    let (source, converted) = match (&field.currency, converted) {
        (_, Converted::Null) => return Ok(Got::Null),
        (None, Converted::Value(value)) => return Ok(Got::Value(value)),
        (None, Converted::Unchanged) => return Ok(Got::Gap(Gap::Whole)),
        (Some(source), converted) => (source, converted),
    };
    let (currency, currency_known) = match source {
        Currency::Fixed(code) => (Some(code.clone()), true),
        Currency::Of(formula) => match formula.expr.value(cells) {
            Ok(code) => (currency_code(&code)?, true),
            Err(Stop::Unchanged) => (None, false),
            Err(Stop::Wrong(reason)) => return Err(format!("its currency: {reason}")),
        },
    };
    Ok(match converted {
        Converted::Value(FieldValue::Decimal(amount)) => match (currency, currency_known) {
            (Some(currency), _) => Got::Value(FieldValue::Money { amount, currency }),
            (None, false) => Got::Gap(Gap::Currency { amount }),
            (None, true) => return Err("its currency is null".to_owned()),
        },
        Converted::Value(_) | Converted::Null => {
            return Err("its amount is no decimal".to_owned());
        }
        Converted::Unchanged if currency_known => Got::Gap(Gap::Amount { currency }),
        Converted::Unchanged => Got::Gap(Gap::Whole),
    })
}

fn text(rule: &Rule, field: &Field, cells: &Cells<'_>) -> Result<Option<String>, String> {
    match value(rule, field, cells, &mut [])? {
        Got::Value(FieldValue::Text(text)) => Ok(Some(text)),
        Got::Null => Ok(None),
        Got::Value(_) => Err("is no text".to_owned()),
        Got::Gap(_) => Err(rule.with_hint("the log does not carry this column".to_owned())),
    }
}

/// What was published before stands in only where nothing the expression reads can have changed.
fn untouched(rule: &Rule, formula: &Formula, cells: &Cells<'_>) -> Result<Converted, String> {
    let columns = formula.expr.columns();
    let fields = formula.expr.fields();
    let same = columns
        .iter()
        .all(|column| raw(cells, *column).is_ok_and(|cell| matches!(cell, Value::Unchanged)))
        && fields
            .iter()
            .all(|field| matches!(cells.fields.get(*field), Some(None)));
    if same {
        return Ok(Converted::Unchanged);
    }
    Err(rule.with_hint("the log does not carry all columns of this expression".to_owned()))
}

fn raw<'r>(cells: &Cells<'r>, column: usize) -> Result<&'r Value, String> {
    let index = cells.at.get(column).copied().unwrap_or(usize::MAX);
    cells
        .row
        .get(index)
        .ok_or_else(|| "the row has no such column".to_owned())
}

/// The currency in a cell; padding is no part of a code.
fn currency_code(cell: &Value) -> Result<Option<String>, String> {
    let text = cell.text().unwrap_or_default();
    let code = text.trim();
    if code.is_empty() {
        return Ok(None);
    }
    if is_currency(code) {
        return Ok(Some(code.to_owned()));
    }
    Err("its currency is not three capital letters".to_owned())
}

/// Notes what every expression of a rule gives, also behind one that gives nothing.
pub(crate) fn look(
    rule: &Rule,
    cells: &Cells<'_>,
    lists: &mut [Vec<Body>],
    found: &mut Vec<LookValue>,
) {
    let truth = |formula: &Formula, cells: &Cells<'_>| match formula.expr.truth(cells) {
        Ok(truth) => Ok(truth.map(|truth| truth.to_string())),
        Err(Stop::Wrong(reason)) => Err(reason),
        Err(Stop::Unchanged) => Err("a row it reads is not there".to_owned()),
    };
    let conditions = [
        ("where", &rule.filter),
        ("deleted_when", &rule.deleted_when),
    ];
    for (what, condition) in conditions {
        if let Some(formula) = condition {
            let got = truth(formula, cells);
            found.push(LookValue::new(what, Some(formula.shown()), got));
        }
    }
    let reads = vec![true; rule.reads.len()];
    let mut known = Known::of(&reads);
    let text = |got: Result<Got, String>| match got {
        Ok(Got::Value(value)) => Ok(Some(value)),
        Ok(Got::Null) => Ok(None),
        Ok(Got::Gap(_)) => Err("a row it reads is not there".to_owned()),
        Err(reason) => Err(reason),
    };
    let first = rule.event_type.schema().fields.len();
    for (n, field) in rule.key.iter().enumerate() {
        let got = text(value(rule, field, cells, &mut []));
        if let Ok(Some(value)) = &got {
            known.set(first + n, || plain(value));
        }
        let got = got.map(|value| value.map(|value| json_text(&value)));
        let what = format!("key.{}", field.name);
        found.push(LookValue::new(what, rule.written(field), got));
    }
    let mut body = Body::new(rule.event_type.schema());
    let mut whole = true;
    for field in &rule.fields {
        let cells = Cells {
            fields: known.values(),
            ..*cells
        };
        let got = text(value(rule, field, &cells, lists));
        match &got {
            Ok(Some(value)) => {
                known.set(field.index, || plain(value));
                // What does not fit is said with the outcome.
                let _ = body.set_at(field.index, value.clone());
            }
            Ok(None) => known.set(field.index, || Value::Null),
            Err(_) => whole = false,
        }
        let got = got.map(|value| value.map(|value| json_text(&value)));
        let what = format!("fields.{}", field.name);
        found.push(LookValue::new(what, rule.written(field), got));
    }
    // What follows from a field that has no value would only mislead.
    if rule.event_type == EventType::InventoryAvailability && !rule.grouped && whole {
        let derived = availability::derive(&mut body);
        for name in availability::DERIVED {
            if rule.fields.iter().any(|field| field.name == *name) {
                continue;
            }
            let got = match &derived {
                Ok(()) => Ok(body.get(name).map(json_text)),
                Err(error) => Err(error.to_string()),
            };
            found.push(LookValue::new(format!("fields.{name}"), None, got));
        }
    }
    let known = known.with_body(&body);
    let cells = Cells {
        fields: known.values(),
        ..*cells
    };
    for guard in &rule.guards {
        let got = truth(&guard.check, &cells);
        found.push(LookValue::new("guard", Some(guard.check.shown()), got));
    }
}

fn json_text(value: &FieldValue) -> String {
    if let FieldValue::List(items) = value {
        return format!("{} of them", items.len());
    }
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Works out what follows from the fields, and checks that all required ones are there.
///
/// # Errors
/// What is missing or does not fit.
pub(crate) fn complete(rule: &Rule, body: &mut Body) -> Result<(), String> {
    let name = &rule.reference.rule;
    if rule.event_type == EventType::InventoryAvailability {
        availability::derive(body)
            .map_err(|error| format!("rule {name}: working out availability: {error}"))?;
    }
    body.complete()
        .map_err(|error| format!("rule {name}: {error}"))
}

/// Looks whether a finished body meets the rule's guards; gives the warnings.
///
/// # Errors
/// What the first guard says that holds the event.
pub(crate) fn guards(
    rule: &Rule,
    cells: &Cells<'_>,
    key: &EventKey,
    body: &Body,
) -> Result<Vec<String>, String> {
    if rule.guards.is_empty() {
        return Ok(Vec::new());
    }
    let known = Known::new(rule).with_key(rule, key).with_body(body);
    let cells = Cells {
        fields: known.values(),
        ..*cells
    };
    let mut warnings = Vec::new();
    for guard in &rule.guards {
        let name = &rule.reference.rule;
        let met = match guard.check.expr.truth(&cells) {
            Ok(met) => met == Some(true),
            Err(Stop::Unchanged) => {
                return Err(rule.with_hint(format!(
                    "rule {name}, guard `{}`: the log does not carry a column it needs",
                    guard.check.shown()
                )));
            }
            Err(Stop::Wrong(reason)) => {
                let shown = guard.check.shown();
                return Err(format!("rule {name}, guard `{shown}`: {reason}"));
            }
        };
        match (met, guard.hold) {
            (true, _) => {}
            (false, true) => {
                let shown = guard.check.shown();
                return Err(format!("rule {name}, guard `{shown}`: {}", guard.say));
            }
            (false, false) => warnings.push(guard.say.clone()),
        }
    }
    Ok(warnings)
}

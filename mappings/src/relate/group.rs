//! Several rows that make one event: what is added up is kept as a sum, what must agree is kept
//! as it is, so that a change of one row costs no look at the others.

use contract::{Body, Decimal, EventKey, FieldValue};
use serde_json::{Map, Value as Json};

use super::assemble::Whole;
use super::plan::RulePlan;
use super::replicas::{Replicas, Subgroup, Told};
use crate::evaluate::{self, Known, complete};
use crate::rule::{Combine, Field};

/// What is made of a group.
pub(super) enum Made {
    /// It has no rows.
    Nothing,
    /// A row of it is held.
    Waits,
    Held(String),
    Whole(Box<Whole>),
}

/// A row's part of its group, as it is kept.
pub(super) fn part(body: &Body) -> String {
    body.json()
}

/// Takes a row's old part back and adds its new one.
pub(super) fn replace<R: Replicas>(
    plan: &RulePlan,
    old: Option<&Told>,
    new: Option<&Told>,
    replicas: &mut R,
) -> Result<(), R::Error> {
    let old = old.map(|told| Share::of(plan, told));
    let new = new.map(|told| Share::of(plan, told));
    if let (Some(old), Some(new)) = (&old, &new)
        && old.event_key == new.event_key
        && old.same == new.same
    {
        return count(plan, old, &[(old, -1), (new, 1)], replicas);
    }
    if let Some(old) = &old {
        count(plan, old, &[(old, -1)], replicas)?;
    }
    if let Some(new) = &new {
        count(plan, new, &[(new, 1)], replicas)?;
    }
    Ok(())
}

fn count<R: Replicas>(
    plan: &RulePlan,
    at: &Share<'_>,
    shares: &[(&Share<'_>, i64)],
    replicas: &mut R,
) -> Result<(), R::Error> {
    let known = replicas.group(plan.id, at.event_key)?;
    let known = known.into_iter().find(|known| known.same == at.same);
    let mut group = known.unwrap_or_else(|| Subgroup {
        same: at.same.clone(),
        rows: 0,
        sums: String::new(),
    });
    let mut sums = Sums::read(&group.sums);
    for (share, by) in shares {
        group.rows += by;
        for (name, part) in &share.parts {
            sums.add(name, *part, *by);
        }
    }
    group.sums = sums.text();
    replicas.put_group(plan.id, at.event_key, &group)
}

/// What a row's part agrees in with others, and what is added up.
struct Share<'t> {
    event_key: &'t str,
    same: String,
    parts: Vec<(&'static str, Decimal)>,
}

impl<'t> Share<'t> {
    fn of(plan: &RulePlan, told: &'t Told) -> Self {
        let mut share = Self {
            event_key: &told.event_key,
            same: String::new(),
            parts: Vec::new(),
        };
        if told.held {
            return share;
        }
        let mut same = match serde_json::from_str(&told.part) {
            Ok(Json::Object(part)) => part,
            _ => Map::new(),
        };
        for field in row_fields(plan).filter(|field| field.combine == Combine::Sum) {
            let number = match same.get_mut(field.name) {
                None => continue,
                // An amount of money keeps its currency among what must agree.
                Some(Json::Object(money)) => money.shift_remove("amount"),
                Some(_) => same.shift_remove(field.name),
            };
            let number = number
                .as_ref()
                .and_then(Json::as_str)
                .and_then(|text| text.parse().ok());
            share
                .parts
                .extend(number.map(|number| (field.name, number)));
        }
        share.same = Json::Object(same).to_string();
        share
    }
}

/// The fields that each row tells; the others are made of these.
fn row_fields(plan: &RulePlan) -> impl Iterator<Item = &Field> {
    let fields = plan.rule.fields.iter();
    fields.filter(|field| !field.of_fields)
}

/// Sums by field, each with how many rows have the field.
struct Sums(Map<String, Json>);

impl Sums {
    fn read(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(Json::Object(sums)) => Self(sums),
            _ => Self(Map::new()),
        }
    }

    /// A field's sum, and how many rows have it.
    fn get(&self, name: &str) -> Option<(Sum, i64)> {
        let entry = self.0.get(name)?.as_array()?;
        let sum = match entry.first()? {
            Json::Array(parts) => parts.iter().map(number).collect::<Option<_>>()?,
            whole => vec![number(whole)?],
        };
        Some((Sum(sum), entry.get(1)?.as_i64()?))
    }

    fn add(&mut self, name: &str, part: Decimal, by: i64) {
        let (mut sum, rows) = self.get(name).unwrap_or_default();
        sum.add(if by < 0 { part.negated() } else { part });
        let rows = rows + by;
        if rows == 0 {
            self.0.shift_remove(name);
            return;
        }
        let texts: Vec<String> = sum.0.iter().map(ToString::to_string).collect();
        let entry = match texts.as_slice() {
            [] => serde_json::json!(["0", rows]),
            [whole] => serde_json::json!([whole, rows]),
            parts => serde_json::json!([parts, rows]),
        };
        self.0.insert(name.to_owned(), entry);
    }

    fn text(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}

fn number(json: &Json) -> Option<Decimal> {
    json.as_str()?.parse().ok()
}

/// An exact sum: the numbers of which no two make one that a decimal holds. So it is right again
/// when what was too large is taken back, in whatever order.
#[derive(Default)]
struct Sum(Vec<Decimal>);

impl Sum {
    fn add(&mut self, number: Decimal) {
        let mut number = number;
        let mut n = 0;
        while let Some(part) = self.0.get(n) {
            match part.try_add(number) {
                Ok(sum) => {
                    number = sum;
                    self.0.swap_remove(n);
                    n = 0;
                }
                Err(_) => n += 1,
            }
        }
        if number != Decimal::ZERO || self.0.is_empty() {
            self.0.push(number);
        }
    }

    /// The sum; none where a decimal cannot hold it.
    fn whole(&self) -> Option<Decimal> {
        match self.0.as_slice() {
            [] => Some(Decimal::ZERO),
            [whole] => Some(*whole),
            _ => None,
        }
    }
}

/// The event of a group.
pub(super) fn make(plan: &RulePlan, key: &EventKey, parts: &[Subgroup]) -> Made {
    if parts.is_empty() {
        return Made::Nothing;
    }
    if parts.iter().any(|part| part.same.is_empty()) {
        return Made::Waits;
    }
    match combine(plan, key, parts) {
        Ok(whole) => Made::Whole(Box::new(whole)),
        Err(reason) => Made::Held(reason),
    }
}

fn combine(plan: &RulePlan, key: &EventKey, parts: &[Subgroup]) -> Result<Whole, String> {
    let rule = &*plan.rule;
    let schema = rule.event_type.schema();
    let mut bodies = Vec::with_capacity(parts.len());
    for part in parts {
        let sums = Sums::read(&part.sums);
        let mut same = match serde_json::from_str(&part.same) {
            Ok(Json::Object(same)) => same,
            _ => Map::new(),
        };
        for field in row_fields(plan).filter(|field| field.combine == Combine::Sum) {
            let Some((sum, _)) = sums.get(field.name) else {
                continue;
            };
            let describe = rule.describe(field);
            let sum = sum.whole();
            let sum = sum.ok_or_else(|| format!("{describe}: its sum has more than 38 digits"))?;
            let sum = Json::String(sum.to_string());
            match same.get_mut(field.name) {
                Some(Json::Object(money)) => {
                    money.insert("amount".to_owned(), sum);
                }
                _ => {
                    same.insert(field.name.to_owned(), sum);
                }
            }
        }
        let body = Body::from_json(schema, &Json::Object(same));
        bodies.push(body.map_err(|error| format!("rule {}: {error}", rule.reference.rule))?);
    }
    let mut body = Body::new(schema);
    for field in row_fields(plan) {
        let values: Vec<&FieldValue> = bodies
            .iter()
            .filter_map(|body| body.get(field.name))
            .collect();
        let value = together(field, &values, bodies.len())
            .map_err(|reason| format!("{}: {reason}", rule.describe(field)))?;
        if let Some(value) = value {
            body.set_at(field.index, value)
                .map_err(|error| error.to_string())?;
        }
    }
    let mut known = Known::new(rule).with_key(rule, key).with_body(&body);
    let cells = rule.cells(&[], &[]);
    evaluate::fields(rule, &cells, &mut [], &mut known, &mut body, |field| {
        field.of_fields
    })?;
    complete(rule, &mut body)?;
    let warnings = evaluate::guards(rule, &cells, key, &body)?;
    Ok(Whole {
        key: key.clone(),
        body,
        warnings,
    })
}

/// One value of those of all rows; nulls are left out, as SQL's aggregates do.
fn together(
    field: &Field,
    values: &[&FieldValue],
    rows: usize,
) -> Result<Option<FieldValue>, String> {
    let Some(first) = values.first().copied() else {
        return Ok(None);
    };
    Ok(Some(match field.combine {
        Combine::Same => {
            if values.len() != rows || values.iter().any(|value| *value != first) {
                return Err("the rows of the group do not agree".to_owned());
            }
            first.clone()
        }
        Combine::Any => FieldValue::Bool(values.contains(&&FieldValue::Bool(true))),
        Combine::All => FieldValue::Bool(!values.contains(&&FieldValue::Bool(false))),
        Combine::Sum => {
            let mut sum = Sum::default();
            let mut money: Option<&String> = None;
            for value in values {
                let part = match value {
                    FieldValue::Decimal(part) => *part,
                    FieldValue::Money { amount, currency } => {
                        if money.is_some_and(|known| known != currency) {
                            return Err("amounts in different currencies have no sum".to_owned());
                        }
                        money = Some(currency);
                        *amount
                    }
                    _ => return Err("is no number".to_owned()),
                };
                sum.add(part);
            }
            let sum = sum.whole().ok_or("its sum has more than 38 digits")?;
            match money {
                Some(currency) => FieldValue::Money {
                    amount: sum,
                    currency: currency.clone(),
                },
                None => FieldValue::Decimal(sum),
            }
        }
        Combine::Least | Combine::Greatest => {
            let mut best = first;
            for value in values {
                let less = match (*value, best) {
                    (FieldValue::Text(left), FieldValue::Text(right)) => left < right,
                    (FieldValue::Decimal(left), FieldValue::Decimal(right)) => left < right,
                    (FieldValue::Date(left), FieldValue::Date(right)) => left < right,
                    (FieldValue::Timestamp(left), FieldValue::Timestamp(right)) => left < right,
                    _ => return Err("has no order".to_owned()),
                };
                if less == (field.combine == Combine::Least) && *value != best {
                    best = value;
                }
            }
            best.clone()
        }
    }))
}

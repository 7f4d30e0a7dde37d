//! The language's expressions over an event, what was found, and settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{BodySchema, EventType, FieldType, Value};
use serde_json::Value as Json;

use super::settings::{Answers, SettingKind};
use crate::convert::Cleaning;
use crate::load::did_you_mean;
use crate::rule::Origin;
use crate::sql::{self, Cells, Codes, Expr, Formed, LineCall, Names, Setting, Stop, Type, Wrong};
use crate::units::Units;

/// Where a name's value comes from.
#[derive(Debug, Clone, PartialEq)]
enum Slot {
    /// A member of the event's key or body, or of one inside it.
    Field(Vec<&'static str>, FieldType),
    /// The list element at hand, or a member of it.
    Item(Option<String>, Option<FieldType>),
    /// A part of the envelope.
    Event(EventPart),
    /// What an earlier step found.
    Found(String),
    /// What a request is told by whoever sends it: a token, a ticket, a key, the request's own key.
    Given(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventPart {
    Id,
    Type,
    Op,
    IdempotencyKey,
    OccurredAt,
    Key,
    Index,
    Offset,
}

/// The first of a list of texts: `channel_order_refs.first`.
const FIRST: &str = "first";

/// The envelope's parts by their names.
const EVENT: &[(&str, EventPart)] = &[
    ("id", EventPart::Id),
    ("type", EventPart::Type),
    ("op", EventPart::Op),
    ("idempotency_key", EventPart::IdempotencyKey),
    ("occurred_at", EventPart::OccurredAt),
    ("key", EventPart::Key),
    ("index", EventPart::Index),
    ("offset", EventPart::Offset),
];

/// An event as expressions see it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) event_type: EventType,
    pub(super) op: &'static str,
    pub(super) idempotency_key: String,
    pub(super) occurred_at: jiff::Timestamp,
    pub(super) key_text: String,
    /// Its place in the outbox.
    pub(super) offset: i64,
    pub(super) key: Json,
    pub(super) body: Json,
}

/// What an expression is worked out from.
#[derive(Clone, Copy, Default)]
pub(super) struct Scope<'s> {
    pub(super) event: Option<&'s Seen>,
    pub(super) found: Option<&'s BTreeMap<String, Json>>,
    pub(super) item: Option<&'s Json>,
    pub(super) index: usize,
    pub(super) given: &'s [(&'static str, &'s str)],
}

/// What may stand in an expression, for its check.
#[derive(Clone)]
pub(super) struct Allowed<'a> {
    pub(super) answers: &'a Answers,
    pub(super) event: Option<EventType>,
    /// What steps before found.
    pub(super) found: Vec<String>,
    /// The list element at hand.
    pub(super) item: Option<ItemKind>,
    pub(super) given: &'static [&'static str],
}

/// What is known of list elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ItemKind {
    /// Objects of the event.
    Object(&'static BodySchema),
    /// Texts.
    Text,
    /// What an API answered.
    Any,
}

/// An expression, checked, with the places its names are read from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Formula {
    expr: Expr,
    slots: Arc<[Slot]>,
    origins: Arc<[Origin]>,
    pub(super) kind: Type,
}

impl Formula {
    /// Reads and checks an expression.
    pub(super) fn read(text: &str, allowed: &Allowed<'_>) -> Result<Self, Wrong> {
        let mut names = Reader {
            allowed,
            slots: Vec::new(),
            origins: Vec::new(),
        };
        let (expr, kind) = sql::compile(text, &mut names)?;
        Ok(Self {
            expr,
            kind,
            slots: names.slots.into(),
            origins: names.origins.into(),
        })
    }

    /// A constant.
    pub(super) fn constant(value: Value) -> Self {
        Self {
            expr: Expr::Constant(value),
            slots: Arc::default(),
            origins: Arc::default(),
            kind: Type::Any,
        }
    }

    /// Its value.
    ///
    /// # Errors
    /// Why it has none, without any value in it.
    pub(super) fn value(&self, scope: &Scope<'_>) -> Result<Value, String> {
        let mut row = Vec::with_capacity(self.slots.len());
        for slot in self.slots.iter() {
            row.push(slot.value(scope)?);
        }
        let at: Vec<usize> = (0..row.len()).collect();
        let cleaning = Cleaning::default();
        let cells = Cells {
            row: &row,
            at: &at,
            fields: &[],
            names: &self.origins,
            cleaning: &cleaning,
            zone: None,
        };
        self.expr
            .value(&cells)
            .map(std::borrow::Cow::into_owned)
            .map_err(|stop| match stop {
                Stop::Unchanged => "a value it needs is not known".to_owned(),
                Stop::Wrong(reason) => reason,
            })
    }

    /// Its value as text; null is none.
    pub(super) fn text(&self, scope: &Scope<'_>) -> Result<Option<String>, String> {
        Ok(match self.value(scope)? {
            Value::Decimal(number) => Some(number.to_string()),
            value => value.text(),
        })
    }

    /// Whether it is true; null is not.
    pub(super) fn truth(&self, scope: &Scope<'_>) -> Result<bool, String> {
        match self.value(scope)? {
            Value::Bool(value) => Ok(value),
            Value::Null => Ok(false),
            other => Err(format!(
                "a value of type {} is no truth value",
                other.type_name()
            )),
        }
    }

    /// Its value as JSON: a number is a JSON number with the same digits.
    pub(super) fn json(&self, scope: &Scope<'_>) -> Result<Json, String> {
        json_of(&self.value(scope)?)
    }
}

/// A value as JSON.
pub(super) fn json_of(value: &Value) -> Result<Json, String> {
    let number = |text: String| {
        text.parse::<serde_json::Number>()
            .map_or(Json::Null, Json::Number)
    };
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::UInt(value) => Json::from(*value),
        Value::Decimal(value) => number(value.to_string()),
        Value::Json(text) => serde_json::from_str(text).map_err(|_| "is no JSON".to_owned())?,
        other => other.text().map_or(Json::Null, Json::String),
    })
}

impl Slot {
    fn value(&self, scope: &Scope<'_>) -> Result<Value, String> {
        Ok(match self {
            Self::Field(path, kind) => {
                let mut found = scope.event.and_then(|event| {
                    let first = path.first()?;
                    event.key.get(first).or_else(|| event.body.get(first))
                });
                for part in path.iter().skip(1) {
                    found = found.and_then(|json| match *part {
                        FIRST => json.as_array().and_then(|items| items.first()),
                        part => json.get(part),
                    });
                }
                found.map_or(Ok(Value::Null), |json| typed(json, *kind))?
            }
            Self::Item(None, _) => scope.item.map_or(Value::Null, loose),
            Self::Item(Some(name), kind) => {
                let found = scope.item.and_then(|item| item.get(name));
                match (found, kind) {
                    (None, _) => Value::Null,
                    (Some(json), Some(kind)) => typed(json, *kind)?,
                    (Some(json), None) => loose(json),
                }
            }
            Self::Event(part) => {
                let Some(event) = scope.event else {
                    return Ok(Value::Null);
                };
                match part {
                    EventPart::Id => Value::Text(event.id.clone()),
                    EventPart::Type => Value::Text(event.event_type.name().to_owned()),
                    EventPart::Op => Value::Text(event.op.to_owned()),
                    EventPart::IdempotencyKey => Value::Text(event.idempotency_key.clone()),
                    EventPart::OccurredAt => Value::Timestamp(event.occurred_at),
                    EventPart::Key => Value::Text(event.key_text.clone()),
                    EventPart::Index => Value::Int(i64::try_from(scope.index).unwrap_or(i64::MAX)),
                    EventPart::Offset => Value::Int(event.offset),
                }
            }
            Self::Found(name) => scope
                .found
                .and_then(|found| found.get(name))
                .map_or(Value::Null, loose),
            Self::Given(name) => {
                let given = scope.given.iter().find(|(known, _)| known == name);
                given.map_or(Value::Null, |(_, text)| Value::Text((*text).to_owned()))
            }
        })
    }
}

/// A JSON value whose type nobody told.
pub(super) fn loose(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::String(text) => Value::Text(text.clone()),
        // A number with an exponent or too many digits stays a text that says it.
        Json::Number(number) => number
            .to_string()
            .parse()
            .map_or_else(|_| Value::Text(number.to_string()), Value::Decimal),
        Json::Array(_) | Json::Object(_) => Value::Json(json.to_string()),
    }
}

/// A member of the event by its schema's type.
fn typed(json: &Json, kind: FieldType) -> Result<Value, String> {
    let wrong = || format!("a field is not the {} it should be", kind.name());
    let text = || json.as_str().ok_or_else(wrong);
    Ok(match (kind, json) {
        (_, Json::Null) => Value::Null,
        (FieldType::Text | FieldType::Word(_), _) => Value::Text(text()?.to_owned()),
        (FieldType::Decimal, Json::Number(number)) => {
            Value::Decimal(number.to_string().parse().map_err(|_| wrong())?)
        }
        (FieldType::Decimal, _) => Value::Decimal(text()?.parse().map_err(|_| wrong())?),
        (FieldType::Money, _) => {
            let amount = json
                .get("amount")
                .and_then(Json::as_str)
                .ok_or_else(wrong)?;
            Value::Decimal(amount.parse().map_err(|_| wrong())?)
        }
        (FieldType::Bool, Json::Bool(value)) => Value::Bool(*value),
        (FieldType::Date, _) => Value::Date(text()?.parse().map_err(|_| wrong())?),
        (FieldType::Timestamp, _) => Value::Timestamp(text()?.parse().map_err(|_| wrong())?),
        (FieldType::Bool, _) => return Err(wrong()),
        (FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map, _) => {
            Value::Json(json.to_string())
        }
    })
}

fn type_of(kind: FieldType) -> Type {
    match kind {
        FieldType::Text | FieldType::Word(_) => Type::Text,
        FieldType::Decimal | FieldType::Money => Type::Number,
        FieldType::Bool => Type::Bool,
        FieldType::Date => Type::Date,
        FieldType::Timestamp => Type::Timestamp,
        FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map => Type::Any,
    }
}

struct Reader<'a> {
    allowed: &'a Allowed<'a>,
    slots: Vec<Slot>,
    origins: Vec<Origin>,
}

impl Reader<'_> {
    fn slot(&mut self, slot: Slot, name: String, kind: Type) -> Formed {
        let at = self
            .slots
            .iter()
            .position(|known| *known == slot)
            .unwrap_or_else(|| {
                self.slots.push(slot);
                self.origins.push(Origin::Cell {
                    slot: 0,
                    column: name,
                    optional: false,
                });
                self.slots.len() - 1
            });
        (Expr::Column(at), kind)
    }

    fn field(&mut self, name: &str, inner: Option<&str>) -> Result<Formed, Wrong> {
        let Some(event) = self.allowed.event else {
            let fix =
                "settings (`setting.name`) and what the request is given may stand here".to_owned();
            return Err((format!("there is no event here, so no `{name}`"), Some(fix)));
        };
        let schema = event.schema();
        if let (Some(key), None) = (schema.key.iter().find(|key| **key == name), inner) {
            return Ok(self.slot(
                Slot::Field(vec![key], FieldType::Text),
                name.to_owned(),
                Type::Text,
            ));
        }
        let Some(field) = schema.field(name) else {
            let known = schema
                .key
                .iter()
                .copied()
                .chain(schema.fields.iter().map(|field| field.name));
            let found = format!("{event} has no field `{name}`");
            let mut fix = did_you_mean(name, known);
            if self.allowed.found.iter().any(|known| known == name) {
                fix = Some(format!("did you mean `found.{name}`?"));
            }
            return Err((found, fix));
        };
        let Some(inner) = inner else {
            let slot = Slot::Field(vec![field.name], field.field_type);
            return Ok(self.slot(slot, name.to_owned(), type_of(field.field_type)));
        };
        let shown = format!("{name}.{inner}");
        match field.field_type {
            FieldType::Money if inner == "currency" || inner == "amount" => {
                let (member, kind) = if inner == "currency" {
                    ("currency", FieldType::Text)
                } else {
                    ("amount", FieldType::Decimal)
                };
                Ok(self.slot(
                    Slot::Field(vec![field.name, member], kind),
                    shown,
                    type_of(kind),
                ))
            }
            FieldType::Object(object) => {
                let Some(member) = object.field(inner) else {
                    let fix = did_you_mean(inner, object.fields.iter().map(|field| field.name));
                    return Err((format!("`{name}` has no field `{inner}`"), fix));
                };
                let slot = Slot::Field(vec![field.name, member.name], member.field_type);
                Ok(self.slot(slot, shown, type_of(member.field_type)))
            }
            FieldType::Texts if inner == FIRST => Ok(self.slot(
                Slot::Field(vec![field.name, FIRST], FieldType::Text),
                shown,
                Type::Text,
            )),
            FieldType::List(_) | FieldType::Texts => {
                let fix = format!("{{$each: {name}, as: ..}} and `item.{inner}` inside");
                Err((format!("`{name}` is a list"), Some(fix)))
            }
            other => Err((
                format!("`{name}` is {} and has no `{inner}`", other.name()),
                None,
            )),
        }
    }

    fn item(&mut self, name: Option<&str>) -> Result<Formed, Wrong> {
        match (self.allowed.item, name) {
            (None, _) => {
                let fix = "`item` is the element inside {$each: list, as: ..}".to_owned();
                Err(("there is no list here, so no `item`".to_owned(), Some(fix)))
            }
            (Some(ItemKind::Text), None) => {
                Ok(self.slot(Slot::Item(None, None), "item".to_owned(), Type::Text))
            }
            (Some(ItemKind::Any), None) => {
                Ok(self.slot(Slot::Item(None, None), "item".to_owned(), Type::Any))
            }
            (Some(ItemKind::Any), Some(name)) => Ok(self.slot(
                Slot::Item(Some(name.to_owned()), None),
                format!("item.{name}"),
                Type::Any,
            )),
            (Some(ItemKind::Object(schema)), Some(name)) => {
                let Some(field) = schema.field(name) else {
                    let fix = did_you_mean(name, schema.fields.iter().map(|field| field.name));
                    return Err((format!("{}: no field `{name}`", schema.name), fix));
                };
                let slot = Slot::Item(Some(name.to_owned()), Some(field.field_type));
                Ok(self.slot(slot, format!("item.{name}"), type_of(field.field_type)))
            }
            (Some(ItemKind::Text), Some(_)) => Err((
                "the elements of this list are texts".to_owned(),
                Some("`item`".to_owned()),
            )),
            (Some(ItemKind::Object(schema)), None) => {
                let first = schema.fields.first().map_or("", |field| field.name);
                Err((
                    format!("`item` is a {}", schema.name),
                    Some(format!("a field of it, such as `item.{first}`")),
                ))
            }
        }
    }
}

impl Names for Reader<'_> {
    fn name(&mut self, alias: Option<&str>, name: &str) -> Result<Formed, Wrong> {
        match alias {
            Some("event") if self.allowed.event.is_some() => {
                match EVENT.iter().find(|(known, _)| *known == name) {
                    Some((_, part)) => {
                        let kind = match part {
                            EventPart::OccurredAt => Type::Timestamp,
                            EventPart::Index | EventPart::Offset => Type::Number,
                            _ => Type::Text,
                        };
                        Ok(self.slot(Slot::Event(*part), format!("event.{name}"), kind))
                    }
                    None => Err((
                        format!("there is no `event.{name}`"),
                        did_you_mean(name, EVENT.iter().map(|(name, _)| *name)),
                    )),
                }
            }
            Some("found") => {
                if !self.allowed.found.iter().any(|known| known == name) {
                    let fix = did_you_mean(name, self.allowed.found.iter().map(String::as_str));
                    return Err((format!("no step before this one finds `{name}`"), fix));
                }
                Ok(self.slot(
                    Slot::Found(name.to_owned()),
                    format!("found.{name}"),
                    Type::Any,
                ))
            }
            Some("item") => self.item(Some(name)),
            None if name == "item" && self.allowed.item.is_some() => self.item(None),
            None => {
                if let Some(given) = self.allowed.given.iter().find(|given| **given == name) {
                    return Ok(self.slot(Slot::Given(given), name.to_owned(), Type::Text));
                }
                self.field(name, None)
            }
            Some(outer) => self.field(outer, Some(name)),
        }
    }

    fn optional(&mut self, _: Option<&str>, _: &str, _: &str) -> Result<usize, Wrong> {
        let fix = "coalesce(field, ..): a field that is not there is null".to_owned();
        Err(("`optional` is for tables".to_owned(), Some(fix)))
    }

    fn setting(&self, name: &str) -> Result<Setting, Wrong> {
        let answers = self.allowed.answers;
        match answers.kind(name) {
            None => {
                let usual =
                    || format!("settings: {{{name}: {{type: text, ask: \"..\"}}}} in this file");
                let fix = did_you_mean(name, answers.names()).unwrap_or_else(usual);
                Err((format!("there is no setting `{name}`"), Some(fix)))
            }
            Some(SettingKind::Map) => {
                let fix = format!("dict({name}, ..)");
                Err((format!("setting `{name}` is a map"), Some(fix)))
            }
            Some(_) => Ok(answers.value(name)),
        }
    }

    fn units(&mut self) -> Result<Arc<Units>, Wrong> {
        Err((
            "a channel has no `units`: quantities are in the event's own unit".to_owned(),
            None,
        ))
    }

    fn dictionary(&mut self, name: &str) -> Result<Codes, Wrong> {
        self.allowed.answers.codes(name).ok_or_else(|| {
            let usual = || format!("settings: {{{name}: {{type: map, ask: \"..\"}}}} in this file");
            let fix = did_you_mean(name, self.allowed.answers.maps()).unwrap_or_else(usual);
            (
                format!("there is no setting `{name}` of type map"),
                Some(fix),
            )
        })
    }

    fn has_zone(&self) -> bool {
        false
    }

    fn enter_lines(&mut self) -> Result<(), Wrong> {
        let fix = "{$each: list, as: ..} goes through a list".to_owned();
        Err(("a channel has no calls over lines".to_owned(), Some(fix)))
    }

    fn leave_lines(&mut self, _: LineCall, _: Option<Expr>) -> Formed {
        (Expr::Constant(Value::Null), Type::Null)
    }
}

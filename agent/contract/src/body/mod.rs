//! Bodies: the typed fields of each canonical event.
//!
//! One table per event type names its fields, types and which are required. Mapping files are
//! checked against it when they are loaded, bodies are checked against it when they are built,
//! and their JSON is written in its order.

mod address;
pub mod availability;
mod customer;
pub mod movement;
mod order;
mod price;
mod product;
mod purchase_order;
mod purchase_receipt;
mod returns;
mod shipment;
pub(crate) mod write;

use std::collections::BTreeMap;
use std::fmt;

use jiff::{Timestamp, civil};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::decimal::Decimal;

pub use customer::SCHEMA as CUSTOMER;
pub use order::SCHEMA as ORDER;
pub use price::SCHEMA as PRICE;
pub use product::SCHEMA as PRODUCT;
pub use purchase_order::SCHEMA as PURCHASE_ORDER;
pub use purchase_receipt::SCHEMA as PURCHASE_RECEIPT;
pub use returns::SCHEMA as RETURN;
pub use shipment::SCHEMA as SHIPMENT;

/// The type of a body field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    Text,
    /// Exact decimal, a string in JSON.
    Decimal,
    /// Truth value.
    Bool,
    /// Date, `YYYY-MM-DD`, never shifted.
    Date,
    /// Moment in UTC.
    Timestamp,
    /// One of a fixed list of words.
    Word(&'static [&'static str]),
    /// `{amount, currency}`.
    Money,
    /// A list of objects with these fields.
    List(&'static BodySchema),
    /// One object with these fields.
    Object(&'static BodySchema),
    /// A list of texts.
    Texts,
    /// Names and texts, of which the source knows more than this schema.
    Map,
}

impl FieldType {
    /// The plain name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Decimal => "decimal",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Word(_) => "word",
            Self::Money => "money",
            Self::List(_) => "list",
            Self::Object(_) => "object",
            Self::Texts => "list of texts",
            Self::Map => "map",
        }
    }
}

/// One field of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSchema {
    /// Name on the wire and in mapping files.
    pub name: &'static str,
    /// Type.
    pub field_type: FieldType,
    /// Must be present in every body.
    pub required: bool,
    /// What it means, for docs and editors.
    pub meaning: &'static str,
    /// It may tell of a person, or is sensitive: who reads what was published gets it only where it is
    /// named.
    pub private: bool,
}

impl FieldSchema {
    /// The same field as a private one.
    pub(crate) const fn private(self) -> Self {
        Self {
            private: true,
            ..self
        }
    }
}

/// A required field.
pub(crate) const fn must(
    name: &'static str,
    field_type: FieldType,
    meaning: &'static str,
) -> FieldSchema {
    FieldSchema {
        name,
        field_type,
        required: true,
        meaning,
        private: false,
    }
}

/// An optional field.
pub(crate) const fn may(
    name: &'static str,
    field_type: FieldType,
    meaning: &'static str,
) -> FieldSchema {
    FieldSchema {
        name,
        field_type,
        required: false,
        meaning,
        private: false,
    }
}

/// The fields of an event's body.
#[derive(Debug, PartialEq, Eq)]
pub struct BodySchema {
    /// Event type name, or the name of the nested object.
    pub name: &'static str,
    /// Minor version: rises when optional fields are added.
    pub minor: u16,
    /// Key fields, company first; they stand in the envelope, not in the body.
    pub key: &'static [&'static str],
    /// Fields in wire order.
    pub fields: &'static [FieldSchema],
}

impl BodySchema {
    /// The index of a field.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// A field.
    pub fn field(&self, name: &str) -> Option<&'static FieldSchema> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// Text, or a word of the field's list.
    Text(String),
    /// Exact decimal.
    Decimal(Decimal),
    /// Truth value.
    Bool(bool),
    /// Date.
    Date(civil::Date),
    /// Moment in UTC.
    Timestamp(Timestamp),
    /// Amount and ISO 4217 currency.
    Money {
        /// The amount.
        amount: Decimal,
        /// The currency's code.
        currency: String,
    },
    /// Nested objects.
    List(Vec<Body>),
    /// A nested object.
    Object(Box<Body>),
    /// Texts.
    Texts(Vec<String>),
    /// Names and texts, in the order of the names.
    Map(BTreeMap<String, String>),
}

/// Why a value does not fit a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The schema has no such field.
    #[error("{0} is not a field of {1}")]
    UnknownField(String, &'static str),
    /// The value's type is not the field's.
    #[error("field {field} is {expected}, not {found}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// The field's type.
        expected: &'static str,
        /// The value's type.
        found: &'static str,
    },
    /// The word is not in the field's list.
    #[error("field {field} must be one of {allowed}")]
    UnknownWord {
        /// The field.
        field: &'static str,
        /// The allowed words, joined.
        allowed: String,
    },
    /// A required field is missing.
    #[error("required field {0} is missing")]
    Missing(&'static str),
}

impl FieldValue {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Decimal(_) => "decimal",
            Self::Bool(_) => "bool",
            Self::Date(_) => "date",
            Self::Timestamp(_) => "timestamp",
            Self::Money { .. } => "money",
            Self::List(_) => "list",
            Self::Object(_) => "object",
            Self::Texts(_) => "list of texts",
            Self::Map(_) => "map",
        }
    }

    fn fits(&self, field: &FieldSchema) -> Result<(), BodyError> {
        let fits = match (self, field.field_type) {
            (Self::Text(text), FieldType::Word(words)) => {
                if words.contains(&text.as_str()) {
                    return Ok(());
                }
                return Err(BodyError::UnknownWord {
                    field: field.name,
                    allowed: words.join(", "),
                });
            }
            (Self::Text(_), FieldType::Text)
            | (Self::Decimal(_), FieldType::Decimal)
            | (Self::Bool(_), FieldType::Bool)
            | (Self::Date(_), FieldType::Date)
            | (Self::Timestamp(_), FieldType::Timestamp)
            | (Self::Money { .. }, FieldType::Money)
            | (Self::Texts(_), FieldType::Texts)
            | (Self::Map(_), FieldType::Map) => true,
            (Self::List(items), FieldType::List(schema)) => {
                items.iter().all(|item| std::ptr::eq(item.schema, schema))
            }
            (Self::Object(item), FieldType::Object(schema)) => std::ptr::eq(item.schema, schema),
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(BodyError::WrongType {
            field: field.name,
            expected: field.field_type.name(),
            found: self.type_name(),
        })
    }
}

/// A body under construction or complete: the values of a schema's fields.
#[derive(Clone, PartialEq)]
pub struct Body {
    schema: &'static BodySchema,
    values: Vec<Option<FieldValue>>,
}

impl Body {
    /// An empty body.
    pub fn new(schema: &'static BodySchema) -> Self {
        Self {
            schema,
            values: vec![None; schema.fields.len()],
        }
    }

    /// The schema.
    pub fn schema(&self) -> &'static BodySchema {
        self.schema
    }

    /// Sets a field by name.
    ///
    /// # Errors
    /// When the field is unknown or the value does not fit its type.
    pub fn set(&mut self, name: &str, value: FieldValue) -> Result<(), BodyError> {
        let index = self
            .schema
            .index(name)
            .ok_or_else(|| BodyError::UnknownField(name.to_owned(), self.schema.name))?;
        self.set_at(index, value)
    }

    /// Sets a field by its index in the schema.
    ///
    /// # Errors
    /// When the index is out of range or the value does not fit the field's type.
    pub fn set_at(&mut self, index: usize, value: FieldValue) -> Result<(), BodyError> {
        let (Some(field), Some(slot)) = (self.schema.fields.get(index), self.values.get_mut(index))
        else {
            return Err(BodyError::UnknownField(
                format!("#{index}"),
                self.schema.name,
            ));
        };
        value.fits(field)?;
        *slot = Some(value);
        Ok(())
    }

    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&FieldValue> {
        self.values.get(self.schema.index(name)?)?.as_ref()
    }

    /// Sets a field that is not there yet, to what surely fits it.
    fn fill(&mut self, index: usize, value: impl FnOnce() -> FieldValue) {
        if let Some(slot) = self.values.get_mut(index) {
            slot.get_or_insert_with(value);
        }
    }

    /// A decimal field's value.
    pub fn decimal(&self, name: &str) -> Option<Decimal> {
        match self.get(name) {
            Some(FieldValue::Decimal(value)) => Some(*value),
            _ => None,
        }
    }

    /// Checks that every required field is there, in nested objects too.
    ///
    /// # Errors
    /// [`BodyError::Missing`] with the first missing field.
    pub fn complete(&self) -> Result<(), BodyError> {
        for (field, value) in self.schema.fields.iter().zip(&self.values) {
            match value {
                None if field.required => return Err(BodyError::Missing(field.name)),
                Some(FieldValue::List(items)) => items.iter().try_for_each(Self::complete)?,
                Some(FieldValue::Object(item)) => item.complete()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The canonical JSON: fields in schema order, absent ones left out.
    pub fn json(&self) -> String {
        let mut json = String::with_capacity(FIELD_BYTES * self.values.len());
        write::body(self, &mut json);
        json
    }

    /// A field's value by its index in the schema.
    pub fn at(&self, index: usize) -> Option<&FieldValue> {
        self.values.get(index)?.as_ref()
    }

    /// Reads a body back from its JSON form.
    ///
    /// # Errors
    /// When a value does not fit its field. Unknown fields are ignored, as receivers do.
    pub fn from_json(schema: &'static BodySchema, json: &Json) -> Result<Self, BodyError> {
        let mut body = Self::new(schema);
        for field in schema.fields {
            let Some(value) = json.get(field.name) else {
                continue;
            };
            let wrong = || BodyError::WrongType {
                field: field.name,
                expected: field.field_type.name(),
                found: "other JSON",
            };
            let read = read_field(field.field_type, value).ok_or_else(wrong)?;
            body.set(field.name, read)?;
        }
        Ok(body)
    }
}

/// Bytes of a field in JSON, about.
const FIELD_BYTES: usize = 32;

fn read_field(field_type: FieldType, json: &Json) -> Option<FieldValue> {
    let text = || json.as_str();
    Some(match field_type {
        FieldType::Text | FieldType::Word(_) => FieldValue::Text(text()?.to_owned()),
        FieldType::Decimal => FieldValue::Decimal(text()?.parse().ok()?),
        FieldType::Bool => FieldValue::Bool(json.as_bool()?),
        FieldType::Date => FieldValue::Date(text()?.parse().ok()?),
        FieldType::Timestamp => FieldValue::Timestamp(text()?.parse().ok()?),
        FieldType::Money => FieldValue::Money {
            amount: json.get("amount")?.as_str()?.parse().ok()?,
            currency: json.get("currency")?.as_str()?.to_owned(),
        },
        FieldType::List(schema) => FieldValue::List(
            json.as_array()?
                .iter()
                .map(|item| Body::from_json(schema, item).ok())
                .collect::<Option<_>>()?,
        ),
        FieldType::Object(schema) => {
            FieldValue::Object(Box::new(Body::from_json(schema, json).ok()?))
        }
        FieldType::Texts => FieldValue::Texts(
            json.as_array()?
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
        ),
        FieldType::Map => FieldValue::Map(
            json.as_object()?
                .iter()
                .map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
                .collect::<Option<_>>()?,
        ),
    })
}

impl Serialize for FieldValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Decimal(decimal) => decimal.serialize(serializer),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Date(date) => serializer.collect_str(date),
            Self::Timestamp(moment) => serializer.collect_str(moment),
            Self::Money { amount, currency } => {
                let mut form = serializer.serialize_map(Some(2))?;
                form.serialize_entry("amount", amount)?;
                form.serialize_entry("currency", currency)?;
                form.end()
            }
            Self::List(items) => items.serialize(serializer),
            Self::Object(item) => item.serialize(serializer),
            Self::Texts(texts) => texts.serialize(serializer),
            Self::Map(map) => map.serialize(serializer),
        }
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = serializer.serialize_map(None)?;
        for (field, value) in self.schema.fields.iter().zip(&self.values) {
            if let Some(value) = value {
                form.serialize_entry(field.name, value)?;
            }
        }
        form.end()
    }
}

/// Shows the type and which fields are set, never their content.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.schema.fields.iter().zip(&self.values);
        let names: Vec<_> = set
            .filter_map(|(field, v)| v.as_ref().map(|_| field.name))
            .collect();
        write!(f, "{}{names:?}", self.schema.name)
    }
}

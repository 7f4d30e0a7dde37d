//! JSON Schema, draft 2020-12, of whole events as they are sent.
//!
//! Objects stay open: a later minor version adds fields, and a schema that refused them would
//! break receivers that validate.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::envelope::{MAPPING, PARTS, Part, Presence, Shape, VERSION};
use super::words::{REASONS, about, key_part, ops};
use crate::body::{BodySchema, FieldSchema, FieldType};
use crate::event::{EventKind, EventOp, EventType, Origin};

/// How decimals are written: plain, in lowest terms.
const DECIMAL: &str = r"^-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$";
const DIGEST: &str = "^[0-9a-f]{32}$";

/// The JSON Schema of a type's events, tombstones and corrections included.
pub fn json_schema(event_type: EventType) -> Value {
    let kind = event_type.kind();
    let parts = || PARTS.iter().filter(move |part| part.belongs_to(kind));
    let properties = parts().map(|part| {
        let shape = described(shape(event_type, part.shape), part.meaning);
        (part.name.to_owned(), shape)
    });
    // Facts have no tombstones: their body is always there.
    let always = |part: &&Part| match part.presence {
        Presence::Always => true,
        Presence::NoTombstone => kind == EventKind::Fact,
        Presence::Sometimes | Presence::Tombstone | Presence::Renamed => false,
    };
    let required: Vec<&str> = parts().filter(always).map(|part| part.name).collect();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:lighterman:event:{event_type}"),
        "title": event_type.name(),
        "description": about(event_type),
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
        "required": required,
    });
    if let (EventKind::State, Some(form)) = (kind, schema.as_object_mut()) {
        let delete = json!({"properties": {"op": {"const": EventOp::Delete}}});
        form.insert("if".to_owned(), delete);
        let then = json!({"required": ["reason"], "properties": {"body": false}});
        form.insert("then".to_owned(), then);
        let otherwise = json!({"required": ["body"], "properties": {"reason": false}});
        form.insert("else".to_owned(), otherwise);
    }
    if let Some(form) = schema.as_object_mut() {
        form.insert("$defs".to_owned(), definitions(event_type.schema()));
    }
    schema
}

/// The definitions a body refers to, and no others.
fn definitions(schema: &BodySchema) -> Value {
    let mut definitions = Map::new();
    let money = uses(schema, FieldType::Money);
    if money || uses(schema, FieldType::Decimal) {
        let decimal = json!({
            "type": "string",
            "pattern": DECIMAL,
            "description": "exact decimal number of up to 38 digits, as text: no exponent, no plus \
                            sign, no zeros at the end",
        });
        definitions.insert("decimal".to_owned(), decimal);
    }
    if money {
        let money = json!({
            "type": "object",
            "properties": {
                "amount": {"$ref": "#/$defs/decimal"},
                "currency": {
                    "type": "string",
                    "pattern": "^[A-Z]{3}$",
                    "description": "ISO 4217 code",
                },
            },
            "required": ["amount", "currency"],
        });
        definitions.insert("money".to_owned(), money);
    }
    Value::Object(definitions)
}

fn uses(schema: &BodySchema, wanted: FieldType) -> bool {
    schema.fields.iter().any(|field| match field.field_type {
        FieldType::List(inner) | FieldType::Object(inner) => uses(inner, wanted),
        field_type => field_type == wanted,
    })
}

/// The schema with its description, which stands first so that files read well.
fn described(schema: Value, meaning: &str) -> Value {
    let mut form = Map::new();
    form.insert("description".to_owned(), json!(meaning));
    if let Value::Object(schema) = schema {
        form.extend(schema);
    }
    Value::Object(form)
}

fn shape(event_type: EventType, shape: Shape) -> Value {
    let whole_number = |most: u32| json!({"type": "integer", "minimum": 0, "maximum": most});
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    match shape {
        Shape::Id => text("^evt_[0-9a-f]{32}$"),
        Shape::TypeName => json!({"type": "string", "const": event_type.name()}),
        Shape::Minor => whole_number(u32::from(u16::MAX)),
        Shape::Text => json!({"type": "string"}),
        Shape::Key => {
            let key = event_type.schema().key;
            let parts = key.iter().map(|part| {
                let text = json!({"type": "string"});
                (
                    (*part).to_owned(),
                    described(text, key_part(event_type, part)),
                )
            });
            json!({
                "type": "object",
                "properties": parts.collect::<Map<_, _>>(),
                "required": key,
            })
        }
        Shape::Version => named(VERSION, |name| match name {
            "pos" => text("^[A-Za-z0-9:,_-]{1,512}$"),
            _ => whole_number(u32::MAX),
        }),
        Shape::Op => word(ops(event_type.kind()).iter().map(|(op, _)| op)),
        Shape::Reason => word(REASONS.iter().map(|(reason, _)| reason)),
        Shape::Origin => word([
            Origin::Live,
            Origin::Snapshot,
            Origin::Replay,
            Origin::Reconcile,
        ]),
        Shape::Moment => json!({"type": "string", "format": "date-time"}),
        Shape::Truth => json!({"type": "boolean"}),
        Shape::Digits => text("^[1-9][0-9]*$"),
        Shape::Mapping => named(MAPPING, |name| match name {
            "digest" => text(DIGEST),
            _ => json!({"type": "string"}),
        }),
        Shape::BodyDigest => text("^([0-9a-f]{32}|tombstone)$"),
        Shape::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Shape::Body => object(event_type.schema()),
    }
}

fn word(words: impl IntoIterator<Item = impl Serialize>) -> Value {
    let words: Vec<Value> = words.into_iter().map(|word| json!(word)).collect();
    json!({"type": "string", "enum": words})
}

/// An object whose parts are all required.
fn named(parts: &[(&str, &str)], shape: impl Fn(&str) -> Value) -> Value {
    let properties = parts
        .iter()
        .map(|(name, meaning)| ((*name).to_owned(), described(shape(name), meaning)));
    json!({
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
        "required": parts.iter().map(|(name, _)| name).collect::<Vec<_>>(),
    })
}

fn object(schema: &BodySchema) -> Value {
    let properties = schema.fields.iter().map(|field| {
        let shape = described(field_shape(field), field.meaning);
        (field.name.to_owned(), shape)
    });
    let mut form = json!({
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
    });
    let required = schema.fields.iter().filter(|field| field.required);
    let required: Vec<&str> = required.map(|field| field.name).collect();
    if let (false, Some(form)) = (required.is_empty(), form.as_object_mut()) {
        form.insert("required".to_owned(), json!(required));
    }
    form
}

fn field_shape(field: &FieldSchema) -> Value {
    match field.field_type {
        FieldType::Text => json!({"type": "string"}),
        FieldType::Decimal => json!({"$ref": "#/$defs/decimal"}),
        FieldType::Bool => json!({"type": "boolean"}),
        FieldType::Date => json!({"type": "string", "format": "date"}),
        FieldType::Timestamp => json!({"type": "string", "format": "date-time"}),
        FieldType::Word(words) => word(words),
        FieldType::Money => json!({"$ref": "#/$defs/money"}),
        FieldType::List(inner) => json!({"type": "array", "items": object(inner)}),
        FieldType::Object(inner) => object(inner),
        FieldType::Texts => json!({"type": "array", "items": {"type": "string"}}),
        FieldType::Map => json!({"type": "object", "additionalProperties": {"type": "string"}}),
    }
}

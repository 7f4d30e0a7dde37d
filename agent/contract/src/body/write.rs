//! The canonical JSON, written by hand: names of fields are plain words, and most texts need no
//! escape, so that nearly all of it is copied. What comes out is what serde would write.

use std::fmt::Write as _;

use super::{Body, FieldValue};

/// A body: its fields in the schema's order, absent ones left out.
pub(super) fn body(body: &Body, json: &mut String) {
    json.push('{');
    let mut first = true;
    for (field, value) in body.schema.fields.iter().zip(&body.values) {
        let Some(value) = value else { continue };
        name(json, field.name, first);
        first = false;
        field_value(value, json);
    }
    json.push('}');
}

/// `"name":`, behind a comma where it is not the first of its object. The name is a plain word.
pub(crate) fn name(json: &mut String, name: &str, first: bool) {
    json.push_str(if first { "\"" } else { ",\"" });
    json.push_str(name);
    json.push_str("\":");
}

/// A text with its quotes.
pub(crate) fn text(json: &mut String, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        plain_text(json, text);
    } else {
        // A text always has a JSON form.
        json.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

/// A text that needs no escape.
pub(crate) fn plain_text(json: &mut String, text: &str) {
    json.push('"');
    json.push_str(text);
    json.push('"');
}

/// What prints without anything that needs an escape.
pub(crate) fn shown(json: &mut String, value: &impl std::fmt::Display) {
    json.push('"');
    // Writing to a text cannot fail.
    let _ = write!(json, "{value}");
    json.push('"');
}

fn list<T>(json: &mut String, items: &[T], mut item: impl FnMut(&T, &mut String)) {
    json.push('[');
    for (n, value) in items.iter().enumerate() {
        if n > 0 {
            json.push(',');
        }
        item(value, json);
    }
    json.push(']');
}

fn field_value(value: &FieldValue, json: &mut String) {
    match value {
        FieldValue::Text(value) => text(json, value),
        FieldValue::Decimal(number) => number.with_text(|text| plain_text(json, text)),
        FieldValue::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
        FieldValue::Date(date) => shown(json, date),
        FieldValue::Timestamp(moment) => shown(json, moment),
        FieldValue::Money { amount, currency } => {
            json.push('{');
            name(json, "amount", true);
            amount.with_text(|text| plain_text(json, text));
            name(json, "currency", false);
            text(json, currency);
            json.push('}');
        }
        FieldValue::List(items) => list(json, items, body),
        FieldValue::Object(item) => body(item, json),
        FieldValue::Texts(texts) => list(json, texts, |item, json| text(json, item)),
        FieldValue::Map(map) => {
            json.push('{');
            for (n, (key, value)) in map.iter().enumerate() {
                if n > 0 {
                    json.push(',');
                }
                text(json, key);
                json.push(':');
                text(json, value);
            }
            json.push('}');
        }
    }
}

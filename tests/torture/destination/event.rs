//! A CloudEvent as the judge knows events: of its body what a row says.

use judge::{Received, What};
use serde_json::{Map, Value};

use crate::model::{MOVEMENT, PRODUCT, STOCK, plain};

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What the judge compares of a body.
fn meaning(event_type: &str, body: &Value) -> String {
    match event_type {
        PRODUCT => text(body, "name").to_owned(),
        STOCK => plain(text(body, "on_hand")),
        MOVEMENT => format!(
            "{} {} {}",
            text(body, "sku"),
            text(body, "location"),
            plain(text(body, "quantity"))
        ),
        _ => text(body, "source_status").to_owned(),
    }
}

/// An event in structured mode.
pub fn received(event: &Value) -> Received {
    let data = &event["data"];
    let event_type = text(event, "type");
    let body = || meaning(event_type, &data["body"]);
    let version = &data["version"];
    let number = |name: &str| version[name].as_u64().unwrap_or_default();
    Received {
        id: text(event, "id").to_owned(),
        event_type: event_type.to_owned(),
        key: text(event, "subject").to_owned(),
        order: format!(
            "{:010}/{}/{:010}",
            number("epoch"),
            text(version, "pos"),
            number("seq")
        ),
        what: match text(data, "op") {
            "delete" => What::Gone,
            "fact" => What::Fact(body()),
            "correction" => What::Correction(body()),
            _ => What::State(body()),
        },
        read: text(data, "origin") == "snapshot",
    }
}

/// The fields of an entry of a Redis stream, as an event in structured mode.
pub fn of_fields(fields: &[(String, String)]) -> Value {
    let mut event = Map::new();
    for (name, value) in fields {
        let value = if name == "data" {
            serde_json::from_str(value).unwrap()
        } else {
            Value::String(value.clone())
        };
        event.insert(name.clone(), value);
    }
    Value::Object(event)
}

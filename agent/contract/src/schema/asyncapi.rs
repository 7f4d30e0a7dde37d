//! An AsyncAPI 3.0 document over all event types. It points to the JSON Schema files beside it.

use serde_json::{Map, Value, json};

use super::examples::{example, later_example};
use super::file_name;
use super::words::{about, kind};
use crate::body::BodyError;
use crate::event::{Event, EventType};

/// The AsyncAPI document. Schemas are referred to as files in the same folder.
pub fn asyncapi() -> Value {
    let each = |form: fn(EventType) -> Value, prefix: &str| -> Value {
        let forms = EventType::ALL
            .into_iter()
            .map(|event_type| (format!("{prefix}{event_type}"), form(event_type)));
        Value::Object(forms.collect::<Map<_, _>>())
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lighterman events",
            "version": version(),
            "description": "Business events made from the changes of an ERP's or WMS's database. \
                            Each channel carries one event type; where a channel leads is set in \
                            the agent's settings.",
        },
        "defaultContentType": "application/json",
        "channels": each(channel, ""),
        "operations": each(operation, "send."),
        "components": {"messages": each(message, "")},
    })
}

/// Rises with the minor version of any type; the types' own versions are what counts.
fn version() -> String {
    let minors = EventType::ALL.map(|event_type| u32::from(event_type.schema().minor));
    format!("1.{}.0", minors.into_iter().sum::<u32>())
}

fn channel(event_type: EventType) -> Value {
    json!({
        // Known only to the agent's settings.
        "address": null,
        "title": event_type.name(),
        "description": about(event_type),
        "messages": {
            event_type.name(): {"$ref": format!("#/components/messages/{event_type}")},
        },
    })
}

fn operation(event_type: EventType) -> Value {
    json!({
        "action": "send",
        "channel": {"$ref": format!("#/channels/{event_type}")},
        "messages": [{"$ref": format!("#/channels/{event_type}/messages/{event_type}")}],
    })
}

fn message(event_type: EventType) -> Value {
    let examples = [example(event_type), later_example(event_type)];
    json!({
        "name": event_type.name(),
        "title": event_type.name(),
        "summary": format!("A {}, minor version {}.", kind(event_type.kind()), event_type.schema().minor),
        "description": about(event_type),
        "contentType": "application/json",
        "payload": {"$ref": format!("./{}", file_name(event_type))},
        "examples": examples.into_iter().filter_map(shown).collect::<Vec<_>>(),
    })
}

fn shown(event: Result<Event, BodyError>) -> Option<Value> {
    let event = event.ok()?;
    let payload: Value = serde_json::from_str(&event.json()).ok()?;
    Some(json!({"name": event.envelope.op, "payload": payload}))
}

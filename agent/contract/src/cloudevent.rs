//! An event as CloudEvents 1.0 says it: its attributes, and the JSON forms
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! `data` is the event's canonical JSON, byte for byte: nothing is parsed and printed again.

use crate::destination::Outgoing;

/// Content type of one event.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Content type of a list of events.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// Content type of `data`.
pub const DATA: &str = "application/json";

/// The attributes but for `datacontenttype`, in a fixed order. What they hold may be any text.
pub fn attributes(event: &Outgoing) -> [(&'static str, String); 8] {
    [
        ("specversion", "1.0".to_owned()),
        ("id", event.id.clone()),
        (
            "source",
            format!("/lighterman/{}", percent(&event.origin, b"-._~/")),
        ),
        ("type", event.event_type.name().to_owned()),
        ("subject", event.key.clone()),
        ("time", event.occurred_at.to_string()),
        ("op", event.op.name().to_owned()),
        ("idempotencykey", event.idempotency_key.clone()),
    ]
}

/// One event with its attributes, as JSON.
pub fn structured(event: &Outgoing) -> Vec<u8> {
    let mut body = Vec::with_capacity(event.json.len() + 512);
    push(&mut body, event);
    body
}

/// A list of events, as JSON.
pub fn batch(events: &[Outgoing]) -> Vec<u8> {
    let mut body = Vec::with_capacity(events.iter().map(|event| event.json.len() + 512).sum());
    body.push(b'[');
    for (n, event) in events.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        push(&mut body, event);
    }
    body.push(b']');
    body
}

fn push(body: &mut Vec<u8>, event: &Outgoing) {
    body.push(b'{');
    for (name, value) in attributes(event) {
        // Receivers have always seen the content type before our own attributes.
        if name == "op" {
            body.extend_from_slice(format!("\"datacontenttype\":\"{DATA}\",").as_bytes());
        }
        let text = serde_json::Value::String(value);
        body.extend_from_slice(format!("\"{name}\":{text},").as_bytes());
    }
    body.extend_from_slice(b"\"data\":");
    body.extend_from_slice(&event.json);
    body.push(b'}');
}

/// Everything but ASCII letters, digits and what is kept, percent-encoded as UTF-8.
pub fn percent(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&crate::value::hex(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

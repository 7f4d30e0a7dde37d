//! CloudEvents 1.0 JSON: structured and batch mode
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! `data` is the event's canonical JSON, byte for byte: nothing is parsed and printed again.

use contract::Outgoing;

/// Content type of one event.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
/// Content type of a list of events.
pub(crate) const BATCH: &str = "application/cloudevents-batch+json";

/// The body of a structured-mode request.
pub(crate) fn structured(event: &Outgoing) -> Vec<u8> {
    let mut body = Vec::with_capacity(event.json.len() + 512);
    push(&mut body, event);
    body
}

/// The body of a batch-mode request.
pub(crate) fn batch(events: &[Outgoing]) -> Vec<u8> {
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
    let source = format!("/lighterman/{}", percent(&event.origin));
    let attributes = [
        ("specversion", "1.0"),
        ("id", &event.id),
        ("source", &source),
        ("type", event.event_type.name()),
        ("subject", &event.key),
        ("time", &event.occurred_at.to_string()),
        ("datacontenttype", "application/json"),
        ("op", event.op.name()),
        ("idempotencykey", &event.idempotency_key),
    ];
    body.push(b'{');
    for (name, value) in attributes {
        let text = serde_json::Value::String(value.to_owned());
        body.extend_from_slice(format!("\"{name}\":{text},").as_bytes());
    }
    body.extend_from_slice(b"\"data\":");
    body.extend_from_slice(&event.json);
    body.push(b'}');
}

/// A URI reference's path: everything but unreserved characters and `/` percent-encoded.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&contract::value::hex(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

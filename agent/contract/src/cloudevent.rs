//! An event as CloudEvents 1.0 says it: its attributes, and the JSON forms
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! `data` is the event's canonical JSON, byte for byte: nothing is parsed and printed again.

use std::io::Write;

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

/// The same attributes, in the same order, written in their places.
fn push(body: &mut Vec<u8>, event: &Outgoing) {
    body.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":");
    text(body, &event.id);
    body.extend_from_slice(b",\"source\":\"/lighterman/");
    // Nothing that is left by it needs an escape.
    push_percent(body, &event.origin, b"-._~/");
    body.extend_from_slice(b"\",\"type\":");
    text(body, event.event_type.name());
    body.extend_from_slice(b",\"subject\":");
    text(body, &event.key);
    body.extend_from_slice(b",\"time\":\"");
    // Writing to memory cannot fail.
    let _ = write!(body, "{}", event.occurred_at);
    // Receivers have always seen the content type before our own attributes.
    body.extend_from_slice(b"\",\"datacontenttype\":\"");
    body.extend_from_slice(DATA.as_bytes());
    body.extend_from_slice(b"\",\"op\":");
    text(body, event.op.name());
    body.extend_from_slice(b",\"idempotencykey\":");
    text(body, &event.idempotency_key);
    body.extend_from_slice(b",\"data\":");
    body.extend_from_slice(&event.json);
    body.push(b'}');
}

fn text(body: &mut Vec<u8>, text: &str) {
    // A text is always JSON, and writing to memory cannot fail.
    let _ = serde_json::to_writer(body, text);
}

/// Everything but ASCII letters, digits and what is kept, percent-encoded as UTF-8.
pub fn percent(text: &str, kept: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    push_percent(&mut out, text, kept);
    // It is ASCII by now.
    String::from_utf8_lossy(&out).into_owned()
}

fn push_percent(out: &mut Vec<u8>, text: &str, kept: &[u8]) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(byte);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{EventOp, EventType};

    proptest! {
        #[test]
        fn the_json_holds_the_attributes_in_their_order(
            id in "[a-z]{1,4}", key: String, origin: String, idempotency_key: String, at in -1_000_000_000_i64..4_000_000_000,
        ) {
            let event = Outgoing {
                offset: 1,
                attempt: 1,
                id,
                event_type: EventType::Product,
                key,
                op: EventOp::Upsert,
                idempotency_key,
                origin,
                occurred_at: Timestamp::from_second(at).unwrap(),
                json: Bytes::from_static(b"{\"a\":[1]}"),
            };
            let text = String::from_utf8(batch(&[event.clone(), event.clone()])).unwrap();
            let mut expected = String::new();
            for (name, value) in attributes(&event) {
                if name == "op" {
                    expected.push_str("\"datacontenttype\":\"application/json\",");
                }
                let value = serde_json::Value::String(value);
                expected = format!("{expected}\"{name}\":{value},");
            }
            let one = format!("{{{expected}\"data\":{{\"a\":[1]}}}}");
            prop_assert_eq!(text, format!("[{one},{one}]"));
        }
    }
}

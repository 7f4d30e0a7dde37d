//! What the store and receivers have of an event: its body from JSON, its key from a text, its type from a name.
#![no_main]

use contract::{Body, EventKey, EventType};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;

// The first byte says which type is meant; a key stands in the first line, a body in the others.
fuzz_target!(|data: &[u8]| {
    let [which, rest @ ..] = data else { return };
    let event_type = EventType::ALL[usize::from(*which) % EventType::ALL.len()];
    assert_eq!(event_type.name().parse(), Ok(event_type));
    let schema = event_type.schema();
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let (key, body) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(key) = EventKey::parse(schema, key) {
        assert_eq!(key.fields().len(), schema.key.len());
        let again = EventKey::parse(schema, &key.text());
        assert_eq!(again, Some(key), "a key is another one by its own text");
    }
    let Ok(json) = serde_json::from_str::<Json>(body) else {
        return;
    };
    let Ok(body) = Body::from_json(schema, &json) else {
        return;
    };
    let text = body.json();
    let json: Json = serde_json::from_str(&text).expect("a body is JSON");
    let again = Body::from_json(schema, &json).expect("a body's own JSON is a body");
    assert!(again == body, "a body is another one by its own JSON");
    assert_eq!(again.json(), text);
    assert_eq!(
        serde_json::to_string(&body).ok(),
        Some(text),
        "two ways to write a body"
    );
    assert_eq!(body.complete().is_ok(), again.complete().is_ok());
    let shown = format!("{body:?}");
    assert!(shown.len() < 16_384, "a body is shown with its content");
});

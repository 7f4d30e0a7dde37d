//! What a mapping makes of rows.

use std::sync::Arc;

use contract::{Body, RowChange};
use mappings::MappingSet;
use mappings::trial::{Outcome, Trial};

/// What the changes of one transaction come to: the same each time, and events whose JSON is read as what it is.
pub fn told(set: &Arc<MappingSet>, changes: &[RowChange]) -> Outcome {
    let outcome = Trial::new(Arc::clone(set)).transaction(changes);
    let again = Trial::new(Arc::clone(set)).transaction(changes);
    assert!(
        outcome.events == again.events,
        "mapped twice, events differ"
    );
    assert!(
        outcome.held == again.held,
        "mapped twice, what is held differs"
    );
    assert_eq!(outcome.unchanged, again.unchanged);
    for event in &outcome.events {
        let schema = event.envelope.event_type.schema();
        let json: serde_json::Value =
            serde_json::from_str(&event.json()).expect("an event is JSON");
        assert!(json.is_object());
        let Some(text) = event.body_json() else {
            continue;
        };
        let body = serde_json::from_str(text).expect("a body is JSON");
        let body = Body::from_json(schema, &body).expect("a body is read as it was written");
        assert!(
            Some(&body) == event.body.as_ref(),
            "a body is another one by its own JSON"
        );
        assert_eq!(body.json(), text, "a number or text is not what it was");
    }
    for held in &outcome.held {
        assert!(!held.reason.is_empty());
    }
    outcome
}

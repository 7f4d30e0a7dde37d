//! The shapes of answers, for the description. They stay open: later versions add parts.
#![expect(
    clippy::needless_pass_by_value,
    reason = "pieces of a document are given away as it is put together"
)]

use contract::EventType;
use contract::schema::json_schema;
use serde_json::{Map, Value, json};

use super::published::COLLECTIONS;

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn texts() -> Value {
    array(text())
}

pub(super) fn whole() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

pub(super) fn array(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object whose parts are all there.
pub(super) fn named<const N: usize>(parts: [(&str, Value); N]) -> Value {
    let required = parts.each_ref().map(|(name, _)| *name);
    let required = json!(required.as_slice());
    let properties: Map<String, Value> = parts
        .into_iter()
        .map(|(name, shape)| (name.to_owned(), shape))
        .collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn or_null(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn truth() -> Value {
    json!({ "type": "boolean" })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn moment_or_null() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

pub(super) fn status() -> Value {
    let question = || named([("ok", truth()), ("sentences", texts())]);
    let health = named([
        ("ready", truth()),
        ("wrong", texts()),
        ("capture", question()),
        ("delivery", question()),
        ("retention", question()),
    ]);
    let source = named([
        ("name", text()),
        ("epoch", whole()),
        ("problem", or_null("string")),
        ("held", whole()),
    ]);
    named([
        ("at", moment()),
        ("since", moment()),
        ("version", text()),
        ("health", health),
        ("sources", array(source)),
        ("destinations", array(reference("destination"))),
        ("held", array(count())),
        (
            "state",
            named([("database_bytes", whole()), ("wal_bytes", whole())]),
        ),
    ])
}

pub(super) fn destinations() -> Value {
    named([
        ("at", moment()),
        ("destinations", array(reference("destination"))),
    ])
}

fn count() -> Value {
    named([("by", text()), ("cause", text()), ("count", whole())])
}

pub(super) fn held_list() -> Value {
    named([
        ("held", array(reference("held"))),
        ("counts", array(count())),
        ("counted_all", truth()),
    ])
}

pub(super) fn held_item() -> Value {
    named([
        ("held", reference("held")),
        ("event", or_null("object")),
        ("attempts", array(reference("attempt"))),
    ])
}

pub(super) fn trace() -> Value {
    let delivery = named([
        ("destination", text()),
        ("state", text()),
        ("since", moment()),
        ("attempts", array(reference("attempt"))),
    ]);
    let event = named([
        ("event_id", text()),
        ("event_type", text()),
        ("key", text()),
        ("op", text()),
        ("source", text()),
        ("occurred_at", moment()),
        ("event", json!({ "type": "object" })),
        ("deliveries", array(delivery)),
    ]);
    named([
        ("events", array(event)),
        ("cut", truth()),
        ("held", array(reference("held"))),
    ])
}

pub(super) fn counted() -> Value {
    let would = named([
        ("states", whole()),
        ("facts", whole()),
        ("on_their_way", whole()),
        ("held", whole()),
    ]);
    let one = named([("destination", text()), ("would", would)]);
    named([
        ("dry_run", json!({ "const": true })),
        ("replay", array(one)),
    ])
}

pub(super) fn accepted() -> Value {
    named([("requests", array(reference("asked")))])
}

/// Of several destinations: those that took it, and those that did not.
pub(super) fn accepted_each() -> Value {
    named([
        ("requests", array(reference("asked"))),
        ("refused", refused()),
    ])
}

fn refused() -> Value {
    array(named([("destination", text()), ("detail", text())]))
}

pub(super) fn settled() -> Value {
    named([
        ("requests", array(reference("asked"))),
        ("refused", refused()),
        ("not_held", texts()),
        ("not_in_settings", texts()),
        ("all_tables", truth()),
        ("read_again_by", texts()),
    ])
}

pub(super) fn requested() -> Value {
    named([
        ("request", whole()),
        ("destination", or_null("string")),
        ("what", text()),
        ("state", json!({ "enum": ["waits", "done", "refused"] })),
        ("asked_at", moment()),
        ("done_at", moment_or_null()),
        ("count", whole()),
        ("problem", or_null("string")),
    ])
}

/// A page of a type's states.
pub(super) fn page(event_type: EventType) -> Value {
    named([
        ("type", json!({ "const": event_type.name() })),
        ("items", array(reference(event_type.name()))),
        ("next", or_null("string")),
    ])
}

/// What several answers have in common.
pub(super) fn components() -> Value {
    let mut all = Map::new();
    let mut put = |name: &str, shape: Value| all.insert(name.to_owned(), shape);
    put(
        "problem",
        named([
            ("type", text()),
            ("title", text()),
            ("status", whole()),
            ("detail", text()),
            ("fix", text()),
        ]),
    );
    put(
        "destination",
        named([
            ("name", text()),
            ("backlog", whole()),
            ("held", whole()),
            ("delivered", whole()),
            ("paused", json!({ "type": ["object", "null"] })),
            ("last_cause", or_null("string")),
        ]),
    );
    put(
        "held",
        named([
            ("id", text()),
            ("by", text()),
            ("cause", text()),
            ("means", text()),
            ("fix", text()),
            ("event_type", text()),
            ("key", text()),
            ("since", moment()),
            ("attempts", whole()),
            ("status", or_null("integer")),
            ("reason", or_null("string")),
            ("answer", or_null("string")),
            ("change", or_null("object")),
        ]),
    );
    put(
        "attempt",
        named([
            ("at", moment()),
            ("attempt", whole()),
            ("outcome", text()),
            ("status", or_null("integer")),
            ("latency_ms", or_null("integer")),
            ("cause", or_null("string")),
            ("answer", or_null("string")),
        ]),
    );
    put(
        "asked",
        named([
            ("request", whole()),
            ("destination", or_null("string")),
            ("href", text()),
        ]),
    );
    for (_, event_type) in COLLECTIONS {
        let (state, definitions) = published(event_type);
        put(event_type.name(), state);
        for (name, shape) in definitions {
            put(&name, shape);
        }
    }
    Value::Object(all)
}

/// A state of a type, made of the contract's own schema, and the definitions that it names.
fn published(event_type: EventType) -> (Value, Map<String, Value>) {
    let mut whole = json_schema(event_type);
    let mut take = |path: &str| whole.pointer_mut(path).map(Value::take).unwrap_or_default();
    let definitions = match take("/$defs") {
        Value::Object(definitions) => definitions,
        _ => Map::new(),
    };
    let mut body = take("/properties/body");
    // A token may read some of the fields.
    open(&mut body);
    let mut state = named([
        ("key", take("/properties/key")),
        ("source", text()),
        ("version", take("/properties/version")),
        ("updated_at", moment_or_null()),
        ("body", body),
    ]);
    refer(&mut state);
    let definitions = definitions.into_iter().map(|(name, mut shape)| {
        refer(&mut shape);
        (name, shape)
    });
    (state, definitions.collect())
}

/// Lets all parts be left out.
fn open(shape: &mut Value) {
    match shape {
        Value::Object(parts) => {
            if parts.get("required").is_some_and(Value::is_array) {
                parts.remove("required");
            }
            parts.values_mut().for_each(open);
        }
        Value::Array(items) => items.iter_mut().for_each(open),
        _ => {}
    }
}

/// Names definitions where they stand here.
fn refer(shape: &mut Value) {
    match shape {
        Value::Object(parts) => {
            for (name, part) in parts {
                match part {
                    Value::String(place) if name == "$ref" => {
                        *place = place.replace("#/$defs/", "#/components/schemas/");
                    }
                    part => refer(part),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(refer),
        _ => {}
    }
}

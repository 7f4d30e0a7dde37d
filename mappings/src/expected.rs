//! What a test expects, compared with what came.

use contract::{Event, EventOp, Node, NodeKind};
use serde_json::Value as Json;

use crate::given::Expected;

pub(crate) fn named(event: &Event) -> String {
    let envelope = &event.envelope;
    format!("{} {}", envelope.event_type, envelope.key.text())
}

pub(crate) fn shown(event: &Event) -> String {
    let body = event
        .body
        .as_ref()
        .map(contract::Body::json)
        .unwrap_or_default();
    let op = event.envelope.op.name();
    let reason = event.envelope.reason.unwrap_or_default();
    format!("{op} {} {reason}{body}", named(event))
}

/// What an event has otherwise than expected.
pub(crate) fn differences(expected: &Expected, event: &Event) -> Vec<String> {
    let form: Json = serde_json::from_str(&event.json()).unwrap_or_default();
    let op = event.envelope.op.name();
    let mut found = Vec::new();
    let named_op = expected.fields.iter().any(|(name, _)| name == "op");
    if !named_op && event.envelope.op == EventOp::Delete {
        found.push("it is a delete (`op: delete` expects one)".to_owned());
    }
    for (name, wanted) in &expected.fields {
        let rule = Json::from(event.envelope.mapping.rule.as_str());
        let (op, reason) = (Json::from(op), Json::from(event.envelope.reason));
        let event_type = Json::from(event.envelope.event_type.name());
        let value = match name.as_str() {
            "event" => Some(&rule),
            "emit" => Some(&event_type),
            "op" => Some(&op),
            "reason" => Some(&reason),
            "warnings" => form.get("warnings"),
            "renamed_from" => form.get("renamed_from"),
            name => form
                .get("body")
                .and_then(|body| body.get(name))
                .or_else(|| form.get("key").and_then(|key| key.get(name))),
        };
        compare(name, wanted, value, &mut found);
    }
    found
}

/// Compares what a test expects with JSON: numbers by value, texts exactly, tables by the fields
/// they name, lists item by item.
fn compare(path: &str, wanted: &Node, found: Option<&Json>, differences: &mut Vec<String>) {
    let absent = matches!(found, None | Some(Json::Null));
    let same = match (&wanted.kind, found) {
        (NodeKind::Null, _) => absent,
        (_, None) => false,
        (NodeKind::Bool(wanted), Some(Json::Bool(found))) => wanted == found,
        (NodeKind::Text(wanted) | NodeKind::Number(wanted), Some(Json::String(found))) => {
            wanted == found || number(wanted).is_some_and(|n| number(found) == Some(n))
        }
        (NodeKind::List(items), Some(Json::Array(found))) => {
            if items.len() == found.len() {
                for (n, (wanted, found)) in items.iter().zip(found).enumerate() {
                    compare(
                        &format!("{path}[{}]", n + 1),
                        wanted,
                        Some(found),
                        differences,
                    );
                }
                return;
            }
            false
        }
        (NodeKind::Map(entries), Some(Json::Object(found))) => {
            for (key, wanted) in entries {
                let path = format!("{path}.{}", key.name);
                compare(&path, wanted, found.get(&key.name), differences);
            }
            return;
        }
        _ => false,
    };
    if !same {
        let found = match found {
            None => "nothing".to_owned(),
            Some(found) => found.to_string(),
        };
        differences.push(format!("{path} is {found}, expected {}", written(wanted)));
    }
}

fn number(text: &str) -> Option<contract::Decimal> {
    text.parse().ok()
}

fn written(node: &Node) -> String {
    match &node.kind {
        NodeKind::Null => "nothing".to_owned(),
        NodeKind::Bool(value) => value.to_string(),
        NodeKind::Number(text) => text.clone(),
        NodeKind::Text(text) => format!("\"{text}\""),
        NodeKind::List(items) => format!("a list of {}", items.len()),
        NodeKind::Map(_) => "a table".to_owned(),
    }
}

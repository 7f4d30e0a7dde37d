//! The document `docs/events.md`: what a receiver needs to know about every event type.

use std::fmt::Write;

use super::envelope::{MAPPING, PARTS, VERSION};
use super::examples::{example, later_example};
use super::words::{REASONS, about, key_part, kind, ops};
use crate::body::{BodyError, BodySchema, FieldType};
use crate::event::{Event, EventKind, EventType};

const INTRO: &str = "\
# Events

Lighterman turns rows of an ERP's or WMS's database into business events. Each is one JSON object:
an envelope that says what, which, when and from where, and a `body` with the fields of its type.
How a webhook carries them is in `webhook.md`, how a mapping file makes them in `mapping.md`.

This file is made from the tables in `agent/contract/src/body/`;
`BLESS=1 cargo test -p contract --test canonical` writes it anew.

";
const CONVENTIONS: &str = include_str!("conventions.md");

/// The document.
pub fn markdown() -> String {
    let mut text = INTRO.to_owned();
    text.push_str("| type | kind | key |\n|---|---|---|\n");
    for event_type in EventType::ALL {
        let (kind, key) = (kind(event_type.kind()), event_type.schema().key.join(", "));
        let anchor = event_type.name().replace('.', "");
        let _ = writeln!(text, "| [`{event_type}`](#{anchor}) | {kind} | {key} |");
    }
    text.push('\n');
    text.push_str(&conventions());
    text.push_str("## The types\n\n");
    for event_type in EventType::ALL {
        text.push_str(&section(event_type));
    }
    let length = text.trim_end().len();
    text.truncate(length);
    text.push('\n');
    text
}

fn conventions() -> String {
    let mut envelope = table_head();
    for part in PARTS {
        let (name, shape) = (part.name, part.shape.name());
        let (present, meaning) = (part.presence.name(), part.meaning);
        let _ = writeln!(envelope, "| `{name}` | {shape} | {present} | {meaning} |");
    }
    envelope.push('\n');
    let mut operations = String::new();
    for each in [EventKind::State, EventKind::Fact] {
        for (op, meaning) in ops(each) {
            let (kind, op) = (kind(each), op.name());
            let _ = writeln!(operations, "| {kind} | `{op}` | {meaning} |");
        }
    }
    operations.push('\n');
    let mut reasons = String::new();
    for (reason, meaning) in REASONS {
        let _ = writeln!(reasons, "| `{reason}` | {meaning} |");
    }
    reasons.push('\n');
    CONVENTIONS
        .replace("{envelope}\n", &envelope)
        .replace("{version}\n", &parts_table(VERSION))
        .replace("{mapping}\n", &parts_table(MAPPING))
        .replace("{ops}\n", &operations)
        .replace("{reasons}\n", &reasons)
        .replace("{tombstone}\n\n", &block(later_example(EventType::Product)))
        .replace(
            "{correction}\n\n",
            &block(later_example(EventType::InventoryMovement)),
        )
}

fn parts_table(parts: &[(&str, &str)]) -> String {
    let mut text = "| part | meaning |\n|---|---|\n".to_owned();
    for (name, meaning) in parts {
        let _ = writeln!(text, "| `{name}` | {meaning} |");
    }
    text.push('\n');
    text
}

fn section(event_type: EventType) -> String {
    let schema = event_type.schema();
    let (kind, minor) = (kind(event_type.kind()), schema.minor);
    let mut text = format!("### {event_type}\n\n{}\n\n", about(event_type));
    let _ = write!(text, "A {kind}, minor version {minor}. Its key:\n\n");
    let key: Vec<_> = schema
        .key
        .iter()
        .map(|part| (*part, key_part(event_type, part)))
        .collect();
    text.push_str(&parts_table(&key));
    text.push_str("Its body:\n\n");
    text.push_str(&fields_table(schema));
    for (paths, inner) in nested(schema) {
        let paths: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
        let _ = write!(text, "{}:\n\n{}", paths.join(", "), fields_table(inner));
    }
    let _ = write!(text, "An example:\n\n{}", block(example(event_type)));
    text
}

fn table_head() -> String {
    "| field | type | required | meaning |\n|---|---|---|---|\n".to_owned()
}

fn fields_table(schema: &BodySchema) -> String {
    let mut text = table_head();
    for field in schema.fields {
        let field_type = match field.field_type {
            FieldType::Word(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("one of {}", words.join(", "))
            }
            FieldType::List(_) => "list of objects, below".to_owned(),
            FieldType::Object(_) => "object, below".to_owned(),
            FieldType::Map => "map of texts".to_owned(),
            simple => simple.name().to_owned(),
        };
        let required = if field.required { "yes" } else { "no" };
        let (name, meaning) = (field.name, field.meaning);
        let _ = writeln!(text, "| `{name}` | {field_type} | {required} | {meaning} |");
    }
    text.push('\n');
    text
}

/// The nested objects with every place they stand in, in the order of their first place.
fn nested(schema: &'static BodySchema) -> Vec<(Vec<String>, &'static BodySchema)> {
    let mut found: Vec<(Vec<String>, &'static BodySchema)> = Vec::new();
    collect(schema, "", &mut found);
    found
}

fn collect(
    schema: &'static BodySchema,
    prefix: &str,
    found: &mut Vec<(Vec<String>, &'static BodySchema)>,
) {
    for field in schema.fields {
        let (path, inner) = match field.field_type {
            FieldType::List(inner) => (format!("{prefix}{}[]", field.name), inner),
            FieldType::Object(inner) => (format!("{prefix}{}", field.name), inner),
            _ => continue,
        };
        let known = found
            .iter_mut()
            .find(|(_, known)| std::ptr::eq(*known, inner));
        if let Some((paths, _)) = known {
            paths.push(path);
            continue;
        }
        found.push((vec![path.clone()], inner));
        collect(inner, &format!("{path}."), found);
    }
}

fn block(event: Result<Event, BodyError>) -> String {
    let json = event
        .ok()
        .and_then(|event| serde_json::from_str::<serde_json::Value>(&event.json()).ok())
        .and_then(|event| serde_json::to_string_pretty(&event).ok());
    format!("```json\n{}\n```\n\n", json.unwrap_or_default())
}

//! A JSON Schema of mapping files for editors, made of what the loader asks for.
//!
//! No list of keys is kept beside the loader: it is watched while it reads files, and what it asked
//! of each section is what the schema allows there. Names of event types and their fields come from
//! the events themselves.

use std::collections::{BTreeMap, BTreeSet};

use contract::section::{Asked, Wanted};
use contract::{BodySchema, EventType, FieldType, Finding, Problems, SecretPlace};
use serde_json::{Map, Value as Json, json};

use crate::load::LoadContext;

/// The schema as it is shipped.
pub const SCHEMA: &str = include_str!("../mapping.schema.json");

/// Tables whose keys are free, though the loader looks them up one by one.
const FREE: &[&str] = &["events[].key", "events[].fields", "events[].lines.fields"];
/// Tables that tests describe in their own way.
const LOOSE: &[&str] = &["tests[].given", "tests[].then[].change", "tests[].delete"];

/// What the loader asks of a file.
///
/// # Errors
/// What is wrong with the file.
pub fn watch(file: &str, text: &str, context: LoadContext<'_>) -> Result<Asked, Vec<Finding>> {
    let problems = Problems::watched(file);
    crate::load::load_watched(file, text, context, &problems)?;
    Ok(problems.asked())
}

/// The schema of files of which so much was asked.
pub fn schema(asked: &[Asked]) -> Json {
    let sections = Sections::of(asked);
    let mut definitions = Map::new();
    definitions.insert("value".to_owned(), sections.value());
    let mut root = sections.object("");
    if let Some(object) = root.as_object_mut() {
        let required = object.remove("required").unwrap_or(Json::Null);
        object.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        object.insert("title".to_owned(), json!("Lighterman mapping file"));
        object.insert("$defs".to_owned(), Json::Object(definitions));
        // A site file says only what it changes of its pack.
        object.insert("if".to_owned(), json!({ "required": ["extends"] }));
        object.insert("else".to_owned(), json!({ "required": required }));
        if let Some(properties) = object.get_mut("properties").and_then(Json::as_object_mut) {
            properties.insert("extends".to_owned(), json!({ "type": "string" }));
            answers(properties);
        }
    }
    root
}

/// The schema of files of another kind, of which so much was asked.
pub fn plain(asked: &[Asked]) -> Json {
    Sections::of(asked).object("")
}

/// A site file answers a setting where a pack asks.
fn answers(properties: &mut Map<String, Json>) {
    let asked = properties.get_mut("settings");
    if let Some(asked) = asked.and_then(|settings| settings.get_mut("additionalProperties")) {
        *asked = json!({ "anyOf": [asked.take(), { "type": ["string", "number", "boolean", "array", "null"] }] });
    }
}

/// What is asked of each kind of section: keys, by the section's path with `[]` and `*`.
struct Sections(BTreeMap<String, BTreeMap<String, BTreeSet<Wanted>>>);

impl Sections {
    fn of(asked: &[Asked]) -> Self {
        let mut all: BTreeMap<String, BTreeMap<String, BTreeSet<Wanted>>> = BTreeMap::new();
        let mut free: BTreeSet<String> = FREE.iter().map(|path| (*path).to_owned()).collect();
        // From the outside in: whether a table's keys are free decides about the paths below it.
        let mut places: Vec<(&(String, String), &BTreeSet<Wanted>)> =
            asked.iter().flatten().collect();
        places.sort_by_key(|((path, _), _)| path.matches('.').count());
        for ((path, key), wanted) in places {
            let path = general(path, &free);
            if wanted.contains(&Wanted::Free) {
                free.insert(path.clone());
            }
            let keys = all.entry(path).or_default();
            keys.entry(key.clone())
                .or_default()
                .extend(wanted.iter().cloned());
        }
        Self(all)
    }

    fn object(&self, path: &str) -> Json {
        if LOOSE.contains(&path) {
            return json!({ "type": "object" });
        }
        let none = BTreeMap::new();
        let keys = self.0.get(path).unwrap_or(&none);
        let below = |key: &str| {
            if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            }
        };
        if keys.contains_key("*") || FREE.contains(&path) {
            return json!({ "type": "object", "additionalProperties": self.free(&below("*")) });
        }
        if keys.is_empty() {
            // Nobody has been seen to use it.
            return json!({ "type": "object" });
        }
        let mut properties = Map::new();
        let mut required: Vec<&str> = Vec::new();
        for (key, wanted) in keys {
            if wanted.contains(&Wanted::RequiredText) && key != "from" {
                required.push(key);
            }
            properties.insert(key.clone(), self.wanted(&below(key), wanted));
        }
        let mut object = json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        });
        if let (false, Some(object)) = (required.is_empty(), object.as_object_mut()) {
            object.insert("required".to_owned(), json!(required));
        }
        if let ("events[]", Some(object)) = (path, object.as_object_mut()) {
            object.insert(
                "allOf".to_owned(),
                Json::Array(EventType::ALL.map(names).to_vec()),
            );
            // A site file changes an event by its id alone.
            object.insert("required".to_owned(), json!(["id"]));
        }
        object
    }

    /// What may stand under a free key.
    fn free(&self, path: &str) -> Json {
        let fields = [
            "events[].key.*",
            "events[].fields.*",
            "events[].lines.fields.*",
        ];
        if fields.contains(&path) {
            return json!({ "$ref": "#/$defs/value" });
        }
        if self.0.contains_key(path) {
            self.object(path)
        } else {
            json!({})
        }
    }

    fn wanted(&self, path: &str, wanted: &BTreeSet<Wanted>) -> Json {
        if wanted.contains(&Wanted::Secret) {
            return secret();
        }
        let mut found: Vec<Json> = Vec::new();
        for one in wanted {
            found.extend(match one {
                Wanted::Some
                | Wanted::Free
                | Wanted::Secret
                | Wanted::Default(_)
                | Wanted::Here(_) => None,
                Wanted::Text | Wanted::RequiredText => Some(json!({ "type": "string" })),
                Wanted::Word(words) => {
                    let mut words: Vec<Json> = words.iter().map(|word| json!(word)).collect();
                    if words.contains(&json!("null")) {
                        // YAML's own null is the word's other spelling.
                        words.push(Json::Null);
                    }
                    Some(json!({ "enum": words }))
                }
                Wanted::Flag => Some(json!({ "type": "boolean" })),
                Wanted::Number(min, max) => {
                    Some(json!({ "type": "integer", "minimum": min, "maximum": max }))
                }
                Wanted::Texts => Some(json!({ "type": "array", "items": { "type": "string" } })),
                Wanted::Section => Some(self.object(path)),
                Wanted::Sections => {
                    let items = self.object(&format!("{path}[]"));
                    Some(json!({ "type": "array", "items": items }))
                }
            });
        }
        found.dedup();
        let mut schema = match found.len() {
            0 => json!({}),
            1 => found.remove(0),
            _ => json!({ "anyOf": found }),
        };
        let mut defaults = wanted.iter().filter_map(|one| match one {
            // Numbers, words and truth values are written alike in all files.
            Wanted::Default(value) => serde_json::from_str::<Json>(value).ok(),
            _ => None,
        });
        // One that is not the same in all files is none.
        if let (Some(default), None, Some(object)) =
            (defaults.next(), defaults.next(), schema.as_object_mut())
        {
            object.insert("default".to_owned(), default);
        }
        schema
    }

    /// A field's value: an expression, a constant, or a table that says more.
    fn value(&self) -> Json {
        let mut properties = Map::new();
        for parent in FREE {
            for (key, wanted) in self.0.get(&format!("{parent}.*")).into_iter().flatten() {
                let path = format!("{parent}.*.{key}");
                properties.insert(key.clone(), self.wanted(&path, wanted));
            }
        }
        json!({
            "anyOf": [
                { "type": ["string", "number", "boolean", "null", "array"] },
                { "type": "object", "properties": properties },
            ]
        })
    }
}

/// A secret's text, or where it stands.
fn secret() -> Json {
    let place = |key: &str| json!({ "type": "object", "properties": { key: { "type": "string" } }, "required": [key], "additionalProperties": false });
    let mut ways: Vec<Json> = SecretPlace::KEYS.into_iter().map(place).collect();
    ways.push(json!({ "type": "string" }));
    json!({ "anyOf": ways })
}

/// The key and body fields of an event type, where an event emits it.
fn names(event_type: EventType) -> Json {
    let schema = event_type.schema();
    let key: Map<String, Json> = schema
        .key
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "$ref": "#/$defs/value" })))
        .collect();
    let mut properties = json!({
        "key": { "properties": key, "additionalProperties": false },
        "fields": { "properties": fields(schema), "additionalProperties": false },
    });
    let lines = schema.fields.iter().find(|field| field.name == "lines");
    if let (Some(FieldType::List(inner)), Some(properties)) = (
        lines.map(|field| field.field_type),
        properties.as_object_mut(),
    ) {
        let inner = json!({ "properties": { "fields": { "properties": fields(inner), "additionalProperties": false } } });
        properties.insert("lines".to_owned(), inner);
    }
    json!({
        "if": { "properties": { "emit": { "const": event_type.name() } }, "required": ["emit"] },
        "then": { "properties": properties },
    })
}

fn fields(schema: &BodySchema) -> Map<String, Json> {
    let field = |field: &contract::FieldSchema| {
        let value = json!({ "$ref": "#/$defs/value", "description": field.meaning });
        (field.name.to_owned(), value)
    };
    schema.fields.iter().map(field).collect()
}

/// A section's path without its places in lists and its free names.
fn general(path: &str, free: &BTreeSet<String>) -> String {
    let mut found = String::new();
    for part in path.split('.') {
        let part = match part.find('[') {
            Some(at) => format!("{}[]", part.get(..at).unwrap_or_default()),
            None => part.to_owned(),
        };
        let part = if free.contains(&found) {
            "*".to_owned()
        } else {
            part
        };
        if !found.is_empty() {
            found.push('.');
        }
        found.push_str(&part);
    }
    found
}

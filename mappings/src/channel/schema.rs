//! A JSON Schema of channel files for editors, made of what the loader asks for.

use contract::section::Asked;
use contract::{EventType, Finding, Problems};
use serde_json::{Value as Json, json};

use super::load::{declared, load_watched};
use super::settings::Answers;

/// The schema as it is shipped.
pub const SCHEMA: &str = include_str!("../../channel.schema.json");

/// What the loader asks of a file.
///
/// # Errors
/// What is wrong with the file.
pub fn watch(file: &str, text: &str) -> Result<Asked, Vec<Finding>> {
    let problems = Problems::watched(file);
    load_watched(file, text, &Answers::open(declared(file, text)?), &problems)?;
    Ok(problems.asked())
}

/// Keys of shapes that stand beside the one with `$`.
const FORMS: &[&str] = &["join", "key", "take", "is", "then", "else", "as", "where"];

/// Paths in which an event type's name is one part, and without what a header's, a query's or a comparison's value may
/// be beside an expression.
fn named(asked: &Asked) -> Asked {
    let one = |((path, key), wanted): (&(String, String), &std::collections::BTreeSet<_>)| {
        let path = EventType::ALL
            .iter()
            .fold(path.clone(), |path, kind| path.replace(kind.name(), "type"));
        ((path, key.clone()), wanted.clone())
    };
    let beside = |(path, key): &(String, String)| {
        let form = key.starts_with('$') || FORMS.contains(&key.as_str());
        let shape = path.contains(".query.") || path.contains(".compare.");
        ["base64", "before"].contains(&key.as_str()) || form && shape
    };
    let kept = asked.iter().filter(|(place, _)| !beside(place));
    kept.map(one).collect()
}

/// What may be a table or one word.
fn or_word(place: Option<&mut Json>, word: &str) {
    if let Some(place) = place {
        *place = json!({ "anyOf": [{ "const": word }, place.take()] });
    }
}

/// The schema of files of which so much was asked.
pub fn schema(asked: &[Asked]) -> Json {
    let plain: Vec<Asked> = asked.iter().map(named).collect();
    let mut root = crate::editor::plain(&plain);
    or_word(root.pointer_mut("/properties/auth"), "none");
    let events = root.pointer_mut("/properties/events/additionalProperties/properties/delete");
    or_word(events, "same");
    let next =
        root.pointer_mut("/properties/events/additionalProperties/properties/list/properties/next");
    if let Some(place) = next {
        *place = json!({ "anyOf": [{ "enum": ["offset", "page"] }, place.take()] });
    }
    if let Some(object) = root.as_object_mut() {
        object.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        object.insert("title".to_owned(), json!("Lighterman destination file"));
    }
    root
}

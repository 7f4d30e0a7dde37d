//! What may change inside a major version, as a rule over two descriptions.
//!
//! Receivers build on names, types, words, meanings and keys. So inside a major version only
//! optional fields and words may be added, and that raises the minor version.

use serde::{Deserialize, Serialize};

use super::words::{key_part, kind};
use crate::body::{BodySchema, FieldType};
use crate::event::EventType;

/// What receivers may build on: an event type as plain data, to be stored and compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeDescription {
    /// The type with its major version.
    pub name: String,
    /// Its minor version.
    pub minor: u16,
    /// `state` or `fact`.
    pub kind: String,
    /// The key's parts in order.
    pub key: Vec<KeyPart>,
    /// Its fields, those of nested objects included.
    pub fields: Vec<FieldDescription>,
}

/// A part of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPart {
    /// Name on the wire.
    pub name: String,
    /// What it means.
    pub meaning: String,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDescription {
    /// Where it stands: `hold.held`, `lines[].sku`.
    pub path: String,
    /// Its type.
    #[serde(rename = "type")]
    pub field_type: String,
    /// Must be there whenever what it stands in is there.
    pub required: bool,
    /// The words it may be, for a word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// What it means, with its unit.
    pub meaning: String,
}

impl FieldDescription {
    /// The path of the object it stands in; empty for the body itself.
    fn parent(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}

/// The description of a type as it is now.
pub fn describe(event_type: EventType) -> TypeDescription {
    let schema = event_type.schema();
    let key = schema.key.iter().map(|part| KeyPart {
        name: (*part).to_owned(),
        meaning: key_part(event_type, part).to_owned(),
    });
    let mut fields = Vec::new();
    describe_fields(schema, "", &mut fields);
    TypeDescription {
        name: event_type.name().to_owned(),
        minor: schema.minor,
        kind: kind(event_type.kind()).to_owned(),
        key: key.collect(),
        fields,
    }
}

fn describe_fields(schema: &BodySchema, prefix: &str, into: &mut Vec<FieldDescription>) {
    for field in schema.fields {
        let path = format!("{prefix}{}", field.name);
        let words = match field.field_type {
            FieldType::Word(words) => words.iter().map(|word| (*word).to_owned()).collect(),
            _ => Vec::new(),
        };
        into.push(FieldDescription {
            path: path.clone(),
            field_type: field.field_type.name().to_owned(),
            required: field.required,
            words,
            meaning: field.meaning.to_owned(),
        });
        match field.field_type {
            FieldType::List(inner) => describe_fields(inner, &format!("{path}[]."), into),
            FieldType::Object(inner) => describe_fields(inner, &format!("{path}."), into),
            _ => {}
        }
    }
}

/// What in `new` breaks the promises of `old`, both of one major version; empty when nothing does.
pub fn breaks(old: &TypeDescription, new: &TypeDescription) -> Vec<String> {
    let mut breaks = Vec::new();
    if new.kind != old.kind {
        breaks.push(format!("was a {}, is a {}", old.kind, new.kind));
    }
    if new.key != old.key {
        breaks.push("the key has changed".to_owned());
    }
    if new.minor < old.minor {
        breaks.push(format!("minor fell from {} to {}", old.minor, new.minor));
    }
    let mut added = Vec::new();
    for before in &old.fields {
        match new.fields.iter().find(|field| field.path == before.path) {
            Some(now) => breaks.extend(field_breaks(before, now, &mut added)),
            None => breaks.push(format!("field {} is gone", before.path)),
        }
    }
    let known = |path: &str| old.fields.iter().any(|field| field.path == path);
    for field in new.fields.iter().filter(|field| !known(&field.path)) {
        // Inside an object that is new itself a field may be required: nobody sent that object.
        let parent = field.parent();
        let parent_is_old = parent.is_empty() || known(parent.trim_end_matches("[]"));
        if field.required && parent_is_old {
            breaks.push(format!("field {} was added as a required one", field.path));
        }
        added.push(format!("field {}", field.path));
    }
    if new.minor <= old.minor && !added.is_empty() {
        let added = added.join(", ");
        breaks.push(format!("minor {} was not raised for {added}", old.minor));
    }
    breaks
}

fn field_breaks(
    before: &FieldDescription,
    now: &FieldDescription,
    added: &mut Vec<String>,
) -> Vec<String> {
    let path = &before.path;
    let mut breaks = Vec::new();
    if now.field_type != before.field_type {
        breaks.push(format!(
            "field {path} was {}, is {}",
            before.field_type, now.field_type
        ));
        // The words of what is no word any more are no news.
        return breaks;
    }
    if now.required != before.required {
        let now = if now.required { "required" } else { "optional" };
        breaks.push(format!("field {path} is {now} now"));
    }
    if now.meaning != before.meaning {
        breaks.push(format!("field {path} means something else"));
    }
    for word in before.words.iter().filter(|word| !now.words.contains(word)) {
        breaks.push(format!("field {path} lost the word {word}"));
    }
    for word in now.words.iter().filter(|word| !before.words.contains(word)) {
        added.push(format!("word {word} of {path}"));
    }
    breaks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(path: &str, field_type: &str, required: bool) -> FieldDescription {
        FieldDescription {
            path: path.to_owned(),
            field_type: field_type.to_owned(),
            required,
            words: Vec::new(),
            meaning: format!("what {path} means"),
        }
    }

    fn base() -> TypeDescription {
        let mut status = field("status", "word", true);
        status.words = vec!["open".to_owned(), "closed".to_owned()];
        TypeDescription {
            name: "thing.v1".to_owned(),
            minor: 3,
            kind: "state".to_owned(),
            key: vec![KeyPart {
                name: "company".to_owned(),
                meaning: "company".to_owned(),
            }],
            fields: vec![
                field("name", "text", true),
                status,
                field("lines", "list", false),
                field("lines[].sku", "text", true),
                field("hold", "object", false),
                field("hold.held", "bool", true),
            ],
        }
    }

    /// What the rule says about `base` after a change, with the minor version raised or not.
    fn after(raise: u16, change: impl Fn(&mut TypeDescription)) -> Vec<String> {
        let mut new = base();
        new.minor += raise;
        change(&mut new);
        breaks(&base(), &new)
    }

    #[test]
    fn nothing_changed_breaks_nothing() {
        assert_eq!(after(0, |_| {}), [""; 0]);
        assert_eq!(after(0, |new| new.fields.reverse()), [""; 0], "order");
    }

    #[test]
    fn a_field_that_disappears_breaks() {
        let gone = |at: usize| after(1, move |new| drop(new.fields.remove(at)));
        assert_eq!(gone(0), ["field name is gone"]);
        assert_eq!(gone(3), ["field lines[].sku is gone"]);
    }

    #[test]
    fn another_type_breaks() {
        let number = after(1, |new| new.fields[0].field_type = "decimal".to_owned());
        assert_eq!(number, ["field name was text, is decimal"]);
        let text = after(1, |new| new.fields[1] = field("status", "text", true));
        assert_eq!(text, ["field status was word, is text"]);
    }

    #[test]
    fn another_requiredness_breaks_either_way() {
        let optional = after(1, |new| new.fields[0].required = false);
        assert_eq!(optional, ["field name is optional now"]);
        let required = after(1, |new| new.fields[2].required = true);
        assert_eq!(required, ["field lines is required now"]);
    }

    #[test]
    fn another_meaning_breaks() {
        let changed = after(1, |new| new.fields[5].meaning.push('!'));
        assert_eq!(changed, ["field hold.held means something else"]);
    }

    #[test]
    fn a_word_that_disappears_breaks() {
        let lost = after(1, |new| drop(new.fields[1].words.remove(0)));
        assert_eq!(lost, ["field status lost the word open"]);
    }

    #[test]
    fn a_required_field_more_breaks() {
        let top = after(1, |new| new.fields.push(field("more", "text", true)));
        assert_eq!(top, ["field more was added as a required one"]);
        for path in ["lines[].more", "hold.more"] {
            let inside = after(1, |new| new.fields.push(field(path, "text", true)));
            let expected = format!("field {path} was added as a required one");
            assert_eq!(inside, [expected]);
        }
    }

    #[test]
    fn another_key_breaks() {
        let part = KeyPart {
            name: "sku".to_owned(),
            meaning: "item".to_owned(),
        };
        let longer = after(1, |new| new.key.push(part.clone()));
        assert_eq!(longer, ["the key has changed"]);
        let other = after(1, |new| new.key[0].meaning.push('!'));
        assert_eq!(other, ["the key has changed"]);
    }

    #[test]
    fn a_state_that_becomes_a_fact_breaks() {
        let fact = after(1, |new| new.kind = "fact".to_owned());
        assert_eq!(fact, ["was a state, is a fact"]);
    }

    #[test]
    fn a_minor_version_that_falls_breaks() {
        let fell = after(0, |new| new.minor = 2);
        assert_eq!(fell, ["minor fell from 3 to 2"]);
    }

    #[test]
    fn what_is_added_needs_a_higher_minor_version() {
        let field_more = |new: &mut TypeDescription| new.fields.push(field("more", "text", false));
        let word_more = |new: &mut TypeDescription| new.fields[1].words.push("new".to_owned());
        assert_eq!(after(1, field_more), [""; 0]);
        assert_eq!(after(1, word_more), [""; 0]);
        let expected = ["minor 3 was not raised for field more"];
        assert_eq!(after(0, field_more), expected);
        let expected = ["minor 3 was not raised for word new of status"];
        assert_eq!(after(0, word_more), expected);
    }

    #[test]
    fn a_new_optional_object_may_require_fields_of_its_own() {
        let object = |new: &mut TypeDescription| {
            new.fields.push(field("extra", "list", false));
            new.fields.push(field("extra[].id", "text", true));
        };
        assert_eq!(after(1, object), [""; 0]);
    }
}

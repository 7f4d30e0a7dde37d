//! `docs/mapping.md` says what is so.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use common::*;
use contract::body::availability;
use contract::{EventType, FieldType, Value};

fn docs() -> String {
    let path = format!("{}/../docs/mapping.md", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// The text of the first code block of a language.
fn block(docs: &str, language: &str) -> String {
    let (_, rest) = docs.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_whole_file_loads_and_gives_the_event_shown() {
    let docs = docs();
    let file = block(&docs, "yaml");
    let mapping = load(&file);
    assert_eq!(said(mapping.warnings()), "");
    let columns = ["sku", "warehouse", "on_hand", "allocated", "safety"];
    let row = vec![
        text("A1  "),
        text("MAIN"),
        decimal("80.0000"),
        Value::Null,
        Value::Int(50),
    ];
    let all = events(map(
        &file,
        &insert(&shape("wms", "stock", &columns, 2), row),
    ));
    let shown: serde_json::Value = serde_json::from_str(&block(&docs, "json")).unwrap();
    assert_eq!(body(&all[0]), shown.to_string());
    assert_eq!(all[0].envelope.key.text(), "MY-COMPANY|A1|MAIN");
}

#[test]
fn every_field_and_word_of_every_event_type_is_listed() {
    let docs = docs();
    let (_, lists) = docs.split_once("## Event types and their fields").unwrap();
    for event_type in EventType::ALL {
        let start = format!("**`{event_type}`**");
        let (_, list) = lists
            .split_once(&start)
            .unwrap_or_else(|| panic!("{start}"));
        let list = list.split("\n\n").next().unwrap();
        let listed: Vec<&str> = list
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'))
            .collect();
        for field in event_type.schema().fields {
            let name = field.name;
            let derived = event_type == EventType::InventoryAvailability
                && availability::DERIVED.contains(&name);
            let expected = match field.field_type {
                FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map => {
                    continue;
                }
                _ if derived => format!("*{name}*"),
                _ if field.required => format!("**{name}**"),
                _ => name.to_owned(),
            };
            assert!(
                listed.contains(&expected.as_str()),
                "{event_type} {expected}"
            );
            if let FieldType::Word(words) = field.field_type {
                for word in words {
                    assert!(listed.contains(word), "{event_type} {name} {word}");
                }
            }
        }
        for key in event_type.schema().key {
            assert!(listed.contains(key), "{event_type} {key}");
        }
    }
}

#[test]
fn every_refused_block_is_named() {
    let docs = docs();
    {
        let block = "read";
        assert!(docs.contains(&format!("`{block}`")), "{block}");
        let at_top = SHOP.replacen("tables:\n", &format!("{block}: {{}}\ntables:\n"), 1);
        let in_event = SHOP.replacen("    emit", &format!("    {block}: {{}}\n    emit"), 1);
        let refused = [at_top, in_event].iter().any(|file| {
            let findings = mappings::Mapping::load("f", file).unwrap_err();
            said(&findings).contains(&format!("not yet supported: `{block}`"))
        });
        assert!(refused, "{block}");
    }
}

#[test]
fn every_function_and_its_example_is_listed() {
    let docs = docs();
    for info in mappings::FUNCTIONS {
        let (example, gives) = info.example;
        let row = format!(
            "| `{}` | {} | `{example}` | `{gives}` |",
            info.name, info.meaning
        );
        assert!(docs.contains(&row.replace("||", "&#124;&#124;")), "{row}");
    }
}

//! `docs/mapping.md` says what is so.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use contract::Value;

use crate::common::*;

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
fn every_form_is_listed() {
    let docs = docs();
    for info in mappings::FORMS {
        let row = format!(
            "| `{}` | {} | `{}` |",
            info.name, info.meaning, info.example
        );
        assert!(docs.contains(&row), "{row}");
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

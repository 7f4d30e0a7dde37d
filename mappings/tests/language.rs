//! The language, as its own tests show it: every file under `tests/language` passes them.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::PathBuf;

use mappings::{Catalogue, LoadContext, Which, packs, trial};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/language")
}

fn passes(file: &str) -> usize {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    let context = LoadContext {
        company: Which::First,
        catalogue: &Catalogue::default(),
        packs: &|wanted| match std::fs::read_to_string(folder().join(wanted)) {
            Ok(text) => Ok((wanted.to_owned(), text)),
            Err(_) => packs::shipped(wanted),
        },
    };
    let results = trial::test_file(file, &text, context).unwrap_or_else(|findings| {
        let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
        panic!("{}", said.join("\n"))
    });
    let failures: Vec<String> = results
        .iter()
        .flat_map(|result| &result.failures)
        .map(ToString::to_string)
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    results.len()
}

#[test]
fn rows_of_other_tables() {
    assert_eq!(passes("joins.yaml"), 6);
}

#[test]
fn several_rows_make_one_event() {
    assert_eq!(passes("groups.yaml"), 3);
}

#[test]
fn documents_and_facts() {
    assert_eq!(passes("documents.yaml"), 4);
}

#[test]
fn companies() {
    assert_eq!(passes("companies.yaml"), 2);
}

#[test]
fn sites() {
    assert_eq!(passes("site.yaml"), 1);
}

#[test]
fn quantities_in_other_units() {
    assert_eq!(passes("units.yaml"), 2);
}

#[test]
fn keys_that_change() {
    assert_eq!(passes("renames.yaml"), 2);
}

#[test]
fn keys_that_two_rows_share() {
    assert_eq!(passes("shared.yaml"), 7);
}

#[test]
fn answers_of_the_database() {
    assert_eq!(passes("read.yaml"), 4);
}

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
    assert_eq!(passes("groups.yaml"), 5);
}

#[test]
fn documents_and_facts() {
    assert_eq!(passes("documents.yaml"), 5);
}

#[test]
fn rows_that_come_and_go_by_their_own_columns() {
    assert_eq!(passes("moves.yaml"), 7);
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
fn zero_before_the_tombstone() {
    assert_eq!(passes("zero.yaml"), 3);
}

#[test]
fn answers_to_settings() {
    assert_eq!(passes("settings.yaml"), 3);
}

#[test]
fn an_answer_that_a_test_cannot_be_run_with_fails_that_test_alone() {
    let text = std::fs::read_to_string(folder().join("settings.yaml")).unwrap();
    let broken = text.replacen("settings: {sites: [S]}", "settings: {zone: Mars}", 1);
    let context = LoadContext {
        company: Which::First,
        catalogue: &Catalogue::default(),
        packs: &packs::shipped,
    };
    let results = trial::test_file("settings.yaml", &broken, context).unwrap();
    let failed: Vec<String> = results
        .iter()
        .map(|result| result.failures.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(failed[0], "");
    assert_eq!(failed[1], "");
    assert!(
        failed[2].contains("there is no time zone `Mars`"),
        "{failed:?}"
    );
}

#[test]
fn keys_that_two_rows_share() {
    assert_eq!(passes("shared.yaml"), 8);
}

#[test]
fn answers_of_the_database() {
    assert_eq!(passes("read.yaml"), 4);
}

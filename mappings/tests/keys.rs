//! Rules of one table whose event key does not tell its rows apart: which they are, what is kept
//! for them, and what changes mean of which the log tells no more than a row's key.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use contract::{EventOp, Op, RowChange, TableShape, Value};
use mappings::MappingSet;
use mappings::trial::{Outcome, Trial};

use crate::common::*;

/// A rule with another key.
fn file(emit: &str, table_key: &str, key: &str) -> String {
    let fields = match emit {
        "product.v1" => "{name: name, stock_uom: \"'EA'\", kind: \"'kit'\", status: \"'active'\"}",
        _ => "{kind: \"'shipment'\", sku: sku, location: loc, uom: \"'EA'\", quantity: qty}",
    };
    format!(
        "mapping: 1\npack: keys\npack_version: \"1\"\ncompany: ACME\n\
         clean:\n  text: {{trim: both, blank_is_null: true}}\n\
         dictionaries: {{code: {{A: a, B: a, else: other}}}}\n\
         tables: {{t: {{name: t, key: {table_key}}}}}\n\
         events:\n  - id: r\n    emit: {emit}\n    from: t\n    key: {key}\n    fields: {fields}\n"
    )
}

#[test]
fn rows_are_kept_where_the_event_key_does_not_hold_the_table_s() {
    let cases = [
        ("[id]", "{sku: id}", true),
        ("[id]", "{sku: t.id}", true),
        ("[id]", "{sku: {value: t.id, trim: left}}", true),
        ("[id]", "{sku: {column: id, null_values: [\"-\"]}}", true),
        ("[id, co]", "{company: co, sku: id}", true),
        // More than the table's key.
        ("[id]", "{company: co, sku: id}", true),
        ("[id]", "{sku: code}", false),
        ("[id, co]", "{sku: id}", false),
        // What is made of a column may be the same for two rows.
        ("[id]", "{sku: \"left(id, 3)\"}", false),
        ("[id]", "{sku: \"upper(id)\"}", false),
        ("[id]", "{sku: \"t.code || t.id\"}", false),
        ("[id]", "{sku: {column: id, dictionary: code}}", false),
        ("[id]", "{sku: {column: id, default: NONE}}", false),
    ];
    for (table_key, key, one_row) in cases {
        let set = MappingSet::new(vec![load(&file("product.v1", table_key, key))]).unwrap();
        let whole = set.explain(&[]);
        let explained = &whole.events[0];
        assert_eq!(explained.one_row, one_row, "{table_key} {key}");
        assert_eq!(explained.shared_key, !one_row, "{table_key} {key}");
        assert_eq!(whole.replicas.len() == 1, !one_row, "{table_key} {key}");
    }
    // A fact is told once per row, whatever its event's key.
    let fact = file("inventory.movement.v1", "[id]", "{movement_id: number}");
    let set = MappingSet::new(vec![load(&fact)]).unwrap();
    assert!(set.explain(&[]).events[0].one_row);
}

/// What is warned about is what the log's missing old rows still do.
#[test]
fn only_a_key_that_is_worked_out_from_the_log_is_warned_about() {
    let warnings = |key: &str| {
        let mapping = load(&file("product.v1", "[id]", key));
        let warnings = said(mapping.warnings());
        warnings.contains("replica identity full")
    };
    assert!(!warnings("{sku: id}"));
    assert!(!warnings("{sku: code}"), "what it told is kept");
    assert!(warnings("{company: co, sku: id}"));
}

/// A trial of events by `code` of rows with the key `id`.
fn by_code() -> (Trial, Arc<TableShape>) {
    let file = file("product.v1", "[id]", "{sku: code}");
    let set = MappingSet::new(vec![load(&file)]).unwrap();
    let shape = shape("public", "t", &["id", "code", "name"], 1);
    (Trial::new(Arc::new(set)), shape)
}

fn row(id: i64, code: &str) -> Vec<Value> {
    vec![Value::Int(id), text(code), text("Lamp")]
}

/// What a log tells of a removed row: its key.
fn only_key(id: i64) -> Vec<Value> {
    vec![Value::Int(id), Value::Unchanged, Value::Unchanged]
}

fn took(trial: &mut Trial, changes: &[RowChange]) -> Vec<(EventOp, String)> {
    let Outcome { events, held, .. } = trial.take_changes(changes);
    assert!(held.is_empty(), "{held:?}");
    let seen = events.iter();
    seen.map(|event| (event.envelope.op, event.envelope.key.text()))
        .collect()
}

#[test]
fn a_log_that_tells_no_old_row_hides_no_old_key() {
    let (mut trial, shape) = by_code();
    let told = took(&mut trial, &[insert(&shape, row(1, "A"))]);
    assert_eq!(told, [(EventOp::Upsert, "ACME|A".to_owned())]);
    let told = took(&mut trial, &[update(&shape, None, row(1, "B"))]);
    assert_eq!(
        told,
        [
            (EventOp::Delete, "ACME|A".to_owned()),
            (EventOp::Upsert, "ACME|B".to_owned())
        ]
    );
    // The table's key changes, the event's does not: nothing is new.
    let moved = update(&shape, Some(only_key(1)), row(2, "B"));
    assert_eq!(took(&mut trial, &[moved]), []);
    let gone = change(&shape, Op::Delete, Some(only_key(2)), None);
    let told = took(&mut trial, &[gone]);
    assert_eq!(told, [(EventOp::Delete, "ACME|B".to_owned())]);
}

#[test]
fn an_emptied_table_ends_what_its_rows_told() {
    let (mut trial, shape) = by_code();
    let rows = [insert(&shape, row(1, "A")), insert(&shape, row(2, "B"))];
    assert_eq!(took(&mut trial, &rows).len(), 2);
    let told = took(&mut trial, &[change(&shape, Op::Truncate, None, None)]);
    assert_eq!(
        told,
        [
            (EventOp::Delete, "ACME|A".to_owned()),
            (EventOp::Delete, "ACME|B".to_owned())
        ]
    );
}

//! One event of each type, byte for byte. Set `BLESS=1` to write the files anew.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use contract::{Op, Origin, TableShape, Value};

use crate::common::*;

fn one(name: &str, shape: &Arc<TableShape>, op: Op, row: Vec<Value>) {
    let row = Some(row);
    let (before, after) = if op == Op::Delete {
        (row, None)
    } else {
        (None, row)
    };
    let mut change = change(shape, op, before, after);
    let mut context = context();
    if op == Op::Read {
        context.origin = Origin::Snapshot;
    } else {
        change.committed_at = Some("2026-11-20T09:59:59.5Z".parse().unwrap());
    }
    let mapped = mapper(SHOP).apply(&change, &context);
    golden(name, &events(mapped)[0].json());
}

#[test]
fn events_are_the_same_bytes_everywhere() {
    one("product.json", &item(), Op::Insert, item_row("A1"));
    one("tombstone.json", &item(), Op::Delete, item_row("A1"));
    one("availability.json", &stock(), Op::Update, stock_row());
    one("movement.json", &movement(), Op::Insert, movement_row(12));
    one("correction.json", &movement(), Op::Update, movement_row(12));
    let shipped = date("2026-11-21");
    one("order.json", &sale(), Op::Read, sale_row(shipped));
}

#[test]
fn held_rows_show_the_operator_the_whole_row() {
    let mut row = item_row("A1");
    row[3] = text("Z");
    row[2] = Value::Unchanged;
    row[4] = Value::Null;
    let mapped = map(SHOP, &insert(&item(), row));
    golden("held_row.json", &mapped.held[0].row_json);
    assert_eq!(mapped.held[0].row_key, "A1");
    assert_eq!(mapped.held[0].event_key.as_deref(), Some("ACME|A1"));
}

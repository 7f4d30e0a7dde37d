//! Fields worked out from several columns, and rows that `where` leaves out.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use contract::{EventOp, Op, TableShape, Value};
use mappings::trial::Trial;
use mappings::{Draft, Mapped, MappingSet};

use crate::common;
use crate::common::*;

/// Dynamics GP's stock: one row per item and site, and one of all sites. Here their sites differ.
const STOCK: &str = r#"
mapping: 1
pack: gp
pack_version: "1"
company: TWO
clean:
  text: {trim: right, blank_is_null: true}
tables:
  stock: {name: "dbo.IV00102", key: [ITEMNMBR, LOCNCODE]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    where: "stock.RCRDTYPE = 2"
    key: {sku: stock.ITEMNMBR, location: stock.LOCNCODE}
    fields:
      uom:          "'EA'"
      on_hand:      "stock.QTYONHND - coalesce(stock.QTYDMGED, 0)"
      allocated:    {value: "stock.ATYALLOC + stock.QTYBKORD", default: 0}
      safety_stock: "round(stock.SFTYSTCK / 3, 1)"
      active:       "stock.INACTIVE = 0 and stock.QTYONHND >= 0"
"#;

fn stock() -> Arc<TableShape> {
    let columns = [
        "ITEMNMBR", "RCRDTYPE", "LOCNCODE", "QTYONHND", "QTYDMGED", "ATYALLOC", "QTYBKORD",
        "SFTYSTCK", "INACTIVE",
    ];
    shape("dbo", "IV00102", &columns, 3)
}

fn row(kind: i64, on_hand: &str) -> Vec<Value> {
    vec![
        text("100xlg    "),
        Value::Int(kind),
        text("WAREHOUSE "),
        decimal(on_hand),
        Value::Null,
        decimal("5"),
        decimal("1.50000"),
        decimal("1"),
        Value::Int(0),
    ]
}

/// The same with a key that expressions make, so that two rows can have one.
fn shared() -> String {
    let own = "{sku: stock.ITEMNMBR, location: stock.LOCNCODE}";
    let made = "{sku: \"upper(stock.ITEMNMBR)\", location: \"coalesce(stock.LOCNCODE, 'NONE')\"}";
    STOCK.replace(own, made)
}

fn mapped(op: Op, before: Option<Vec<Value>>, after: Option<Vec<Value>>) -> Mapped {
    map(STOCK, &change(&stock(), op, before, after))
}

fn only(mut mapped: Mapped) -> Draft {
    assert!(mapped.held.is_empty(), "{:?}", mapped.held);
    assert_eq!(mapped.drafts.len(), 1, "{mapped:?}");
    mapped.drafts.remove(0)
}

/// Nothing to tell.
fn nothing(mapped: &Mapped) -> bool {
    mapped.drafts.is_empty() && mapped.held.is_empty() && mapped.filtered == 1
}

#[test]
fn fields_and_keys_are_worked_out_exactly() {
    let all = events(mapped(Op::Insert, None, Some(row(2, "12.50000"))));
    assert_eq!(all[0].envelope.key.text(), "TWO|100xlg|WAREHOUSE");
    let body: serde_json::Value = serde_json::from_str(&body(&all[0])).unwrap();
    assert_eq!(body["on_hand"], "12.5");
    assert_eq!(body["allocated"], "6.5");
    assert_eq!(body["safety_stock"], "0.3");
    assert_eq!(body["available"], "6");
    assert_eq!(body["active"], true);
    let set = Arc::new(MappingSet::new(vec![load(&shared())]).unwrap());
    let made = Trial::new(set).take_changes(&[insert(&stock(), row(2, "12.50000"))]);
    assert_eq!(made.events[0].envelope.key.text(), "TWO|100XLG|WAREHOUSE");
    assert_eq!(made.events[0].body, all[0].body);
    let mut unknown = row(2, "1");
    unknown[6] = Value::Null;
    let all = events(mapped(Op::Insert, None, Some(unknown)));
    let body: serde_json::Value = serde_json::from_str(&common::body(&all[0])).unwrap();
    assert_eq!(body["allocated"], "0", "null takes the default");
}

#[test]
fn what_has_no_exact_result_is_held_with_the_expression_and_without_a_value() {
    let mut broken = row(2, "7");
    broken[4] = text("secret");
    let held = mapped(Op::Insert, None, Some(broken)).held.remove(0);
    assert_eq!(
        held.reason,
        "rule stock, field on_hand, `stock.QTYONHND - coalesce(stock.QTYDMGED, 0)`: a value of \
         type text is no number; cast(.. as decimal) reads one from text"
    );
    assert_eq!(held.event_key.as_deref(), Some("TWO|100xlg|WAREHOUSE"));
    let mut broken = row(2, "7");
    broken[1] = text("two");
    let held = mapped(Op::Insert, None, Some(broken)).held.remove(0);
    assert!(
        held.reason
            .starts_with("rule stock, where: a value of type text cannot be compared")
    );
}

#[test]
fn where_leaves_rows_out_and_ends_what_they_told() {
    // Never told.
    assert!(nothing(&mapped(Op::Insert, None, Some(row(1, "5")))));
    let mut unknown = row(2, "5");
    unknown[1] = Value::Null;
    assert!(
        nothing(&mapped(Op::Insert, None, Some(unknown))),
        "unknown is not true"
    );
    // It comes in, goes out, and is gone.
    let came = only(mapped(Op::Update, Some(row(1, "5")), Some(row(2, "5"))));
    assert_eq!(came.envelope().op, EventOp::Upsert);
    let went = only(mapped(Op::Update, Some(row(2, "5")), Some(row(1, "5"))));
    assert_eq!(went.envelope().op, EventOp::Delete);
    assert_eq!(went.envelope().reason, Some("out_of_scope"));
    assert_eq!(went.envelope().key.text(), "TWO|100xlg|WAREHOUSE");
    let gone = only(mapped(Op::Delete, Some(row(2, "5")), None));
    assert_eq!(gone.envelope().reason, Some("hard_delete"));
}

/// Every row has an event key of its own: a row that says nothing ends whatever was
/// published for it, by whichever file; the store knows if there was anything.
#[test]
fn a_row_with_its_own_event_key_ends_what_an_earlier_file_told() {
    let (out, into) = (|| Some(row(1, "5")), None::<Vec<Value>>);
    for (op, before, after) in [
        (Op::Update, None, out()),
        (Op::Update, out(), out()),
        (Op::Read, None, out()),
        (Op::Delete, out(), into),
    ] {
        let ended = only(mapped(op, before, after));
        assert_eq!(ended.envelope().reason, Some("out_of_scope"), "{op:?}");
    }
}

#[test]
fn a_renamed_key_that_was_left_out_is_no_tombstone() {
    let mut old = row(1, "5");
    old[0] = text("OLD");
    let all = events(mapped(Op::Update, Some(old), Some(row(2, "5"))));
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].envelope.op, EventOp::Upsert);
    let mut old = row(2, "5");
    old[0] = text("OLD");
    let all = events(mapped(Op::Update, Some(old), Some(row(2, "5"))));
    let keys: Vec<_> = all.iter().map(|event| event.envelope.key.text()).collect();
    assert_eq!(keys, ["TWO|OLD|WAREHOUSE", "TWO|100xlg|WAREHOUSE"]);
}

#[test]
fn cells_the_log_left_out_stop_only_what_needs_them() {
    let published = events(mapped(Op::Insert, None, Some(row(2, "12"))));
    let mut part = row(2, "20");
    (part[5], part[6]) = (Value::Unchanged, Value::Unchanged);
    let draft = only(mapped(Op::Update, None, Some(part)));
    assert!(draft.needs_previous());
    let event = draft.finish(published[0].body.as_ref()).unwrap();
    let body: serde_json::Value = serde_json::from_str(&body(&event)).unwrap();
    assert_eq!(
        (&body["on_hand"], &body["allocated"]),
        (&"20".into(), &"6.5".into())
    );
    // What was published for one changed and one unchanged column says nothing about their sum.
    let mut part = row(2, "20");
    part[6] = Value::Unchanged;
    let held = mapped(Op::Update, None, Some(part)).held.remove(0);
    assert!(
        held.reason
            .contains("field allocated, `stock.ATYALLOC + stock.QTYBKORD`: the log does not carry"),
        "{}",
        held.reason
    );
    let mut part = row(2, "20");
    part[1] = Value::Unchanged;
    let held = mapped(Op::Update, None, Some(part)).held.remove(0);
    assert!(
        held.reason
            .contains("the log does not carry a column its condition needs"),
        "{}",
        held.reason
    );
}

#[test]
fn a_marked_row_is_a_deleted_one() {
    let file = STOCK.replace(
        "    where: \"stock.RCRDTYPE = 2\"\n",
        "    where: \"stock.RCRDTYPE = 2\"\n    deleted_when: \"stock.INACTIVE = 1\"\n",
    );
    let marked = || {
        let mut row = row(2, "5");
        row[8] = Value::Int(1);
        row
    };
    let run = |op, before, after| map(&file, &change(&stock(), op, before, after));
    let gone = only(run(Op::Update, Some(row(2, "5")), Some(marked())));
    assert_eq!(gone.envelope().reason, Some("soft_flag"));
    assert_eq!(gone.envelope().key.text(), "TWO|100xlg|WAREHOUSE");
    let back = only(run(Op::Update, Some(marked()), Some(row(2, "5"))));
    assert_eq!(back.envelope().op, EventOp::Upsert);
    assert!(nothing(&run(Op::Insert, None, Some(marked()))));
    // The store knows whether its end was told.
    for (op, before, after) in [
        (Op::Read, None, Some(marked())),
        (Op::Delete, Some(marked()), None),
    ] {
        let gone = only(run(op, before, after));
        assert_eq!(gone.envelope().reason, Some("soft_flag"));
    }
    let mut unknown = row(2, "5");
    unknown[8] = Value::Null;
    assert!(
        run(Op::Insert, None, Some(unknown)).held.len() == 1,
        "unknown is not gone"
    );
}

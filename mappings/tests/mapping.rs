//! What row changes mean: keys, deletes, facts, cells the log leaves out, and what is held.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use contract::{EventOp, Op, Value};
use mappings::{Draft, Mapped};

use crate::common;
use crate::common::*;

fn only_draft(mut mapped: Mapped) -> Draft {
    assert!(mapped.held.is_empty(), "{:?}", mapped.held);
    assert_eq!(mapped.drafts.len(), 1);
    mapped.drafts.remove(0)
}

#[test]
fn a_row_becomes_an_event_with_exact_fields() {
    let all = events(map(SHOP, &insert(&item(), item_row("A 1 "))));
    assert_eq!(
        body(&all[0]),
        r#"{"name":"Bolt","stock_uom":"EA","kind":"stocked","hazardous":false,"weight":"1.5","weight_unit":"kg","status":"active","min_order_qty":"2.3"}"#
    );
    assert_eq!(all[0].envelope.key.text(), "ACME|A 1");
    assert!(!all[0].envelope.occurred_at_exact);
    assert_eq!(all[0].envelope.occurred_at, context().read_at);
}

#[test]
fn the_same_change_gives_the_same_event_twice() {
    for (shape, row) in [
        (item(), item_row("A1")),
        (stock(), stock_row()),
        (movement(), movement_row(1)),
        (sale(), sale_row(Value::Null)),
    ] {
        let change = insert(&shape, row);
        let once = events(map(SHOP, &change));
        let twice = events(map(SHOP, &change));
        assert_eq!(once[0].json(), twice[0].json());
    }
}

#[test]
fn what_is_unclear_is_held_with_its_place_and_without_its_value() {
    let cases = [
        (
            3,
            text("Z-secret"),
            "rule item, field status, column \"status\": its code is not in dictionary `status`",
        ),
        (
            1,
            Value::Null,
            "rule item, field name, column \"name\": a required field must not be null",
        ),
        (
            1,
            text("   "),
            "rule item, field name, column \"name\": a required field must not be null",
        ),
        (
            4,
            Value::Invalid("Z-secret".to_owned()),
            "rule item, field weight, column \"grams\": the source holds a value that no type here can hold",
        ),
        (
            4,
            text("1,5 Z-secret"),
            "rule item, field weight, column \"grams\": its text cannot become a decimal: not a decimal number",
        ),
        (
            0,
            Value::Null,
            "rule item, field sku, column \"sku\": a key field must not be null",
        ),
        (
            0,
            Value::Unchanged,
            "rule item, field sku, column \"sku\": the log does not carry this key column; `alter table public.item replica identity full` makes it carry whole rows",
        ),
    ];
    for (cell, value, expected) in cases {
        let mut row = item_row("A1");
        row[cell] = value;
        let mapped = map(SHOP, &insert(&item(), row));
        assert_eq!(reason(&mapped), expected);
        assert!(!format!("{:?}", mapped.held).contains("Z-secret"));
    }
}

#[test]
fn a_missing_column_holds_the_rows_of_its_rule_only() {
    let narrow = shape("public", "item", &["sku", "name"], 1);
    let mapped = map(SHOP, &insert(&narrow, vec![text("a"), text("b")]));
    assert_eq!(
        reason(&mapped),
        "rule item: column \"long_text\" is not in table public.item; lighterman map check says \
         what of the file no longer fits"
    );
    // A row that is shorter than its own table is no reason to panic.
    let mapped = map(SHOP, &insert(&item(), vec![text("a")]));
    assert!(reason(&mapped).contains("the row has no such column"));
    // Another table of the same name in another schema is another table.
    let elsewhere = shape("archive", "item", &["sku"], 1);
    let mapped = map(SHOP, &insert(&elsewhere, vec![text("a")]));
    assert!(mapped.drafts.is_empty() && mapped.held.is_empty());
}

#[test]
fn a_new_shape_of_a_table_is_bound_anew() {
    let mut mapper = mapper(SHOP);
    assert_eq!(
        mapper
            .apply(&insert(&item(), item_row("A1")), &context())
            .drafts
            .len(),
        1
    );
    let mut columns: Vec<&str> = vec!["extra"];
    let old = item();
    columns.extend(old.columns.iter().map(String::as_str));
    let mut shape = (*shape("public", "item", &columns, 0)).clone();
    shape.key = vec![1];
    let mut row = vec![text("x")];
    row.extend(item_row("A2"));
    let mapped = mapper.apply(&insert(&shape.into(), row), &context());
    assert_eq!(events(mapped)[0].envelope.key.text(), "ACME|A2");
}

#[test]
fn unchanged_cells_come_from_what_was_published_and_from_nowhere_else() {
    let first = events(map(SHOP, &insert(&item(), item_row("A1"))));
    let mut partial = item_row("A1");
    partial[1] = Value::Unchanged;
    partial[2] = Value::Unchanged;
    partial[3] = text("D");
    let apply = || only_draft(map(SHOP, &update(&item(), None, partial.clone())));
    assert!(apply().needs_previous());
    let merged = apply().finish(first[0].body.as_ref()).unwrap();
    // The description was null and is still null.
    assert_eq!(
        body(&merged),
        body(&first[0]).replace("active", "discontinued")
    );
    let held = apply().finish(None).unwrap_err();
    assert_eq!(
        held.reason,
        "rule item, field name, column \"name\": the log does not carry this unchanged column and \
         no earlier value is known; `alter table public.item replica identity full` makes it carry \
         whole rows"
    );
    assert!(held.row_json.contains("unchanged"));
    let lacks = contract::Body::new(contract::EventType::Product.schema());
    let held = apply().finish(Some(&lacks)).unwrap_err();
    assert!(
        held.reason
            .contains("the earlier event lacks it; `alter table")
    );
    // The old row of a full replica identity needs no memory.
    let full = update(&item(), Some(item_row("A1")), partial.clone());
    let draft = only_draft(map(SHOP, &full));
    assert!(!draft.needs_previous());
    assert!(body(&draft.finish(None).unwrap()).contains("Bolt"));
}

#[test]
fn availability_is_worked_out_after_unchanged_cells_are_known() {
    let first = events(map(SHOP, &insert(&stock(), stock_row())));
    assert!(body(&first[0]).contains(r#""available":"80","atp":"79.5","sellable":"79""#));
    let mut partial = stock_row();
    partial[2] = Value::Unchanged;
    partial[4] = decimal("70.25");
    let draft = only_draft(map(SHOP, &update(&stock(), None, partial)));
    let merged = draft.finish(first[0].body.as_ref()).unwrap();
    assert!(body(&merged).contains(r#""available":"80","atp":"9.75","sellable":"9""#));
}

#[test]
fn an_amount_and_its_currency_are_filled_apart() {
    let first = events(map(SHOP, &insert(&sale(), sale_row(Value::Null))));
    let previous = first[0].body.as_ref();
    let merged = |amount: Value, currency: Value| {
        let mut row = sale_row(Value::Null);
        (row[3], row[4]) = (amount, currency);
        let draft = only_draft(map(SHOP, &update(&sale(), None, row)));
        assert!(draft.needs_previous());
        draft.finish(previous).map(|event| body(&event))
    };
    let new_amount = merged(decimal("20"), Value::Unchanged).unwrap();
    assert!(new_amount.contains(r#""total":{"amount":"20","currency":"EUR"}"#));
    let new_currency = merged(Value::Unchanged, text("USD")).unwrap();
    assert!(new_currency.contains(r#""total":{"amount":"19.9","currency":"USD"}"#));
    let same = merged(Value::Unchanged, Value::Unchanged).unwrap();
    assert!(same.contains(r#""total":{"amount":"19.9","currency":"EUR"}"#));
    let lost = merged(Value::Unchanged, Value::Null).unwrap_err();
    assert!(lost.reason.contains("its currency is null"));
    // The earlier amount was null, so its currency was never known.
    let mut no_amount = sale_row(Value::Null);
    no_amount[3] = Value::Null;
    let first = events(map(SHOP, &insert(&sale(), no_amount)));
    let mut row = sale_row(Value::Null);
    row[4] = Value::Unchanged;
    let draft = only_draft(map(SHOP, &update(&sale(), None, row)));
    let held = draft.finish(first[0].body.as_ref()).unwrap_err();
    assert!(held.reason.contains("no earlier currency is known"));
}

#[test]
fn a_changed_key_is_a_tombstone_and_an_upsert() {
    let all = events(map(
        SHOP,
        &update(&item(), Some(item_row("OLD")), item_row("NEW")),
    ));
    let seen: Vec<_> = all
        .iter()
        .map(|e| (e.envelope.op, e.envelope.key.text()))
        .collect();
    assert_eq!(
        seen,
        [
            (EventOp::Delete, "ACME|OLD".to_owned()),
            (EventOp::Upsert, "ACME|NEW".to_owned())
        ]
    );
    assert_eq!(all[0].envelope.version, all[1].envelope.version);
    // The log told the old key only; the rest of the old row is unknown.
    let mut only_key = vec![Value::Unchanged; 7];
    only_key[0] = text("OLD");
    let all = events(map(SHOP, &update(&item(), Some(only_key), item_row("NEW"))));
    assert_eq!(all.len(), 2);
    // The new row is held, the old key is gone all the same.
    let mut bad = item_row("NEW");
    bad[3] = text("?");
    let mapped = map(SHOP, &update(&item(), Some(item_row("OLD")), bad));
    assert_eq!((mapped.drafts.len(), mapped.held.len()), (1, 1));
    assert_eq!(mapped.drafts[0].envelope().op, EventOp::Delete);
    assert_eq!(mapped.held[0].event_key.as_deref(), Some("ACME|NEW"));
    // Padding is no change of the key.
    let all = events(map(
        SHOP,
        &update(&item(), Some(item_row("A1  ")), item_row("A1")),
    ));
    assert_eq!(all.len(), 1);
}

#[test]
fn key_cells_the_new_row_leaves_out_come_from_the_old_row() {
    let mut row = item_row("A1");
    row[0] = Value::Unchanged;
    let mut only_key = vec![Value::Unchanged; 7];
    only_key[0] = text("A1");
    let all = events(map(SHOP, &update(&item(), Some(only_key), row)));
    assert_eq!(all[0].envelope.key.text(), "ACME|A1");
}

#[test]
fn deletes_are_tombstones_and_truncates_name_the_rule() {
    let mut only_key = vec![Value::Unchanged; 7];
    only_key[0] = text("A1");
    let delete = |row| change(&item(), Op::Delete, row, None);
    let all = events(map(SHOP, &delete(Some(only_key))));
    assert_eq!(
        (all[0].envelope.op, all[0].envelope.reason),
        (EventOp::Delete, Some("hard_delete"))
    );
    assert!(all[0].body.is_none());
    let mapped = map(SHOP, &change(&item(), Op::Truncate, None, None));
    assert_eq!(mapped.truncated[0].mapping.rule, "item");
    let mapped = map(SHOP, &delete(Some(vec![Value::Unchanged; 7])));
    assert!(reason(&mapped).contains("replica identity full"));
    let mapped = map(SHOP, &delete(None));
    assert!(reason(&mapped).contains("does not carry the removed row; `alter table"));
    let mapped = map(SHOP, &change(&item(), Op::Update, None, None));
    assert!(reason(&mapped).contains("does not carry the new row"));
}

#[test]
fn facts_keep_their_identity_and_corrections_follow_them() {
    let shape = movement();
    let all = events(map(SHOP, &insert(&shape, movement_row(12))));
    assert_eq!(all[0].envelope.op, EventOp::Fact);
    assert_eq!(all[0].idempotency_key(), "ACME/wms.move/12");
    assert_eq!(
        body(&all[0]),
        r#"{"kind":"adjustment","sku":"A1","location":"MAIN","uom":"EA","quantity":"-2","occurred_at":"2026-11-20T08:00:00Z","posted_on":"2026-11-20"}"#
    );
    let mut other = movement_row(12);
    other[3] = Value::Int(-3);
    let corrected = events(map(SHOP, &update(&shape, Some(movement_row(12)), other)));
    assert_eq!(corrected[0].envelope.op, EventOp::Correction);
    assert_eq!(corrected[0].idempotency_key(), all[0].idempotency_key());
    for op in [Op::Delete, Op::Truncate] {
        let mapped = map(SHOP, &change(&shape, op, Some(movement_row(12)), None));
        assert_eq!((mapped.filtered, mapped.drafts.len()), (1, 0));
        assert!(mapped.held.is_empty() && mapped.truncated.is_empty());
    }
    let mapped = map(
        SHOP,
        &update(&shape, Some(movement_row(12)), movement_row(13)),
    );
    assert!(reason(&mapped).contains("would count twice"));
    let by_sku = SHOP.replacen("{movement_id: id}", "{movement_id: sku}", 1);
    let mut renamed = movement_row(12);
    renamed[1] = text("A2");
    let mapped = map(&by_sku, &update(&shape, Some(movement_row(12)), renamed));
    assert!(reason(&mapped).contains("would count twice"));
    let mut keyless = (*shape).clone();
    keyless.key = Vec::new();
    let mapped = map(SHOP, &insert(&keyless.into(), movement_row(12)));
    assert!(reason(&mapped).contains("a fact needs its row's key"));
}

/// ERPs rewrite rows in bulk.
#[test]
fn a_fact_whose_row_was_rewritten_without_a_change_is_not_told_again() {
    let shape = movement();
    let silent = |file: &str, before, after| {
        let mapped = map(file, &update(&shape, before, after));
        assert!(mapped.held.is_empty(), "{:?}", mapped.held);
        assert_eq!(mapped.drafts.len() + mapped.rewritten.len(), 1);
        mapped.drafts.is_empty()
    };
    let row = || movement_row(12);
    assert!(silent(SHOP, Some(row()), row()));
    // What the event reads is the same, however it is written.
    let mut padded = row();
    (padded[1], padded[3]) = (text("A1   "), decimal("-2.00"));
    assert!(silent(SHOP, Some(padded), row()));
    let mut left_out = row();
    left_out[3] = Value::Unchanged;
    assert!(silent(SHOP, Some(row()), left_out));
    // Nothing is taken for the same that may not be.
    let mut other = row();
    other[3] = Value::Int(-3);
    assert!(!silent(SHOP, Some(other.clone()), row()), "another body");
    assert!(!silent(SHOP, None, row()), "the log does not say");
    let mut part = vec![Value::Unchanged; row().len()];
    part[0] = Value::Int(12);
    assert!(!silent(SHOP, Some(part), row()), "the log says too little");
    let mut broken = row();
    broken[3] = text("many");
    assert!(!silent(SHOP, Some(broken), row()), "it was held");
    let scoped = SHOP.replacen(
        "    from: move\n",
        "    from: move\n    where: \"qty > -3\"\n",
        1,
    );
    assert!(
        !silent(&scoped, Some(other.clone()), row()),
        "it was left out"
    );
    // The same body, but a guard has something to say.
    let guard = "    guard: [{check: \"move.note = 'fine'\", else: warn, say: \"noted\"}]\n";
    let warned = SHOP.replacen("    from: move\n", &format!("    from: move\n{guard}"), 1);
    let columns = ["id", "sku", "loc", "qty", "at", "day", "note"];
    let noted = common::shape("wms", "move", &columns, 1);
    let with = |note: &str| {
        let mut row = row();
        row.push(text(note));
        row
    };
    for (before, sent) in [("fine", 0), ("odd", 1)] {
        let mapped = map(&warned, &update(&noted, Some(with(before)), with("fine")));
        assert_eq!(mapped.drafts.len(), sent, "{before}");
    }
    // What was inserted or read is told, whatever stood there.
    for op in [Op::Insert, Op::Read] {
        let mapped = map(SHOP, &change(&shape, op, Some(row()), Some(row())));
        assert_eq!(mapped.drafts.len(), 1);
    }
}

#[test]
fn numbers_beyond_38_digits_are_held_and_not_wrapped() {
    let mut row = stock_row();
    row[2] = decimal(&"9".repeat(38));
    row[4] = decimal("-1");
    let mapped = map(SHOP, &insert(&stock(), row));
    assert_eq!(
        reason(&mapped),
        "rule stock: working out availability: more than 38 digits"
    );
}

//! Mapping files through their public door: what loads, what is refused and where, what rows mean.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;

use contract::{
    Event, EventOp, LogPos, Op, Origin, Position, RowChange, TableName, TableShape, Value,
};
use mappings::{MapContext, Mapped, Mapper, Mapping, MappingSet};
use proptest::prelude::*;

const FILE: &str = r#"
mapping: 1
pack: shop
pack_version: "1.0.0"
source: postgres
company: ACME
clean:
  text: {trim: right, blank_is_null: true}
  dates: {null_values: ["1900-01-01"], zone: Europe/Berlin}
tables:
  item: {name: item, key: [sku]}
  move: {name: wms.move, key: [id]}
  sale: {name: sale, key: [id]}
dictionaries:
  status: {A: active, D: discontinued, else: hold}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: item.sku}
    fields:
      name: item.name
      description: item.long_text
      stock_uom: "'EA'"
      kind: "'stocked'"
      status: {column: item.status, dictionary: status}
      weight: {column: item.grams, implied_decimals: 3}
      min_order_qty: {column: item.min_qty, round: 1}
      hazardous: item.hazardous
  - id: move
    emit: inventory.movement.v1
    from: move
    key: {movement_id: id}
    fields:
      kind: "'adjustment'"
      sku: sku
      location: {column: loc, default: MAIN}
      uom: "'EA'"
      quantity: qty
      occurred_at: at
      posted_on: {column: day, date: cyyddd}
  - id: sale
    emit: order.v1
    from: sale
    key: {order_id: id}
    fields:
      order_number: id
      document_kind: "'order'"
      customer_id: customer
      ordered_on: {column: day, date: ymd}
      total: {column: total, currency: {column: cur}}
      lifecycle: "case when shipped is null then 'open' else 'closed' end"
      fulfillment: "case when shipped is not null then 'shipped' else 'none' end"
      has_backorder: false
      source_status: "'x'"
      archived: {const: false}
"#;

fn mapper(file: &str) -> Mapper {
    let mapping = Mapping::load("shop.yaml", file).unwrap_or_else(|findings| {
        panic!(
            "{}",
            findings
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        )
    });
    Mapper::new(Arc::new(MappingSet::new(vec![mapping]).unwrap()))
}

fn context() -> MapContext {
    MapContext {
        tenant: Arc::from("t"),
        source: Arc::from("erp"),
        read_at: "2026-11-20T10:00:00Z".parse().unwrap(),
        origin: Origin::Live,
    }
}

fn shape(schema: &str, name: &str, columns: &[&str]) -> Arc<TableShape> {
    Arc::new(TableShape {
        table: TableName::new(schema, name),
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        key: vec![0],
    })
}

fn item() -> Arc<TableShape> {
    shape(
        "public",
        "item",
        &[
            "sku",
            "name",
            "long_text",
            "status",
            "grams",
            "min_qty",
            "hazardous",
        ],
    )
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn row(sku: &str) -> Vec<Value> {
    vec![
        text(sku),
        text("Bolt   "),
        text("  "),
        text("A"),
        Value::Int(1_500),
        Value::Float(2.25),
        Value::Bool(false),
    ]
}

fn change(
    shape: &Arc<TableShape>,
    op: Op,
    before: Option<Vec<Value>>,
    after: Option<Vec<Value>>,
) -> RowChange {
    RowChange {
        shape: Arc::clone(shape),
        op,
        before,
        after,
        position: Position {
            epoch: 1,
            pos: LogPos::from_number(9),
            seq: 1,
        },
        committed_at: None,
        transaction: 7,
    }
}

fn events(mapped: Mapped) -> Vec<Event> {
    assert!(mapped.held.is_empty(), "{:?}", mapped.held);
    mapped
        .drafts
        .into_iter()
        .map(|draft| draft.finish(None).unwrap())
        .collect()
}

fn body(event: &Event) -> String {
    event.body.as_ref().unwrap().json()
}

fn reason(mapped: Mapped) -> String {
    assert!(mapped.drafts.is_empty());
    mapped.held[0].reason.clone()
}

#[test]
fn a_row_becomes_an_event_with_exact_fields() {
    let mapped = mapper(FILE).apply(
        &change(&item(), Op::Insert, None, Some(row("A 1 "))),
        &context(),
    );
    let all = events(mapped);
    assert_eq!(
        body(&all[0]),
        r#"{"name":"Bolt","stock_uom":"EA","kind":"stocked","hazardous":false,"weight":"1.5","status":"active","min_order_qty":"2.3"}"#
    );
    assert_eq!(all[0].envelope.key.text(), "ACME|A 1");
    assert!(!all[0].envelope.occurred_at_exact);
}

#[test]
fn the_same_change_gives_the_same_event_twice() {
    let change = change(&item(), Op::Insert, None, Some(row("A1")));
    let once = events(mapper(FILE).apply(&change, &context()));
    let twice = events(mapper(FILE).apply(&change, &context()));
    assert_eq!(once[0].json(), twice[0].json());
}

#[test]
fn what_is_unclear_is_held_with_its_place_and_without_its_value() {
    let cases: [(usize, Value, &str); 6] = [
        (
            3,
            text("Z"),
            "rule item, field status, column \"status\": its code is not in dictionary `status`",
        ),
        (
            1,
            Value::Null,
            "rule item, field name, column \"name\": a required field must not be null",
        ),
        (
            4,
            Value::Invalid("9".repeat(50)),
            "rule item, field weight, column \"grams\": the source holds a value that no type here can hold",
        ),
        (
            4,
            text("1,5"),
            "rule item, field weight, column \"grams\": its text cannot become a decimal: not a decimal number",
        ),
        (
            4,
            Value::Float(1.5),
            "rule item, field weight, column \"grams\": a binary float needs `round` to become a decimal",
        ),
        (
            0,
            Value::Null,
            "rule item, field sku, column \"sku\": a key field must not be null",
        ),
    ];
    for (cell, value, expected) in cases {
        let mut row = row("A1");
        row[cell] = value;
        let mapped = mapper(FILE).apply(&change(&item(), Op::Insert, None, Some(row)), &context());
        assert_eq!(reason(mapped), expected);
    }
    let narrow = shape("public", "item", &["sku", "name"]);
    let mapped = mapper(FILE).apply(
        &change(&narrow, Op::Insert, None, Some(vec![text("a"), text("b")])),
        &context(),
    );
    assert_eq!(
        reason(mapped),
        "column \"long_text\" is not in table public.item"
    );
}

#[test]
fn unchanged_cells_come_from_what_was_published_and_from_nowhere_else() {
    let first = events(mapper(FILE).apply(
        &change(&item(), Op::Insert, None, Some(row("A1"))),
        &context(),
    ));
    let mut partial = row("A1");
    partial[1] = Value::Unchanged;
    partial[3] = text("D");
    let apply = || {
        let mut mapped = mapper(FILE).apply(
            &change(&item(), Op::Update, None, Some(partial.clone())),
            &context(),
        );
        mapped.drafts.remove(0)
    };
    assert!(apply().needs_previous());
    let merged = apply().finish(first[0].body.as_ref()).unwrap();
    assert!(body(&merged).contains(r#""name":"Bolt""#) && body(&merged).contains("discontinued"));
    let held = apply().finish(None).unwrap_err();
    assert!(
        held.reason
            .contains("alter table public.item replica identity full"),
        "{}",
        held.reason
    );
    // The old row of a full replica identity needs no memory.
    let full = mapper(FILE).apply(
        &change(&item(), Op::Update, Some(row("A1")), Some(partial.clone())),
        &context(),
    );
    assert!(!full.drafts[0].needs_previous());
}

#[test]
fn a_changed_key_is_a_tombstone_and_an_upsert() {
    let mapped = mapper(FILE).apply(
        &change(&item(), Op::Update, Some(row("OLD")), Some(row("NEW"))),
        &context(),
    );
    let all = events(mapped);
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
}

#[test]
fn deletes_are_tombstones_and_truncates_name_the_rule() {
    let shape = item();
    let mut only_key = vec![Value::Unchanged; 7];
    only_key[0] = text("A1");
    let all = events(mapper(FILE).apply(
        &change(&shape, Op::Delete, Some(only_key), None),
        &context(),
    ));
    assert_eq!(
        (all[0].envelope.op, all[0].envelope.reason),
        (EventOp::Delete, Some("hard_delete"))
    );
    let mapped = mapper(FILE).apply(&change(&shape, Op::Truncate, None, None), &context());
    assert_eq!(mapped.truncated[0].mapping.rule, "item");
    let unknown_key = vec![Value::Unchanged; 7];
    let mapped = mapper(FILE).apply(
        &change(&shape, Op::Delete, Some(unknown_key), None),
        &context(),
    );
    assert!(reason(mapped).contains("replica identity"));
}

fn movement(at: Value, day: Value) -> Vec<Value> {
    vec![
        Value::Int(12),
        text("A1"),
        Value::Null,
        Value::Int(-2),
        at,
        day,
    ]
}

#[test]
fn facts_keep_their_identity_and_corrections_follow_them() {
    let shape = shape("wms", "move", &["id", "sku", "loc", "qty", "at", "day"]);
    let row = || {
        movement(
            Value::DateTime("2026-11-20T09:00:00".parse().unwrap()),
            text("126324"),
        )
    };
    let all =
        events(mapper(FILE).apply(&change(&shape, Op::Insert, None, Some(row())), &context()));
    assert_eq!(all[0].envelope.op, EventOp::Fact);
    assert_eq!(all[0].idempotency_key(), "ACME/wms.move/12");
    assert_eq!(
        body(&all[0]),
        r#"{"kind":"adjustment","sku":"A1","location":"MAIN","uom":"EA","quantity":"-2","occurred_at":"2026-11-20T08:00:00Z","posted_on":"2026-11-20"}"#
    );
    let all =
        events(mapper(FILE).apply(&change(&shape, Op::Update, None, Some(row())), &context()));
    assert_eq!(all[0].envelope.op, EventOp::Correction);
    let mapped = mapper(FILE).apply(&change(&shape, Op::Delete, Some(row()), None), &context());
    assert_eq!((mapped.filtered, mapped.drafts.len()), (1, 0));
    for (at, day) in [
        ("2026-10-25T02:30:00", "126324"),
        ("2026-03-29T02:30:00", "126324"),
    ] {
        let row = movement(Value::DateTime(at.parse().unwrap()), text(day));
        let mapped = mapper(FILE).apply(&change(&shape, Op::Insert, None, Some(row)), &context());
        assert!(reason(mapped).contains("clock change"));
    }
}

#[test]
fn orders_take_money_dates_and_null_cases() {
    let shape = shape(
        "public",
        "sale",
        &["id", "customer", "day", "total", "cur", "shipped"],
    );
    let row = |shipped: Value| {
        let total = Value::Decimal("19.90".parse().unwrap());
        vec![
            Value::Int(1),
            text("C1"),
            Value::Int(20_261_120),
            total,
            text("EUR "),
            shipped,
        ]
    };
    let open = events(mapper(FILE).apply(
        &change(&shape, Op::Insert, None, Some(row(Value::Null))),
        &context(),
    ));
    assert!(body(&open[0]).contains(r#""ordered_on":"2026-11-20","total":{"amount":"19.9","currency":"EUR"},"lifecycle":"open","fulfillment":"none""#));
    let day = Value::Date("2026-11-21".parse().unwrap());
    let closed = events(mapper(FILE).apply(
        &change(&shape, Op::Insert, None, Some(row(day))),
        &context(),
    ));
    assert!(body(&closed[0]).contains(r#""lifecycle":"closed","fulfillment":"shipped""#));
}

#[test]
fn tables_name_every_column_a_rule_reads() {
    let mapping = Mapping::load("shop.yaml", FILE).unwrap();
    let set = MappingSet::new(vec![mapping]).unwrap();
    let tables = set.tables();
    assert_eq!(tables[2].table.to_string(), "public.sale");
    assert_eq!(
        tables[2].columns,
        ["id", "customer", "day", "total", "cur", "shipped"]
    );
    assert_eq!(set.rules().count(), 3);
}

/// Broken files and the start of what is said about them, one finding each.
#[test]
fn broken_files_are_refused_with_place_and_suggestion() {
    let edits: [(&str, &str, &str); 17] = [
        (
            "mapping: 1",
            "mapping: 2",
            "shop.yaml:2:10: mapping: expected a whole number from 1 to 1, found 2",
        ),
        (
            "pack: shop",
            "pakc: shop",
            "shop.yaml:2:1: file: required key `pack` is missing",
        ),
        (
            "source: postgres",
            "source: oracle",
            "shop.yaml:5:9: source: `oracle` is not one of postgres, sqlite",
        ),
        (
            "trim: right",
            "trim: rihgt",
            "shop.yaml:8:16: clean.text.trim: `rihgt` is not one of none, left, right, both\n  hint: did you mean `right`?",
        ),
        (
            "Europe/Berlin",
            "Europe/Berln",
            "shop.yaml:9:46: clean.dates.zone: there is no time zone `Europe/Berln`",
        ),
        (
            "{name: item, key: [sku]}",
            "{name: item, key: []}",
            "shop.yaml:11:9: tables.item: `key` names no column",
        ),
        (
            "{name: item, key: [sku]}",
            "{name: item}",
            "shop.yaml:11:9: tables.item: required key `key` is missing",
        ),
        (
            "emit: product.v1",
            "emit: produkt.v1",
            "shop.yaml:18:11: events[1].emit: `produkt.v1` is not an event type\n  hint: did you mean `product.v1`?",
        ),
        (
            "from: item",
            "from: itme",
            "shop.yaml:19:11: events[1].from: `itme` is not one of tables\n  hint: did you mean `item`?",
        ),
        (
            "key: {sku: item.sku}",
            "key: {}",
            "shop.yaml:17:5: events[1]: key field `sku` of product.v1 is not mapped",
        ),
        (
            "      name: item.name\n",
            "",
            "shop.yaml:17:5: events[1]: required field `name` is not mapped",
        ),
        (
            "name: item.name",
            "name: sale.name",
            "shop.yaml:22:13: events[1].name: `sale` is not the event's table `item`",
        ),
        (
            "hazardous: item.hazardous",
            "hazardos: item.hazardous",
            "shop.yaml:29:7: events[1].fields: unknown field `hazardos`\n  hint: did you mean `hazardous`?",
        ),
        (
            "kind: \"'stocked'\"",
            "kind: \"'stoked'\"",
            "shop.yaml:25:13: events[1].kind: `stoked` is not a word of this field; perhaps stocked",
        ),
        (
            "dictionary: status}",
            "dictionary: stats}",
            "shop.yaml:26:49: events[1].status: there is no dictionary `stats`\n  hint: did you mean `status`?",
        ),
        (
            ", currency: {column: cur}}",
            "}",
            "shop.yaml:51:14: events[3].total: an amount of money needs `currency`",
        ),
        (
            "- id: move",
            "- id: item",
            "shop.yaml:30:5: events: another event has the id `item`",
        ),
    ];
    let mut wrong = Vec::new();
    for (from, to, expected) in edits {
        let broken = FILE.replacen(from, to, 1);
        assert_ne!(broken, FILE, "{from}");
        let findings = Mapping::load("shop.yaml", &broken).unwrap_err();
        let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
        if !said.iter().any(|line| line.starts_with(expected)) {
            wrong.push((to, said));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_comes_later_is_said_to_come_later() {
    let later = FILE.replacen(
        "    from: item\n",
        "    from: item\n    where: \"x = 1\"\n",
        1,
    );
    let findings = Mapping::load("shop.yaml", &later).unwrap_err();
    assert_eq!(findings[0].found, "`where` is not supported yet");
}

#[test]
fn shipped_packs_load() {
    for pack in [
        "northwind/northwind.yaml",
        "demo-warehouse/demo-warehouse.yaml",
    ] {
        let path = format!("{}/packs/{pack}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        if let Err(findings) = Mapping::load(pack, &text) {
            panic!("{findings:#?}");
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unchanged),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::unsigned),
        any::<f64>().prop_map(Value::Float),
        ".{0,12}".prop_map(Value::Text),
        "[0-9.e-]{0,9}".prop_map(Value::Text),
        ".{0,12}".prop_map(Value::Invalid),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_loading_panic(at in 0..FILE.len(), cut in 0usize..40, put in "[ -~\n]{0,6}") {
        let end = (at + cut).min(FILE.len());
        let broken = format!("{}{put}{}", &FILE[..at], &FILE[end..]);
        let _ = Mapping::load("shop.yaml", &broken);
    }

    #[test]
    fn no_row_makes_mapping_panic(before in proptest::option::of(proptest::collection::vec(any_value(), 0..9)),
                                  after in proptest::option::of(proptest::collection::vec(any_value(), 0..9)),
                                  op in 0usize..5, table in 0usize..3) {
        let op = [Op::Insert, Op::Update, Op::Delete, Op::Truncate, Op::Read][op];
        let shape = match table {
            0 => item(),
            1 => shape("wms", "move", &["id", "sku", "loc", "qty", "at", "day"]),
            _ => shape("public", "sale", &["id", "customer", "day", "total", "cur", "shipped"]),
        };
        let mapped = mapper(FILE).apply(&change(&shape, op, before, after), &context());
        for draft in mapped.drafts {
            let _ = draft.finish(None);
        }
    }
}

//! Rows, shapes and a mapping file that the tests share.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; each uses a part"
)]

use std::path::PathBuf;
use std::sync::Arc;

use contract::{
    Event, Finding, LogPos, Op, Origin, Position, RowChange, TableName, TableShape, Value,
};
use mappings::{MapContext, Mapped, Mapper, Mapping, MappingSet};

/// A file with one rule for each event type.
pub(crate) const SHOP: &str = include_str!("shop.yaml");

pub(crate) fn said(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

pub(crate) fn load(file: &str) -> Mapping {
    Mapping::load("shop.yaml", file).unwrap_or_else(|findings| panic!("{}", said(&findings)))
}

pub(crate) fn mapper(file: &str) -> Mapper {
    Mapper::new(Arc::new(MappingSet::new(vec![load(file)]).unwrap()))
}

pub(crate) fn context() -> MapContext {
    MapContext {
        tenant: Arc::from("acme"),
        source: Arc::from("erp"),
        read_at: "2026-11-20T10:00:00Z".parse().unwrap(),
        origin: Origin::Live,
    }
}

pub(crate) fn shape(schema: &str, name: &str, columns: &[&str], key: usize) -> Arc<TableShape> {
    Arc::new(TableShape {
        table: TableName::new(schema, name),
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        key: (0..key).collect(),
    })
}

pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

pub(crate) fn decimal(value: &str) -> Value {
    Value::Decimal(value.parse().unwrap())
}

pub(crate) fn date(value: &str) -> Value {
    Value::Date(value.parse().unwrap())
}

pub(crate) fn local(value: &str) -> Value {
    Value::DateTime(value.parse().unwrap())
}

pub(crate) fn item() -> Arc<TableShape> {
    let columns = [
        "sku",
        "name",
        "long_text",
        "status",
        "grams",
        "min_qty",
        "hazardous",
    ];
    shape("public", "item", &columns, 1)
}

pub(crate) fn item_row(sku: &str) -> Vec<Value> {
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

pub(crate) fn movement() -> Arc<TableShape> {
    shape("wms", "move", &["id", "sku", "loc", "qty", "at", "day"], 1)
}

pub(crate) fn movement_row(id: i64) -> Vec<Value> {
    vec![
        Value::Int(id),
        text("A1"),
        Value::Null,
        Value::Int(-2),
        local("2026-11-20T09:00:00"),
        text("126324"),
    ]
}

pub(crate) fn sale() -> Arc<TableShape> {
    let columns = ["id", "customer", "day", "total", "cur", "shipped", "kind"];
    shape("public", "sale", &columns, 1)
}

pub(crate) fn sale_row(shipped: Value) -> Vec<Value> {
    vec![
        Value::Int(1),
        text("C1"),
        Value::Int(20_261_120),
        decimal("19.90"),
        text("EUR "),
        shipped,
        text("S"),
    ]
}

pub(crate) fn stock() -> Arc<TableShape> {
    let columns = ["sku", "loc", "on_hand", "allocated", "safety", "counted"];
    shape("public", "stock", &columns, 2)
}

pub(crate) fn stock_row() -> Vec<Value> {
    vec![
        text("A|1"),
        text("MAIN"),
        decimal("80.0000"),
        Value::Null,
        decimal("0.5"),
        local("2026-07-01T12:00:00"),
    ]
}

pub(crate) fn change(
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

pub(crate) fn insert(shape: &Arc<TableShape>, row: Vec<Value>) -> RowChange {
    change(shape, Op::Insert, None, Some(row))
}

pub(crate) fn update(
    shape: &Arc<TableShape>,
    before: Option<Vec<Value>>,
    after: Vec<Value>,
) -> RowChange {
    change(shape, Op::Update, before, Some(after))
}

pub(crate) fn map(file: &str, change: &RowChange) -> Mapped {
    mapper(file).apply(change, &context())
}

/// The events of a change that must not be held.
pub(crate) fn events(mapped: Mapped) -> Vec<Event> {
    assert!(mapped.held.is_empty(), "{:?}", mapped.held);
    mapped
        .drafts
        .into_iter()
        .map(|draft| draft.finish(None).unwrap())
        .collect()
}

pub(crate) fn body(event: &Event) -> String {
    event.body.as_ref().unwrap().json()
}

/// The reason of a change that must be held.
pub(crate) fn reason(mapped: &Mapped) -> &str {
    assert!(mapped.drafts.is_empty(), "{:?}", mapped.drafts);
    &mapped.held[0].reason
}

/// Compares with a golden file; with `BLESS=1` writes it anew.
pub(crate) fn golden(name: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let path = path.join(name);
    let found = format!("{found}\n");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{name}; BLESS=1 writes it anew");
}

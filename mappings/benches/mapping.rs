//! What mapping costs per change: time and allocations, on one core, to the event's JSON, without
//! a disk.
//!
//! `cargo bench -p mappings` prints a table. Compare lines of one run: machines differ.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

use std::sync::Arc;

use contract::{LogPos, Op, Origin, Position, RowChange, TableName, TableShape, Value};
use divan::{AllocProfiler, Bencher, black_box};
use jiff::Timestamp;
use mappings::relate::{MemoryReplicas, Related, Relations};
use mappings::{MapContext, Mapper, Mapping, MappingSet};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const HEAD: &str = r#"
mapping: 1
pack: bench
pack_version: "1"
company: BENCH
clean:
  text: {trim: right, blank_is_null: true}
tables:
  stock: {name: stock, key: [item, site]}
  item:  {name: item, key: [code]}
  site:  {name: site, key: [code]}
  unit:  {name: unit, key: [code]}
  lot:   {name: lot, key: [id]}
  head:  {name: head, key: [id]}
  line:  {name: line, key: [doc, no]}
events:
"#;

const ONE_ROW: &str = r#"
  - id: one
    emit: inventory.availability.v1
    from: stock
    where: "stock.kind = 2"
    key: {sku: stock.item, location: stock.site}
    fields:
      uom: stock.unit
      on_hand: "stock.on_hand - stock.damaged"
      allocated: stock.allocated
      safety_stock: stock.safety
      on_order: stock.on_order
      backordered: stock.backordered
      in_transit: stock.in_transit
      active: "stock.inactive = 0"
"#;

const ONE_JOIN: &str = r#"
  - id: join
    emit: inventory.availability.v1
    from: stock
    where: "stock.kind = 2 and item.inactive = 0"
    join:
      item: {match: "item.code = stock.item", missing: hold}
    key: {sku: stock.item, location: stock.site}
    fields:
      uom: item.unit
      on_hand: "stock.on_hand - stock.damaged"
      allocated: stock.allocated
      safety_stock: stock.safety
      active: "stock.inactive = 0"
"#;

const GROUP: &str = r#"
  - id: group
    emit: inventory.availability.v1
    from: lot
    where: "item.inactive = 0"
    join:
      item: {match: "item.code = lot.item", missing: hold}
      site: {match: "site.code = lot.site", missing: hold}
      unit: {match: "unit.code = item.unit", missing: hold}
    group: sum
    key: {sku: lot.item, location: site.parent}
    fields:
      uom: unit.name
      on_hand: lot.qty
      allocated: lot.allocated
      active: true
"#;

const DOCUMENT: &str = r#"
  - id: order
    emit: order.v1
    from: head
    lines:
      from: line
      match: "line.doc = head.id"
      order_by: line.no
      fields:
        line_id: line.no
        sku: line.item
        uom: "'EA'"
        qty_ordered: line.qty
        qty_shipped: line.done
        qty_cancelled: 0
        qty_open: "qty_ordered - qty_shipped"
        status: "case when qty_open = 0 then 'shipped' else 'open' end"
    key: {order_id: head.id}
    fields:
      order_number: head.number
      document_kind: "'order'"
      customer_id: head.customer
      ordered_on: head.day
      lifecycle: "case when head.state = 'O' then 'open' else 'closed' end"
      fulfillment: "case when sum_lines(qty_open) = 0 then 'shipped' else 'partial' end"
      has_backorder: "any_lines(qty_open > 0)"
      source_status: head.state
      archived: false
"#;

fn set(rule: &str) -> Arc<MappingSet> {
    let mapping = Mapping::load("bench.yaml", &format!("{HEAD}{rule}")).unwrap();
    Arc::new(MappingSet::new(vec![mapping]).unwrap())
}

fn context() -> MapContext {
    MapContext {
        tenant: Arc::from("bench"),
        source: Arc::from("erp"),
        read_at: Timestamp::UNIX_EPOCH,
        origin: Origin::Live,
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn number(value: i64) -> Value {
    Value::Decimal(format!("{value}.50000").parse().unwrap())
}

fn shape(name: &str, columns: &[&str], key: usize) -> Arc<TableShape> {
    Arc::new(TableShape {
        table: TableName::new("public", name),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        key: (0..key).collect(),
    })
}

fn change(shape: &Arc<TableShape>, row: Vec<Value>, n: u64) -> RowChange {
    RowChange {
        shape: Arc::clone(shape),
        op: Op::Update,
        before: None,
        after: Some(row),
        position: Position {
            epoch: 1,
            pos: LogPos::from_number(n),
            seq: 1,
        },
        committed_at: Some(Timestamp::UNIX_EPOCH),
        transaction: n,
    }
}

fn stock(n: u64) -> RowChange {
    let columns = [
        "item",
        "site",
        "kind",
        "unit",
        "on_hand",
        "damaged",
        "allocated",
        "safety",
        "on_order",
        "backordered",
        "in_transit",
        "inactive",
    ];
    let amount = i64::try_from(n % 1_000).unwrap();
    let row = vec![
        text("100XLG                         "),
        text("WAREHOUSE  "),
        Value::Int(2),
        text("EA       "),
        number(amount),
        number(0),
        number(1),
        number(2),
        number(3),
        number(4),
        number(5),
        Value::Int(0),
    ];
    change(&shape("stock", &columns, 2), row, n)
}

/// Replicas with rows in them, and what comes out of one more change.
struct Related_ {
    relations: Relations,
    replicas: MemoryReplicas,
    context: MapContext,
}

impl Related_ {
    fn new(rule: &str, rows: Vec<RowChange>) -> Self {
        let mut replicas = MemoryReplicas::default();
        let (relations, _) = Relations::open(&set(rule), None, &mut replicas).unwrap();
        let mut related = Self {
            relations,
            replicas,
            context: context(),
        };
        for row in rows {
            related.take(&row);
        }
        related
    }

    fn take(&mut self, change: &RowChange) -> usize {
        let mut pending = self.relations.pending(false);
        let at = self.context.read_at;
        self.relations
            .apply(change, Origin::Live, at, &mut pending, &mut self.replicas)
            .unwrap();
        let flushed = self
            .relations
            .flush(
                &mut pending,
                &|_| true,
                &self.context,
                1_000,
                &mut self.replicas,
            )
            .unwrap();
        let mut bytes = 0;
        for related in &flushed.related {
            match related {
                Related::Event { event, .. } => bytes += event.json().len(),
                Related::Held { held, .. } => panic!("{}", held.reason),
                Related::Settled { .. } => {}
            }
        }
        bytes
    }
}

fn item() -> RowChange {
    let shape = shape("item", &["code", "unit", "inactive"], 1);
    change(&shape, vec![text("100XLG  "), text("EA"), Value::Int(0)], 1)
}

#[divan::bench]
fn stateless_12_columns(bencher: Bencher<'_, '_>) {
    let mut mapper = Mapper::new(set(ONE_ROW));
    let (context, mut n) = (context(), 0);
    let mut changes: Vec<RowChange> = (0..64).map(stock).collect();
    // As a source gives them: of one table shape.
    let shape = Arc::clone(&changes[0].shape);
    for change in &mut changes {
        change.shape = Arc::clone(&shape);
    }
    bencher.bench_local(|| {
        n += 1;
        let mapped = mapper.apply(black_box(&changes[n % 64]), &context);
        for draft in mapped.drafts {
            black_box(draft.finish(None).unwrap().json());
        }
    });
}

#[divan::bench]
fn one_join(bencher: Bencher<'_, '_>) {
    let mut related = Related_::new(ONE_JOIN, vec![item()]);
    let changes: Vec<RowChange> = (0..64).map(stock).collect();
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        assert!(related.take(black_box(&changes[n % 64])) > 0);
    });
}

#[divan::bench]
fn three_joins_and_a_group_of_10(bencher: Bencher<'_, '_>) {
    let lot = shape("lot", &["id", "item", "site", "qty", "allocated"], 1);
    let row = |id: i64, n: u64| {
        let qty = number(i64::try_from(n % 1_000).unwrap());
        let row = vec![
            Value::Int(id),
            text("100XLG"),
            text("BIN-7"),
            qty,
            number(1),
        ];
        change(&lot, row, n)
    };
    let mut rows = vec![
        item(),
        change(
            &shape("site", &["code", "parent"], 1),
            vec![text("BIN-7"), text("MAIN")],
            1,
        ),
        change(
            &shape("unit", &["code", "name"], 1),
            vec![text("EA"), text("Each")],
            1,
        ),
    ];
    rows.extend((0..10).map(|id| row(id, 1)));
    let mut related = Related_::new(GROUP, rows);
    let changes: Vec<RowChange> = (2..66).map(|n| row(3, n)).collect();
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        assert!(related.take(black_box(&changes[n % 64])) > 0);
    });
}

#[divan::bench]
fn document_with_20_lines(bencher: Bencher<'_, '_>) {
    let line = shape("line", &["doc", "no", "item", "qty", "done"], 2);
    let row = |no: i64, n: u64| {
        let done = number(i64::try_from(n % 1_000).unwrap());
        let row = vec![
            Value::Int(7),
            Value::Int(no),
            text("100XLG"),
            number(1_000),
            done,
        ];
        change(&line, row, n)
    };
    let head = shape("head", &["id", "number", "customer", "day", "state"], 1);
    let day = Value::Date(jiff::civil::date(2026, 11, 20));
    let row_of_head = vec![Value::Int(7), text("SO-7"), text("C1"), day, text("O")];
    let mut rows = vec![change(&head, row_of_head, 1)];
    rows.extend((0..20).map(|no| row(no, 1)));
    let mut related = Related_::new(DOCUMENT, rows);
    let changes: Vec<RowChange> = (2..66).map(|n| row(3, n)).collect();
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        assert!(related.take(black_box(&changes[n % 64])) > 0);
    });
}

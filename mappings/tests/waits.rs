//! Documents of a source that tells no transactions: how long they wait for the rest of their rows,
//! and for a row that is nowhere while it moves.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use contract::{EventOp, LogPos, Op, Origin, Position, Row, RowChange, Value};
use jiff::Timestamp;
use mappings::relate::{MemoryReplicas, Related, Relations, Replicas as _};
use mappings::{MapContext, MappingSet};

use crate::common::{context, load, shape, text};

const FILE: &str = r#"
mapping: 1
pack: waits
pack_version: "1"
company: C
tables:
  head: {name: head, key: [id]}
  line: {name: line, key: [doc, no]}
  old_head: {name: old_head, key: [id]}
  old_line: {name: old_line, key: [doc, no]}
events:
  - id: order
    emit: order.v1
    from: head
    lines:
      from: line
      match: "line.doc = head.id"
      fields: {line_id: line.no, sku: line.item, uom: "'EA'", qty_ordered: 1, qty_shipped: 0, qty_cancelled: 0, qty_open: 1, status: "'open'"}
    also_in: {head: old_head, line: old_line}
    key: {order_id: head.id}
    fields: {order_number: head.id, document_kind: "'order'", customer_id: "'C1'", ordered_on: "date '2026-11-20'", lifecycle: "'open'", fulfillment: "'none'", has_backorder: false, source_status: "'-'"}
"#;

/// A source without transactions, and its clock.
struct World {
    relations: Relations,
    replicas: MemoryReplicas,
    context: MapContext,
    next: u64,
}

impl World {
    fn new() -> Self {
        let set = MappingSet::new(vec![load(FILE)]).unwrap();
        let mut replicas = MemoryReplicas::default();
        let (relations, _) = Relations::open(&set, None, &mut replicas).unwrap();
        Self {
            relations,
            replicas,
            context: context(),
            next: 1,
        }
    }

    fn change(&mut self, table: &str, op: Op, row: Row) {
        let columns: (&[&str], usize) = match table {
            "head" | "old_head" => (&["id"], 1),
            _ => (&["doc", "no", "item"], 2),
        };
        let (before, after) = match op {
            Op::Delete => (Some(row), None),
            _ => (None, Some(row)),
        };
        let change = RowChange {
            shape: shape("public", table, columns.0, columns.1),
            op,
            before,
            after,
            position: Position {
                epoch: 1,
                pos: LogPos::from_number(self.next),
                seq: 1,
            },
            committed_at: None,
            transaction: 0,
        };
        self.next += 1;
        let mut pending = self.relations.pending(true);
        let Ok(()) = self.relations.apply(
            &change,
            Origin::Live,
            self.context.read_at,
            &mut pending,
            &mut self.replicas,
        );
        let Ok(()) = self.relations.keep(&mut pending, &mut self.replicas);
    }

    fn head(&mut self, table: &str, op: Op) {
        self.change(table, op, vec![Value::Int(7)]);
    }

    fn line(&mut self, table: &str, op: Op, no: i64) {
        let row = vec![Value::Int(7), Value::Int(no), text("A")];
        self.change(table, op, row);
    }

    /// What is told when so much time has passed: the operation, and whether it is archived with
    /// how many lines.
    fn after(&mut self, wait: Duration) -> Vec<(EventOp, bool, usize)> {
        self.context.read_at = self.context.read_at.checked_add(wait).unwrap();
        let mut pending = self.relations.pending(true);
        let Ok(flushed) = self.relations.flush(
            &mut pending,
            &|_| true,
            &self.context,
            100,
            &mut self.replicas,
        );
        let told = flushed
            .related
            .into_iter()
            .filter_map(|related| match related {
                Related::Event { event, .. } => {
                    let body: serde_json::Value =
                        serde_json::from_str(event.body_json().unwrap_or("{}")).unwrap();
                    let lines = body["lines"].as_array().map_or(0, Vec::len);
                    Some((event.envelope.op, body["archived"] == true, lines))
                }
                Related::Held { .. } | Related::Settled { .. } => None,
            });
        told.collect()
    }

    fn due(&mut self) -> Option<Timestamp> {
        let Ok(due) = self.replicas.next_due();
        due
    }
}

const SECOND: Duration = Duration::from_secs(1);
const NOTHING: [(EventOp, bool, usize); 0] = [];

#[test]
fn a_document_waits_until_its_rows_are_quiet() {
    let mut world = World::new();
    world.head("head", Op::Insert);
    assert_eq!(world.after(SECOND), NOTHING);
    world.line("line", Op::Insert, 1);
    assert_eq!(world.after(SECOND), NOTHING);
    world.line("line", Op::Insert, 2);
    assert_eq!(world.after(SECOND), NOTHING);
    assert_eq!(world.after(SECOND), [(EventOp::Upsert, false, 2)]);
    assert_eq!(world.due(), None);
}

#[test]
fn a_document_may_be_nowhere_for_ten_times_as_long() {
    let mut world = World::new();
    world.head("head", Op::Insert);
    world.line("line", Op::Insert, 1);
    assert_eq!(world.after(2 * SECOND), [(EventOp::Upsert, false, 1)]);
    world.head("head", Op::Delete);
    world.line("line", Op::Delete, 1);
    for _ in 0..6 {
        assert_eq!(world.after(2 * SECOND), NOTHING);
    }
    // There it is again, and told as soon as its rows are quiet.
    world.head("old_head", Op::Insert);
    world.line("old_line", Op::Insert, 1);
    assert_eq!(world.after(SECOND), NOTHING);
    assert_eq!(world.after(SECOND), [(EventOp::Upsert, true, 1)]);
    assert_eq!(world.after(60 * SECOND), NOTHING);
    // Only gone is gone, in its time.
    world.head("old_head", Op::Delete);
    for _ in 0..7 {
        assert_eq!(world.after(2 * SECOND), NOTHING);
    }
    assert_eq!(world.after(4 * SECOND), [(EventOp::Delete, false, 0)]);
    assert_eq!(world.due(), None);
}

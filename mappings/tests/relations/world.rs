//! Random changes: SQLite's tables, and the changes as a log tells them.

use std::sync::Arc;

use contract::{LogPos, Op, Position, RowChange, TableShape, Value};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::common::{shape, text};
use crate::rules::TABLES;

/// A change: a table, the row's key and what becomes of it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) table: usize,
    pub(crate) cells: Vec<Option<u8>>,
    pub(crate) delete: bool,
    /// The transaction goes on.
    pub(crate) more: bool,
    /// The batch is cut here.
    pub(crate) cut: bool,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    // Stock and lines change most.
    let table = prop_oneof![
        4 => Just(0_usize),
        2 => Just(1),
        1 => Just(2),
        3 => Just(3),
        2 => Just(4),
        4 => Just(5),
        1 => Just(6),
        1 => Just(7),
        1 => Just(8),
    ];
    (
        table,
        proptest::collection::vec(proptest::option::weighted(0.9, 0..4_u8), 6),
        proptest::bool::weighted(0.2),
        any::<bool>(),
        proptest::bool::weighted(0.3),
    )
        .prop_map(|(table, cells, delete, more, cut)| Step {
            table,
            cells,
            delete,
            more,
            cut,
        })
}

/// Texts and numbers in which collisions are common.
pub(crate) fn cell(kind: char, key: bool, value: Option<u8>) -> Value {
    match (kind, value) {
        ('t', Some(n)) => text(["A", "B", "C", "D"][usize::from(n)]),
        (_, Some(n)) => Value::Int(i64::from(n)),
        ('t', None) if key => text("A"),
        (_, None) if key => Value::Int(0),
        (_, None) => Value::Null,
    }
}

/// A world: SQLite's tables, and the changes as a log tells them.
pub(crate) struct World {
    pub(crate) db: Connection,
    pub(crate) shapes: Vec<Arc<TableShape>>,
    pub(crate) log: Vec<(Vec<RowChange>, bool)>,
    pub(crate) next: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let db = Connection::open_in_memory().unwrap();
        let mut shapes = Vec::new();
        for (name, columns, key) in TABLES {
            let list: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            db.execute_batch(&format!(
                "create table {name} ({}, primary key ({}))",
                list.join(", "),
                list[..*key].join(", ")
            ))
            .unwrap();
            let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            shapes.push(shape("public", name, &names, *key));
        }
        Self {
            db,
            shapes,
            log: vec![(Vec::new(), false)],
            next: 1,
        }
    }

    pub(crate) fn row(&self, table: usize, key: &[Value]) -> Option<Vec<Value>> {
        let (name, columns, _) = TABLES[table];
        let on: Vec<String> = columns[..key.len()]
            .iter()
            .zip(key)
            .map(|((name, _), value)| format!("{name} = {}", literal(value)))
            .collect();
        let mut found = self
            .db
            .prepare(&format!("select * from {name} where {}", on.join(" and ")))
            .unwrap();
        let mut rows = found.query([]).unwrap();
        let row = rows.next().unwrap()?;
        Some((0..columns.len()).map(|n| of_sql(row, n)).collect())
    }

    pub(crate) fn step(&mut self, step: &Step) {
        let (name, columns, key) = TABLES[step.table];
        let new: Vec<Value> = columns
            .iter()
            .zip(&step.cells)
            .enumerate()
            .map(|(n, ((_, kind), value))| cell(*kind, n < key, *value))
            .collect();
        let old = self.row(step.table, &new[..key]);
        let mut change = |op, before, after| {
            let (changes, _) = self.log.last_mut().unwrap();
            changes.push(RowChange {
                shape: Arc::clone(&self.shapes[step.table]),
                op,
                before,
                after,
                position: Position {
                    epoch: 1,
                    pos: LogPos::from_number(self.next),
                    seq: u32::try_from(changes.len()).unwrap() + 1,
                },
                committed_at: None,
                transaction: self.next,
            });
        };
        let on: Vec<String> = columns[..key]
            .iter()
            .zip(&new)
            .map(|((name, _), value)| format!("{name} = {}", literal(value)))
            .collect();
        let remove = format!("delete from {name} where {}", on.join(" and "));
        let values: Vec<String> = new.iter().map(literal).collect();
        let insert = format!("insert into {name} values ({})", values.join(", "));
        match (old, step.delete) {
            (None, true) => return,
            (Some(old), true) => {
                // Most logs carry only the key of a removed row.
                let mut before = vec![Value::Unchanged; columns.len()];
                before[..key].clone_from_slice(&old[..key]);
                change(Op::Delete, Some(before), None);
                self.db.execute_batch(&remove).unwrap();
            }
            (Some(_), false) => {
                change(Op::Update, None, Some(new));
                self.db
                    .execute_batch(&format!("{remove}; {insert}"))
                    .unwrap();
            }
            (None, false) => {
                change(Op::Insert, None, Some(new));
                self.db.execute_batch(&insert).unwrap();
            }
        }
        if !step.more {
            self.next += 1;
            self.log.push((Vec::new(), step.cut));
        }
    }
}

pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Text(text) => format!("'{text}'"),
        other => other.text().unwrap(),
    }
}

pub(crate) fn of_sql(row: &rusqlite::Row<'_>, n: usize) -> Value {
    match row.get_ref(n).unwrap() {
        rusqlite::types::ValueRef::Null => Value::Null,
        rusqlite::types::ValueRef::Integer(n) => Value::Int(n),
        rusqlite::types::ValueRef::Text(bytes) => text(std::str::from_utf8(bytes).unwrap()),
        _ => panic!("a value of another kind"),
    }
}

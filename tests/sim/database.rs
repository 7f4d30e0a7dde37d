//! The simulated database: rows, a log of what was committed, and readers who see a transaction later
//! than the log tells it.

use std::collections::BTreeSet;
use std::sync::Arc;

use contract::{LogPos, Op, Position, Row, RowChange, TableName, TableShape, Value};
use jiff::Timestamp;
use rand::RngExt;
use state::Resync;

use crate::world::World;

/// Marks rows of table `move` among all rows.
pub const MOVE: &str = "M:";
/// How many rows there are of each table.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Those that change.
    pub keys: u32,
    /// Those that never change: no log ever tells of them.
    pub still: u32,
}

impl Size {
    pub const LARGE: Self = Self {
        keys: 30,
        still: 15,
    };
    /// As many as the mappings tell apart: more happens to each of them in the same time.
    pub const SMALL: Self = Self { keys: 10, still: 4 };

    fn all(self) -> u32 {
        self.keys + self.still
    }
}

/// One committed transaction in the source's log.
pub struct Logged {
    pub changes: Vec<RowChange>,
    /// Log position of its end.
    pub end: u64,
}

/// What a transaction does to rows: the new row, or none.
pub type Effects = Vec<(String, Option<Row>)>;

pub fn item_shape() -> Arc<TableShape> {
    Arc::new(TableShape {
        table: TableName::new("public", "item"),
        columns: vec!["sku".to_owned(), "name".to_owned()],
        key: vec![0],
    })
}

pub fn move_shape() -> Arc<TableShape> {
    Arc::new(TableShape {
        table: TableName::new("public", "move"),
        columns: vec!["id".to_owned(), "qty".to_owned(), "sku".to_owned()],
        key: vec![0],
    })
}

impl World {
    /// Rows that were there before the agent: no log tells of them.
    pub fn seed_rows(&mut self) {
        for n in 0..self.size.all() {
            let sku = format!("S{n}");
            self.rows.insert(
                sku.clone(),
                vec![Value::Text(sku), Value::Text("seed".to_owned())],
            );
            let id = format!("old{n}");
            let sku = Value::Text(format!("S{n}"));
            let row = vec![Value::Text(id.clone()), Value::Int(1), sku];
            self.rows.insert(format!("{MOVE}{id}"), row);
            self.facts.insert(id.clone());
            self.quantity(&id, 1);
        }
    }

    fn quantity(&mut self, id: &str, quantity: i64) {
        self.quantities
            .entry(id.to_owned())
            .or_default()
            .insert(quantity);
    }

    /// Commits a random transaction; sometimes it is in the log before readers see it.
    pub fn commit(&mut self) {
        self.settle(30);
        let transaction = self.next_transaction;
        self.next_transaction += 1;
        let start = self.next_position;
        self.next_position += 2;
        let mut effects: Effects = Vec::new();
        let mut changes: Vec<RowChange> = Vec::new();
        let busy: BTreeSet<String> = self
            .stalled
            .iter()
            .flat_map(|(_, e)| e.iter().map(|(sku, _)| sku.clone()))
            .collect();
        for _ in 0..self.rng.random_range(1..6) {
            let seq = u32::try_from(changes.len()).unwrap() + 1;
            let position = Position {
                epoch: 1,
                pos: LogPos::from_number(start),
                seq,
            };
            let make = |shape, op, before, after| RowChange {
                shape,
                op,
                before,
                after,
                position: position.clone(),
                committed_at: Some(Timestamp::UNIX_EPOCH),
                transaction,
            };
            if self.chance(8) {
                // Rewritten without a change, perhaps before anyone has read it.
                let id = format!("{MOVE}old{}", self.rng.random_range(0..self.size.keys));
                let row = self.rows.get(&id).cloned();
                changes.push(make(move_shape(), Op::Update, row.clone(), row));
                continue;
            }
            if self.chance(25) {
                let id = format!("{transaction}-{seq}");
                let qty = self.rng.random_range(1..10);
                let sku = format!("S{}", self.rng.random_range(0..self.size.keys));
                let row = vec![Value::Text(id.clone()), Value::Int(qty), Value::Text(sku)];
                self.quantity(&id, qty);
                self.facts.insert(id.clone());
                changes.push(make(move_shape(), Op::Insert, None, Some(row.clone())));
                effects.push((format!("{MOVE}{id}"), Some(row)));
                continue;
            }
            let sku = format!("S{}", self.rng.random_range(0..self.size.keys));
            // A row a stalled transaction still holds is locked for others.
            if busy.contains(&sku) {
                continue;
            }
            let now = effects
                .iter()
                .rev()
                .find(|(known, _)| *known == sku)
                .map_or_else(|| self.rows.get(&sku).cloned(), |(_, row)| row.clone());
            let old = vec![Value::Text(sku.clone()), Value::Unchanged];
            if now.is_some() && self.chance(20) {
                changes.push(make(item_shape(), Op::Delete, Some(old), None));
                effects.push((sku, None));
            } else {
                let name = format!("v{}", self.rng.random_range(0..1_000_000));
                let row = vec![Value::Text(sku.clone()), Value::Text(name)];
                let op = if now.is_some() {
                    Op::Update
                } else {
                    Op::Insert
                };
                changes.push(make(item_shape(), op, None, Some(row.clone())));
                effects.push((sku, Some(row)));
            }
        }
        self.log.push(Logged {
            changes,
            end: start + 1,
        });
        self.stalled.push((transaction, effects));
        self.settle(40);
    }

    /// What is asked to be read again.
    pub fn resync(&mut self) -> Resync {
        match self.rng.random_range(0..4) {
            0 => Resync::All,
            1 => Resync::Tables(vec!["public.item".to_owned()]),
            2 => Resync::Tables(vec!["public.move".to_owned()]),
            _ => Resync::Tables(vec!["public.item".to_owned(), "public.move".to_owned()]),
        }
    }

    /// The log is lost, with changes that it told nobody of: rows came, changed and went.
    pub fn lose_log(&mut self) {
        self.settle(100);
        for _ in 0..self.rng.random_range(0..30) {
            let n = self.rng.random_range(0..self.size.all());
            let sku = format!("S{n}");
            match self.rng.random_range(0..8) {
                0 | 1 => drop(self.rows.remove(&sku)),
                2 | 3 => {
                    let name = Value::Text(format!("g{}", self.rng.random_range(0..1_000_000)));
                    self.rows.insert(sku.clone(), vec![Value::Text(sku), name]);
                }
                4 => {
                    let id = format!("gap{}", self.facts.len());
                    let row = vec![Value::Text(id.clone()), Value::Int(3), Value::Text(sku)];
                    self.rows.insert(format!("{MOVE}{id}"), row);
                    self.quantity(&id, 3);
                    self.facts.insert(id);
                }
                5 => {
                    // Nobody can tell of it any more, if nobody did so far.
                    let moves = self.rows.keys().filter(|id| id.starts_with(MOVE));
                    let moves: Vec<String> = moves.cloned().collect();
                    let id = moves[self.rng.random_range(0..moves.len())].clone();
                    self.rows.remove(&id);
                    self.facts.remove(&id[MOVE.len()..]);
                }
                _ => {
                    let qty = self.rng.random_range(10..20);
                    let moves = self.rows.keys().filter(|id| id.starts_with(MOVE));
                    let moves: Vec<String> = moves.cloned().collect();
                    let id = &moves[self.rng.random_range(0..moves.len())];
                    self.quantity(&id[MOVE.len()..], qty);
                    if let Some(row) = self.rows.get_mut(id) {
                        row[1] = Value::Int(qty);
                    }
                }
            }
        }
        self.log.clear();
        self.next_position += 2;
        self.released = self.next_position;
        self.next_position += 1;
    }

    /// Makes stalled transactions visible, each by chance.
    pub fn settle(&mut self, percent: u32) {
        let mut still = Vec::new();
        for (transaction, effects) in std::mem::take(&mut self.stalled) {
            if self.rng.random_range(0..100) >= percent {
                still.push((transaction, effects));
                continue;
            }
            for (sku, row) in effects {
                match row {
                    Some(row) => self.rows.insert(sku, row),
                    None => self.rows.remove(&sku),
                };
            }
        }
        self.stalled = still;
    }
}

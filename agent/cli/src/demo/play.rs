//! The demo's warehouse: a small database, and the people who work in it.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use rusqlite::{Connection, TransactionBehavior, params};

const SCHEMA: &str = include_str!("../../../../mappings/packs/demo-warehouse/warehouse.sql");
const SKUS: u32 = 200;
const WAREHOUSES: [&str; 3] = ["NORTH", "SOUTH", "PORT"];
const ORDERS: u32 = 50;

/// The warehouse and its book-keeper.
pub(crate) struct Warehouse {
    db: Connection,
    /// Rows changed while playing.
    pub(crate) changes: u64,
    /// When stock last changed, by event key.
    pub(crate) changed_at: HashMap<String, Instant>,
    movements: i64,
    orders: i64,
}

fn sku(n: u32) -> String {
    format!("SKU-{n:03}")
}

/// A quantity in ten-thousandths as exact text.
fn quantity(units: i64) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let size = units.unsigned_abs();
    format!("{sign}{}.{:04}", size / 10_000, size % 10_000)
}

fn units(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let size = whole.trim_start_matches('-').parse::<i64>().unwrap_or(0) * 10_000
        + fraction.parse::<i64>().unwrap_or(0);
    if text.starts_with('-') { -size } else { size }
}

impl Warehouse {
    /// Makes the database: 3 warehouses, 200 items, some open orders.
    pub(crate) fn create(file: &Path) -> rusqlite::Result<Self> {
        let mut db = Connection::open(file)?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.execute_batch(SCHEMA)?;
        let transaction = db.transaction()?;
        for n in 0..SKUS {
            let name = format!("Article {n}");
            transaction.execute(
                "INSERT INTO item VALUES (?1, ?2, 'EA', 'A')",
                params![sku(n), name],
            )?;
            for warehouse in WAREHOUSES {
                transaction.execute(
                    "INSERT INTO stock VALUES (?1, ?2, ?3, '0.0000', '2.0000')",
                    params![sku(n), warehouse, quantity(i64::from(20 + n % 50) * 10_000)],
                )?;
            }
        }
        for id in 0..ORDERS {
            order(&transaction, i64::from(id))?;
        }
        transaction.commit()?;
        Ok(Self {
            db,
            changes: 0,
            changed_at: HashMap::new(),
            movements: 0,
            orders: i64::from(ORDERS),
        })
    }

    /// One step of the day: a pick, a receipt, a transfer or an order.
    pub(crate) fn step(&mut self) -> rusqlite::Result<()> {
        let mut rng = rand::rng();
        let item = sku(rng.random_range(0..SKUS));
        let at = |n: usize| {
            WAREHOUSES
                .get(n % WAREHOUSES.len())
                .copied()
                .unwrap_or("NORTH")
        };
        let from = rng.random_range(0..WAREHOUSES.len());
        let amount = rng.random_range(1..=4) * 10_000;
        let mut touched = Vec::new();
        let choice = rng.random_range(0..100);
        // As an application beside other writers must: take the lock before reading.
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut book = |warehouse: &str, kind: &str, moved: i64| -> rusqlite::Result<()> {
            self.movements += 1;
            self.changes += 2;
            let text: String = transaction.query_row(
                "SELECT on_hand FROM stock WHERE sku = ?1 AND warehouse = ?2",
                params![item, warehouse],
                |row| row.get(0),
            )?;
            let there = units(&text);
            // Nobody picks from an empty shelf: goods come in instead.
            let (kind, moved) = if there + moved < 0 {
                ("R", 50 * 10_000)
            } else {
                (kind, moved)
            };
            transaction.execute(
                "UPDATE stock SET on_hand = ?3 WHERE sku = ?1 AND warehouse = ?2",
                params![item, warehouse, quantity(there + moved)],
            )?;
            transaction.execute(
                "INSERT INTO movement VALUES (?1, ?2, ?3, ?4, ?5, date('now'), 'DEMO')",
                params![self.movements, item, warehouse, kind, quantity(moved)],
            )?;
            touched.push(format!("DEMO|{item}|{warehouse}"));
            Ok(())
        };
        match choice {
            0..50 => book(at(from), "P", -amount)?,
            50..70 => book(at(from), "R", amount)?,
            70..85 => {
                book(at(from), "T-", -amount)?;
                book(at(from + 1), "T+", amount)?;
            }
            85..95 => {
                order(&transaction, self.orders)?;
                self.orders += 1;
                self.changes += 1;
            }
            _ => {
                let id = rng.random_range(0..self.orders);
                self.changes += transaction.execute(
                    "UPDATE orders SET status = CASE status WHEN 'O' THEN 'P' ELSE 'S' END
                     WHERE id = ?1 AND status <> 'S'",
                    [id],
                )? as u64;
            }
        }
        transaction.commit()?;
        let now = Instant::now();
        self.changed_at
            .extend(touched.into_iter().map(|key| (key, now)));
        Ok(())
    }

    /// Every row a channel should know: event type, key, and the fields to compare.
    pub(crate) fn expected(&self) -> rusqlite::Result<Vec<Expected>> {
        let mut all = Vec::new();
        let mut collect = |sql: &str, kind: &'static str, field: &'static str| {
            let mut query = self.db.prepare(sql)?;
            let rows = query.query_map([], |row| {
                Ok(Expected {
                    kind,
                    key: row.get(0)?,
                    field,
                    value: row.get(1)?,
                })
            })?;
            for row in rows {
                all.push(row?);
            }
            Ok::<(), rusqlite::Error>(())
        };
        collect(
            "SELECT 'DEMO|' || sku, name FROM item",
            "product.v1",
            "name",
        )?;
        collect(
            "SELECT 'DEMO|' || sku || '|' || warehouse, on_hand FROM stock",
            "inventory.availability.v1",
            "on_hand",
        )?;
        collect(
            "SELECT 'DEMO|' || id, status FROM orders",
            "order.v1",
            "source_status",
        )?;
        Ok(all)
    }

    /// Keys of all movements.
    pub(crate) fn movements(&self) -> impl Iterator<Item = String> {
        (1..=self.movements).map(|id| format!("DEMO|{id}"))
    }
}

/// A row as the channel should hold it.
pub(crate) struct Expected {
    pub(crate) kind: &'static str,
    pub(crate) key: String,
    pub(crate) field: &'static str,
    pub(crate) value: String,
}

impl Expected {
    /// Whether the channel's value is the same: quantities by number, the rest by text.
    pub(crate) fn equals(&self, value: &str) -> bool {
        if self.field != "on_hand" {
            return self.value == value;
        }
        let number = |text: &str| text.parse::<contract::Decimal>().ok();
        number(&self.value).is_some() && number(&self.value) == number(value)
    }
}

fn order(db: &Connection, id: i64) -> rusqlite::Result<()> {
    let total = quantity((id + 1) * 19_900);
    db.execute(
        "INSERT INTO orders VALUES (?1, 'SO-' || ?1, 'C-' || (?1 % 17), date('now'), 'O', ?2, 'EUR')",
        params![id, total],
    )?;
    Ok(())
}

//! The warehouse on a scripted SQL Server: captured by its log where the seed is even, tracked where it is odd.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use contract::Decimal;
use tds_server::model;
use tds_server::wire::{Options, Server, Value};

use crate::play::SCHEMA;

const QUANTITY_PLACES: u32 = 4;

pub struct Scripted {
    server: Server,
    database: model::Database,
    captured: bool,
    commits: AtomicU32,
    /// Stock rows that are there: the server knows no upsert in one short statement.
    stock: Mutex<BTreeSet<(String, String)>>,
}

impl Scripted {
    pub fn start(seed: u64) -> Self {
        let database = model::Database::new("DEMO");
        let captured = seed.is_multiple_of(2);
        if !captured {
            database.options(|options| {
                options.engine_edition = 4;
                "Express Edition (64-bit)".clone_into(&mut options.edition);
            });
        }
        let schema = SCHEMA
            .replace("QTY", "decimal(18,4)")
            .replace("TEXT PRIMARY KEY", "nvarchar(40) NOT NULL PRIMARY KEY")
            .replace("INTEGER PRIMARY KEY", "int NOT NULL PRIMARY KEY")
            .replace("document TEXT", "document nvarchar(40) NULL")
            .replace("TEXT", "nvarchar(40)")
            .replace("CREATE TABLE ", "CREATE TABLE dbo.");
        database.run(&schema).unwrap();
        let server = Server::start(Options::default(), database.clone()).unwrap();
        Self {
            server,
            database,
            captured,
            commits: AtomicU32::new(0),
            stock: Mutex::default(),
        }
    }

    /// Its part of the `[[source]]` block.
    pub fn settings(&self) -> String {
        format!(
            "type = \"sqlserver\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"DEMO\"\n\
             user = \"sa\"\npassword = {{ file = \"password\" }}\ntls = \"disable\"",
            self.server.address().port(),
        )
    }

    /// How `check` must say that its tables are read.
    pub fn mode(&self) -> &'static str {
        if self.captured { "cdc" } else { "tracking" }
    }

    pub fn commit(&self, statements: &[String]) {
        let sql: Vec<String> = statements
            .iter()
            .map(|one| self.in_its_words(one))
            .collect();
        self.database.run(&sql.join("; ")).unwrap();
        // The capture job is behind, as it always is.
        let commits = self.commits.fetch_add(1, Ordering::Relaxed);
        if self.captured && commits.is_multiple_of(3) {
            self.database.capture(4);
        }
    }

    /// The capture job reads what there is.
    pub fn catch_up(&self) {
        if self.captured {
            self.database.capture_all();
        }
    }

    fn in_its_words(&self, statement: &str) -> String {
        if let Some(row) = statement.strip_prefix("INSERT INTO stock VALUES (") {
            let cells: Vec<&str> = row.split('\'').skip(1).step_by(2).collect();
            let [sku, warehouse, quantity, ..] = cells[..] else {
                panic!("{statement}");
            };
            let row = (sku.to_owned(), warehouse.to_owned());
            return if self.stock.lock().unwrap().insert(row) {
                format!(
                    "INSERT INTO dbo.stock (sku, warehouse, on_hand, allocated, safety) VALUES \
                     ('{sku}', '{warehouse}', {quantity}, 0, 1)"
                )
            } else {
                format!(
                    "UPDATE dbo.stock SET on_hand = {quantity} WHERE sku = '{sku}' AND \
                     warehouse = '{warehouse}'"
                )
            };
        }
        if let Some(row) = statement.strip_prefix("DELETE FROM stock ") {
            let cells: Vec<&str> = row.split('\'').skip(1).step_by(2).collect();
            let [sku, warehouse] = cells[..] else {
                panic!("{statement}");
            };
            let row = (sku.to_owned(), warehouse.to_owned());
            self.stock.lock().unwrap().remove(&row);
            return statement.replace("FROM stock", "FROM dbo.stock");
        }
        let columns = [
            ("item", "sku, name, uom, status"),
            (
                "movement",
                "id, sku, warehouse, kind, qty, posted_on, document",
            ),
            (
                "orders",
                "id, number, customer, ordered_on, status, total, currency",
            ),
        ];
        for (table, columns) in columns {
            if let Some(row) = statement.strip_prefix(&format!("INSERT INTO {table} VALUES ")) {
                return format!("INSERT INTO dbo.{table} ({columns}) VALUES {row}");
            }
        }
        statement.replacen("UPDATE ", "UPDATE dbo.", 1)
    }

    /// Of each row of a table: the event's key, and what a column has.
    pub fn rows(&self, table: &str, key: &[&str], column: &str) -> BTreeMap<String, String> {
        let rows = self.database.rows(&format!("dbo.{table}")).unwrap();
        let shown = |row: &[(String, Value)], name: &str| {
            let value = row.iter().find(|(column, _)| column == name);
            match value.map(|(_, value)| value) {
                Some(Value::Text(text)) => text.clone(),
                Some(Value::Int(number)) => number.to_string(),
                Some(Value::Decimal(digits)) => {
                    let number = Decimal::try_new(*digits, QUANTITY_PLACES).unwrap();
                    number.to_string()
                }
                other => panic!("{table}.{name}: {other:?}"),
            }
        };
        rows.iter()
            .map(|row| {
                let parts: Vec<String> = key.iter().map(|name| shown(row, name)).collect();
                (format!("DEMO|{}", parts.join("|")), shown(row, column))
            })
            .collect()
    }
}

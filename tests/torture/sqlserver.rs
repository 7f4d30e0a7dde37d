//! The warehouse on a scripted SQL Server: captured by its log, or tracked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use contract::Decimal;
use tds_server::model;
use tds_server::wire::{Length, Options, Server, Type, Value};

use crate::sql;
use crate::step::Ddl;

const QUANTITY_PLACES: u32 = 4;
const TABLES: [&str; 4] = ["item", "stock", "movement", "orders"];

pub struct Scripted {
    server: Server,
    database: model::Database,
    captured: bool,
    commits: AtomicU32,
}

impl Scripted {
    pub fn start(seed: u64, schema: &str) -> Self {
        let database = model::Database::new("DEMO");
        // Seeds of this source are every fourth.
        let captured = (seed / 4).is_multiple_of(2);
        if !captured {
            database.options(|options| {
                options.engine_edition = 4;
                "Express Edition (64-bit)".clone_into(&mut options.edition);
            });
        }
        database.run(schema).unwrap();
        let server = Server::start(Options::default(), database.clone()).unwrap();
        Self {
            server,
            database,
            captured,
            commits: AtomicU32::new(0),
        }
    }

    pub fn port(&self) -> u16 {
        self.server.address().port()
    }

    pub fn is_captured(&self) -> bool {
        self.captured
    }

    /// How `check` must say that its tables are read.
    pub fn mode(&self) -> &'static str {
        if self.captured { "cdc" } else { "tracking" }
    }

    pub fn commit(&self, statements: &[String]) {
        if statements.is_empty() {
            return;
        }
        self.database.run(&statements.join("; ")).unwrap();
        // The capture job is behind, as it always is.
        let commits = self.commits.fetch_add(1, Ordering::Relaxed);
        if self.captured && commits.is_multiple_of(3) {
            self.database.capture(4);
        }
    }

    /// Only columns that come: one that goes takes a new capture instance, which is a person's work.
    pub fn alter(&self, ddl: Ddl) {
        if let Ddl::Add { table, column } = ddl {
            let column = model::Column::new(&sql::extra(column), Type::NVarChar(Length::Of(40)));
            self.database
                .add_column(&format!("dbo.{table}"), column)
                .unwrap();
        }
    }

    /// The capture job reads what there is.
    pub fn catch_up(&self) {
        if self.captured {
            self.database.capture_all();
        }
    }

    /// What is older than its retention is cleaned up.
    pub fn lose_log(&self) {
        if self.captured {
            self.database.capture_all();
            let end = self.database.log_end();
            for table in TABLES {
                let _ = self.database.cleanup(&format!("dbo_{table}"), end);
            }
        } else if let Some(version) = self.database.tracking_version() {
            for table in TABLES {
                let _ = self
                    .database
                    .tracking_cleanup(&format!("dbo.{table}"), version);
            }
        }
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

//! The warehouse under test, on each kind of database: what is done to it, and what it holds at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use harness::mariadb::MariadbServer;
use harness::postgres::PostgresServer;
use mysql_async::prelude::Queryable as _;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::sqlserver::Scripted;

const ITEMS: u32 = 60;
const WAREHOUSES: [&str; 3] = ["NORTH", "SOUTH", "PORT"];
const ORDERS: u32 = 80;

pub const SCHEMA: &str = "
CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT NOT NULL, uom TEXT NOT NULL, status TEXT NOT NULL);
CREATE TABLE stock (sku TEXT NOT NULL, warehouse TEXT NOT NULL, on_hand QTY NOT NULL,
  allocated QTY NOT NULL, safety QTY NOT NULL, PRIMARY KEY (sku, warehouse));
CREATE TABLE movement (id INTEGER PRIMARY KEY, sku TEXT NOT NULL, warehouse TEXT NOT NULL,
  kind TEXT NOT NULL, qty QTY NOT NULL, posted_on DATE NOT NULL, document TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, number TEXT NOT NULL, customer TEXT NOT NULL,
  ordered_on DATE NOT NULL, status TEXT NOT NULL, total QTY NOT NULL, currency TEXT NOT NULL);
";

/// A database the agent captures.
pub enum Database {
    Sqlite(rusqlite::Connection),
    Postgres {
        client: Client,
        server: Arc<PostgresServer>,
        name: String,
    },
    Mariadb {
        conn: Box<Mutex<mysql_async::Conn>>,
        server: Arc<MariadbServer>,
        name: String,
        server_id: u64,
    },
    Sqlserver(Box<Scripted>),
}

impl Database {
    pub fn sqlite(folder: &Path) -> Self {
        let db = rusqlite::Connection::open(folder.join("warehouse.db")).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.pragma_update(None, "synchronous", "NORMAL").unwrap();
        db.execute_batch(&SCHEMA.replace("QTY", "DECIMAL_TEXT"))
            .unwrap();
        Self::Sqlite(db)
    }

    pub async fn postgres(seed: u64) -> Self {
        let server = PostgresServer::shared();
        let name = format!("crash_{seed}");
        server.create_database(&name).await;
        let client = server.connect(&name).await;
        client
            .batch_execute(&SCHEMA.replace("QTY", "NUMERIC(18,4)"))
            .await
            .unwrap();
        Self::Postgres {
            client,
            server,
            name,
        }
    }

    pub async fn mariadb(seed: u64) -> Self {
        let server = MariadbServer::shared();
        let name = format!("crash_{seed}");
        server.run(&format!("CREATE DATABASE {name}")).await;
        let mut conn = server.connect(Some(&name)).await;
        let schema = SCHEMA
            .replace("QTY", "DECIMAL(18,4)")
            .replace("TEXT", "VARCHAR(40)");
        // It joins texts and names types as the others do.
        let mode = "SET sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')";
        conn.query_drop(mode).await.unwrap();
        conn.query_drop(schema).await.unwrap();
        Self::Mariadb {
            conn: Box::new(Mutex::new(conn)),
            server,
            name,
            // Several agents on this machine have a source of this name.
            server_id: 4_000_000_000 + seed,
        }
    }

    /// The `[[source]]` block that captures it.
    pub fn settings(&self) -> String {
        let own = match self {
            Self::Sqlite(_) => {
                "type = \"sqlite\"\nfile = \"warehouse.db\"\npoll_ms = 200".to_owned()
            }
            Self::Postgres { server, name, .. } => format!(
                "type = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"{name}\"\n\
                 user = \"postgres\"\nslot = \"{name}\"",
                server.port()
            ),
            Self::Mariadb {
                server, server_id, ..
            } => format!(
                "type = \"mysql\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"root\"\n\
                 server_id = {server_id}",
                server.port()
            ),
            Self::Sqlserver(scripted) => scripted.settings(),
        };
        format!("[[source]]\nname = \"warehouse\"\n{own}\nmappings = [\"mapping.yaml\"]\n")
    }

    /// The demo's mapping, for this database.
    pub fn mapping(&self) -> String {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../mappings/packs/demo-warehouse/demo-warehouse.yaml"
        );
        let text = std::fs::read_to_string(path).unwrap();
        match self {
            Self::Sqlite(_) => text,
            Self::Postgres { .. } => text.replace("source: sqlite", "source: postgres"),
            Self::Mariadb { name, .. } => {
                let lines = format!("source: mysql\nschema: {name}");
                text.replace("source: sqlite", &lines)
            }
            Self::Sqlserver(_) => text.replace("source: sqlite", "source: sqlserver"),
        }
    }

    /// Runs statements as one transaction.
    pub async fn commit(&self, statements: &[String]) {
        match self {
            Self::Sqlite(db) => {
                let sql = format!("BEGIN IMMEDIATE; {}; COMMIT", statements.join("; "));
                db.execute_batch(&sql).unwrap();
            }
            Self::Postgres { client, .. } => {
                let sql = format!("BEGIN; {}; COMMIT", statements.join("; "));
                client.batch_execute(&sql).await.unwrap();
            }
            Self::Mariadb { conn, .. } => {
                let sql = format!("BEGIN; {}; COMMIT", statements.join("; "));
                let sql = sql.replace(
                    "ON CONFLICT (sku, warehouse) DO UPDATE SET on_hand = excluded.on_hand",
                    "ON DUPLICATE KEY UPDATE on_hand = VALUES(on_hand)",
                );
                conn.lock().await.query_drop(sql).await.unwrap();
            }
            Self::Sqlserver(scripted) => scripted.commit(statements),
        }
    }

    async fn pairs(&self, sql: &str) -> BTreeMap<String, String> {
        match self {
            Self::Sqlite(db) => {
                let mut query = db.prepare(sql).unwrap();
                let rows = query
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
                    .unwrap();
                rows.map(Result::unwrap).collect()
            }
            Self::Postgres { client, .. } => {
                let rows = client.query(sql, &[]).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            }
            Self::Mariadb { conn, .. } => {
                let sql = sql.replace("AS TEXT", "AS CHAR");
                let rows: Vec<(String, String)> = conn.lock().await.query(sql).await.unwrap();
                rows.into_iter().collect()
            }
            Self::Sqlserver(_) => panic!("its rows are asked otherwise"),
        }
    }

    /// Event type, field and, by key, the value each row must have at the receiver.
    pub async fn expected(&self) -> Vec<(&'static str, &'static str, BTreeMap<String, String>)> {
        if let Self::Sqlserver(scripted) = self {
            scripted.catch_up();
            let stock = scripted.rows("stock", &["sku", "warehouse"], "on_hand");
            return vec![
                (
                    "product.v1",
                    "name",
                    scripted.rows("item", &["sku"], "name"),
                ),
                ("inventory.availability.v1", "on_hand", stock),
                (
                    "order.v1",
                    "source_status",
                    scripted.rows("orders", &["id"], "status"),
                ),
            ];
        }
        let cast = |column: &str| format!("CAST({column} AS TEXT)");
        let products = self.pairs("SELECT 'DEMO|' || sku, name FROM item").await;
        let stock = format!(
            "SELECT 'DEMO|' || sku || '|' || warehouse, {} FROM stock",
            cast("on_hand")
        );
        let orders = format!("SELECT 'DEMO|' || {}, status FROM orders", cast("id"));
        vec![
            ("product.v1", "name", products),
            (
                "inventory.availability.v1",
                "on_hand",
                self.pairs(&stock).await,
            ),
            ("order.v1", "source_status", self.pairs(&orders).await),
        ]
    }

    /// Frees what the run took from a shared server.
    pub async fn clean(self) {
        if let Self::Postgres { client, name, .. } = self {
            // The killed agent's session may still be ending.
            let sql = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                 WHERE slot_name = '{name}' AND NOT active"
            );
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
            while client
                .query(&sql, &[])
                .await
                .is_ok_and(|rows| rows.is_empty())
            {
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "the slot stays active"
                );
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Decides what happens next.
pub struct Player {
    pub rng: StdRng,
    pub changes: u32,
    pub movements: u32,
    /// Items ever renamed, so that keys change too.
    renamed: u32,
}

impl Player {
    pub fn new(rng: StdRng) -> Self {
        Self {
            rng,
            changes: 0,
            movements: 0,
            renamed: 0,
        }
    }

    fn quantity(&mut self) -> String {
        format!(
            "{}.{:04}",
            self.rng.random_range(-50..5_000),
            self.rng.random_range(0..10_000)
        )
    }

    /// Rows that are there before the agent.
    pub fn opening(&mut self) -> Vec<String> {
        let mut all: Vec<String> = (0..ITEMS)
            .map(|n| format!("INSERT INTO item VALUES ('S{n}', 'opening', 'EA', 'A')"))
            .collect();
        for n in 0..ITEMS {
            for warehouse in WAREHOUSES {
                let quantity = self.quantity();
                all.push(format!(
                    "INSERT INTO stock VALUES ('S{n}', '{warehouse}', '{quantity}', '0', '1')"
                ));
            }
        }
        for id in 0..ORDERS {
            all.push(format!(
                "INSERT INTO orders VALUES ({id}, 'SO-{id}', 'C1', '2026-11-20', 'O', '10.50', 'EUR')"
            ));
        }
        all
    }

    /// The statements of one transaction; each changes one row at most.
    pub fn transaction(&mut self) -> Vec<String> {
        // Now and then one that does not fit a batch.
        let count = if self.rng.random_range(0..200) == 0 {
            3_000
        } else {
            self.rng.random_range(1..20)
        };
        (0..count).map(|_| self.statement()).collect()
    }

    fn statement(&mut self) -> String {
        self.changes += 1;
        let item = self.rng.random_range(0..ITEMS);
        let warehouse = WAREHOUSES[self.rng.random_range(0..WAREHOUSES.len())];
        let order = self.rng.random_range(0..ORDERS);
        let quantity = self.quantity();
        match self.rng.random_range(0..100) {
            0..25 => {
                self.movements += 1;
                let id = self.movements;
                format!(
                    "INSERT INTO movement VALUES ({id}, 'S{item}', '{warehouse}', 'A', \
                     '{quantity}', '2026-11-20', NULL)"
                )
            }
            25..70 => format!(
                "INSERT INTO stock VALUES ('S{item}', '{warehouse}', '{quantity}', '0', '1') \
                 ON CONFLICT (sku, warehouse) DO UPDATE SET on_hand = excluded.on_hand"
            ),
            70..78 => {
                format!("DELETE FROM stock WHERE sku = 'S{item}' AND warehouse = '{warehouse}'")
            }
            78..88 => {
                let name = self.rng.random_range(0..1_000_000);
                format!("UPDATE item SET name = 'n{name}' WHERE sku = 'S{item}'")
            }
            88..90 => {
                self.renamed += 1;
                let new = self.renamed;
                format!("UPDATE item SET sku = 'R{new}' WHERE sku = 'S{item}'")
            }
            _ => {
                let status = ["O", "P", "S", "C"][self.rng.random_range(0..4)];
                format!("UPDATE orders SET status = '{status}' WHERE id = {order}")
            }
        }
    }
}

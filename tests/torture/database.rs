//! A warehouse on each kind of database: what is done to it, and what it holds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use harness::mariadb::MariadbServer;
use harness::postgres::PostgresServer;
use mysql_async::prelude::Queryable as _;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::model::{Model, ORDER, PRODUCT, SOURCE, STOCK, plain};
use crate::servers::Servers;
use crate::sql;
use crate::sqlserver::Scripted;
use crate::step::{Ddl, Statement};

/// How long a server may take to let go of something.
const SOON: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
    Sqlserver,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Sqlite, Self::Postgres, Self::Mariadb, Self::Sqlserver];
}

impl fmt::Display for Kind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
            Self::Sqlserver => "sqlserver",
        })
    }
}

/// A database the agent captures.
pub enum Database {
    Sqlite {
        db: Option<rusqlite::Connection>,
        file: PathBuf,
    },
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

fn open(file: &Path) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(file).unwrap();
    db.busy_timeout(Duration::from_secs(20)).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.pragma_update(None, "synchronous", "NORMAL").unwrap();
    db
}

impl Database {
    /// An empty one with the tables of a seed. `number` is its own in this process.
    pub async fn start(
        kind: Kind,
        seed: u64,
        number: u32,
        folder: &Path,
        servers: &Servers,
    ) -> Self {
        let name = format!("torture_{number}");
        let schema = sql::schema(kind, seed);
        match kind {
            Kind::Sqlite => {
                let file = folder.join("warehouse.db");
                let db = open(&file);
                db.execute_batch(&schema).unwrap();
                Self::Sqlite { db: Some(db), file }
            }
            Kind::Postgres => {
                let server = servers.postgres();
                server.create_database(&name).await;
                let client = server.connect(&name).await;
                client.batch_execute(&schema).await.unwrap();
                Self::Postgres {
                    client,
                    server,
                    name,
                }
            }
            Kind::Mariadb => {
                let server = servers.mariadb();
                server.run(&format!("CREATE DATABASE {name}")).await;
                let mut conn = server.connect(Some(&name)).await;
                conn.query_drop(schema).await.unwrap();
                Self::Mariadb {
                    conn: Box::new(Mutex::new(conn)),
                    server,
                    name,
                    // Several agents on this machine have a source of this name.
                    server_id: 4_000_000_000 + u64::from(number),
                }
            }
            Kind::Sqlserver => Self::Sqlserver(Box::new(Scripted::start(seed, &schema))),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Sqlite { .. } => Kind::Sqlite,
            Self::Postgres { .. } => Kind::Postgres,
            Self::Mariadb { .. } => Kind::Mariadb,
            Self::Sqlserver(_) => Kind::Sqlserver,
        }
    }

    /// Whether a read of a table may show what its log tells later.
    pub fn reads_ahead(&self) -> bool {
        matches!(self, Self::Sqlserver(scripted) if scripted.mode() == "cdc")
    }

    /// The port of its server, where there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres { server, .. } => Some(server.port()),
            Self::Mariadb { server, .. } => Some(server.port()),
            Self::Sqlserver(scripted) => Some(scripted.port()),
        }
    }

    /// The `[[source]]` block that captures it, by way of a port.
    pub fn settings(&self, port: u16) -> String {
        let own = match self {
            Self::Sqlite { .. } => {
                "type = \"sqlite\"\nfile = \"warehouse.db\"\npoll_ms = 200".to_owned()
            }
            Self::Postgres { name, .. } => format!(
                "type = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"{name}\"\n\
                 user = \"postgres\"\nslot = \"{name}\""
            ),
            Self::Mariadb { server_id, .. } => format!(
                "type = \"mysql\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"root\"\n\
                 server_id = {server_id}"
            ),
            Self::Sqlserver(_) => format!(
                "type = \"sqlserver\"\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"DEMO\"\n\
                 user = \"sa\"\npassword = {{ file = \"password\" }}\ntls = \"disable\""
            ),
        };
        format!("[[source]]\nname = \"{SOURCE}\"\n{own}\nmappings = [\"mapping.yaml\"]\n")
    }

    /// The demo's mapping, for this database.
    pub fn mapping(&self) -> String {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../mappings/packs/demo-warehouse/demo-warehouse.yaml"
        );
        let text = std::fs::read_to_string(path).unwrap();
        match self {
            Self::Sqlite { .. } => text,
            Self::Postgres { .. } => text.replace("source: sqlite", "source: postgres"),
            Self::Mariadb { name, .. } => {
                let lines = format!("source: mysql\nschema: {name}");
                text.replace("source: sqlite", &lines)
            }
            Self::Sqlserver(_) => text.replace("source: sqlite", "source: sqlserver"),
        }
    }

    /// Runs statements as one transaction, which is taken back if `keep` is not set. `before` is what the rows are.
    pub async fn transaction(&self, statements: &[Statement], before: &Model, keep: bool) {
        let mut now = before.clone();
        let mut sql = Vec::new();
        for statement in statements {
            let there = now.has_row(statement);
            // A row that is not there, a key that is not free.
            if !now.apply(statement).is_empty() {
                sql.push(sql::statement(self.kind(), statement, there));
            }
        }
        if let Self::Sqlserver(scripted) = self {
            if keep {
                scripted.commit(&sql);
            }
            return;
        }
        let begin = if self.kind() == Kind::Sqlite {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN"
        };
        let end = if keep { "COMMIT" } else { "ROLLBACK" };
        let sql = format!("{begin}; {}; {end}", sql.join("; ")).replace("; ; ", "; ");
        self.run(&sql).await;
    }

    /// Changes a table.
    pub async fn alter(&self, ddl: Ddl) {
        match self {
            Self::Sqlserver(scripted) => scripted.alter(ddl),
            _ => self.run(&sql::ddl(self.kind(), ddl)).await,
        }
    }

    async fn run(&self, sql: &str) {
        match self {
            Self::Sqlite { db, .. } => db.as_ref().unwrap().execute_batch(sql).unwrap(),
            Self::Postgres { client, .. } => client.batch_execute(sql).await.unwrap(),
            Self::Mariadb { conn, .. } => conn.lock().await.query_drop(sql).await.unwrap(),
            Self::Sqlserver(scripted) => scripted.commit(&[sql.to_owned()]),
        }
    }

    async fn pairs(&self, sql: &str) -> BTreeMap<String, String> {
        match self {
            Self::Sqlite { db, .. } => {
                let mut query = db.as_ref().unwrap().prepare(sql).unwrap();
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
                let mut conn = conn.lock().await;
                conn.query_drop("SET sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')")
                    .await
                    .unwrap();
                let sql = sql.replace("AS TEXT", "AS CHAR");
                let rows: Vec<(String, String)> = conn.query(sql).await.unwrap();
                rows.into_iter().collect()
            }
            Self::Sqlserver(_) => panic!("its rows are asked otherwise"),
        }
    }

    /// By event type, what its rows say. The judge's own model must say the same.
    pub async fn rows(&self) -> Vec<(&'static str, BTreeMap<String, String>)> {
        if let Self::Sqlserver(scripted) = self {
            return vec![
                (PRODUCT, scripted.rows("item", &["sku"], "name")),
                (
                    STOCK,
                    numbers(scripted.rows("stock", &["sku", "warehouse"], "on_hand")),
                ),
                (ORDER, scripted.rows("orders", &["id"], "status")),
            ];
        }
        let stock = "SELECT 'DEMO|' || sku || '|' || warehouse, CAST(on_hand AS TEXT) FROM stock";
        let orders = "SELECT 'DEMO|' || CAST(id AS TEXT), status FROM orders";
        vec![
            (
                PRODUCT,
                self.pairs("SELECT 'DEMO|' || sku, name FROM item").await,
            ),
            (STOCK, numbers(self.pairs(stock).await)),
            (ORDER, self.pairs(orders).await),
        ]
    }

    /// What the server was told that it may forget, as the agent writes positions; where it can be asked.
    pub async fn told(&self) -> Option<String> {
        let Self::Postgres { client, name, .. } = self else {
            return None;
        };
        let sql = "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = $1";
        let row = client.query_opt(sql, &[name]).await.unwrap()?;
        let told: Option<i64> = row.get(0);
        told.map(|told| format!("{told:016x}"))
    }

    /// Takes away what the agent has not read of the log. It must not run.
    pub async fn lose_log(&self) {
        match self {
            // Its triggers are its log.
            Self::Sqlite { .. } => {}
            Self::Postgres { client, name, .. } => {
                let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                     WHERE slot_name = $1 AND NOT active";
                let there = "SELECT FROM pg_replication_slots WHERE slot_name = $1";
                let deadline = Instant::now() + SOON;
                while !client.query(there, &[name]).await.unwrap().is_empty() {
                    let _ = client.query(sql, &[name]).await;
                    assert!(Instant::now() < deadline, "the slot stays active");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
            Self::Mariadb { server, .. } => {
                let deadline = Instant::now() + SOON;
                loop {
                    let mut conn = server.connect(None).await;
                    conn.query_drop("FLUSH BINARY LOGS").await.unwrap();
                    let logs: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
                    let newest: String = logs.last().unwrap().get(0).unwrap();
                    conn.query_drop(format!("PURGE BINARY LOGS TO '{newest}'"))
                        .await
                        .unwrap();
                    let logs: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
                    if logs.len() == 1 {
                        break;
                    }
                    assert!(Instant::now() < deadline, "a log stays in use");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
            Self::Sqlserver(scripted) => scripted.lose_log(),
        }
    }

    /// The agent finds out that a part of its log is gone, and reads the tables anew, without a person.
    pub fn heals(&self) -> bool {
        matches!(self, Self::Sqlserver(scripted) if !scripted.is_captured())
    }

    /// A log that is lost takes with it what a person prepared: the slot.
    pub fn is_prepared_anew(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// A copy of the whole database beside it. The agent must not run.
    pub fn back_up(&mut self) {
        if let Self::Sqlite { db, file } = self {
            drop(db.take());
            std::fs::copy(&*file, file.with_extension("backup")).unwrap();
            *db = Some(open(file));
        }
    }

    /// That copy in its place.
    pub fn put_back(&mut self) {
        if let Self::Sqlite { db, file } = self {
            drop(db.take());
            for more in ["db-wal", "db-shm"] {
                let _ = std::fs::remove_file(file.with_extension(more));
            }
            std::fs::copy(file.with_extension("backup"), &*file).unwrap();
            *db = Some(open(file));
        }
    }

    /// Whether changes can still be on their way to where the agent reads them; if so, they come.
    pub fn catch_up(&self) {
        if let Self::Sqlserver(scripted) = self {
            scripted.catch_up();
        }
    }

    /// Frees what the run took from a shared server.
    pub async fn clean(self) {
        match self {
            Self::Postgres { .. } => {
                self.lose_log().await;
                let Self::Postgres {
                    client,
                    server,
                    name,
                } = self
                else {
                    return;
                };
                drop(client);
                let admin = server.connect("postgres").await;
                let sql = format!("DROP DATABASE {name} WITH (FORCE)");
                let _ = admin.batch_execute(&sql).await;
            }
            Self::Mariadb { server, name, .. } => {
                server.run(&format!("DROP DATABASE {name}")).await;
            }
            Self::Sqlite { .. } | Self::Sqlserver(_) => {}
        }
    }
}

fn numbers(rows: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let plain = |(key, number): (String, String)| (key, plain(&number));
    rows.into_iter().map(plain).collect()
}

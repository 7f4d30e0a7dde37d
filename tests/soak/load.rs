//! The databases, what is done to them, and what the receiver must come to hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::Decimal;
use harness::mariadb::MariadbServer;
use harness::postgres::PostgresServer;
use harness::receiver::Held;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::Client;

const ITEMS: u32 = 200;
const ORDERS: u32 = 100;
/// Movements that a database keeps: older ones are tidied away, as ERPs do.
const MOVEMENTS_KEPT: u64 = 500;
const COMPANIES: [&str; 3] = ["LITE", "PG", "MARIA"];

const SCHEMA: &str = "
CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT NOT NULL, uom TEXT NOT NULL, status TEXT NOT NULL);
CREATE TABLE stock (sku TEXT NOT NULL, warehouse TEXT NOT NULL, on_hand QTY NOT NULL,
  allocated QTY NOT NULL, safety QTY NOT NULL, PRIMARY KEY (sku, warehouse));
CREATE TABLE movement (id INTEGER PRIMARY KEY, sku TEXT NOT NULL, warehouse TEXT NOT NULL,
  kind TEXT NOT NULL, qty QTY NOT NULL, posted_on DATE NOT NULL, document TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, number TEXT NOT NULL, customer TEXT NOT NULL,
  ordered_on DATE NOT NULL, status TEXT NOT NULL, total QTY NOT NULL, currency TEXT NOT NULL);
";

pub enum Database {
    Sqlite(rusqlite::Connection),
    Postgres(Client, Arc<PostgresServer>),
    Mariadb(Box<mysql_async::Conn>, Arc<MariadbServer>),
}

/// What is there before the agent is.
fn opening() -> String {
    let mut all = Vec::new();
    for n in 0..ITEMS {
        all.push(format!(
            "INSERT INTO item VALUES ('S{n}', 'item {n}', 'EA', 'A');"
        ));
        all.push(format!(
            "INSERT INTO stock VALUES ('S{n}', 'MAIN', '1', '0', '1');"
        ));
    }
    all.push("INSERT INTO stock VALUES ('BEACON', 'MAIN', '0', '0', '0');".to_owned());
    for id in 0..ORDERS {
        all.push(format!(
            "INSERT INTO orders VALUES ({id}, 'SO-{id}', 'C1', '2026-11-20', 'O', '10.50', 'EUR');"
        ));
    }
    all.concat()
}

impl Database {
    pub fn sqlite(folder: &Path) -> Self {
        let db = rusqlite::Connection::open(folder.join("warehouse.db")).unwrap();
        db.busy_timeout(Duration::from_secs(20)).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.pragma_update(None, "synchronous", "NORMAL").unwrap();
        let schema = SCHEMA.replace("QTY", "DECIMAL_TEXT");
        db.execute_batch(&format!("BEGIN; {schema} {} COMMIT", opening()))
            .unwrap();
        Self::Sqlite(db)
    }

    pub async fn postgres() -> Self {
        let server = PostgresServer::shared();
        server.create_database("soak").await;
        let client = server.connect("soak").await;
        let schema = SCHEMA.replace("QTY", "NUMERIC(18,4)");
        client
            .batch_execute(&format!("{schema} {}", opening()))
            .await
            .unwrap();
        Self::Postgres(client, server)
    }

    pub async fn mariadb() -> Self {
        let server = MariadbServer::shared();
        server.run("CREATE DATABASE soak").await;
        let mut conn = server.connect(Some("soak")).await;
        let schema = SCHEMA
            .replace("QTY", "DECIMAL(18,4)")
            .replace("TEXT", "VARCHAR(40)");
        conn.query_drop(format!("{schema} {}", opening()))
            .await
            .unwrap();
        Self::Mariadb(Box::new(conn), server)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "lite",
            Self::Postgres(..) => "pg",
            Self::Mariadb(..) => "maria",
        }
    }

    /// The `[[source]]` block that captures it.
    pub fn settings(&self) -> String {
        let own = match self {
            Self::Sqlite(_) => {
                "type = \"sqlite\"\nfile = \"warehouse.db\"\npoll_ms = 200".to_owned()
            }
            Self::Postgres(_, server) => format!(
                "type = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"soak\"\n\
                 user = \"postgres\"",
                server.port()
            ),
            Self::Mariadb(_, server) => format!(
                "type = \"mysql\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"root\"",
                server.port()
            ),
        };
        let name = self.name();
        format!("[[source]]\nname = \"{name}\"\n{own}\nmappings = [\"{name}.yaml\"]\n")
    }

    /// The demo's mapping, for this database and a company of its own.
    pub fn mapping(&self) -> String {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../mappings/packs/demo-warehouse/demo-warehouse.yaml"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let (kind, company) = match self {
            Self::Sqlite(_) => ("source: sqlite", COMPANIES[0]),
            Self::Postgres(..) => ("source: postgres", COMPANIES[1]),
            Self::Mariadb(..) => ("source: mysql\nschema: soak", COMPANIES[2]),
        };
        text.replace("source: sqlite", kind)
            .replace("company: DEMO", &format!("company: {company}"))
    }

    /// Runs statements as one transaction.
    pub async fn commit(&mut self, statements: &str) {
        let sql = format!("BEGIN; {statements} COMMIT");
        match self {
            Self::Sqlite(db) => {
                let sql = sql.replacen("BEGIN", "BEGIN IMMEDIATE", 1);
                db.execute_batch(&sql).unwrap();
            }
            Self::Postgres(client, _) => client.batch_execute(&sql).await.unwrap(),
            Self::Mariadb(conn, _) => conn.query_drop(sql).await.unwrap(),
        }
    }

    /// Ends the agent's connections.
    pub async fn cut(&self) {
        match self {
            // A file has none; a reader of it is held up for a moment.
            Self::Sqlite(db) => {
                db.execute_batch("BEGIN EXCLUSIVE").unwrap();
                tokio::time::sleep(Duration::from_millis(300)).await;
                db.execute_batch("COMMIT").unwrap();
            }
            Self::Postgres(_, server) => {
                let other = server.connect("soak").await;
                let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
                           WHERE active_pid IS NOT NULL AND database = 'soak'";
                other.query(sql, &[]).await.unwrap();
            }
            Self::Mariadb(_, server) => {
                let dump = "SELECT id FROM information_schema.processlist \
                            WHERE command = 'Binlog Dump' LIMIT 1";
                let mut conn = server.connect(None).await;
                if let Some(id) = conn.query_first::<u64, _>(dump).await.unwrap() {
                    // It may have ended by itself.
                    let _ = conn.query_drop(format!("KILL {id}")).await;
                }
            }
        }
    }
}

/// What one database holds, as the receiver must.
#[derive(Default)]
struct Expected {
    /// By event type and key: a field and its value.
    state: BTreeMap<(&'static str, String), (&'static str, String)>,
    facts: u64,
    beat: u64,
    /// Beats that were committed and have not arrived.
    waiting: Vec<(u64, Instant)>,
}

pub struct Load {
    rng: StdRng,
    expected: Vec<Expected>,
    pub transactions: u64,
    pub changes: u64,
    pub facts: u64,
}

impl Load {
    pub fn new(seed: u64, databases: usize) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            expected: (0..databases).map(|_| Expected::default()).collect(),
            transactions: 0,
            changes: 0,
            facts: 0,
        }
    }

    /// The next transaction of a database: a beat, and a few changes.
    pub fn transaction(&mut self, n: usize) -> String {
        let company = COMPANIES[n];
        let rng = &mut self.rng;
        let expected = &mut self.expected[n];
        expected.beat += 1;
        let mut sql = format!(
            "UPDATE stock SET on_hand = '{}' WHERE sku = 'BEACON' AND warehouse = 'MAIN';",
            expected.beat
        );
        let changes = rng.random_range(2..8);
        for _ in 0..changes {
            let item = rng.random_range(0..ITEMS);
            let quantity = format!(
                "{}.{:04}",
                rng.random_range(0..5_000),
                rng.random_range(0..10_000)
            );
            match rng.random_range(0..10) {
                0..2 => {
                    expected.facts += 1;
                    self.facts += 1;
                    let id = expected.facts;
                    let _ = write!(
                        sql,
                        "INSERT INTO movement VALUES ({id}, 'S{item}', 'MAIN', 'A', '{quantity}', '2026-11-20', NULL);"
                    );
                    if let Some(old) = id.checked_sub(MOVEMENTS_KEPT) {
                        let _ = write!(sql, "DELETE FROM movement WHERE id = {old};");
                    }
                }
                2 => {
                    let _ = write!(sql, "DELETE FROM stock WHERE sku = 'S{item}';");
                    let place = (
                        "inventory.availability.v1",
                        format!("{company}|S{item}|MAIN"),
                    );
                    expected.state.insert(place, ("", String::new()));
                }
                3..8 => {
                    let _ = write!(
                        sql,
                        "DELETE FROM stock WHERE sku = 'S{item}';\
                         INSERT INTO stock VALUES ('S{item}', 'MAIN', '{quantity}', '0', '1');"
                    );
                    let place = (
                        "inventory.availability.v1",
                        format!("{company}|S{item}|MAIN"),
                    );
                    expected.state.insert(place, ("on_hand", quantity));
                }
                _ => {
                    let order = rng.random_range(0..ORDERS);
                    let status = ["O", "P", "S", "C"][rng.random_range(0..4)];
                    let _ = write!(
                        sql,
                        "UPDATE orders SET status = '{status}' WHERE id = {order};"
                    );
                    let place = ("order.v1", format!("{company}|{order}"));
                    expected
                        .state
                        .insert(place, ("source_status", status.to_owned()));
                }
            }
        }
        self.transactions += 1;
        self.changes += changes + 1;
        sql
    }

    /// The newest transaction of a database is committed.
    pub fn committed(&mut self, n: usize, at: Instant) {
        let expected = &mut self.expected[n];
        expected.waiting.push((expected.beat, at));
    }

    /// How late the beats were that the receiver has by now.
    pub fn seen(&mut self, held: &Held) -> Vec<Duration> {
        let mut seen = Vec::new();
        for (expected, company) in self.expected.iter_mut().zip(COMPANIES) {
            let key = format!("{company}|BEACON|MAIN");
            let body = held.body("inventory.availability.v1", &key);
            let beat = body.and_then(|body| body.get("on_hand")?.as_str()?.parse::<Decimal>().ok());
            let Some(beat) = beat else { continue };
            expected.waiting.retain(|(waiting, since)| {
                let is_there = Decimal::from(*waiting) <= beat;
                if is_there {
                    seen.push(since.elapsed());
                }
                !is_there
            });
        }
        seen
    }

    /// What the receiver lacks or has otherwise, in words.
    pub fn differences(&self, held: &Held) -> Vec<String> {
        let mut found = Vec::new();
        for (expected, company) in self.expected.iter().zip(COMPANIES) {
            for ((kind, key), (field, value)) in &expected.state {
                let body = held.body(kind, key);
                let has = body.and_then(|body| body.get(*field)?.as_str());
                let number = |text: &str| text.parse::<Decimal>().ok();
                let same = match (body, has) {
                    (None, _) => field.is_empty(),
                    (Some(_), _) if field.is_empty() => false,
                    (Some(_), Some(has)) if *field == "on_hand" => number(has) == number(value),
                    (Some(_), has) => has == Some(value),
                };
                if !same {
                    found.push(format!(
                        "{kind} {key} is {value:?}, at the receiver {has:?}"
                    ));
                }
            }
            for id in 1..=expected.facts {
                if !held.facts.contains_key(&format!("{company}|{id}")) {
                    found.push(format!("movement {company} {id} is lost"));
                }
            }
        }
        found
    }
}

//! A database of one's own in a private server, and a source that captures it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; each test program uses its part"
)]

pub mod matrix;
pub mod types;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use contract::section::Problems;
use contract::{
    CapturedTable, ChangeBatch, ChangeStream, ChunkLimits, Key, Node, NodeKind, Position, Row,
    RowChange, Secret, SecretPlace, Secrets, Section, SnapshotReader, Source, SourceContext,
    SourceError, TableName, Value,
};
use harness::postgres::PostgresServer;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;

/// No wait in a test takes longer.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Every variable holds its own name.
struct Named;

impl Secrets for Named {
    fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
        match place {
            SecretPlace::Environment(name) => Ok(Secret::new(name)),
            _ => Err("none".to_owned()),
        }
    }
}

/// A secret from the environment.
pub fn secret(secret: &str) -> NodeKind {
    NodeKind::Map(vec![(key("env"), node(text(secret)))])
}

fn key(name: &str) -> Key {
    Key {
        name: name.to_owned(),
        line: 1,
        column: 1,
    }
}

pub fn node(kind: NodeKind) -> Node {
    Node {
        line: 1,
        column: 1,
        kind,
    }
}

pub fn text(text: impl Into<String>) -> NodeKind {
    NodeKind::Text(text.into())
}

pub struct World {
    pub server: Arc<PostgresServer>,
    pub name: String,
    pub db: Client,
    pub tables: Vec<CapturedTable>,
}

impl World {
    /// A new database in the shared server, set up by `sql`, with these tables of `public`.
    pub async fn new(sql: &str, tables: &[&str]) -> Self {
        Self::on(PostgresServer::shared(), sql, tables).await
    }

    pub async fn on(server: Arc<PostgresServer>, sql: &str, tables: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.create_database(&name).await;
        let db = server.connect(&name).await;
        db.batch_execute(sql).await.unwrap();
        Self {
            server,
            name,
            db,
            tables: tables.iter().map(|name| captured(name)).collect(),
        }
    }

    /// As [`World::new`], with publication and slot.
    pub async fn prepared(sql: &str, tables: &[&str]) -> Self {
        Self::prepared_on(PostgresServer::shared(), sql, tables).await
    }

    /// As [`World::prepared`], on a server.
    pub async fn prepared_on(server: Arc<PostgresServer>, sql: &str, tables: &[&str]) -> Self {
        let world = Self::on(server, sql, tables).await;
        world.source().prepare(true).await.unwrap();
        world
    }

    /// A new, empty database of this encoding.
    pub async fn encoded(server: Arc<PostgresServer>, encoding: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("e{number}");
        let admin = server.connect("postgres").await;
        let sql = format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        );
        admin.batch_execute(&sql).await.unwrap();
        let db = server.connect(&name).await;
        Self {
            server,
            name,
            db,
            tables: Vec::new(),
        }
    }

    /// The same, capturing these tables of `public`.
    #[must_use]
    pub fn capturing(mut self, tables: &[&str]) -> Self {
        self.tables = tables.iter().map(|name| captured(name)).collect();
        self
    }

    pub fn slot(&self) -> String {
        format!("lighterman_{}", self.name)
    }

    pub fn source(&self) -> Arc<dyn Source> {
        self.source_with(&[])
    }

    pub fn source_with(&self, more: &[(&str, NodeKind)]) -> Arc<dyn Source> {
        let mut settings = vec![
            ("host", text("127.0.0.1")),
            ("port", NodeKind::Number(self.server.port().to_string())),
            ("database", text(&self.name)),
            ("user", text("postgres")),
        ];
        settings.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        settings.extend(more.iter().map(|(name, kind)| (*name, kind.clone())));
        source(&self.name, &settings, self.tables.clone())
    }

    pub async fn run(&self, sql: &str) {
        self.db.batch_execute(sql).await.unwrap();
    }

    /// One value, as text.
    pub async fn ask(&self, sql: &str) -> Option<String> {
        ask(&self.db, sql).await
    }

    /// Waits until the answer to `sql` is `t`.
    pub async fn until(&self, sql: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = self.ask(sql).await;
            if answer.as_deref() == Some("t") {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where the slot stands.
    pub async fn confirmed(&self) -> u64 {
        let sql = format!(
            "SELECT (confirmed_flush_lsn - '0/0')::text FROM pg_replication_slots WHERE slot_name = '{}'",
            self.slot()
        );
        self.ask(&sql).await.unwrap().parse().unwrap()
    }

    pub async fn insert_lsn(&self) -> u64 {
        let lsn = self
            .ask("SELECT (pg_current_wal_insert_lsn() - '0/0')::text")
            .await;
        lsn.unwrap().parse().unwrap()
    }

    /// Waits until nobody holds the slot.
    pub async fn released(&self) {
        let slot = self.slot();
        self.until(&format!(
            "SELECT active_pid IS NULL FROM pg_replication_slots WHERE slot_name = '{slot}'"
        ))
        .await;
    }
}

pub async fn ask(client: &Client, sql: &str) -> Option<String> {
    let messages = client.simple_query(sql).await.unwrap();
    messages.into_iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

pub fn captured(name: &str) -> CapturedTable {
    CapturedTable {
        table: TableName::new("public", name),
        key: Vec::new(),
        columns: Vec::new(),
    }
}

pub fn source(
    name: &str,
    settings: &[(&str, NodeKind)],
    tables: Vec<CapturedTable>,
) -> Arc<dyn Source> {
    let entries = settings
        .iter()
        .map(|(name, kind)| (key(name), node(kind.clone())))
        .collect();
    let table = node(NodeKind::Map(entries));
    let problems = Problems::new("t");
    let mut section = Section::new(&table, "source", &problems);
    let build = source_postgres::read(&mut section, &Named);
    section.finish();
    assert_eq!(problems.take(), Vec::new());
    let context = SourceContext {
        name: name.to_owned(),
        tables,
    };
    build.unwrap()(context).unwrap()
}

/// The next batch, or an error after the deadline.
pub async fn next(stream: &mut dyn ChangeStream) -> Result<ChangeBatch, SourceError> {
    timeout_at(Instant::now() + DEADLINE, stream.next())
        .await
        .expect("a batch within the deadline")
}

/// Batches until `count` changes are there.
pub async fn batches(stream: &mut dyn ChangeStream, count: usize) -> Vec<ChangeBatch> {
    let mut batches: Vec<ChangeBatch> = Vec::new();
    while batches.iter().map(|b| b.changes.len()).sum::<usize>() < count {
        batches.push(next(stream).await.unwrap());
    }
    batches
}

/// `count` changes, acknowledged.
pub async fn changes(stream: &mut dyn ChangeStream, count: usize) -> Vec<RowChange> {
    let batches = batches(stream, count).await;
    let end = batches.last().unwrap().end.clone();
    stream.acknowledge(&end).await.unwrap();
    let changes: Vec<_> = batches.into_iter().flat_map(|b| b.changes).collect();
    assert_eq!(changes.len(), count);
    changes
}

/// Batches until the stream stands at a border at or after `mark`.
pub async fn reach(stream: &mut dyn ChangeStream, mark: &Position) -> Vec<ChangeBatch> {
    let mut batches = Vec::new();
    loop {
        let batch = next(stream).await.unwrap();
        let reached = batch.end >= *mark && batch.end.seq == 0;
        stream.acknowledge(&batch.end).await.unwrap();
        batches.push(batch);
        if reached {
            return batches;
        }
    }
}

/// All rows of a table in chunks of at most `rows_max`.
pub async fn snapshot(
    reader: &mut dyn SnapshotReader,
    table: &TableName,
    rows_max: usize,
) -> Vec<RowChange> {
    let limits = ChunkLimits {
        rows_max,
        bytes_max: 1 << 20,
    };
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let chunk = reader
            .chunk(table, cursor.as_deref(), limits)
            .await
            .unwrap();
        assert!(chunk.rows.len() <= rows_max);
        rows.extend(chunk.rows);
        match chunk.next {
            Some(next) => cursor = Some(next),
            None => return rows,
        }
    }
}

/// Cells as type and text, for comparison and for messages.
pub fn show(row: Option<&Row>) -> Vec<String> {
    let cell = |value: &Value| match value.text() {
        Some(text) => format!("{} {text}", value.type_name()),
        None => value.type_name().to_owned(),
    };
    row.into_iter().flatten().map(cell).collect()
}

/// Waits until a heartbeat has come round through `stream`.
pub async fn heartbeat(source: &dyn Source, stream: &mut dyn ChangeStream) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let heartbeat = source.look().await.unwrap().unwrap().heartbeat;
        if heartbeat.expect("a heartbeat was sent").took.is_some() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{heartbeat:?} has not come round"
        );
        let soon = Instant::now() + Duration::from_millis(100);
        if let Ok(batch) = timeout_at(soon, stream.next()).await {
            stream.acknowledge(&batch.unwrap().end).await.unwrap();
        }
    }
}

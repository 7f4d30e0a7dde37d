//! A database of one's own in a private server, and a source that captures it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; each test program uses its part"
)]

pub mod every;
pub mod keys;
pub mod matrix;
pub mod read;
pub mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use contract::section::Problems;
use contract::{
    CapturedTable, Finding, Key, Level, Node, NodeKind, Secret, SecretPlace, Secrets, Section,
    Source, SourceContext, TableName,
};
use harness::mariadb::{MariadbOptions, MariadbServer};

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

pub fn number(number: impl Into<u64>) -> NodeKind {
    NodeKind::Number(number.into().to_string())
}

pub struct World {
    pub server: Arc<MariadbServer>,
    /// Of the database.
    pub name: String,
    pub tables: Vec<CapturedTable>,
}

impl World {
    /// A new database in the shared server, set up by `sql` inside it, with these tables.
    pub async fn new(sql: &str, tables: &[&str]) -> Self {
        Self::on(MariadbServer::shared(), sql, tables).await
    }

    /// As [`World::new`], in a server of its own.
    pub async fn with(options: MariadbOptions, sql: &str, tables: &[&str]) -> Self {
        Self::on(Arc::new(MariadbServer::start(options)), sql, tables).await
    }

    pub async fn on(server: Arc<MariadbServer>, sql: &str, tables: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.run(&format!("CREATE DATABASE {name}")).await;
        let world = Self {
            server,
            tables: tables.iter().map(|table| captured(&name, table)).collect(),
            name,
        };
        if !sql.is_empty() {
            world.run(sql).await;
        }
        world
    }

    /// Runs statements as `root` inside the database.
    pub async fn run(&self, sql: &str) {
        self.server.run(&format!("USE {}; {sql}", self.name)).await;
    }

    pub fn source(&self) -> Arc<dyn Source> {
        self.source_with(&[])
    }

    pub fn source_with(&self, more: &[(&str, NodeKind)]) -> Arc<dyn Source> {
        let mut settings = vec![
            ("host", text("127.0.0.1")),
            ("port", number(self.server.port())),
            ("user", text("root")),
        ];
        settings.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        settings.extend(more.iter().map(|(name, kind)| (*name, kind.clone())));
        source(&self.name, &settings, self.tables.clone())
    }
}

pub fn captured(schema: &str, name: &str) -> CapturedTable {
    CapturedTable {
        table: TableName::new(schema, name),
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
    let build = source_mysql::read(&mut section, &Named);
    section.finish();
    assert_eq!(problems.take(), Vec::new());
    let context = SourceContext {
        name: name.to_owned(),
        tables,
    };
    build.unwrap()(context).unwrap()
}

/// Those findings of a level, as people read them.
pub fn of(findings: &[Finding], level: Level) -> Vec<String> {
    let found = findings.iter().filter(|one| one.level == level);
    found.map(ToString::to_string).collect()
}

/// The finding about a part.
pub fn about<'a>(findings: &'a [Finding], part: &str) -> &'a Finding {
    let found = findings.iter().find(|one| one.what.ends_with(part));
    found.unwrap_or_else(|| panic!("nothing about {part}: {findings:#?}"))
}

//! A database of one's own and a source that captures it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests; each test program uses its part"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::section::Problems;
use contract::{
    CapturedTable, Key, Node, NodeKind, Secret, SecretPlace, Secrets, Section, Source,
    SourceContext, TableName,
};
use rusqlite::Connection;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, _: &SecretPlace) -> Result<Secret, String> {
        Err("none".to_owned())
    }
}

pub struct World {
    _folder: tempfile::TempDir,
    pub file: PathBuf,
    pub db: Connection,
    pub tables: Vec<CapturedTable>,
}

impl World {
    pub fn new(sql: &str, tables: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("erp.db");
        let db = Connection::open(&file).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db.execute_batch(sql).unwrap();
        let tables = tables
            .iter()
            .map(|name| CapturedTable {
                table: TableName::new("main", *name),
                key: Vec::new(),
                columns: Vec::new(),
            })
            .collect();
        Self {
            _folder: folder,
            file,
            db,
            tables,
        }
    }

    pub fn source(&self) -> Arc<dyn Source> {
        let node = |kind| Node {
            line: 1,
            column: 1,
            kind,
        };
        let key = |name: &str| Key {
            name: name.to_owned(),
            line: 1,
            column: 1,
        };
        // A poll of a minute: what arrives sooner came through file events.
        let settings = node(NodeKind::Map(vec![
            (
                key("file"),
                node(NodeKind::Text(self.file.display().to_string())),
            ),
            (key("poll_ms"), node(NodeKind::Number("60000".to_owned()))),
        ]));
        let problems = Problems::new("t");
        let mut section = Section::new(&settings, "source", &problems);
        let build = source_sqlite::read(&mut section, &NoSecrets).unwrap();
        build(SourceContext {
            name: "erp".to_owned(),
            tables: self.tables.clone(),
        })
        .unwrap()
    }

    pub async fn prepared(sql: &str, tables: &[&str]) -> Self {
        let world = Self::new(sql, tables);
        world.source().prepare(true).await.unwrap();
        world
    }

    pub fn run(&self, sql: &str) {
        self.db.execute_batch(sql).unwrap();
    }

    pub fn log_rows(&self) -> i64 {
        self.db
            .query_row("SELECT count(*) FROM lighterman_log", [], |row| row.get(0))
            .unwrap()
    }
}

//! SQLite passes the suite of every source.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::{
    CapturedTable, Key, Node, NodeKind, Problems, Secret, SecretPlace, Secrets, Section, Source,
    SourceContext, TableName,
};
use harness::suite::source::{SourceBackend, run};
use rusqlite::Connection;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, _: &SecretPlace) -> Result<Secret, String> {
        Err("none".to_owned())
    }
}

struct Backend {
    db: Mutex<Connection>,
    file: PathBuf,
}

#[async_trait]
impl SourceBackend for Backend {
    fn table(&self) -> TableName {
        TableName::new("main", "suite")
    }

    fn source(&self) -> Arc<dyn Source> {
        let file = NodeKind::Text(self.file.display().to_string());
        let node = |kind| Node {
            line: 1,
            column: 1,
            kind,
        };
        let key = Key {
            name: "file".to_owned(),
            line: 1,
            column: 1,
        };
        let settings = node(NodeKind::Map(vec![(key, node(file))]));
        let problems = Problems::new("t");
        let mut section = Section::new(&settings, "source", &problems);
        let build = source_sqlite::read(&mut section, &NoSecrets).unwrap();
        let tables = vec![CapturedTable {
            table: self.table(),
            key: Vec::new(),
            columns: Vec::new(),
        }];
        build(SourceContext {
            name: "suite".to_owned(),
            tables,
        })
        .unwrap()
    }

    async fn commit(&self, statements: &[&str]) {
        let sql = format!("BEGIN IMMEDIATE; {}; COMMIT", statements.join("; "));
        self.db.lock().unwrap().execute_batch(&sql).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("suite.db");
    let db = Connection::open(&file).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.execute_batch("CREATE TABLE suite (sku TEXT PRIMARY KEY, qty DECIMAL_TEXT, note TEXT)")
        .unwrap();
    let backend = Backend {
        db: Mutex::new(db),
        file,
    };
    backend.source().prepare(true).await.unwrap();
    run(&backend).await;
}

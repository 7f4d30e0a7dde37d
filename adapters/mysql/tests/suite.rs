//! MariaDB passes the suite of every source.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use contract::{LogPos, Position, Source, TableName};
use harness::suite::source::{SourceBackend, run};

use crate::common::{World, text};

struct Backend {
    world: World,
    /// Behind what the log is read.
    start: String,
}

#[async_trait]
impl SourceBackend for Backend {
    fn table(&self) -> TableName {
        TableName::new(self.world.name.clone(), "suite")
    }

    fn source(&self) -> Arc<dyn Source> {
        self.world.source_with(&[
            ("start", text(self.start.clone())),
            ("database", text(self.world.name.clone())),
        ])
    }

    async fn commit(&self, statements: &[&str]) {
        let sql = statements.join("; ");
        self.world
            .run(&format!(
                "SET sql_mode = 'NO_BACKSLASH_ESCAPES'; BEGIN; {sql}; COMMIT"
            ))
            .await;
    }

    fn beyond(&self) -> Position {
        let far = "00000001:0000000001:0000000000ffffff,,,,0-1-999999999";
        Position::border(1, LogPos::try_new(far).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let sql = "CREATE TABLE suite (sku VARCHAR(100) COLLATE utf8mb4_bin PRIMARY KEY,
        qty DECIMAL(18,4), note TEXT)";
    let world = World::new(sql, &["suite"]).await;
    let start: String = world.server.ask("SELECT @@GLOBAL.gtid_binlog_pos").await;
    run(&Backend { world, start }).await;
}

//! PostgreSQL passes the suite of every source.
#![allow(missing_docs, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use contract::{Source, TableName};
use harness::postgres::{PostgresServer, majors};
use harness::suite::source::{SourceBackend, run};

use crate::common::World;

struct Backend(World);

#[async_trait]
impl SourceBackend for Backend {
    fn table(&self) -> TableName {
        TableName::new("public", "suite")
    }

    fn source(&self) -> Arc<dyn Source> {
        self.0.source()
    }

    async fn commit(&self, statements: &[&str]) {
        self.0
            .run(&format!("BEGIN; {}; COMMIT", statements.join("; ")))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let sql = "CREATE TABLE suite (sku TEXT PRIMARY KEY, qty NUMERIC(18,4), note TEXT)";
        run(&Backend(World::prepared_on(server, sql, &["suite"]).await)).await;
    }
}

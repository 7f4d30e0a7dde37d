//! Change data capture over the scripted server passes the suite of every source.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use common::world::World;
use contract::{
    ChangeStream, Finding, LogPos, Position, Preparation, SnapshotReader, Source, SourceError,
    TableInfo, TableName,
};
use harness::suite::source::{SourceBackend, run};
use tds_server::model::lsn;

struct Backend {
    world: World,
}

/// The source without its questions: those of the suite are no T-SQL (`WITH RECURSIVE`), and `tests/query.rs`
/// asks others.
struct Unasked(Arc<dyn Source>);

#[async_trait]
impl Source for Unasked {
    async fn check(&self) -> Vec<Finding> {
        self.0.check().await
    }

    async fn prepare(&self, apply: bool) -> Result<Preparation, SourceError> {
        self.0.prepare(apply).await
    }

    async fn stream(
        &self,
        epoch: u32,
        after: Option<&Position>,
    ) -> Result<Box<dyn ChangeStream>, SourceError> {
        self.0.stream(epoch, after).await
    }

    async fn snapshot(&self, epoch: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        self.0.snapshot(epoch).await
    }

    async fn catalogue(&self, tables: &[TableName]) -> Result<Vec<TableInfo>, SourceError> {
        self.0.catalogue(tables).await
    }
}

#[async_trait]
impl SourceBackend for Backend {
    fn table(&self) -> TableName {
        self.world.tables[0].table.clone()
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::new(Unasked(self.world.source()))
    }

    async fn commit(&self, statements: &[&str]) {
        let sql = format!("BEGIN TRAN; {}; COMMIT TRAN", statements.join("; "));
        self.world.database.run(&sql).unwrap();
        self.world.database.capture_all();
    }

    fn beyond(&self) -> Position {
        let far = "0000000000000001:0:00ffffff00000000ffff:0000000000000000:0000000000000000";
        Position::border(1, LogPos::try_new(far).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let mut world = World::new();
    let sql = "CREATE TABLE dbo.suite (sku nvarchar(100) NOT NULL PRIMARY KEY, qty decimal(18,4), \
               note nvarchar(max))";
    world.database.run(sql).unwrap();
    world.tables.push(common::captured("dbo", "suite"));
    let world = world.cdc();
    // Behind this nothing has happened.
    world.database.idle_marker().unwrap();
    let place = lsn(world.database.max_lsn().unwrap());
    let start = format!("0x{}", contract::value::hex(&place));
    let world = world.set("start", common::text(start));
    run(&Backend { world }).await;
}

//! A row of a table that is being read was changed meanwhile: what was read of it is older than what the log told.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    ChangeBatch, ChangeStream, ChunkLimits, Clock, Finding, LogPos, Op, Position, Preparation,
    RowChange, Sees, SnapshotChunk, SnapshotReader, Source, SourceError, TableName, TableShape,
    Value,
};
use engine::{Plan, SourcePlan, SourceSetup};
use jiff::Timestamp;
use mappings::{Mapping, MappingSet};
use rusqlite::Connection;
use state::{Retention, StateReader, Store};
use tokio::sync::watch;
use tokio::time::Instant;

const MAPPING: &str = r#"
mapping: 1
pack: overtaken
pack_version: "1"
source: postgres
company: ACME
tables:
  item: {name: item, key: [sku]}
events:
  - id: item
    emit: product.v1
    from: item
    where: "sold = 'Y'"
    key: {sku: sku}
    fields: {name: sku, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

/// One place in the log.
const TICK: Duration = Duration::from_millis(100);
/// Where the table is read, where S0 is taken out of what is sold, and what has been told when the rows arrive.
const READ_AT: u64 = 1;
const CHANGED_AT: u64 = 2;
const ARRIVES_AT: u64 = 4;

struct Paused(Instant);

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> Timestamp {
        contract::clock::after(Timestamp::UNIX_EPOCH, self.0.elapsed())
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// The place that the log was told up to.
#[derive(Clone, Default)]
struct Erp(Arc<AtomicU64>);

fn border(number: u64) -> Position {
    Position::border(1, LogPos::from_number(number))
}

fn row(op: Op, sku: &str, before: Option<&str>, sold: &str, position: Position) -> RowChange {
    let cells = |sold: &str| vec![Value::Text(sku.to_owned()), Value::Text(sold.to_owned())];
    RowChange {
        shape: Arc::new(TableShape {
            table: TableName::new("public", "item"),
            columns: vec!["sku".to_owned(), "sold".to_owned()],
            key: vec![0],
        }),
        op,
        before: before.map(cells),
        after: Some(cells(sold)),
        position,
        committed_at: None,
        transaction: 0,
    }
}

#[async_trait]
impl Source for Erp {
    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn prepare(&self, _: bool) -> Result<Preparation, SourceError> {
        Ok(Preparation::default())
    }

    async fn stream(
        &self,
        _: u32,
        _: Option<&Position>,
    ) -> Result<Box<dyn ChangeStream>, SourceError> {
        Ok(Box::new(self.clone()))
    }

    async fn snapshot(&self, _: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl ChangeStream for Erp {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        tokio::time::sleep(TICK).await;
        let at = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        let change = row(Op::Update, "S0", Some("Y"), "N", border(CHANGED_AT));
        Ok(ChangeBatch {
            changes: (at == CHANGED_AT).then_some(change).into_iter().collect(),
            end: border(at),
        })
    }

    async fn acknowledge(&mut self, _: &Position) -> Result<(), SourceError> {
        Ok(())
    }
}

#[async_trait]
impl SnapshotReader for Erp {
    async fn begin(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    async fn chunk(
        &mut self,
        _: &TableName,
        _: Option<&str>,
        _: ChunkLimits,
    ) -> Result<SnapshotChunk, SourceError> {
        while self.0.load(Ordering::SeqCst) < ARRIVES_AT {
            tokio::time::sleep(TICK).await;
        }
        let mark = border(READ_AT);
        Ok(SnapshotChunk {
            rows: vec![
                row(Op::Read, "S0", None, "Y", mark.clone()),
                row(Op::Read, "S1", None, "Y", mark.clone()),
            ],
            next: None,
            mark,
            sees: Sees::UpToMark,
        })
    }
}

/// Nobody was ever told of the row when it left what is sold, so nothing stands in the state file that what was read
/// could be older than: only the guard knows.
#[tokio::test(start_paused = true)]
async fn a_row_that_left_while_its_table_was_read_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let mapping = Mapping::load("overtaken.yaml", MAPPING).unwrap();
    let (_setup, setup) = watch::channel(SourceSetup {
        source: Arc::new(Erp::default()),
        mapping: Arc::new(MappingSet::new(vec![mapping]).unwrap()),
        reads_per_second: 1,
        pace: engine::Pace::default(),
    });
    let (_stop, stop) = watch::channel(false);
    let plan = Plan {
        tenant: "t".to_owned(),
        sources: vec![SourcePlan {
            name: "erp".to_owned(),
            setup,
            tap: None,
        }],
        destinations: Vec::new(),
        retention: Retention::default(),
        disk: None,
        meters: Arc::default(),
        chance: engine::Chance::default(),
    };
    let clock = Arc::new(Paused(Instant::now()));
    let running = Arc::clone(&store);
    let engine = tokio::spawn(engine::run(plan, running, clock, stop, TICK));
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        assert!(Instant::now() < deadline, "the table is not read");
        // Simulated time stands still while a thread that blocks is waited for: the store's.
        let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let blocked = tokio::task::spawn_blocking(move || wait.recv().is_err());
        store.source("erp").await.unwrap();
        tokio::task::yield_now().await;
        drop(done);
        blocked.await.unwrap();
        tokio::time::sleep(TICK).await;
        let sources = StateReader::open(folder.path()).unwrap().sources().unwrap();
        let tables = sources.first().map(|source| source.tables.as_slice());
        if tables.is_some_and(|tables| tables.iter().any(|table| table.done)) {
            break;
        }
    }
    engine.abort();
    let db = Connection::open(state::file_path(folder.path())).unwrap();
    let mut told = db
        .prepare("SELECT op || ' ' || key FROM outbox ORDER BY offset")
        .unwrap();
    let told = told.query_map([], |row| row.get(0)).unwrap();
    let told: Vec<String> = told.map(Result::unwrap).collect();
    assert_eq!(told, ["upsert ACME|S1"]);
}

//! Tables whose rows the log leaves unclear, marked once or again and again, are read again: each
//! reading comes to its end, a mark is never lost, and the database is not read for ever.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    ChangeBatch, ChangeStream, ChunkLimits, Clock, Finding, LogPos, Op, Position, Preparation,
    Resume, RowChange, Sees, SnapshotChunk, SnapshotReader, Source, SourceError, TableName,
    TableShape, Untold, Value,
};
use engine::{Plan, SourcePlan, SourceSetup};
use jiff::Timestamp;
use mappings::{Mapping, MappingSet};
use rusqlite::Connection;
use state::{Retention, SnapshotStatus, StateReader, Store};
use tokio::sync::watch;
use tokio::time::Instant;

const MAPPING: &str = r#"
mapping: 1
pack: marks
pack_version: "1"
source: postgres
company: ACME
tables:
  item: {name: item, key: [sku]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: sku, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

/// One place in the log.
const TICK: Duration = Duration::from_millis(100);
/// Chunks of the table, of one row each.
const CHUNKS: usize = 10;

/// Time as the paused runtime has it.
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

struct World {
    began: Instant,
    /// Places at which the log leaves the table unclear.
    marks: fn(u64) -> bool,
    /// How long a chunk takes.
    chunk: Duration,
    rows: Vec<String>,
    /// When readings began at the first row, and when chunks were asked for and answered.
    firsts: Vec<Instant>,
    chunks: Vec<(Instant, Instant)>,
    opened: usize,
    /// A stream that has said a table ends soon after, for it is told all the same.
    ends: bool,
    /// A cursor cannot be gone on with: the table is another one.
    stuck: bool,
    /// Nothing is wrong with the table that is marked.
    routine: bool,
}

impl World {
    /// What the log has by now.
    fn place(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis() / TICK.as_millis()).unwrap() + 1
    }
}

#[derive(Clone)]
struct Erp(Arc<Mutex<World>>);

impl Erp {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

fn item() -> TableName {
    TableName::new("public", "item")
}

fn border(number: u64) -> Position {
    Position::border(1, LogPos::from_number(number))
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
        unreachable!("the engine resumes")
    }

    async fn resume(&self, from: &Resume) -> Result<Box<dyn ChangeStream>, SourceError> {
        self.lock().opened += 1;
        Ok(Box::new(Log {
            world: self.clone(),
            at: from.after.as_ref().map_or(0, |at| at.pos.number().unwrap()),
            untold: Vec::new(),
        }))
    }

    async fn snapshot(&self, _: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        Ok(Box::new(self.clone()))
    }
}

/// As real sources do, it says a table once, whatever comes behind that; whether what it said is
/// noted it does not ask.
struct Log {
    world: Erp,
    at: u64,
    untold: Vec<Untold>,
}

#[async_trait]
impl ChangeStream for Log {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        if self.world.lock().ends && !self.untold.is_empty() {
            let what = "table item is told again".to_owned();
            return Err(SourceError::Disconnected(what));
        }
        while self.world.lock().place() <= self.at {
            tokio::time::sleep(TICK / 2).await;
        }
        self.at += 1;
        if (self.world.lock().marks)(self.at) && self.untold.is_empty() {
            self.untold.push(Untold {
                table: item(),
                what: "rows of item are unclear".to_owned(),
                hint: "nothing".to_owned(),
                routine: self.world.lock().routine,
            });
        }
        Ok(ChangeBatch {
            changes: Vec::new(),
            end: border(self.at),
        })
    }

    async fn acknowledge(&mut self, _: &Position) -> Result<(), SourceError> {
        Ok(())
    }

    fn untold(&self) -> &[Untold] {
        &self.untold
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
        cursor: Option<&str>,
        _: ChunkLimits,
    ) -> Result<SnapshotChunk, SourceError> {
        let asked = Instant::now();
        let (place, row, time) = {
            let mut world = self.lock();
            if cursor.is_none() {
                world.firsts.push(asked);
                world.stuck = false;
            }
            if world.stuck {
                return Err(SourceError::SchemaChanged {
                    what: "the key is another one".to_owned(),
                    hint: "read it from its first row".to_owned(),
                });
            }
            let n: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            (world.place(), (n, world.rows.get(n).cloned()), world.chunk)
        };
        tokio::time::sleep(time).await;
        self.lock().chunks.push((asked, Instant::now()));
        let (n, row) = row;
        let mark = border(place);
        let shape = Arc::new(TableShape {
            table: item(),
            columns: vec!["sku".to_owned()],
            key: vec![0],
        });
        let rows = row.map(|sku| RowChange {
            shape,
            op: Op::Read,
            before: None,
            after: Some(vec![Value::Text(sku)]),
            position: mark.clone(),
            committed_at: None,
            transaction: 0,
        });
        Ok(SnapshotChunk {
            rows: rows.into_iter().collect(),
            next: (n + 1 < CHUNKS).then(|| (n + 1).to_string()),
            mark,
            sees: Sees::UpToMark,
        })
    }
}

struct Running {
    erp: Erp,
    folder: tempfile::TempDir,
    store: Arc<Store>,
    _stop: watch::Sender<bool>,
    _setup: watch::Sender<SourceSetup>,
    engine: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

fn start(chunk: Duration, marks: fn(u64) -> bool) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let began = Instant::now();
    let erp = Erp(Arc::new(Mutex::new(World {
        began,
        marks,
        chunk,
        rows: (0..CHUNKS).map(|n| format!("S{n}")).collect(),
        firsts: Vec::new(),
        chunks: Vec::new(),
        opened: 0,
        ends: false,
        stuck: false,
        routine: false,
    })));
    let mapping = Mapping::load("marks.yaml", MAPPING).unwrap();
    let (setup_sender, setup) = watch::channel(SourceSetup {
        source: Arc::new(erp.clone()),
        mapping: Arc::new(MappingSet::new(vec![mapping]).unwrap()),
        reads_per_second: 1,
        pace: engine::Pace::default(),
    });
    let (stop_sender, stop) = watch::channel(false);
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
    let running = Arc::clone(&store);
    let engine = tokio::spawn(async move {
        let (clock, drain) = (Arc::new(Paused(began)), Duration::from_secs(1));
        engine::run(plan, running, clock, stop, drain)
            .await
            .unwrap();
    });
    Running {
        erp,
        folder,
        store,
        _stop: stop_sender,
        _setup: setup_sender,
        engine,
    }
}

impl Running {
    fn shown(&self) -> Option<SnapshotStatus> {
        let reader = StateReader::open(self.folder.path()).unwrap();
        let source = reader.sources().unwrap().into_iter().next()?;
        source.tables.into_iter().next()
    }

    /// Lets simulated time pass, and the store's real thread keep up with it.
    async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            // Simulated time stands still while a thread that blocks is waited for.
            let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
            let blocked = tokio::task::spawn_blocking(move || wait.recv().is_err());
            for _ in 0..2 {
                self.store.source("erp").await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(done);
            blocked.await.unwrap();
            tokio::time::sleep(TICK).await;
            assert!(!self.engine.is_finished(), "the engine ended");
        }
    }

    /// Waits, in simulated time, until something is so.
    async fn until(&self, what: &str, most: Duration, is: impl Fn() -> bool) {
        let end = Instant::now() + most;
        while !is() {
            assert!(Instant::now() < end, "{what}: {:#?}", self.shown());
            self.pass(TICK).await;
        }
    }

    fn firsts(&self) -> usize {
        self.erp.lock().firsts.len()
    }

    fn is_done(&self) -> bool {
        self.shown().is_some_and(|table| table.done)
    }

    /// The keys that were told to be gone.
    fn ended(&self) -> Vec<String> {
        let db = Connection::open(state::file_path(self.folder.path())).unwrap();
        let mut query = db
            .prepare("SELECT key FROM outbox WHERE op = 'delete' ORDER BY offset")
            .unwrap();
        let found = query.query_map([], |row| row.get(0)).unwrap();
        found.collect::<Result<_, _>>().unwrap()
    }

    /// Whether the state file has room for what is to be read again.
    fn room(&self, room: bool) {
        let db = Connection::open(state::file_path(self.folder.path())).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        // A number that cannot grow is what SQLite calls a full disk.
        db.execute_batch(if room {
            "DROP TRIGGER no_room; DROP TABLE no_room"
        } else {
            "CREATE TABLE no_room (id INTEGER PRIMARY KEY AUTOINCREMENT);
             INSERT INTO no_room VALUES (9223372036854775807);
             CREATE TRIGGER no_room BEFORE UPDATE ON snapshot
               BEGIN INSERT INTO no_room VALUES (NULL); END"
        })
        .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_marked_faster_than_it_is_read_is_read_to_its_end() {
    let running = start(Duration::from_secs(1), |at| at % 10 == 0);
    let minutes = Duration::from_mins(5);
    running
        .until("it is read once", minutes, || running.is_done())
        .await;
    running.erp.lock().rows.pop();
    running
        .until("a row that is gone is told", minutes, || {
            running.ended() == ["ACME|S9"]
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_finds_no_room_is_not_lost() {
    let running = start(Duration::from_millis(10), |at| at == 100);
    let minute = Duration::from_mins(1);
    running
        .until("it is read once", minute, || running.is_done())
        .await;
    running.room(false);
    running.erp.lock().ends = true;
    running.erp.lock().rows.pop();
    running.pass(Duration::from_secs(20)).await;
    assert_eq!(running.firsts(), 1);
    running.room(true);
    running
        .until("it is read again", minute, || {
            running.ended() == ["ACME|S9"]
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_marked_all_the_time_is_read_half_of_it_and_once_more_behind_the_last_mark()
{
    let running = start(Duration::from_secs(1), |at| at % 10 == 0);
    let begun = Instant::now();
    let minute = Duration::from_mins(1);
    running
        .until("it says that it rests", minute, || {
            running
                .shown()
                .is_some_and(|table| table.done && table.again_at.is_some())
        })
        .await;
    running
        .pass((10 * minute).saturating_sub(begun.elapsed()))
        .await;
    // Ten chunks, and as long to rest behind each of them.
    let readings = running.firsts();
    assert!((10..=16).contains(&readings), "{readings} readings");
    running.erp.lock().marks = |_| false;
    running.erp.lock().rows.pop();
    running.pass(2 * minute).await;
    assert_eq!(running.ended(), ["ACME|S9"]);
    let (readings, opened) = (running.firsts(), running.erp.lock().opened);
    running.pass(15 * minute).await;
    assert_eq!(running.firsts(), readings);
    assert_eq!(running.erp.lock().opened, opened);
    assert_eq!(running.shown().unwrap().again_at, None);
    // And the first reading behind a mark begins at once.
    running.erp.lock().marks = |_| true;
    running
        .until("it is read at once", Duration::from_secs(3), || {
            running.firsts() == readings + 1
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_passes_behind_the_reader_unseen_is_not_told_to_be_gone() {
    let running = start(Duration::from_secs(1), |at| at > 300 && at % 10 == 0);
    let minutes = Duration::from_mins(2);
    running
        .until("it is read again", minutes, || running.firsts() == 2)
        .await;
    let read = running.erp.lock().chunks.len();
    let further = || running.erp.lock().chunks.len() > read + 5;
    running.until("half of it", minutes, further).await;
    running.erp.lock().rows.swap(0, 9);
    running
        .until("and twice more", minutes, || running.firsts() == 4)
        .await;
    assert_eq!(running.ended(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_cannot_go_on_gives_way_to_the_one_behind_it() {
    let running = start(Duration::from_secs(1), |at| at == 50);
    let minutes = Duration::from_mins(2);
    running
        .until("half of it is read", minutes, || {
            running.erp.lock().chunks.len() > 4
        })
        .await;
    running.erp.lock().stuck = true;
    running
        .until("it is read from its first row", minutes, || {
            running.firsts() == 2
        })
        .await;
    running
        .until("and to its end", minutes, || running.is_done())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_compared_as_a_routine_is_read_again_and_nothing_is_wrong() {
    let running = start(Duration::from_millis(10), |at| at == 50);
    running.erp.lock().routine = true;
    let minute = Duration::from_mins(1);
    running
        .until("it is read once", minute, || running.is_done())
        .await;
    running.erp.lock().rows.pop();
    let problems = || {
        let reader = StateReader::open(running.folder.path()).unwrap();
        let sources = reader.sources().unwrap();
        sources.into_iter().next().unwrap().partly
    };
    running
        .until("what is gone is told", minute, || {
            assert!(problems().is_empty(), "{:?}", problems());
            running.ended() == ["ACME|S9"]
        })
        .await;
}

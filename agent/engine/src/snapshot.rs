//! Reading snapshots beside the stream: tasks of their own that hand over chunks one at a time.
//!
//! The capture loop takes a chunk when the stream has reached its mark. Until then at most one
//! chunk waits here for each reader and one there, so memory stays bounded. After each chunk a
//! reader rests, by default for as long as reading it took, so the source never gives more than
//! half a connection's work for each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{ChunkLimits, Clock, SnapshotChunk, SnapshotReader, Source, SourceError, TableName};
use state::Store;
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;

use crate::pace::Pace;
use crate::retry::RetryPolicy;

/// Rows and bytes of one chunk.
const LIMITS: ChunkLimits = ChunkLimits {
    rows_max: 2_000,
    bytes_max: 1 << 20,
};

/// A table still to be read, and where to go on.
pub(crate) struct Pending {
    pub(crate) table: TableName,
    /// The range of it, where it is read by ranges.
    pub(crate) range: Option<u32>,
    pub(crate) cursor: Option<String>,
    /// Behind it, it is read from its first row again.
    pub(crate) once_more: bool,
}

/// A chunk of a table.
pub(crate) struct Chunk {
    pub(crate) table: TableName,
    pub(crate) range: Option<u32>,
    pub(crate) chunk: SnapshotChunk,
}

/// Ends the reading tasks when the session ends.
pub(crate) struct Reading {
    chunks: mpsc::Receiver<Chunk>,
    readers: JoinSet<()>,
}

impl Reading {
    /// The next chunk; `None` = all has been read. What a reader that panicked held would be read by nobody, so its
    /// bug is ours.
    pub(crate) async fn next(&mut self) -> Option<Chunk> {
        loop {
            let ended = tokio::select! {
                biased;
                Some(chunk) = self.chunks.recv() => return Some(chunk),
                Some(ended) = self.readers.join_next() => ended,
                else => return None,
            };
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

/// What every reader of a source works with.
pub(crate) struct Readers {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<Store>,
    pub(crate) pace: Pace,
    pub(crate) epoch: u32,
    pub(crate) source_id: i64,
    pub(crate) source_name: String,
}

/// What the readers share.
struct Queue {
    /// Tables, and ranges of tables, that none of them reads now.
    waiting: VecDeque<Pending>,
    /// How many they read.
    in_hand: usize,
}

/// A table believed to be smaller is not cut into ranges.
const RANGES_ROWS_MIN: u64 = 50_000;
/// Between two looks of a reader that has nothing to do.
const IDLE: Duration = Duration::from_millis(500);

pub(crate) fn start(readers: Readers, pending: Vec<Pending>) -> Reading {
    let (sender, chunks) = mpsc::channel(1);
    let mut names: Vec<TableName> = pending.iter().map(|one| one.table.clone()).collect();
    names.dedup();
    let queue = Arc::new(Mutex::new(Queue {
        waiting: pending.into(),
        in_hand: 0,
    }));
    let readers = Arc::new(readers);
    let estimated = Arc::new(OnceCell::new());
    let names: Arc<[TableName]> = names.into();
    let mut tasks = JoinSet::new();
    for _ in 0..readers.pace.parallel.max(1) {
        let worker = Worker {
            readers: Arc::clone(&readers),
            queue: Arc::clone(&queue),
            estimated: Arc::clone(&estimated),
            names: Arc::clone(&names),
            sender: sender.clone(),
            failures: 0,
        };
        tasks.spawn(worker.run());
    }
    Reading {
        chunks,
        readers: tasks,
    }
}

impl Readers {
    /// How many rows the tables have, as the database believes: for `status` alone.
    async fn estimate(&self, tables: &[TableName]) {
        let found = match self.source.catalogue(tables).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(source = self.source_name, stage = "snapshot", error = %error,
                    "how many rows there are is not known");
                return;
            }
        };
        let rows = found
            .into_iter()
            .map(|info| (info.table.to_string(), info.rows));
        // The loop that owns the store hears of its troubles itself.
        let _ = self.store.estimate(self.source_id, rows.collect()).await;
    }
}

/// One reader.
struct Worker {
    readers: Arc<Readers>,
    queue: Arc<Mutex<Queue>>,
    /// Whether it has been asked how many rows `names` have.
    estimated: Arc<OnceCell<()>>,
    names: Arc<[TableName]>,
    sender: mpsc::Sender<Chunk>,
    failures: u32,
}

impl Worker {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        // Whoever panicked holds no table half taken.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, pending: Pending) {
        let mut queue = self.queue();
        queue.in_hand -= 1;
        queue.waiting.push_back(pending);
    }

    /// What to read next; `None` = all has been read.
    async fn next(&self) -> Option<Pending> {
        loop {
            {
                let mut queue = self.queue();
                if let Some(pending) = queue.waiting.pop_front() {
                    queue.in_hand += 1;
                    return Some(pending);
                }
                // Of what another reads, ranges may come, or all of it after a failure.
                if queue.in_hand == 0 {
                    return None;
                }
            }
            self.readers.clock.sleep(IDLE).await;
        }
    }

    async fn run(mut self) {
        let policy = RetryPolicy {
            first: Duration::from_secs(1),
            max: Duration::from_mins(1),
        };
        // A failed one is not used again.
        let mut reader: Option<Box<dyn SnapshotReader>> = None;
        let (readers, names) = (Arc::clone(&self.readers), Arc::clone(&self.names));
        let estimate = self.estimated.get_or_init(|| readers.estimate(&names));
        estimate.await;
        while let Some(mut pending) = self.next().await {
            failpoint::crash!("task.snapshot");
            match self.read(&mut reader, &mut pending).await {
                Ok(true) => self.queue().in_hand -= 1,
                // Nobody takes chunks any more.
                Ok(false) => return,
                Err(error) => {
                    self.failures += 1;
                    let table = pending.table.to_string();
                    tracing::warn!(code = "snapshot.waits",
                        source = self.readers.source_name, stage = "snapshot",
                        table, error = %error, hint = error.hint(),
                        "snapshot waits and tries again");
                    let problem = match error.hint() {
                        Some(hint) => format!("{error}; to mend it: {hint}"),
                        None => error.to_string(),
                    };
                    // What is being read may be another table by now; the next first row mends that.
                    // What was refused or took too long is not mended by beginning anew.
                    if matches!(error, SourceError::SchemaChanged { .. }) {
                        let id = readers.source_id;
                        let _ = readers.store.give_up_reading(id, table.clone()).await;
                    }
                    self.stands(&table, Some(problem), None).await;
                    // One bad table must not hold up the others: it goes to the end of the queue.
                    self.put_back(pending);
                    let wait = policy.bound(self.failures);
                    self.readers.clock.sleep(wait).await;
                }
            }
        }
    }

    async fn stands(
        &self,
        table: &str,
        problem: Option<String>,
        paused_until: Option<jiff::Timestamp>,
    ) {
        let readers = &self.readers;
        // The loop that owns the store hears of its troubles itself.
        let _ = readers
            .store
            .snapshot_stands(readers.source_id, table.to_owned(), problem, paused_until)
            .await;
    }

    /// Waits until no pause holds.
    async fn pause(&self, table: &str) {
        let readers = &self.readers;
        let mut said = false;
        while let Some(end) = readers.pace.paused_until(readers.clock.now()) {
            if !said {
                said = true;
                tracing::info!(code = "snapshot.pauses",
                    source = readers.source_name, stage = "snapshot", table,
                    until = %end, "reading tables pauses, as the settings say");
                self.stands(table, None, Some(end)).await;
            }
            let wait = contract::clock::until(readers.clock.now(), end);
            // A clock that is set is noticed soon.
            readers.clock.sleep(wait.min(Duration::from_mins(1))).await;
        }
    }

    /// Whether a table may be cut into ranges: nothing of it has been read.
    fn splits(&self, pending: &Pending) -> bool {
        let whole = pending.range.is_none() && pending.cursor.is_none() && !pending.once_more;
        whole && self.readers.pace.parallel > 1
    }

    /// Cuts a large table into ranges, where the database can: this reader goes on with the first.
    async fn split(
        &self,
        reader: &mut dyn SnapshotReader,
        pending: &mut Pending,
    ) -> Result<(), SourceError> {
        let readers = &self.readers;
        let name = pending.table.to_string();
        let known = readers.store.rows_read(readers.source_id, name.clone());
        let Ok((_, Some(RANGES_ROWS_MIN..))) = known.await else {
            return Ok(());
        };
        let parts = readers.pace.parallel;
        let cursors = reader.ranges(&pending.table, parts).await?;
        if cursors.len() < 2 {
            return Ok(());
        }
        // Durable before a row of them is read. The loop that owns the store hears of its troubles
        // itself.
        let split = readers
            .store
            .split(readers.source_id, name, cursors.clone());
        if !matches!(split.await, Ok(true)) {
            return Ok(());
        }
        tracing::info!(code = "snapshot.ranges",
            source = readers.source_name, stage = "snapshot", table = %pending.table,
            ranges = cursors.len(), "the table is read by ranges of its key");
        let mut numbered = (0..).zip(cursors);
        if let Some((range, cursor)) = numbered.next() {
            (pending.range, pending.cursor) = (Some(range), Some(cursor));
        }
        let others = numbered.map(|(range, cursor)| Pending {
            table: pending.table.clone(),
            range: Some(range),
            cursor: Some(cursor),
            once_more: false,
        });
        self.queue().waiting.extend(others);
        Ok(())
    }

    /// Reads a table to its end; false when nobody takes its chunks.
    async fn read(
        &mut self,
        reader: &mut Option<Box<dyn SnapshotReader>>,
        pending: &mut Pending,
    ) -> Result<bool, SourceError> {
        let readers = Arc::clone(&self.readers);
        let (clock, pace) = (&*readers.clock, &readers.pace);
        let limits = ChunkLimits {
            rows_max: pace.chunk_rows(LIMITS.rows_max),
            ..LIMITS
        };
        loop {
            self.pause(&pending.table.to_string()).await;
            let mut opened = if let Some(opened) = reader.take() {
                opened
            } else {
                let mut opened = readers.source.snapshot(readers.epoch).await?;
                opened.begin().await?;
                opened
            };
            if self.splits(pending) {
                self.split(&mut *opened, pending).await?;
            }
            let began = clock.now();
            let chunk = opened
                .chunk(&pending.table, pending.cursor.as_deref(), limits)
                .await?;
            *reader = Some(opened);
            self.failures = 0;
            let in_hand = self.queue().in_hand;
            let rest = pace.rest(chunk.rows.len(), in_hand, began, clock.now());
            let range = pending.range;
            let (table, next) = (pending.table.clone(), chunk.next.clone());
            let done = next.is_none() && !std::mem::take(&mut pending.once_more);
            pending.cursor = next;
            let chunk = Chunk {
                table,
                range,
                chunk,
            };
            if self.sender.send(chunk).await.is_err() {
                return Ok(false);
            }
            clock.sleep(rest).await;
            if done {
                return Ok(true);
            }
        }
    }
}

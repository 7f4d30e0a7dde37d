//! Reading snapshots beside the stream: a task of its own that hands over chunks one at a time.
//!
//! The capture loop takes a chunk when the stream has reached its mark. Until then at most one
//! chunk waits here and one there, so memory stays bounded; and the task rests after each chunk
//! for as long as reading it took, so the source never gives more than half a connection's work.

use std::sync::Arc;
use std::time::Duration;

use contract::{ChunkLimits, Clock, SnapshotChunk, Source, SourceError, TableName};
use tokio::sync::mpsc;

use crate::retry::RetryPolicy;

/// Rows and bytes of one chunk.
const LIMITS: ChunkLimits = ChunkLimits {
    rows_max: 2_000,
    bytes_max: 1 << 20,
};
/// The longest rest between two chunks.
const REST_MAX: Duration = Duration::from_secs(1);

/// A table still to be read, and where to go on.
pub(crate) struct Pending {
    pub(crate) table: TableName,
    pub(crate) cursor: Option<String>,
    /// Behind it, it is read from its first row again.
    pub(crate) once_more: bool,
}

/// A chunk of a table.
pub(crate) struct Chunk {
    pub(crate) table: TableName,
    pub(crate) chunk: SnapshotChunk,
}

/// Ends the reading task when the session ends.
pub(crate) struct Reading {
    pub(crate) chunks: mpsc::Receiver<Chunk>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn start(
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
    epoch: u32,
    pending: Vec<Pending>,
    source_name: String,
) -> Reading {
    let (sender, chunks) = mpsc::channel(1);
    let task = tokio::spawn(async move {
        let mut pending = pending;
        let policy = RetryPolicy {
            first: Duration::from_secs(1),
            max: Duration::from_mins(1),
        };
        let mut failures = 0_u32;
        while !pending.is_empty() {
            match read(
                &*source,
                &*clock,
                epoch,
                &mut pending,
                &sender,
                &mut failures,
            )
            .await
            {
                Ok(()) => return,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(source = source_name, stage = "snapshot", error = %error,
                        hint = error.hint(), "snapshot waits and tries again");
                    // One bad table must not hold up the others: it goes to the end of the queue.
                    pending.rotate_left(1);
                    clock.sleep(policy.bound(failures)).await;
                }
            }
        }
    });
    Reading { chunks, task }
}

async fn read(
    source: &dyn Source,
    clock: &dyn Clock,
    epoch: u32,
    pending: &mut Vec<Pending>,
    sender: &mpsc::Sender<Chunk>,
    failures: &mut u32,
) -> Result<(), SourceError> {
    let mut reader = source.snapshot(epoch).await?;
    reader.begin().await?;
    while let Some(first) = pending.first_mut() {
        let began = clock.now();
        let chunk = reader
            .chunk(&first.table, first.cursor.as_deref(), LIMITS)
            .await?;
        *failures = 0;
        let took = contract::clock::until(began, clock.now());
        let table = first.table.clone();
        let next = chunk.next.clone();
        if next.is_some() || std::mem::take(&mut first.once_more) {
            first.cursor = next;
        } else {
            pending.remove(0);
        }
        if sender.send(Chunk { table, chunk }).await.is_err() {
            return Ok(());
        }
        clock.sleep(took.min(REST_MAX)).await;
    }
    Ok(())
}

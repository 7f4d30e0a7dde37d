//! The source trait: what an adapter for a database does.
//!
//! The engine owns a source from one task. It opens a stream once per connection, takes batches
//! from it, makes them durable, and only then acknowledges. A snapshot is read through its own
//! reader while the stream runs; each chunk says which changes it already reflects
//! ([`Sees`]), so the engine can tell a stale row from a fresh one without any write to the source.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::canary::Canary;
use crate::catalogue::TableInfo;
use crate::change::{RowChange, TableName};
use crate::finding::Finding;
use crate::look::Look;
use crate::position::Position;
use crate::read_query::{ReadQuery, ReadRows};
use crate::secret::Secret;

/// Why a source cannot go on, by what the engine does about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The connection is gone or the server is busy: reconnect after a while.
    #[error("{0}")]
    Disconnected(String),
    /// The log no longer reaches back to our position: a person must order a resync. Never
    /// skipped silently.
    #[error("{what}")]
    PositionLost {
        /// What was found.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A right, setting or object is missing: a person must act; tried again from time to time.
    #[error("{what}")]
    Denied {
        /// What was found.
        what: String,
        /// What to do: a command or SQL.
        hint: String,
    },
    /// A captured table no longer fits the mapping or the capture objects.
    #[error("{what}")]
    SchemaChanged {
        /// What was found.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The log holds something this adapter does not understand: stop, skip nothing.
    #[error("{0}")]
    Malformed(String),
}

impl SourceError {
    /// What a person can do, if anything.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Disconnected(_) | Self::Malformed(_) => None,
            Self::PositionLost { hint, .. }
            | Self::Denied { hint, .. }
            | Self::SchemaChanged { hint, .. } => Some(hint),
        }
    }
}

/// A table to capture, as the mappings ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedTable {
    /// The table.
    pub table: TableName,
    /// Columns that identify a row, as the mapping declares them; empty = the primary key.
    pub key: Vec<String>,
    /// Columns the mappings read. Others need not be captured.
    pub columns: Vec<String>,
}

/// What a source is built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceContext {
    /// The source's name in the settings.
    pub name: String,
    /// The tables the mappings ask for.
    pub tables: Vec<CapturedTable>,
}

/// Where to go on, and at which server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resume {
    /// Stamped into every position.
    pub epoch: u32,
    /// The checkpoint; `None` before the first one.
    pub after: Option<Position>,
    /// What [`ChangeStream::server`] said when the checkpoint was stored.
    pub server: Option<String>,
    /// Commit time of the newest change stored.
    pub committed_at: Option<Timestamp>,
}

/// Who a person is at the database, in place of the settings' user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password, where there is one.
    pub password: Option<Secret>,
}

/// Builds a source from checked settings; made by an adapter's `read`. Called again when mappings
/// are reloaded.
pub type BuildSource = Arc<dyn Fn(SourceContext) -> Result<Arc<dyn Source>, String> + Send + Sync>;

/// A captured table whose changes the log does not tell now, while it goes on telling others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// The table.
    pub table: TableName,
    /// Why.
    pub what: String,
    /// What to do.
    pub hint: String,
    /// Nothing is wrong and nothing is to be mended: the table is read again from time to time, for
    /// nothing tells its changes.
    pub routine: bool,
}

/// Consecutive changes, in commit order.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeBatch {
    /// The changes; may be empty when only the position moved on.
    pub changes: Vec<RowChange>,
    /// Where the batch ends. `seq > 0` means inside a transaction: safe to store as a checkpoint,
    /// not yet safe to release at the source.
    pub end: Position,
}

/// A running read of the log.
#[async_trait]
pub trait ChangeStream: Send {
    /// The next batch, waiting for one if need be. Bounded in bytes by the adapter.
    ///
    /// Called by one task, again and again; cancel-safe: a wait that is given up loses nothing. The
    /// engine gives one up only at the end of the stream, so that whatever must be asked first may
    /// take its time. After a crash, batches behind the stored checkpoint are asked for again and
    /// must not contain changes at or before it. Batches with no change but a newer end keep quiet
    /// sources' positions moving.
    ///
    /// # Errors
    /// See [`SourceError`]; the stream is dropped afterwards.
    async fn next(&mut self) -> Result<ChangeBatch, SourceError>;

    /// The engine holds everything up to `upto` durably; the source may release its log. Called
    /// after each commit, never before it.
    ///
    /// # Errors
    /// See [`SourceError`]; the stream is dropped afterwards.
    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError>;

    /// Tables that are not told now: dropped, renamed, taken out of what is captured; or whose rows
    /// cannot be known from what was told. Asked when a batch has come, before it is stored. The
    /// engine has them read again; when one is told again, the stream ends with
    /// [`SourceError::Disconnected`], so that this begins at once. One whose rows were only unclear is
    /// told on, and may leave the list once a batch has come with it: the next time, it is said anew. By
    /// default a stream that goes on tells every captured table.
    fn untold(&self) -> &[Untold] {
        &[]
    }

    /// Which server this is, which life of its log and what that log tells of, as it was when the
    /// stream was opened, in the adapter's own words: stored with the first checkpoint that this
    /// stream told, never with an older one, and handed back by [`Resume::server`]. `None` = it cannot
    /// be told.
    fn server(&self) -> Option<String> {
        None
    }
}

/// Which changes a chunk's rows already reflect: visibility, not log order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sees {
    /// Every change up to the chunk's mark and none after.
    UpToMark,
    /// Every change up to this position. Of those from there to the chunk's mark nobody knows: they
    /// count as not reflected, for what the log tells of a row may stand in the place of what was
    /// read of it, and never the other way round.
    UpTo(Position),
    /// The transactions a PostgreSQL snapshot sees: all below `xmin`, none from `xmax` on, and
    /// between them those not in progress.
    Transactions {
        /// Lowest transaction still running.
        xmin: u64,
        /// First transaction not yet begun.
        xmax: u64,
        /// Running transactions between them.
        in_progress: Vec<u64>,
    },
}

impl Sees {
    /// Whether rows read under this view reflect a change made at `position` by `transaction`,
    /// for a chunk marked `mark`.
    pub fn reflects(&self, mark: &Position, position: &Position, transaction: u64) -> bool {
        match self {
            Self::UpToMark => position <= mark,
            Self::UpTo(seen) => position <= seen,
            Self::Transactions {
                xmin,
                xmax,
                in_progress,
            } => {
                transaction < *xmin || (transaction < *xmax && !in_progress.contains(&transaction))
            }
        }
    }
}

/// Rows of one table in key order, and what they reflect.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotChunk {
    /// The rows, as [`Op::Read`](crate::Op::Read) changes at `mark`.
    pub rows: Vec<RowChange>,
    /// Where to go on; `None` = the table is done.
    pub next: Option<String>,
    /// A transaction border at or after every change the rows reflect. The engine emits the chunk
    /// when the stream has reached it.
    pub mark: Position,
    /// Which changes the rows reflect.
    pub sees: Sees,
}

/// Limits of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Most rows.
    pub rows_max: usize,
    /// Most bytes, about; one row may exceed it.
    pub bytes_max: usize,
}

/// Reads tables in key order, chunk by chunk, beside the stream and on its own connection.
#[async_trait]
pub trait SnapshotReader: Send {
    /// Cuts a table into about `parts` ranges of its key that together are the table, so that they
    /// can be read at once: the cursors at which they begin, each of which [`Self::chunk`] follows
    /// to the end of its range. Reads what the database knows, not the table. By default, and where
    /// the database does not know enough, a table is one range: no cursors.
    ///
    /// # Errors
    /// See [`SourceError`].
    async fn ranges(
        &mut self,
        table: &TableName,
        parts: usize,
    ) -> Result<Vec<String>, SourceError> {
        let _ = (table, parts);
        Ok(Vec::new())
    }

    /// Called once before the first chunk, after the stream has started; returns when every
    /// change the stream will not deliver is visible to the chunks. Called again after a restart.
    ///
    /// # Errors
    /// See [`SourceError`].
    async fn begin(&mut self) -> Result<(), SourceError>;

    /// The next chunk of `table` after `cursor` (`None` = from the start). A repeated call with
    /// the same cursor reads afresh.
    ///
    /// # Errors
    /// See [`SourceError`]; the engine reconnects and asks again with the stored cursor.
    async fn chunk(
        &mut self,
        table: &TableName,
        cursor: Option<&str>,
        limits: ChunkLimits,
    ) -> Result<SnapshotChunk, SourceError>;
}

/// What must be done at the source before it can be captured, and how to undo it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Preparation {
    /// Statements still to be run, in order. Empty = nothing to do.
    pub sql: Vec<String>,
    /// Statements that take back everything, in order.
    pub undo: Vec<String>,
    /// Whether `sql` has been run.
    pub applied: bool,
}

/// A database we capture.
#[async_trait]
pub trait Source: Send + Sync {
    /// Looks at rights, settings, capture objects and retention. Changes nothing. Answers within
    /// 20 seconds, also when the database cannot be reached.
    async fn check(&self) -> Vec<Finding>;

    /// Says what must be done at the source (or, with `apply`, does it). The only method that
    /// writes to the source.
    ///
    /// # Errors
    /// See [`SourceError`].
    async fn prepare(&self, apply: bool) -> Result<Preparation, SourceError>;

    /// Opens the log after `after`, or at the start of what the source keeps for us when there is
    /// no checkpoint yet. `epoch` is stamped into every position.
    ///
    /// # Errors
    /// [`SourceError::PositionLost`] when the log does not reach back to `after`.
    async fn stream(
        &self,
        epoch: u32,
        after: Option<&Position>,
    ) -> Result<Box<dyn ChangeStream>, SourceError>;

    /// As [`Source::stream`], and first of all compares the server with the one that the checkpoint
    /// came from: a position means nothing in another server's log.
    ///
    /// # Errors
    /// [`SourceError::PositionLost`] when this is another server, or another life of its log that
    /// does not go on from the checkpoint.
    async fn resume(&self, from: &Resume) -> Result<Box<dyn ChangeStream>, SourceError> {
        self.stream(from.epoch, from.after.as_ref()).await
    }

    /// A look beside the stream, on a connection of its own, about twice a minute for as long as
    /// the agent runs; answers or fails within 20 seconds. `None` = there is nothing to look at, and
    /// nobody asks again. An error says that the look failed, not that the stream did.
    ///
    /// # Errors
    /// See [`SourceError`].
    async fn look(&self) -> Result<Option<Look>, SourceError> {
        Ok(None)
    }

    /// When its log was last proven to come through. Asked each second while the stream is open, so it does no
    /// I/O. `None` = this source has no such proof.
    fn canary(&self) -> Option<Canary> {
        None
    }

    /// As [`Source::prepare`], as another user than the settings', who may do more.
    ///
    /// # Errors
    /// See [`SourceError`].
    async fn prepare_as(&self, login: &Login, apply: bool) -> Result<Preparation, SourceError> {
        let _ = (login, apply);
        Err(SourceError::Denied {
            what: "prepare: this source knows no users".to_owned(),
            hint: "lighterman source prepare, without --user".to_owned(),
        })
    }

    /// Opens a reader for snapshots.
    ///
    /// # Errors
    /// See [`SourceError`].
    async fn snapshot(&self, epoch: u32) -> Result<Box<dyn SnapshotReader>, SourceError>;

    /// What the database says about `tables`; those it does not have are absent from the answer.
    /// With no table named: about every table a person could choose, without views and the
    /// database's and our own tables. Reads catalogues only, never rows; answers or fails within
    /// 20 seconds. Does not need [`Source::prepare`]. By default there is nothing to say.
    ///
    /// # Errors
    /// See [`SourceError`].
    async fn catalogue(&self, tables: &[TableName]) -> Result<Vec<TableInfo>, SourceError> {
        let _ = tables;
        Ok(Vec::new())
    }

    /// Whether [`Source::query`] can be asked.
    fn can_query(&self) -> bool {
        false
    }

    /// Asks the database beside stream and snapshot, read only and without a lock that blocks its
    /// users. Values are converted as in a snapshot. The answer is as of some moment after the
    /// call, not of a position in the log. By default a source cannot be asked.
    ///
    /// # Errors
    /// [`SourceError::Denied`] when a person must change the statement, its parameters or a right,
    /// also when the answer is larger than the query allows; [`SourceError::Disconnected`] when
    /// another try may do: the time was too short, something was locked, the connection broke. An
    /// error names the statement's problem, never a value.
    async fn query(&self, query: &ReadQuery) -> Result<ReadRows, SourceError> {
        let _ = query;
        Err(SourceError::Denied {
            what: "read by key: this source cannot be asked".to_owned(),
            hint: "capture the tables that hold the values instead".to_owned(),
        })
    }

    /// How long nothing may be heard from the source before it counts as silent.
    fn silence_max(&self) -> Duration {
        Duration::from_mins(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::LogPos;

    #[test]
    fn a_view_reflects_finished_transactions_only() {
        let at = |n| Position::border(1, LogPos::from_number(n));
        let view = Sees::Transactions {
            xmin: 10,
            xmax: 20,
            in_progress: vec![10, 15],
        };
        for (transaction, reflects) in [
            (9, true),
            (10, false),
            (11, true),
            (15, false),
            (19, true),
            (20, false),
        ] {
            assert_eq!(
                view.reflects(&at(5), &at(1), transaction),
                reflects,
                "{transaction}"
            );
        }
        assert!(Sees::UpToMark.reflects(&at(5), &at(5), 0));
        assert!(!Sees::UpToMark.reflects(&at(5), &at(6), 0));
    }

    #[test]
    fn what_nobody_knows_of_counts_as_not_reflected() {
        let at = |n| Position::border(1, LogPos::from_number(n));
        let view = Sees::UpTo(at(5));
        for (position, reflects) in [(4, true), (5, true), (6, false), (9, false), (10, false)] {
            assert_eq!(
                view.reflects(&at(9), &at(position), 0),
                reflects,
                "{position}"
            );
        }
    }
}

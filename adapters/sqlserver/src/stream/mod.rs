//! The stream: cycles that take heads and tell what changed up to them.
//!
//! A database has tables that are told in several ways, and one stream. Each cycle takes the heads of change
//! data capture, change tracking and rowversions, in this order, then tells captured changes, tracked
//! changes and changed rows up to them, each merged over its tables in one order, and ends at a border.

pub(crate) mod cdc;
mod heads;
mod life;
mod open;
mod page;
mod rowversion;
mod shared;
mod start;
mod table;
mod told;
mod tracking;
mod watch;
mod worker;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use contract::{ChangeBatch, ChangeStream, Position, SourceError, Untold};

use crate::place::Place;
use crate::session::SILENCE_MAX;
use crate::settings::Settings;

pub(crate) use heads::{max_lsn, version};
pub(crate) use open::open;
use shared::Reached;
pub(crate) use shared::Shared;
use shared::lock;
pub(crate) use tracking::min_valid;
use worker::Worker;

/// A batch has about so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Between two looks at what is captured.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const GAP_HINT: &str = "nothing, if it does not come again; else keep changes for longer: sys.sp_cdc_change_job \
     @job_type = N'cleanup', @retention = .., or ALTER DATABASE CURRENT SET CHANGE_TRACKING \
     (CHANGE_RETENTION = ..)";

const UNCLEAR_HINT: &str = "nothing: the table is read again and compared";

/// A position that only idles on is handed on this often.
const IDLE_EVERY: Duration = Duration::from_secs(10);

/// How much at once, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    pub(crate) poll: Duration,
    pub(crate) page_rows: usize,
    pub(crate) batch_bytes: usize,
    /// Between two looks at what is captured and tracked.
    pub(crate) look: Duration,
    /// So long the server may say nothing while it owes an answer.
    pub(crate) silence: Duration,
    /// A position that only idles on is handed on this often.
    pub(crate) idle: Duration,
}

impl Tuning {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            poll: Duration::from_secs(settings.poll_seconds),
            page_rows: usize::try_from(settings.page_rows).unwrap_or(usize::MAX),
            batch_bytes: BATCH_BYTES,
            look: LOOK_EVERY,
            silence: SILENCE_MAX,
            idle: IDLE_EVERY,
        }
    }
}

/// A turn of the worker, which goes on where it was when its wait was given up.
type Turn = Pin<Box<dyn Future<Output = (Box<Worker>, Result<ChangeBatch, SourceError>)> + Send>>;

/// The stream of a database.
pub(crate) struct Stream {
    /// There is a turn or a worker, until one fails.
    worker: Option<Box<Worker>>,
    turn: Option<Turn>,
    untold: Vec<Untold>,
    server: String,
    reached: Reached,
}

impl Stream {
    fn new(worker: Worker, server: String, reached: Reached) -> Self {
        Self {
            untold: worker.standing.untold().to_vec(),
            worker: Some(Box::new(worker)),
            turn: None,
            server,
            reached,
        }
    }
}

#[async_trait]
impl ChangeStream for Stream {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        let turn = match (&mut self.turn, self.worker.take()) {
            (Some(turn), _) => turn,
            (None, Some(mut worker)) => self.turn.insert(Box::pin(async move {
                let batch = worker.turn().await;
                (worker, batch)
            })),
            (None, None) => {
                return Err(SourceError::Disconnected("the stream has ended".to_owned()));
            }
        };
        let (worker, batch) = turn.as_mut().await;
        self.turn = None;
        let batch = batch?;
        self.untold = worker.standing.untold().to_vec();
        self.worker = Some(worker);
        Ok(batch)
    }

    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError> {
        *lock(&self.reached) = Some(Place::parse(upto)?);
        Ok(())
    }

    fn untold(&self) -> &[Untold] {
        &self.untold
    }

    fn server(&self) -> Option<String> {
        Some(self.server.clone())
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;

//! The one writer: it owns the connection and commits jobs in groups, on a thread of its own.
//!
//! Jobs that wait while a commit runs go into the next transaction together, so many small
//! writers share one fsync; a large one begins a transaction of its own, which small ones may share. A job that fails
//! rolls back alone; a commit that fails stops the writer for good, because nobody can tell what the disk holds.

use std::path::Path;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;
use crate::steps::Steps;

/// Jobs waiting at most; each caller waits for its own answer, so bytes are bounded by callers.
const JOBS_MAX: usize = 64;

pub(crate) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

type Run = Box<dyn FnOnce(&Connection) -> (Result<(), StoreError>, Reply) + Send>;

/// What is to be done in a transaction.
pub(crate) struct Work {
    pub(crate) run: Run,
    /// It writes so much that it begins a transaction: to share one that has begun, SQLite would have to keep each page
    /// as it was before it.
    pub(crate) large: bool,
}

/// What writes for more rows than this is large.
const SMALL_ROWS: usize = 64;

#[derive(Debug)]
pub(crate) struct Writer {
    jobs: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(folder: &Path) -> Result<Self, StoreError> {
        let (mut writer, steps) = Self::in_steps(folder)?;
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || steps.run())
            .map_err(|error| StoreError::Io {
                what: "start the store's thread".to_owned(),
                detail: error.to_string(),
            })?;
        writer.thread = Some(thread);
        Ok(writer)
    }

    /// Nobody commits but whoever takes the steps.
    pub(crate) fn in_steps(folder: &Path) -> Result<(Self, Steps), StoreError> {
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let steps = Steps::open(folder, receiver)?;
        let writer = Self {
            jobs: Some(jobs),
            thread: None,
        };
        Ok((writer, steps))
    }

    /// Runs `work` in the next transaction; answers when that is durable.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run_for(0, work).await
    }

    /// As [`Self::run`], of what writes for so many rows, about.
    pub(crate) async fn run_for<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, wait) = oneshot::channel();
        let run = Box::new(move |connection: &Connection| match work(connection) {
            Ok(value) => {
                let reply: Reply = Box::new(move |committed| {
                    let _ = answer.send(committed.map(|()| value));
                });
                (Ok(()), reply)
            }
            Err(error) => {
                let kind = match error {
                    StoreError::Full => StoreError::Full,
                    _ => StoreError::Stopped,
                };
                let reply: Reply = Box::new(move |_| {
                    let _ = answer.send(Err(error));
                });
                (Err(kind), reply)
            }
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::Stopped)?;
        let large = rows > SMALL_ROWS;
        let work = Work { run, large };
        jobs.send(work).await.map_err(|_| StoreError::Stopped)?;
        wait.await.map_err(|_| StoreError::Stopped)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

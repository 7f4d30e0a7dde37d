//! The one writer: it owns the connection and commits jobs in groups, on a thread of its own.
//!
//! Jobs that wait while a commit runs go into the next transaction together, so many small
//! writers share one fsync. A job that fails rolls back alone; a commit that fails stops the
//! writer for good, because nobody can tell what the disk holds.

use std::path::Path;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;
use crate::steps::Steps;

/// Jobs waiting at most; each caller waits for its own answer, so bytes are bounded by callers.
const JOBS_MAX: usize = 64;

pub(crate) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
pub(crate) type Work = Box<dyn FnOnce(&Connection) -> (Result<(), StoreError>, Reply) + Send>;

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
        let (answer, wait) = oneshot::channel();
        let work: Work = Box::new(move |connection| match work(connection) {
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

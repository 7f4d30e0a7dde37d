//! The one writer: a thread that owns the connection and commits jobs in groups.
//!
//! Jobs that wait while a commit runs go into the next transaction together, so many small
//! writers share one fsync. A job that fails rolls back alone; a commit that fails stops the
//! writer for good, because nobody can tell what the disk holds.

use std::path::Path;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;
use crate::folder::{self, Ownership};

/// Jobs waiting at most; each caller waits for its own answer, so bytes are bounded by callers.
const JOBS_MAX: usize = 64;
/// Jobs in one transaction at most.
const GROUP_MAX: usize = 32;

type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Work = Box<dyn FnOnce(&Connection) -> (Result<(), StoreError>, Reply) + Send>;

#[derive(Debug)]
pub(crate) struct Writer {
    jobs: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(folder: &Path) -> Result<Self, StoreError> {
        let ownership = Ownership::take(folder)?;
        let connection = folder::open_writer(folder)?;
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                run(&connection, receiver);
                // The file is closed before the folder is given up.
                drop(connection);
                drop(ownership);
            })
            .map_err(|error| StoreError::Io {
                what: "start the store's thread".to_owned(),
                detail: error.to_string(),
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
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

fn run(connection: &Connection, mut jobs: mpsc::Receiver<Work>) {
    while let Some(first) = jobs.blocking_recv() {
        failpoint::crash!("task.store");
        let mut replies = Vec::new();
        if let Err(error) = group(connection, first, &mut jobs, &mut replies) {
            tracing::error!(code = "state.stopped",
                error = %error, stage = "commit", "the store stopped");
            let _ = connection.execute_batch("ROLLBACK");
            let text = error.to_string();
            for reply in replies {
                let again = match &error {
                    StoreError::Full => StoreError::Full,
                    _ => StoreError::Sqlite(text.clone()),
                };
                reply(Err(again));
            }
            if matches!(error, StoreError::Full) {
                // The transaction was rolled back whole and nothing was acknowledged: going on is
                // safe, and the next job finds out whether there is room again.
                continue;
            }
            return;
        }
        for reply in replies {
            reply(Ok(()));
        }
    }
}

fn group(
    connection: &Connection,
    first: Work,
    jobs: &mut mpsc::Receiver<Work>,
    replies: &mut Vec<Reply>,
) -> Result<(), StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    failpoint::at!("state.begin")?;
    let mut next = Some(first);
    while let Some(work) = next {
        connection.execute_batch("SAVEPOINT job")?;
        let (outcome, reply) = work(connection);
        replies.push(reply);
        if let Err(error) = outcome {
            if connection.is_autocommit() {
                // SQLite itself rolled the whole transaction back (disk full, I/O error).
                return Err(error);
            }
            connection.execute_batch("ROLLBACK TO job")?;
        }
        connection.execute_batch("RELEASE job")?;
        next = if replies.len() < GROUP_MAX {
            jobs.try_recv().ok()
        } else {
            None
        };
    }
    failpoint::at!("state.commit")?;
    connection.execute_batch("COMMIT")?;
    failpoint::crash!("state.committed");
    Ok(())
}

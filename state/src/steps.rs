//! The writing half of a store: one group of jobs, one transaction, at a time.
//!
//! The agent runs it on a thread. Whoever opens a store with [`Store::open_in_steps`] takes the steps
//! instead: a simulation, in which each commit has its place in virtual time, and may fail there.
//!
//! [`Store::open_in_steps`]: crate::Store::open_in_steps

use std::path::Path;

use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::error::StoreError;
use crate::folder::{self, Ownership};
use crate::writer::{Reply, Work};

/// Jobs in one transaction at most.
const GROUP_MAX: usize = 32;

/// What goes wrong in a step, in the place of a disk that cannot be asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepFault {
    /// The file cannot grow: the disk is full.
    Full,
    /// What is being done ends with an error after so many of SQLite's own steps, and its transaction
    /// with it.
    Interrupted(u16),
    /// The commit fails, and nothing of it is on the disk.
    Lost,
    /// The commit fails, although all of it is on the disk.
    Unsaid,
}

/// The writing half of an open store; dropping it leaves undone whatever waits, like a crash.
#[derive(Debug)]
pub struct Steps {
    // In this order: the file is closed before the folder is given up.
    connection: Connection,
    _ownership: Ownership,
    jobs: mpsc::Receiver<Work>,
    next: Option<Held>,
}

/// The first job of the next step.
struct Held(Work);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a job")
    }
}

impl Steps {
    pub(crate) fn open(folder: &Path, jobs: mpsc::Receiver<Work>) -> Result<Self, StoreError> {
        let ownership = Ownership::take(folder)?;
        let connection = folder::open_writer(folder)?;
        Ok(Self {
            connection,
            _ownership: ownership,
            jobs,
            next: None,
        })
    }

    /// For tests that look at what SQLite does.
    #[cfg(test)]
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Takes steps until nobody holds the store any more, or it is in doubt.
    pub(crate) fn run(mut self) {
        loop {
            let waiting = self.next.take().map(|Held(work)| work);
            let Some(first) = waiting.or_else(|| self.jobs.blocking_recv()) else {
                return;
            };
            failpoint::crash!("task.store");
            if !self.take(first, None) {
                return;
            }
        }
    }

    /// Waits until there is something to commit; false = nobody holds the store any more.
    /// Cancel-safe.
    pub async fn ready(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.jobs.recv().await.map(Held);
        }
        self.next.is_some()
    }

    /// Commits what waits, as one transaction, or fails as told; false = the store is in doubt and
    /// takes no more jobs. Does nothing where nothing waits.
    pub fn step(&mut self, fault: Option<StepFault>) -> bool {
        match self.next.take() {
            Some(Held(first)) => self.take(first, fault),
            None => true,
        }
    }

    fn take(&mut self, first: Work, fault: Option<StepFault>) -> bool {
        let mut replies = Vec::new();
        let grouped = match fault {
            None => self.group(first, &mut replies),
            Some(fault) => self.fails(first, &mut replies, fault),
        };
        let Err(error) = grouped else {
            for reply in replies {
                reply(Ok(()));
            }
            return true;
        };
        tracing::error!(code = "state.stopped",
            error = %error, stage = "commit", "the store stopped");
        let _ = self.connection.execute_batch("ROLLBACK");
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
            return true;
        }
        self.jobs.close();
        self.next = None;
        while self.jobs.try_recv().is_ok() {}
        false
    }

    fn group(&mut self, first: Work, replies: &mut Vec<Reply>) -> Result<(), StoreError> {
        if !self.work(first, replies)? {
            return Ok(());
        }
        failpoint::at!("state.commit")?;
        run(&self.connection, "COMMIT")?;
        failpoint::crash!("state.committed");
        Ok(())
    }

    /// All of a group but its commit; false = there is nothing to commit.
    fn work(&mut self, first: Work, replies: &mut Vec<Reply>) -> Result<bool, StoreError> {
        let connection = &self.connection;
        run(connection, "BEGIN IMMEDIATE")?;
        failpoint::at!("state.begin")?;
        // What fails first takes the transaction with it. A savepoint for it would cost the most: SQLite would write
        // each page down as it was, in a file of its own.
        let (outcome, reply) = (first.run)(connection);
        replies.push(reply);
        if let Err(error) = outcome {
            if connection.is_autocommit() {
                // SQLite itself rolled the whole transaction back (disk full, I/O error).
                return Err(error);
            }
            run(connection, "ROLLBACK")?;
            return Ok(false);
        }
        while replies.len() < GROUP_MAX {
            let Ok(work) = self.jobs.try_recv() else {
                break;
            };
            if work.large {
                self.next = Some(Held(work));
                break;
            }
            run(connection, "SAVEPOINT job")?;
            let (outcome, reply) = (work.run)(connection);
            replies.push(reply);
            if let Err(error) = outcome {
                if connection.is_autocommit() {
                    return Err(error);
                }
                run(connection, "ROLLBACK TO job")?;
            }
            run(connection, "RELEASE job")?;
        }
        Ok(true)
    }

    /// As [`Self::group`], and the fault comes.
    fn fails(
        &mut self,
        first: Work,
        replies: &mut Vec<Reply>,
        fault: StepFault,
    ) -> Result<(), StoreError> {
        let io = |detail: &str| StoreError::Io {
            what: "write state file".to_owned(),
            detail: detail.to_owned(),
        };
        match fault {
            StepFault::Full => {
                let pages: i64 = self
                    .connection
                    .pragma_query_value(None, "page_count", |row| row.get(0))?;
                self.pages_max(pages)?;
                let grouped = self.group(first, replies);
                if grouped.is_err() {
                    // Before the room comes back: that is no statement of a transaction.
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
                self.pages_max(PAGES_MAX)?;
                grouped
            }
            StepFault::Interrupted(after) => {
                let after = i32::from(after).max(1);
                self.connection.progress_handler(after, Some(|| true))?;
                let grouped = self.group(first, replies);
                self.connection.progress_handler(0, None::<fn() -> bool>)?;
                grouped
            }
            StepFault::Lost => {
                self.work(first, replies)?;
                Err(io("the commit failed"))
            }
            StepFault::Unsaid => {
                self.group(first, replies)?;
                Err(io("nobody can tell whether the commit failed"))
            }
        }
    }

    fn pages_max(&self, pages: i64) -> Result<(), StoreError> {
        let set = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&set, [], |_| Ok(()))?;
        Ok(())
    }
}

/// Runs what begins or ends something: prepared once, for it is run with each group and job.
fn run(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// SQLite's own limit of pages.
const PAGES_MAX: i64 = 4_294_967_294;

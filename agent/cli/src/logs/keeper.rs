//! Brings lines into files without anybody waiting for a disk: a bounded queue and a thread.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use contract::Clock;
use engine::clock::SystemClock;

use super::files::{Files, Limits};

/// Lines that wait, and their bytes: as much as comes while a disk is slow for some seconds.
const LINES_MAX: usize = 8_192;
const BYTES_MAX: usize = 4 << 20;
/// Between two tries to write to a folder that could not be written.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// The end of the process waits for the disk no longer than this.
const END_MAX: Duration = Duration::from_secs(2);

enum Job {
    Line(Vec<u8>),
    End(SyncSender<()>),
}

/// What waits to be written, and what could not be.
#[derive(Default)]
struct Queue {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

/// Keeps lines in files, once it is told where. Until then they stand on the console alone.
#[derive(Default)]
pub(super) struct Keeper {
    queue: Arc<Queue>,
    jobs: OnceLock<SyncSender<Job>>,
}

impl Keeper {
    /// Writes to files in this folder from now on.
    pub(super) fn keep(&self, folder: &Path, limits: Limits) {
        let (sender, jobs) = sync_channel(LINES_MAX);
        let mut writing = Writing {
            files: Files::new(folder, limits),
            folder: folder.display().to_string(),
            queue: Arc::clone(&self.queue),
            failed_at: None,
        };
        let thread = std::thread::Builder::new().name("log-files".to_owned());
        match thread.spawn(move || writing.run(&jobs)) {
            Ok(_) => {
                let _ = self.jobs.set(sender);
            }
            Err(error) => writing_fails(&folder.display().to_string(), &error),
        }
    }

    /// Waits a moment until what was said is written.
    pub(super) fn end(&self) {
        let Some(jobs) = self.jobs.get() else { return };
        let (sender, done) = sync_channel(1);
        if jobs.try_send(Job::End(sender)).is_ok() {
            let _ = done.recv_timeout(END_MAX);
        }
    }

    fn push(&self, line: &[u8]) {
        let Some(jobs) = self.jobs.get() else { return };
        let queue = &self.queue;
        let waiting = queue.bytes.fetch_add(line.len(), Ordering::Relaxed);
        let full = waiting + line.len() > BYTES_MAX;
        if full || jobs.try_send(Job::Line(line.to_vec())).is_err() {
            queue.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Takes one line at a time.
impl io::Write for &Keeper {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn writing_fails(folder: &str, error: &io::Error) {
    tracing::error!(
        code = "log.not_written",
        folder,
        error = %error,
        hint = "make room, or let the agent's user write the folder: [log] folder in the settings",
        "log files cannot be written; the agent goes on, and its lines stand here alone"
    );
}

struct Writing {
    files: Files,
    folder: String,
    queue: Arc<Queue>,
    /// When a write failed; `None` = the last one did not.
    failed_at: Option<Instant>,
}

impl Writing {
    fn run(&mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            match job {
                Job::Line(line) => {
                    self.queue.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    self.write(&line);
                }
                Job::End(done) => {
                    let _ = done.try_send(());
                }
            }
        }
    }

    fn write(&mut self, line: &[u8]) {
        let waits = self.failed_at.is_some_and(|at| at.elapsed() < AGAIN_AFTER);
        let written = if waits {
            None
        } else {
            Some(self.files.write(line, SystemClock.now()))
        };
        match written {
            Some(Ok(())) => {
                let failed = self.failed_at.take().is_some();
                let lost = self.queue.lost.swap(0, Ordering::Relaxed);
                if failed || lost > 0 {
                    tracing::warn!(
                        code = "log.lines_lost",
                        folder = self.folder,
                        count = lost,
                        "lines of the log stand in no file: they came faster than they could be written, or \
                         could not be"
                    );
                }
            }
            Some(Err(error)) => {
                self.queue.lost.fetch_add(1, Ordering::Relaxed);
                if self.failed_at.replace(Instant::now()).is_none() {
                    writing_fails(&self.folder, &error);
                }
            }
            None => {
                self.queue.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

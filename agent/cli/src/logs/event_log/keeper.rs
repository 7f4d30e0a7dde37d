//! Lines on their way to the Event Log: a bounded queue and a thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::Level;

use super::Line;

/// Lines that wait: as many as come while the Event Log is slow for a moment.
const LINES_MAX: usize = 128;
/// The end of the process waits no longer than this.
const END_MAX: Duration = Duration::from_secs(2);

enum Job {
    Line(Line),
    End(SyncSender<()>),
}

/// Brings lines to the Event Log, once it is told to.
#[derive(Default)]
pub(in super::super) struct Keeper {
    jobs: OnceLock<SyncSender<Job>>,
    lost: std::sync::Arc<AtomicU64>,
}

impl Keeper {
    /// Whether it writes at all.
    pub(super) fn is_kept(&self) -> bool {
        self.jobs.get().is_some()
    }

    /// Writes with what `open` gives from now on.
    #[cfg(any(windows, test))]
    pub(in super::super) fn keep<W>(
        &self,
        open: impl FnOnce() -> Result<W, String> + Send + 'static,
    ) where
        W: FnMut(Line),
    {
        let (sender, jobs) = sync_channel(LINES_MAX);
        let lost = std::sync::Arc::clone(&self.lost);
        let thread = std::thread::Builder::new().name("event-log".to_owned());
        let run = move || match open() {
            Ok(write) => run(write, &jobs, &lost),
            Err(error) => fails(&error),
        };
        match thread.spawn(run) {
            Ok(_) => {
                let _ = self.jobs.set(sender);
            }
            Err(error) => fails(&error.to_string()),
        }
    }

    /// Waits a moment until what was said is written.
    pub(in super::super) fn end(&self) {
        let Some(jobs) = self.jobs.get() else { return };
        let (sender, done) = sync_channel(1);
        if jobs.try_send(Job::End(sender)).is_ok() {
            let _ = done.recv_timeout(END_MAX);
        }
    }

    pub(super) fn push(&self, line: Line) {
        let Some(jobs) = self.jobs.get() else { return };
        if jobs.try_send(Job::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(any(windows, test))]
fn run(mut write: impl FnMut(Line), jobs: &Receiver<Job>, lost: &AtomicU64) {
    for job in jobs {
        match job {
            Job::Line(line) => {
                write(line);
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let text = format!(
                        "{lost} lines came faster than they could be written here; the log's files have them"
                    );
                    let level = Level::WARN;
                    write(Line { level, text });
                }
            }
            Job::End(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(any(windows, test))]
fn fails(error: &str) {
    tracing::warn!(
        code = "log.event_log_not_written",
        error,
        hint = "event_log = false in [log] of the settings ends this",
        "nothing is written to the Windows Event Log; the other outputs of the log have all of it"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn line(text: &str) -> Line {
        Line {
            level: Level::WARN,
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_comes_too_fast_is_counted_and_nobody_waits() {
        let keeper = Keeper::default();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (go, gone) = sync_channel::<()>(0);
        let (begun, began) = sync_channel::<()>(0);
        let kept = Arc::clone(&written);
        keeper.keep(move || {
            let mut waits = true;
            Ok(move |line: Line| {
                if std::mem::take(&mut waits) {
                    begun.send(()).unwrap();
                    gone.recv().unwrap();
                }
                kept.lock().unwrap().push(line.text);
            })
        });
        keeper.push(line("first"));
        began.recv().unwrap();
        // The first is being written, and none of the others is waited for.
        for n in 0..LINES_MAX + 3 {
            keeper.push(line(&n.to_string()));
        }
        go.send(()).unwrap();
        // The queue may be full just now: the end is then not waited for.
        while written.lock().unwrap().len() < LINES_MAX + 2 {
            std::thread::yield_now();
        }
        keeper.end();
        let written = written.lock().unwrap();
        assert_eq!(written.first().unwrap(), "first");
        assert!(
            written.get(1).unwrap().starts_with("3 lines"),
            "{written:?}"
        );
        assert_eq!(written.len(), LINES_MAX + 2);
    }
}

//! What the agent says: to the console at once, and in files that are kept for a while.
//!
//! Nothing here may hold the agent up or end it: a full disk, a folder that cannot be written and a
//! reader that is slow cost lines of the log, and that is said.

mod again;
mod console;
#[cfg(any(windows, test))]
#[cfg_attr(
    not(windows),
    allow(dead_code, reason = "tried everywhere, used on Windows")
)]
pub(crate) mod event_log;
mod files;
mod keeper;
mod level;
mod line;
mod settings;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

pub(crate) use level::{LevelOptions, is_ours, level};
pub(crate) use settings::{LogSettings, read};

use again::Again;
use keeper::Keeper;
use level::Levels;

/// How often what was summed up, and the level that is asked for, are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The log of this process.
pub(crate) struct Logs {
    again: Arc<Again>,
    keeper: Arc<Keeper>,
    #[cfg(windows)]
    events: Arc<event_log::Keeper>,
    levels: Arc<Levels>,
    watching: Option<(mpsc::SyncSender<()>, JoinHandle<()>)>,
}

/// Begins to write to standard error, where a service manager keeps it.
pub(crate) fn begin(json: bool) -> Logs {
    let (levels, filter) = Levels::new();
    let again = Arc::new(Again::default());
    let keeper = Arc::new(Keeper::default());
    let journal = console::is_journal();
    let console = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(!journal && std::io::stderr().is_terminal())
        // What cannot be written is not said to the same place: that would end the process.
        .log_internal_errors(false);
    let console = if json {
        let form = console::ranked(line::Json, journal);
        console.event_format(form).boxed()
    } else if journal {
        let form = fmt::format().with_target(false).without_time();
        console.event_format(console::ranked(form, true)).boxed()
    } else {
        console.with_target(false).boxed()
    };
    let files = fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .event_format(line::Json)
        .with_writer(Arc::clone(&keeper));
    let outputs = registry().with(filter).with(console).with(files);
    #[cfg(windows)]
    let events = Arc::new(event_log::Keeper::default());
    #[cfg(windows)]
    let outputs = outputs.with(event_log::Lines(Arc::clone(&events)));
    outputs.with(again::Fold(Arc::clone(&again))).init();
    Logs {
        again,
        keeper,
        #[cfg(windows)]
        events,
        levels: Arc::new(levels),
        watching: None,
    }
}

impl Logs {
    /// Goes on as the settings say: their level, and files.
    pub(crate) fn follow(&self, settings: &LogSettings) {
        self.levels.usually(settings.level);
        if settings.files {
            self.keeper.keep(&settings.folder, settings.limits);
        }
        #[cfg(windows)]
        if settings.event_log {
            self.events.keep(event_log::open);
        }
        level::say_environment();
    }

    /// Says sums when they are due, and takes a level that is asked for; once the state folder is ours, for
    /// another agent's requests are none of our business.
    pub(crate) fn watch(&mut self, state_folder: &Path) {
        let (levels, again) = (Arc::clone(&self.levels), Arc::clone(&self.again));
        let folder = state_folder.to_owned();
        let (stop, stopped) = mpsc::sync_channel(1);
        let watch = move || {
            // One look at once: a level that was asked for may still be in force.
            levels.look(&folder);
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                again.say(false);
                levels.look(&folder);
            }
        };
        let thread = std::thread::Builder::new().name("log".to_owned());
        match thread.spawn(watch) {
            Ok(thread) => self.watching = Some((stop, thread)),
            Err(error) => tracing::error!(
                code = "log.not_watched",
                error = %error,
                "what is said again and again is not summed up, and the log's level cannot be changed"
            ),
        }
    }

    /// Says what was only counted so far, and waits a moment until all of it is written.
    pub(crate) fn end(mut self) {
        if let Some((stop, thread)) = self.watching.take() {
            drop(stop);
            let _ = thread.join();
        }
        self.again.say(true);
        self.keeper.end();
        #[cfg(windows)]
        self.events.end();
    }
}

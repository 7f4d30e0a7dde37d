//! The Windows Event Log: warnings, errors, and when the agent begins and ends, where administrators look first.
//!
//! Nobody waits for it: lines go into a bounded queue, and a thread of its own writes them. What is said again and
//! again is counted before it comes here, as for the other outputs.

mod keeper;
mod text;
#[cfg(windows)]
mod windows;

use std::sync::Arc;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

pub(super) use keeper::Keeper;

use text::Text;

#[cfg(windows)]
pub(super) use windows::{is_registered, open};

/// Makes the agent's name known to the Event Log, so that it shows our texts; for who installs the service, as an
/// administrator.
///
/// # Errors
/// What the system says.
#[cfg(windows)]
pub(crate) fn register() -> Result<(), String> {
    windows::register()
}

/// Takes the agent's name out of the Event Log's list; what was written stays.
///
/// # Errors
/// What the system says.
#[cfg(windows)]
pub(crate) fn unregister() -> Result<(), String> {
    windows::unregister()
}

/// The name of what writes, as the Event Log shows it.
#[cfg(windows)]
const SOURCE: &str = "Lighterman";

/// What is written although it is neither warning nor error: that the agent runs, and that it does not.
const LIFE: [&str; 2] = ["agent.started", "agent.stopped"];

/// A line on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) text: String,
}

/// The layer that brings lines there.
pub(super) struct Lines(pub(super) Arc<Keeper>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::INFO || !self.0.is_kept() {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        if level <= Level::WARN || text.code().is_some_and(|code| LIFE.contains(&code)) {
            let text = text.whole();
            self.0.push(Line { level, text });
        }
    }
}

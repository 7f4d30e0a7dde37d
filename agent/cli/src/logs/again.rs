//! What is said again and again is written once and then summed up.
//!
//! A line is the same as another when it has its code, level, source, destination and table. The first
//! few different texts of it are written; what comes after that within a minute is counted, and the
//! count is said when the minute is over, with the newest error. What a person does is never counted
//! away, nor what the agent says of itself.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::line::{CODE, LIBRARY, MESSAGE};

/// What is counted is said after this.
const WINDOW: Duration = Duration::from_mins(1);
/// Different texts of the same line that are written within a window.
const TEXTS_MAX: usize = 4;
/// Lines that are remembered; more are written as they come.
const LINES_MAX: usize = 256;
/// Longest text that is remembered.
const TEXT_CHARS_MAX: usize = 500;

/// Areas of codes, and codes, whose lines all count: a person's doings, the agent's own life, and what
/// comes in its own time and is news each time.
const ALWAYS: [&str; 10] = [
    "agent.",
    "alert.",
    "command.",
    "destination.paused",
    "destination.resumed",
    "log.",
    "mapping.refused",
    "mapping.reloaded",
    "settings.",
    "snapshot.progress",
];

/// Counts what is said again.
#[derive(Default)]
pub(super) struct Again {
    counted: Mutex<HashMap<Same, Counted>>,
}

/// What makes two lines the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Same {
    level: Level,
    code: String,
    source: Option<String>,
    destination: Option<String>,
    table: Option<String>,
}

struct Counted {
    since: Instant,
    /// Texts that were written.
    texts: Vec<u64>,
    count: u64,
    message: String,
    error: Option<String>,
}

/// What was counted and is to be said.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    same: Same,
    count: u64,
    seconds: u64,
    message: String,
    error: Option<String>,
}

impl Again {
    /// Whether a line is to be written; counts it where not.
    fn passes(&self, line: Seen, now: Instant) -> bool {
        let Some((same, message)) = line.same.zip(line.message) else {
            return true;
        };
        let mut hasher = DefaultHasher::new();
        (&message, &line.error, &line.cause).hash(&mut hasher);
        let text = hasher.finish();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let room = counted.len() < LINES_MAX;
        let Some(known) = counted.get_mut(&same) else {
            if room {
                let first = Counted {
                    since: now,
                    texts: vec![text],
                    count: 0,
                    message,
                    error: None,
                };
                counted.insert(same, first);
            }
            return true;
        };
        if !known.texts.contains(&text) && known.texts.len() < TEXTS_MAX {
            known.texts.push(text);
            return true;
        }
        known.count += 1;
        known.message = message;
        known.error = line.error;
        false
    }

    /// What is to be said now: what a window is over for, or everything.
    fn due(&self, now: Instant, all: bool) -> Vec<Summary> {
        let mut due = Vec::new();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|same, known| {
            let passed = now.saturating_duration_since(known.since);
            if !all && passed < WINDOW {
                return true;
            }
            if known.count == 0 {
                return false;
            }
            due.push(Summary {
                same: same.clone(),
                count: known.count,
                seconds: passed.as_secs(),
                message: known.message.clone(),
                error: known.error.take(),
            });
            // It goes on: the sum of the next window says so.
            (known.count, known.since) = (0, now);
            true
        });
        due
    }

    /// Says what was counted.
    pub(super) fn say(&self, all: bool) {
        for summary in self.due(Instant::now(), all) {
            summary.say();
        }
    }
}

impl Summary {
    fn say(&self) {
        let Same {
            level,
            code,
            source,
            destination,
            table,
        } = &self.same;
        let (count, seconds, message) = (self.count, self.seconds, &self.message);
        let error = self.error.as_deref();
        macro_rules! say {
            ($macro:ident) => {
                tracing::$macro!(
                    code,
                    source,
                    destination,
                    table,
                    error,
                    folded = count,
                    "{count} more in {seconds} s: {message}"
                )
            };
        }
        match *level {
            Level::ERROR => say!(error),
            Level::WARN => say!(warn),
            _ => say!(info),
        }
    }
}

/// The layer that leaves out what is counted.
pub(super) struct Fold(pub(super) Arc<Again>);

impl<S: Subscriber> Layer<S> for Fold {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let level = *event.metadata().level();
        if level > Level::INFO {
            return true;
        }
        let mut seen = Seen::default();
        event.record(&mut seen);
        let code = seen.code.take();
        if seen.folded || code.iter().any(|code| is_always_said(code)) {
            return true;
        }
        // A library's lines are told apart by where they come from.
        let place = || format!("{LIBRARY} {}", event.metadata().target());
        seen.same = Some(Same {
            level,
            code: code.unwrap_or_else(place),
            source: seen.source.take(),
            destination: seen.destination.take(),
            table: seen.table.take(),
        });
        self.0.passes(seen, Instant::now())
    }
}

fn is_always_said(code: &str) -> bool {
    ALWAYS.iter().any(|begin| code.starts_with(begin))
}

/// What a line says.
#[derive(Default)]
struct Seen {
    code: Option<String>,
    source: Option<String>,
    destination: Option<String>,
    table: Option<String>,
    error: Option<String>,
    cause: Option<String>,
    message: Option<String>,
    folded: bool,
    same: Option<Same>,
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        let place = match field.name() {
            CODE => &mut self.code,
            "source" => &mut self.source,
            "destination" => &mut self.destination,
            "table" => &mut self.table,
            "error" => &mut self.error,
            "cause" => &mut self.cause,
            MESSAGE => &mut self.message,
            _ => return,
        };
        *place = Some(value.chars().take(TEXT_CHARS_MAX).collect());
    }

    fn record_u64(&mut self, field: &Field, _: u64) {
        self.folded |= field.name() == "folded";
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
#[path = "again_tests.rs"]
mod tests;

//! What the service manager is told of the running agent: when it is ready, reloads and stops, how it stands, and,
//! where it watches, that the agent gets on.
//!
//! Nothing of it is said where nobody asked: systemd asks by variables that only its services have.

use std::sync::Arc;
use std::time::Duration;

use state::Store;
use tokio::time::{MissedTickBehavior, interval};

use super::progress;
use crate::local::Seen;
use crate::status::{Place, headline};

/// Between two sentences of how it stands.
const SAID_EVERY: Duration = Duration::from_secs(15);
/// Before the first one.
const SAID_FIRST: Duration = Duration::from_secs(1);
/// Letters of such a sentence; one line of a terminal or two.
const LETTERS_MAX: usize = 200;

/// What is told.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "where nobody asks, nobody reads it")
)]
enum Word<'a> {
    Ready,
    Reloading,
    Stopping,
    Alive,
    Status(&'a str),
}

/// The state file is opened, which may take a while.
pub(crate) fn opening() {
    manager::tell(Word::Status("opening the state file"));
}

/// The settings are in force and the loops begin.
pub(crate) fn ready() {
    manager::tell(Word::Ready);
    manager::tell(Word::Status("the agent runs"));
}

/// The agent was told to stop.
pub(crate) fn stopping() {
    manager::tell(Word::Stopping);
    manager::tell(Word::Status("stopping: requests that are out may end"));
}

/// Files are read again; until it is dropped.
pub(crate) struct Reloading;

impl Reloading {
    pub(crate) fn begin() -> Self {
        manager::tell(Word::Reloading);
        Self
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        manager::tell(Word::Ready);
    }
}

/// Begins to say how the agent stands, and that it gets on, where somebody wants to know.
pub(crate) fn watch(
    seen: &Arc<Seen>,
    place: Place,
    store: &Arc<Store>,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    if !manager::is_there() {
        return None;
    }
    let (seen, store) = (Arc::clone(seen), Arc::clone(store));
    Some(async move {
        let pinging = async {
            match manager::watchdog() {
                Some(limit) => ping(&seen, &store, limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(pinging, say(&seen, &place));
    })
}

/// Pings three times within the limit for as long as the agent gets on: one that fails is made good by the next.
async fn ping(seen: &Seen, store: &Store, limit: Duration) {
    let mut turns = interval(limit / 3);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_stuck = false;
    loop {
        failpoint::crash!("task.notify");
        turns.tick().await;
        match progress::stuck(seen, store, limit).await {
            None => {
                manager::tell(Word::Alive);
                if std::mem::take(&mut is_stuck) {
                    tracing::info!(
                        code = "service.goes_on",
                        "the agent gets on again, and the service manager is told so"
                    );
                }
            }
            Some(why) if !is_stuck => {
                is_stuck = true;
                tracing::error!(
                    code = "service.stuck",
                    why,
                    hint = "lighterman status",
                    "the agent does not get on: the service manager is not told any more that it does, and will \
                     start it again"
                );
            }
            Some(_) => {}
        }
    }
}

/// Says how it stands, as `lighterman status` does.
async fn say(seen: &Seen, place: &Place) {
    // The loops have something to say of themselves soon after they began.
    while !seen.is_running() {
        tokio::time::sleep(SAID_FIRST).await;
    }
    tokio::time::sleep(SAID_FIRST).await;
    let mut turns = interval(SAID_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = String::new();
    loop {
        turns.tick().await;
        let text = match headline(place, &seen.watched.meters).await {
            Ok(text) => line(&text),
            Err(error) => line(&format!("The state file cannot be read: {error}")),
        };
        if text != last {
            manager::tell(Word::Status(&text));
            last = text;
        }
    }
}

/// A text on one line, and not too long for it.
fn line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(LETTERS_MAX)
        .collect();
    if text.chars().nth(LETTERS_MAX).is_some() {
        line.pop();
        line.push('…');
    }
    line
}

#[cfg(target_os = "linux")]
mod manager {
    use std::time::Duration;

    use sd_notify::NotifyState;

    use super::Word;

    /// Shorter limits are a mistake; the agent would do nothing but ping.
    const WATCHDOG_MIN: Duration = Duration::from_millis(200);

    /// Whether somebody listens.
    pub(super) fn is_there() -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    /// Within which time it wants to hear that the agent gets on.
    pub(super) fn watchdog() -> Option<Duration> {
        let limit = sd_notify::watchdog_enabled()?;
        (limit > Duration::ZERO).then(|| limit.max(WATCHDOG_MIN))
    }

    pub(super) fn tell(word: Word<'_>) {
        let mut states = vec![match word {
            Word::Ready => NotifyState::Ready,
            Word::Reloading => NotifyState::Reloading,
            Word::Stopping => NotifyState::Stopping,
            Word::Alive => NotifyState::Watchdog,
            Word::Status(text) => NotifyState::Status(text),
        }];
        if matches!(word, Word::Reloading) {
            // Newer managers want to know when.
            states.extend(NotifyState::monotonic_usec_now().ok());
        }
        if let Err(error) = sd_notify::notify(&states) {
            tracing::warn!(
                code = "service.not_told",
                error = %error,
                "the service manager cannot be told how the agent stands"
            );
        }
    }
}

/// Elsewhere nobody asks.
#[cfg(not(target_os = "linux"))]
mod manager {
    use std::time::Duration;

    use super::Word;

    pub(super) fn is_there() -> bool {
        false
    }

    pub(super) fn watchdog() -> Option<Duration> {
        None
    }

    pub(super) fn tell(_: Word<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_one_line_and_no_longer_than_that() {
        assert_eq!(line("Stock is late.\nREADY=1"), "Stock is late. READY=1");
        let long = "ä".repeat(LETTERS_MAX + 1);
        let cut = line(&long);
        assert_eq!(cut.chars().count(), LETTERS_MAX);
        assert!(cut.ends_with("ä…"), "{cut}");
        let fits = "ä".repeat(LETTERS_MAX);
        assert_eq!(line(&fits), fits);
    }
}

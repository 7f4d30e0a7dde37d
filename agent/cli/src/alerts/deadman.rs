//! The dead man's switch: somebody elsewhere is told again and again that capture and delivery turn, and notices
//! when that stops, whatever stopped it.

use std::sync::Arc;
use std::time::Duration;

use contract::look::span;
use contract::{Secrets, Section};

use super::webhook::Place;
use crate::local::{CANARY_MAX, Seen, TURN_MAX};
use crate::status::words;

/// Between two pings, unless the settings say otherwise.
const EVERY_SECONDS: u64 = 60;
/// The channel's name, where letters are counted.
pub(super) const NAME: &str = "deadman";

/// The settings' `[alerts.deadman]`.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    place: Place,
    /// Told at once, with the reason, when the pings stop.
    fail: Option<Place>,
    pub(super) every: Duration,
}

/// Reads them.
pub(super) fn read(mut section: Section<'_>, secrets: &dyn Secrets) -> Option<Settings> {
    let every = section.number("every_seconds", 1, 3_600);
    let every = section.or("every_seconds", every, EVERY_SECONDS);
    let place = Place::read(&mut section, secrets);
    // Whatever is wrong with the other one, this is a secret as well.
    let fail_url = Place::url(&mut section, "fail_url", secrets);
    let fail = place
        .as_ref()
        .zip(fail_url)
        .map(|(place, url)| place.other(url));
    section.finish();
    Some(Settings {
        place: place?,
        fail,
        every: Duration::from_secs(every),
    })
}

/// Why the agent is not alive, as far as somebody elsewhere should believe it; `None` = it is.
pub(super) async fn dead(seen: &Seen) -> Option<String> {
    if !seen.is_running() {
        return Some("the agent waits for its sources".to_owned());
    }
    let meters = &seen.watched.meters;
    let standing = seen.look().await;
    let Ok(state) = &standing.state else {
        return Some("the state file cannot be read".to_owned());
    };
    for name in &seen.watched.sources {
        let still = meters.source(name).turned_ago();
        if still >= TURN_MAX {
            return Some(words::still(name, still));
        }
        let source = state.sources.iter().find(|source| source.name == *name);
        let Some(source) = source else {
            return Some(format!("Source {name} has not been started yet."));
        };
        // That a part of it is not captured is what the other channels are for, and so is a heartbeat. Why it is not may
        // name what is nobody's business elsewhere.
        if source.problem.is_some() {
            return Some(format!("Source {name} is not captured."));
        }
        let canary = meters.source(name).canary();
        if let Some((age, how)) = canary.filter(|(age, _)| *age >= CANARY_MAX) {
            return Some(words::not_proven(name, age, how));
        }
    }
    let destinations = meters.destinations();
    for name in seen.watched.destinations.keys() {
        let Some((_, meter)) = destinations.iter().find(|(known, _)| known == name) else {
            return Some(format!("delivery to {name} has not begun"));
        };
        let still = meter.turned_ago();
        if still >= TURN_MAX {
            return Some(format!(
                "delivery to {name} has not turned for {}",
                span(still)
            ));
        }
    }
    None
}

/// Pings for as long as the agent is alive, until dropped.
pub(super) async fn run(settings: Settings, agent: String, seen: Arc<Seen>) {
    let meters = Arc::clone(&seen.watched.meters);
    let (sent, failed) = (meters.letters(NAME, "sent"), meters.letters(NAME, "failed"));
    // Nobody was told that it is alive before it is: that it is not yet is no news.
    let mut alive = false;
    let mut reached = true;
    loop {
        failpoint::crash!("task.deadman");
        let why = dead(&seen).await;
        match &why {
            None => {
                if !std::mem::replace(&mut alive, true) {
                    tracing::info!(
                        code = "alert.deadman_goes_on",
                        channel = NAME,
                        "capture and delivery turn: the dead man's switch is pinged"
                    );
                }
                match settings.ping().await {
                    Ok(()) => {
                        sent.inc();
                        reached = true;
                    }
                    Err(error) => {
                        failed.inc();
                        if std::mem::replace(&mut reached, false) {
                            tracing::warn!(
                                code = "alert.deadman_not_reached",
                                channel = NAME,
                                error,
                                hint = "lighterman alert test --channel deadman",
                                "the dead man's switch cannot be pinged; whoever waits for it will think that the \
                                 agent is dead"
                            );
                        }
                    }
                }
            }
            Some(why) if std::mem::replace(&mut alive, false) => {
                tracing::warn!(
                    code = "alert.deadman_stopped",
                    channel = NAME,
                    why,
                    hint = "lighterman status",
                    "the dead man's switch is not pinged any more, for the agent does not do what it is there for"
                );
                settings.tell(&agent, why).await;
            }
            Some(_) => {}
        }
        tokio::time::sleep(settings.every).await;
    }
}

impl Settings {
    /// One ping.
    ///
    /// # Errors
    /// Why it was not taken, in short.
    async fn ping(&self) -> Result<(), String> {
        let pinged = self.place.send("GET", "", None).await;
        pinged.map(|_| ()).map_err(|refused| refused.short)
    }

    /// One ping, and what was answered.
    pub(super) async fn test(&self) -> Result<String, String> {
        let pinged = self.place.send("GET", "", None).await;
        let answer = pinged.map_err(|refused| refused.answer)?;
        Ok(super::webhook::words(&answer))
    }

    /// Says why pings stop, where there is somebody to say it to.
    async fn tell(&self, agent: &str, why: &str) {
        if let Some(place) = &self.fail {
            let body = format!("Lighterman {agent}: {why}\n").into_bytes();
            // That they stop says the same a little later.
            let _ = place.send("POST", "text/plain", Some(body)).await;
        }
    }
}

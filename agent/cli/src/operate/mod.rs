//! What a person asks of deliveries: `held`, `replay`, `trace`, `destination` and `location`.
//!
//! A command that changes something is done by the running agent, which takes it up within a second, or,
//! where none runs, here and now. Either way it is durable when the command ends.

mod destination;
mod held;
mod held_again;
mod held_by;
mod held_list;
mod held_look;
mod held_show;
mod location;
mod replay;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, Finding};
use engine::clock::SystemClock;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use state::{Command, Done, Rules, StateReader, Store, StoreError, ask};

pub(crate) use destination::DestinationCommand;
pub(crate) use held::HeldCommand;
pub(crate) use held_list::{CAUSES, MAPPING, meaning};
pub(crate) use location::{LocationCommand, sentence as location_sentence};
pub(crate) use replay::ReplayOptions;
pub(crate) use trace::TraceOptions;

use crate::config::Config;
pub(crate) use crate::counted::counted;
use crate::status::state_refused;
use crate::{Exit, refuse};

/// How long the running agent may take to answer; it looks each second.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn held(command: &HeldCommand) -> Exit {
    held::held(command).await
}

pub(crate) async fn replay(options: &ReplayOptions) -> Exit {
    replay::replay(options).await
}

pub(crate) fn trace(options: &TraceOptions) -> Exit {
    trace::trace(options)
}

pub(crate) async fn destination(command: &DestinationCommand) -> Exit {
    destination::destination(command).await
}

pub(crate) async fn location(command: &LocationCommand) -> Exit {
    location::location(command).await
}

/// Why a command was not done.
pub(crate) enum Failed {
    State(StoreError),
    /// In words, and what to do.
    Said(String, &'static str),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::State(error)
    }
}

impl Failed {
    fn finding(&self, what: &str) -> Finding {
        match self {
            Self::State(error) => Finding::fail(what, error.to_string()),
            Self::Said(found, fix) => Finding::fail(what, found.clone()).fix(*fix),
        }
    }

    pub(crate) fn refuse(&self, what: &str, json: bool) -> Exit {
        match self {
            Self::State(error) => state_refused(what, error, json),
            Self::Said(found, fix) => {
                refuse(&[Finding::fail(what, found.clone()).fix(*fix)], json);
                Exit::Trouble
            }
        }
    }
}

/// Has a command done for a destination (`""` = for what mappings hold): how many it was done to.
pub(crate) async fn done(
    config: &Config,
    destination: &str,
    command: Command,
) -> Result<u64, Failed> {
    let folder = config.state_folder.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
    let opened = opened.map_err(|error| StoreError::Invariant(error.to_string()))?;
    let now = SystemClock.now();
    let done = match opened {
        Ok(store) => {
            // What is paused before it ever runs must not run then.
            if matches!(
                command,
                Command::Pause { .. } | Command::Drain | Command::Stop { .. }
            ) {
                store.destination(destination).await?;
            }
            let of = config
                .destinations
                .iter()
                .find(|one| one.name == destination);
            let rules = Rules {
                event_types: of.map(|one| one.event_types.clone()).unwrap_or_default(),
                ..Rules::default()
            };
            store
                .command(destination, command, Arc::new(rules), now)
                .await?
        }
        Err(StoreError::Busy { .. }) => {
            match ask(&config.state_folder, destination, &command, now)? {
                Some(request) => Some(answer(config, request).await?),
                None if matches!(
                    command,
                    Command::Pause { .. } | Command::Resume | Command::Drain | Command::Stop { .. }
                ) =>
                {
                    return Err(Failed::Said(
                        format!("the running agent does not have destination {destination}"),
                        "look into its log why it refused the changed settings; or stop it, and ask again",
                    ));
                }
                None => None,
            }
        }
        Err(error) => return Err(error.into()),
    };
    match done {
        None => Ok(0),
        Some(Done {
            problem: Some(problem),
            ..
        }) => Err(Failed::Said(
            problem,
            "lighterman status says how things stand",
        )),
        Some(done) => Ok(done.count),
    }
}

/// Has a command done for each of these destinations, whatever becomes of the others: how many it was done
/// to, and what went wrong. One that the settings do not have any more may have nobody who answers.
async fn done_by_all(
    config: &Config,
    destinations: &[String],
    command: &Command,
) -> (u64, Vec<Finding>) {
    let (mut count, mut failed) = (0, Vec::new());
    // Those that are sure to answer come first.
    let known = |name: &String| config.destinations.iter().any(|one| one.name == *name);
    let (here, gone): (Vec<&String>, Vec<&String>) =
        destinations.iter().partition(|name| known(name));
    for name in here {
        match done(config, name, command.clone()).await {
            Ok(more) => count += more,
            Err(error) => failed.push(error.finding(&format!("destination {name}"))),
        }
    }
    for name in gone {
        match answered_by_nobody(config, name, command).await {
            Ok(Some(more)) => count += more,
            Ok(None) => failed.push(
                Finding::fail(
                    format!("destination {name}"),
                    "is not in the settings any more, and an agent runs, which settles only what it has",
                )
                .fix("stop the agent and ask again: what is held for it is settled then"),
            ),
            Err(error) => failed.push(error.finding(&format!("destination {name}"))),
        }
    }
    (count, failed)
}

/// As [`done`], where it is done here and now; `None` beside a running agent.
async fn answered_by_nobody(
    config: &Config,
    destination: &str,
    command: &Command,
) -> Result<Option<u64>, Failed> {
    let folder = config.state_folder.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
    match opened.map_err(|error| StoreError::Invariant(error.to_string()))? {
        // Closed again before it is opened for the command.
        Ok(store) => drop(store),
        Err(StoreError::Busy { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    done(config, destination, command.clone()).await.map(Some)
}

async fn answer(config: &Config, request: i64) -> Result<Done, Failed> {
    let deadline = tokio::time::Instant::now() + ANSWER_MAX;
    loop {
        let reader = StateReader::open(&config.state_folder)?;
        if let Some(done) = reader.answer(request)? {
            return Ok(done);
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(Failed::Said(
                "the running agent has not answered yet; what was asked stands in its state folder and is \
                 done when it comes to it"
                    .to_owned(),
                "look at its log, and at lighterman status",
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The destinations that a command is for: the one that is named, or all of them.
pub(crate) fn named<'a>(
    config: &'a Config,
    name: Option<&'a str>,
) -> Result<Vec<&'a str>, Vec<Finding>> {
    let known: Vec<&str> = config
        .destinations
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    match name {
        None => Ok(known),
        Some(name) if known.contains(&name) => Ok(vec![name]),
        Some(name) => Err(vec![unknown(name, &known)]),
    }
}

fn unknown(name: &str, known: &[&str]) -> Finding {
    let found = format!("there is no destination {name:?}");
    let fix = contract::finding::nearest(name, known.iter().copied()).map_or_else(
        || format!("one of {}", known.join(", ")),
        |near| format!("did you mean {near}?"),
    );
    Finding::fail("destination", found).fix(fix)
}

/// A moment as a person writes it: with a zone, as RFC 3339, a date and time of this machine's zone, or a
/// date.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    // A zone in brackets first: the other forms take what stands before it, and say nothing of it.
    if text.contains('[') {
        let zoned = text.parse::<jiff::ZonedDateTime>();
        return zoned
            .map(|zoned| zoned.timestamp())
            .map_err(|error| error.to_string());
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let civil = text.parse::<jiff::civil::DateTime>().map_err(|_| {
        "write it as 2026-11-27T14:30, 2026-11-27, or with a zone: 2026-11-27T14:30Z, \
         2026-11-27T14:30[Europe/Berlin]"
            .to_owned()
    })?;
    TimeZone::system()
        .to_timestamp(civil)
        .map_err(|error| error.to_string())
}

/// A moment as it was understood, in this machine's zone.
fn understood(moment: Timestamp) -> String {
    moment.to_zoned_datetime(TimeZone::system()).to_string()
}

/// A moment for people.
fn shown(moment: Timestamp) -> String {
    format!("{moment:.3}")
}

//! What the facts mean, in plain sentences, worst first. Pure: facts in, sentences out, so that whoever shows
//! them says the same. They name sources, destinations, tables and event types, and why a mapping holds
//! something as `lighterman held list` does; no other value of a row, and nothing that an API said.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::look::span;
use contract::{EventType, Level, clock};
use jiff::Timestamp;
use serde::Serialize;
use state::{Checked, DestinationStatus, Flow, LookStatus, SourceStatus, TypeFlow, WaitingFlow};

use super::reading::{is_still, reading};
use super::words;
use crate::counted::{counted, counted_as, does};
use crate::local::CANARY_MAX;
use crate::operate::meaning;

/// A change that waits for longer is worth a word of warning.
const SLOW: Duration = Duration::from_mins(1);
/// Reasons for which something is held that are named one by one.
const REASONS: usize = 3;

/// A sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Sentence {
    /// How bad it is.
    pub(crate) level: Level,
    /// It.
    pub(crate) text: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Sentence {
    fn new(level: Level, text: impl Into<String>) -> Self {
        let text = text.into();
        let fix = None;
        Self { level, text, fix }
    }

    pub(super) fn warn(text: impl Into<String>) -> Self {
        Self::new(Level::Warn, text)
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What is held of a kind for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldGroup {
    pub(crate) event_type: String,
    /// The destination's name, or `mapping`.
    pub(crate) by: String,
    pub(crate) cause: String,
    /// In the mapping's words; `None` = the cause says it.
    pub(crate) reason: Option<String>,
    /// What is counted are rows of this table: which event each of them makes is not known.
    pub(crate) table: Option<String>,
    /// So many SKUs, orders, or rows.
    pub(crate) things: u64,
    /// Not all that is held was looked at.
    pub(crate) or_more: bool,
}

/// How everything stands.
pub(crate) struct Given<'a> {
    pub(crate) now: Timestamp,
    pub(crate) running: Option<u32>,
    /// There is a state file.
    pub(crate) known: bool,
    /// The disk is low.
    pub(crate) disk: Option<&'a str>,
    pub(crate) sources: &'a [SourceStatus],
    /// How far behind its log each source is, where that is known just now.
    pub(crate) lags: &'a BTreeMap<String, Duration>,
    pub(crate) destinations: &'a [DestinationStatus],
    /// For how long every request has failed.
    pub(crate) failing: &'a BTreeMap<String, Duration>,
    pub(crate) flow: &'a Flow,
    pub(crate) held: &'a [HeldGroup],
    pub(crate) held_count: u64,
    pub(crate) checked: Option<&'a Checked>,
    /// What waits for longer is trouble.
    pub(crate) late: Duration,
}

/// The sentences: whether the agent runs, then the others, worst first.
pub(crate) fn sentences(given: &Given<'_>) -> Vec<Sentence> {
    let mut all = Vec::new();
    all.extend(given.disk.map(|disk| Sentence::new(Level::Fail, disk)));
    for source in given.sources {
        captured(given, source, &mut all);
    }
    for destination in given.destinations {
        stands(given, destination, &mut all);
    }
    flows(given, &mut all);
    for source in given.sources {
        if let Some(look) = &source.look {
            looked(&source.name, look, given.now, &mut all);
        }
        all.extend(proven(given, source));
    }
    held(given, &mut all);
    all.extend(given.checked.map(|checked| verdict(checked, given.now)));
    all.sort_by_key(|sentence| std::cmp::Reverse(sentence.level));
    all.insert(0, runs(given));
    all
}

/// Whether nothing has proven for long that a source's log comes through, although the source is said to run.
pub(super) fn is_canary_late(source: &SourceStatus, now: Timestamp) -> bool {
    source.problem.is_none()
        && source
            .canary
            .as_ref()
            .is_some_and(|canary| clock::until(canary.proven_at, now) >= CANARY_MAX)
}

/// What tells a source without changes from one that is dead.
fn proven(given: &Given<'_>, source: &SourceStatus) -> Option<Sentence> {
    given.running?;
    let canary = source.canary.as_ref();
    let canary = canary.filter(|_| source.problem.is_none())?;
    let (name, how) = (&source.name, &canary.how);
    let age = clock::until(canary.proven_at, given.now);
    Some(if is_canary_late(source, given.now) {
        Sentence::new(Level::Fail, words::not_proven(name, age, how))
    } else {
        let age = span(age);
        let text = format!("Source {name}: its log comes through, proven {age} ago: {how}.");
        Sentence::new(Level::Pass, text)
    })
}

fn runs(given: &Given<'_>) -> Sentence {
    match given.running {
        Some(pid) => Sentence::new(Level::Pass, format!("The agent runs (process {pid}).")),
        None if given.known => Sentence::new(
            Level::Fail,
            "The agent does NOT run. Start it: lighterman run",
        ),
        None => Sentence::new(
            Level::Fail,
            "The agent has never run here. Start it: lighterman run",
        ),
    }
}

/// Whether a source is captured.
fn captured(given: &Given<'_>, source: &SourceStatus, all: &mut Vec<Sentence>) {
    let name = &source.name;
    let running = given.running.is_some();
    let mut say = |level, text: String| all.push(Sentence::new(level, text));
    if let Some(wrong) = words::not_captured(source, running) {
        say(Level::Fail, wrong);
    } else if let Some(lag) = given.lags.get(name) {
        say(late(*lag, given.late), words::captured(name, Some(*lag)));
    }
    for table in source.tables.iter().filter(|table| !table.done) {
        let level = match &table.problem {
            Some(_) => Level::Fail,
            None if is_still(table, given.now, running) => Level::Warn,
            None => Level::Pass,
        };
        say(level, reading(name, table, given.now, running));
    }
    for table in &source.tables {
        if let Some(at) = table.again_at {
            let text = format!(
                "Source {name} reads {} again at {at}: the log leaves its rows unclear, and it rests for as \
                 long as reading it took.",
                table.table
            );
            say(Level::Pass, text);
        }
    }
    for tables in &source.resync_asked {
        let text = format!(
            "Source {name}: {tables} is to be read again and compared; the running agent takes it up within \
             seconds."
        );
        say(Level::Pass, text);
    }
}

fn late(time: Duration, late: Duration) -> Level {
    if time >= late {
        Level::Fail
    } else if time >= SLOW {
        Level::Warn
    } else {
        Level::Pass
    }
}

/// What keeps a destination from being told.
fn stands(given: &Given<'_>, one: &DestinationStatus, all: &mut Vec<Sentence>) {
    let name = &one.name;
    let mut warn = |text: String| all.push(Sentence::new(Level::Warn, text));
    if let Some(paused) = words::paused(one) {
        warn(paused);
    }
    if let Some(until) = one.throttled_until.filter(|until| *until > given.now) {
        warn(format!("{name} limits us: nothing leaves until {until}."));
    }
    if let Some(shadow) = &one.shadow {
        warn(format!(
            "{name} is in shadow mode, NOTHING is sent: {} compared are the same there, {} differ, {} cannot \
             be compared, {} would be held by a guard.",
            shadow.same, shadow.differs, shadow.unknown, shadow.guarded
        ));
    }
    let failing = given.failing.get(name).filter(|time| !time.is_zero());
    if let Some(failing) = failing {
        let text = words::fails(name, *failing);
        let level = late(*failing, given.late).max(Level::Warn);
        let trouble = "the last trouble stands below, each attempt in: lighterman trace --key KEY";
        all.push(Sentence::new(level, text).fix(trouble));
    }
}

/// What flows to whom, by event type.
fn flows(given: &Given<'_>, all: &mut Vec<Sentence>) {
    let flow = given.flow;
    for waiting in &flow.waiting {
        all.push(waits(given, waiting));
    }
    for one in given.destinations {
        let fresh = flow.waiting.iter();
        let fresh = fresh.filter(|waiting| waiting.destination == one.name);
        if fresh.clone().any(|waiting| waiting.or_more) {
            continue;
        }
        let fresh: u64 = fresh.map(|waiting| waiting.count).sum();
        let rest = one.backlog.saturating_sub(fresh);
        if rest > 0 {
            all.push(Sentence::new(Level::Pass, words::repeats(&one.name, rest)));
        }
    }
    // Not all that waits or is held was looked at: it may be of any type.
    if flow.waiting.iter().any(|waiting| waiting.or_more)
        || given.held.iter().any(|one| one.or_more)
    {
        return;
    }
    let quiet = |one: &&TypeFlow| {
        let mut waiting = flow.waiting.iter();
        !waiting.any(|waiting| waiting.event_type == one.event_type)
    };
    let is_held = |one: &&TypeFlow| {
        let mut held = given.held.iter();
        held.any(|held| held.event_type == one.event_type)
    };
    let (held, still): (Vec<&TypeFlow>, Vec<_>) =
        flow.types.iter().filter(quiet).partition(is_held);
    let mut backlogs = given.destinations.iter().map(|one| one.backlog);
    for (some, every) in [(&still, "every"), (&held, "every other")] {
        let titles: Vec<&str> = some.iter().map(|one| title(&one.event_type)).collect();
        if !titles.is_empty() {
            let titles = list(&titles);
            let text = format!("{titles}: {every} change that was captured is delivered.");
            all.push(Sentence::new(Level::Pass, text));
        }
    }
    if still.is_empty()
        && held.is_empty()
        && !given.destinations.is_empty()
        && given.held.is_empty()
        && backlogs.all(|backlog| backlog == 0)
    {
        let text = "Everything that was captured is delivered.";
        all.push(Sentence::new(Level::Pass, text));
    }
}

fn waits(given: &Given<'_>, waiting: &WaitingFlow) -> Sentence {
    let behind = clock::until(waiting.oldest_at, given.now);
    let known = waiting.event_type.parse::<EventType>();
    let plural = known.is_ok_and(EventType::is_plural);
    let are = if plural { "are" } else { "is" };
    let (events, wait) = (
        counted(waiting.count, "event"),
        does(waiting.count, "waits", "wait"),
    );
    let least = if waiting.or_more { "at least " } else { "" };
    let text = format!(
        "{} {are} {} behind at {}: {least}{events} {wait}.",
        title(&waiting.event_type),
        span(behind),
        waiting.destination
    );
    Sentence::new(late(behind, given.late), text)
}

/// An event type as the business calls it.
pub(super) fn title(event_type: &str) -> &str {
    let known = event_type.parse::<EventType>();
    known.map_or(event_type, |known| known.title())
}

/// "Stock, prices and orders".
fn list(titles: &[&str]) -> String {
    let mut text = String::new();
    for (n, title) in titles.iter().enumerate() {
        match n {
            0 => text.push_str(title),
            n => {
                let last = n + 1 == titles.len();
                text.push_str(if last { " and " } else { ", " });
                text.push_str(&title.to_lowercase());
            }
        }
    }
    text
}

/// What is wrong with a source's log, or not proven.
fn looked(name: &str, look: &LookStatus, now: Timestamp, all: &mut Vec<Sentence>) {
    if let Some(alarm) = &look.alarm {
        let age = span(clock::until(look.looked_at, now));
        let found = look.sentence.as_deref();
        let found = found.unwrap_or("its log needs a person.");
        let text = format!("Source {name}, {age} ago: {found}");
        let fix = format!("to mend it: {alarm}");
        all.push(Sentence::new(Level::Warn, text).fix(fix));
    }
    if let (Some(sent_at), None) = (look.heartbeat_sent_at, look.heartbeat_took_ms) {
        let text = words::not_come_round(name, Some(sent_at));
        all.push(Sentence::new(Level::Warn, text));
    }
}

/// What waits for a person, and why.
fn held(given: &Given<'_>, all: &mut Vec<Sentence>) {
    let mut said = Vec::new();
    for group in given.held.iter().take(REASONS) {
        let known = group.event_type.parse::<EventType>();
        let named = match (&group.table, known) {
            (Some(_), _) => ("row", "rows"),
            (None, Ok(known)) => known.things(),
            (None, Err(())) => ("event", "events"),
        };
        let are = does(group.things, "is", "are");
        let mut things = counted_as(group.things, named);
        if let Some(table) = &group.table {
            let title = title(&group.event_type).to_lowercase();
            things = format!("{things} of {table}, {title},");
        }
        let least = if group.or_more { "At least " } else { "" };
        let (means, _) = meaning(&group.cause);
        let by = &group.by;
        said.push(match &group.reason {
            Some(reason) => format!("{least}{things} {are} held: {reason}."),
            None => format!("{least}{things} {are} held for {by}: {means}."),
        });
    }
    let more = given.held.len().saturating_sub(REASONS) as u64;
    if more > 0 {
        let reasons = counted(more, "other reason");
        said.push(format!("More is held for {reasons}."));
    }
    if said.is_empty() && given.held_count > 0 {
        let events = counted(given.held_count, "event");
        let are = does(given.held_count, "is", "are");
        said.push(format!("{events} {are} held for a person."));
    }
    let last = said.pop();
    all.extend(
        said.into_iter()
            .map(|text| Sentence::new(Level::Warn, text)),
    );
    all.extend(last.map(|text| {
        let fix = "which, and what to do: lighterman held list";
        Sentence::new(Level::Warn, text).fix(fix)
    }));
}

/// What the agent's own check found.
fn verdict(checked: &Checked, now: Timestamp) -> Sentence {
    let of = |level| {
        let findings = checked.findings.iter();
        findings.filter(|one| one.level == level).count() as u64
    };
    let age = span(clock::until(checked.at, now));
    let warnings = of(Level::Warn);
    let failures = of(Level::Fail);
    let warned = counted(warnings, "warning");
    let failed = counted(failures, "failure");
    let (level, found) = match (failures, warnings) {
        (0, 0) => (Level::Pass, "all is well".to_owned()),
        (0, _) => (Level::Warn, warned),
        (_, 0) => (Level::Fail, failed),
        (_, _) => (Level::Fail, format!("{failed}, {warned}")),
    };
    let sentence = Sentence::new(level, format!("Checked {age} ago: {found}."));
    if level == Level::Pass {
        sentence
    } else {
        sentence.fix("which, and what to do: lighterman check")
    }
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;

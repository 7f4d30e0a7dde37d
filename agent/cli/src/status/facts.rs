//! What is looked up for one screen of status.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use contract::{Clock, EventType, KeptEnd, Level, LogKept};
use engine::Reserve;
use engine::clock::SystemClock;
use jiff::Timestamp;
use serde_json::{Value, json};
use state::{
    Checked, DestinationStatus, Flow, HeldFilter, HeldItem, LocationStop, ReconcileStatus,
    Retention, SnapshotStatus, SourceStatus, StateReader, StateSize, StoreError,
};

use super::agent::{self, Now};
use super::summary::{self, Given, HeldGroup, Sentence};
use crate::Exit;
use crate::config::Config;
use crate::disk::Stands;
use crate::operate::location_sentence;

/// Held items that are looked at to say what is held, and why.
const HELD_LOOKED_AT: usize = 2_000;
/// What a change may wait before it is trouble, where the settings do not say.
const LATE: Duration = Duration::from_mins(15);

/// Where the state is, and what of the settings says how it is meant.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    state_folder: PathBuf,
    reserve: Reserve,
    retention: Retention,
    late: Duration,
}

impl Place {
    /// Of these settings.
    pub(crate) fn of(config: &Config) -> Self {
        let local = config.local.as_ref();
        Self {
            state_folder: config.state_folder.clone(),
            reserve: config.reserve,
            retention: config.retention,
            late: local.map_or(LATE, |local| local.oldest_delivery),
        }
    }
}

/// How everything stands.
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) running: Option<u32>,
    /// There is a state file.
    known: bool,
    pub(super) disk: Option<Stands>,
    pub(super) size: StateSize,
    pub(super) sources: Vec<SourceStatus>,
    pub(super) destinations: Vec<DestinationStatus>,
    pub(super) held: Vec<HeldItem>,
    pub(super) held_count: u64,
    groups: Vec<HeldGroup>,
    pub(super) flow: Flow,
    checked: Option<Checked>,
    /// The newest comparison of each destination and event type.
    pub(super) reconciled: Vec<ReconcileStatus>,
    /// Locations that a person stopped, and where.
    stops: Vec<(String, LocationStop)>,
    pub(super) agent: Now,
    late: Duration,
}

impl Facts {
    /// Looks.
    ///
    /// # Errors
    /// Why the state file cannot be read.
    pub(super) async fn gather(config: &Config) -> Result<Self, StoreError> {
        let running = StateReader::open(&config.state_folder)?.running();
        let local = config.local.as_ref().filter(|_| running.is_some());
        let agent = agent::ask(local).await;
        Self::read(&Place::of(config), running, agent)
    }

    /// Reads the state file, for whoever knows how the agent itself stands.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn read(
        place: &Place,
        running: Option<u32>,
        agent: Now,
    ) -> Result<Self, StoreError> {
        let reader = StateReader::open(&place.state_folder)?;
        let now = SystemClock.now();
        let sources = reader.sources()?;
        let destinations = reader.destinations()?;
        let held_count = sources.iter().map(|one| one.held).sum::<u64>()
            + destinations.iter().map(|one| one.held).sum::<u64>();
        Ok(Self {
            now,
            running,
            known: reader.exists(),
            disk: Stands::of(&place.state_folder, place.reserve),
            size: StateSize::of(&place.state_folder),
            held: reader.held(super::HELD_SHOWN)?,
            held_count,
            groups: groups(&reader)?,
            flow: reader.flow(now, place.retention)?,
            checked: reader.checked()?,
            reconciled: reader.reconciled()?,
            stops: reader.location_stops()?,
            sources,
            destinations,
            agent,
            late: place.late,
        })
    }

    /// What it means, worst first.
    pub(super) fn sentences(&self) -> Vec<Sentence> {
        let disk = self.disk.as_ref().and_then(Stands::sentence);
        let mut all = summary::sentences(&Given {
            now: self.now,
            running: self.running,
            known: self.known,
            disk: disk.as_deref(),
            sources: &self.sources,
            lags: &self.agent.lags,
            destinations: &self.destinations,
            failing: &self.agent.failing,
            flow: &self.flow,
            held: &self.groups,
            held_count: self.held_count,
            checked: self.checked.as_ref(),
            late: self.late,
        });
        // Behind what fails.
        let at = all
            .iter()
            .rposition(|one| one.level == Level::Fail)
            .map_or(1, |last| last + 1)
            .min(all.len());
        for (destination, stop) in &self.stops {
            all.insert(at, Sentence::warn(location_sentence(destination, stop)));
        }
        all
    }

    /// For programs: what it always had, and more.
    pub(super) fn json(&self) -> Value {
        let sources: Vec<Value> = self.sources.iter().map(|one| self.source(one)).collect();
        json!({
            "running": self.running.is_some(),
            "pid": self.running,
            "sentences": self.sentences(),
            "disk": self.disk.as_ref().map(Stands::json),
            "state_file": {
                "database_bytes": self.size.database_bytes,
                "wal_bytes": self.size.wal_bytes,
            },
            "sources": sources,
            "flow": self.flow,
            "destinations": self.destinations,
            "held_count": self.held_count,
            "held": self.held,
            "checked": self.checked,
            "location_stops": self.stops,
            "reconciled": self.reconciled,
        })
    }

    fn source(&self, one: &SourceStatus) -> Value {
        let mut form = json!(one);
        if let Some(form) = form.as_object_mut() {
            let lag = self.agent.lags.get(&one.name);
            form.insert("lag_seconds".to_owned(), json!(lag.map(Duration::as_secs)));
            let left = left(one).map(|(_, time)| time.as_secs());
            form.insert("retention_left_seconds".to_owned(), json!(left));
        }
        form
    }

    /// Whether there is trouble that a person should look at.
    pub(super) fn exit(&self) -> Exit {
        let stuck = |table: &SnapshotStatus| !table.done && table.problem.is_some();
        let trouble = self.running.is_none()
            || self.disk.as_ref().is_some_and(Stands::is_low)
            || self.sources.iter().any(|source| {
                source.problem.is_some()
                    || !source.partly.is_empty()
                    || source.tables.iter().any(stuck)
                    || unproven(source)
                    || self.running.is_some() && summary::is_canary_late(source, self.now)
            });
        if trouble { Exit::Trouble } else { Exit::Ok }
    }
}

/// Whether a heartbeat is on its way: until it is met, nobody knows that the log flows.
fn unproven(source: &SourceStatus) -> bool {
    source
        .look
        .as_ref()
        .is_some_and(|look| look.heartbeat_sent_at.is_some() && look.heartbeat_took_ms.is_none())
}

/// What comes first to the log that the database keeps for us as it grows now, and when; `None` = nothing,
/// or nobody knows.
pub(super) fn left(source: &SourceStatus) -> Option<(KeptEnd, Duration)> {
    let look = source.look.as_ref()?;
    let kept = LogKept {
        left_bytes: look.left_bytes,
        room_bytes: look.room_bytes,
        ..LogKept::default()
    };
    kept.end(look.growth_per_hour?)
}

/// What is held, by what it is and why.
fn groups(reader: &StateReader) -> Result<Vec<HeldGroup>, StoreError> {
    type Place = (String, String, String, Option<String>, Option<String>);
    let mut groups: BTreeMap<Place, BTreeSet<String>> = BTreeMap::new();
    let mut looked = 0;
    reader.held_each(&HeldFilter::default(), |item| {
        looked += 1;
        // What an API said may name people; what a mapping says does not.
        let reason = item.change.as_ref().map(|_| item.reason);
        // Of a row whose event nobody knows, the row is all that can be counted.
        let table = item.change.map(|change| change.table);
        let table = table.filter(|table| item.key.starts_with(&format!("{table} ")));
        let known = item.event_type.parse::<EventType>();
        let thing = match known {
            Ok(known) if table.is_none() => known.thing(&item.key).to_owned(),
            _ => item.key,
        };
        let place = (item.event_type, item.by, item.cause, reason, table);
        groups.entry(place).or_default().insert(thing);
        looked < HELD_LOOKED_AT
    })?;
    let mut groups: Vec<HeldGroup> = groups
        .into_iter()
        .map(
            |((event_type, by, cause, reason, table), things)| HeldGroup {
                event_type,
                by,
                cause,
                reason,
                table,
                things: things.len() as u64,
                or_more: looked >= HELD_LOOKED_AT,
            },
        )
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.things));
    Ok(groups)
}

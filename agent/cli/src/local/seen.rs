//! How the agent stands, as it was looked up last: one look serves all who ask within a second.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use contract::{Clock, EventType};
use engine::clock::SystemClock;
use engine::observe::Meters;
use engine::{DeliverySettings, SourceSetup};
use jiff::Timestamp;
use mappings::RuleInfo;
use state::{
    Checked, DestinationStanding, DestinationStatus, HeldCount, ReconcileStatus, ReconcileWith,
    SourceStatus, StateReader, StateSize, StoreError,
};
use tokio::sync::watch;

use crate::otlp::OtlpCounts;

/// A look is good for this long,
const GOOD_FOR: Duration = Duration::from_secs(1);
/// and for so many times as long as it took: looking takes a twentieth of a processor.
const GOOD_FOR_TIMES: u32 = 20;
/// But a single slow one is not believed for longer than this.
const GOOD_FOR_MAX: Duration = Duration::from_secs(15);

/// What is watched.
pub(crate) struct Watched {
    /// The state folder.
    pub(crate) folder: PathBuf,
    /// The sources of the settings.
    pub(crate) sources: Vec<String>,
    /// The destinations of the settings. What the state file has of others is nobody's trouble.
    pub(crate) destinations: BTreeMap<String, DeliverySettings>,
    /// The event types that each destination gets; none = all.
    pub(crate) event_types: BTreeMap<String, Vec<EventType>>,
    /// Our customer.
    pub(crate) tenant: String,
    /// What the loops count.
    pub(crate) meters: Arc<Meters>,
    /// The age of an undelivered change that is trouble.
    pub(crate) oldest_delivery: Duration,
}

/// How the agent stands.
pub(crate) struct Seen {
    pub(crate) watched: Watched,
    /// When the agent was started.
    pub(crate) began: Timestamp,
    running: AtomicBool,
    /// What is counted of the sending to a collector.
    pub(crate) otlp: OtlpCounts,
    setups: OnceLock<Setups>,
    reader: Arc<Mutex<Option<StateReader>>>,
    latest: tokio::sync::Mutex<Option<Latest>>,
}

/// The sources by name, as they are now.
type Setups = Vec<(String, watch::Receiver<SourceSetup>)>;

struct Latest {
    standing: Arc<Standing>,
    taken: Instant,
    took: Duration,
}

impl Latest {
    fn good_for(&self) -> Duration {
        let times = self.took.saturating_mul(GOOD_FOR_TIMES);
        times.clamp(GOOD_FOR, GOOD_FOR_MAX)
    }
}

/// The state file at one moment.
pub(crate) struct Standing {
    /// The moment.
    pub(crate) at: Timestamp,
    /// What stands in it, or why it cannot be read.
    pub(crate) state: Result<State, String>,
}

/// What stands in the state file, of the sources and destinations of the settings.
pub(crate) struct State {
    pub(crate) sources: Vec<SourceStatus>,
    pub(crate) destinations: Vec<DestinationStatus>,
    pub(crate) standings: Vec<DestinationStanding>,
    pub(crate) held: Vec<HeldCount>,
    pub(crate) reconciled: Vec<ReconcileStatus>,
    pub(crate) size: StateSize,
    /// What the agent's own check found last.
    pub(crate) checked: Option<Checked>,
}

impl Seen {
    pub(crate) fn new(watched: Watched) -> Arc<Self> {
        Arc::new(Self {
            watched,
            began: SystemClock.now(),
            running: AtomicBool::new(false),
            otlp: OtlpCounts::default(),
            setups: OnceLock::new(),
            reader: Arc::default(),
            latest: tokio::sync::Mutex::default(),
        })
    }

    /// The loops run from now on, with these sources.
    pub(crate) fn runs(
        &self,
        sources: impl Iterator<Item = (String, watch::Receiver<SourceSetup>)>,
    ) {
        let _ = self.setups.set(sources.collect());
        self.running.store(true, Ordering::Relaxed);
    }

    /// The rules in force, each with its source's name.
    pub(crate) fn rules(&self) -> Vec<(String, RuleInfo)> {
        let setups = self.setups.get().map_or(&[][..], Vec::as_slice);
        let mut all = Vec::new();
        for (name, setup) in setups {
            let mapping = Arc::clone(&setup.borrow().mapping);
            all.extend(mapping.rules().map(|rule| (name.clone(), rule)));
        }
        all
    }

    /// Whether the loops run.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Something was done: the next look is a new one.
    pub(crate) async fn changed(&self) {
        *self.latest.lock().await = None;
    }

    /// How the agent stands now, or did a moment ago.
    pub(crate) async fn look(&self) -> Arc<Standing> {
        let mut latest = self.latest.lock().await;
        if let Some(latest) = latest.as_ref()
            && latest.taken.elapsed() < latest.good_for()
        {
            return Arc::clone(&latest.standing);
        }
        let began = Instant::now();
        let (folder, reader) = (self.watched.folder.clone(), Arc::clone(&self.reader));
        let read = tokio::task::spawn_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let state = state(&mut reader, &folder);
            if state.is_err() {
                // The next look opens it anew.
                *reader = None;
            }
            state
        });
        let state = match read.await {
            Ok(Ok(state)) => Ok(self.of_the_settings(state)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("looking at it ended by a bug".to_owned()),
        };
        let standing = Arc::new(Standing {
            at: SystemClock.now(),
            state,
        });
        *latest = Some(Latest {
            standing: Arc::clone(&standing),
            taken: Instant::now(),
            took: began.elapsed(),
        });
        standing
    }

    fn of_the_settings(&self, mut state: State) -> State {
        let watched = &self.watched;
        let known = |name: &String| watched.destinations.contains_key(name);
        state
            .sources
            .retain(|source| watched.sources.contains(&source.name));
        state.destinations.retain(|one| known(&one.name));
        state.standings.retain(|one| known(&one.name));
        state.reconciled.retain(|one| match &one.with {
            ReconcileWith::Destination(name) => known(name),
            ReconcileWith::Source(name) => watched.sources.contains(name),
        });
        state
    }
}

fn state(reader: &mut Option<StateReader>, folder: &std::path::Path) -> Result<State, StoreError> {
    if reader.as_ref().is_none_or(|reader| !reader.exists()) {
        *reader = None;
    }
    let reader = match reader {
        Some(reader) => reader,
        None => reader.insert(StateReader::open(folder)?),
    };
    Ok(State {
        sources: reader.sources()?,
        destinations: reader.destinations()?,
        standings: reader.standings()?,
        held: reader.held_counts()?,
        reconciled: reader.reconciled()?,
        size: StateSize::of(folder),
        checked: reader.checked()?,
    })
}

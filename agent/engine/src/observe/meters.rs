//! What the two loops count while they run. A loop gets its own meter once, with every counter that it
//! may touch in it, so that counting is one addition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use contract::EventType;
use contract::delivery::HeldCause;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric as Registered, Registry};

use super::destination::{CLASSES, DestinationMeter, NEVER, OUTCOME_WORDS, Sla};
use super::source::SourceMeter;
use super::{
    ALERT_LETTERS, CAPTURE_LATENCY, HELD_TOTAL, Kind, Metric, OUTCOMES, REFUSED_BY_LIMITS,
    REQUESTS, RESPONSE_SECONDS, RESPONSES, RETRIES, SLA_DELIVERIES, THROTTLED, UPDATE_LATENCY,
};

/// Labels of one series.
pub type Labels = Vec<(&'static str, String)>;

type Counters = Family<Labels, Counter>;
pub(super) type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// From a stock update that is there at once to an order that waited for a night.
const LATENCY_SECONDS: [f64; 13] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 43_200.0,
];
const RESPONSE_BOUNDS_SECONDS: [f64; 10] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// What a mapping holds, it holds by this name and for this cause.
const MAPPING: &str = "mapping";

/// What the loops count, and how the sources and destinations stand by what the loops know.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    began: Instant,
    latency: Histograms,
    sla: Counters,
    outcomes: Counters,
    retries: Counters,
    held: Counters,
    requests: Counters,
    responses: Counters,
    response_seconds: Histograms,
    throttled: Counters,
    limited: Counters,
    captured: Histograms,
    letters: Counters,
    firing: Mutex<BTreeMap<String, u64>>,
    settings_refused: AtomicBool,
    sources: Mutex<BTreeMap<String, Arc<SourceMeter>>>,
    destinations: Mutex<BTreeMap<String, Arc<DestinationMeter>>>,
}

impl Default for Meters {
    fn default() -> Self {
        let mut registry = Registry::default();
        let latency = || Histogram::new(LATENCY_SECONDS);
        Self {
            began: Instant::now(),
            latency: register(
                &mut registry,
                UPDATE_LATENCY,
                Family::new_with_constructor(latency),
            ),
            sla: register(&mut registry, SLA_DELIVERIES, Family::default()),
            outcomes: register(&mut registry, OUTCOMES, Family::default()),
            retries: register(&mut registry, RETRIES, Family::default()),
            held: register(&mut registry, HELD_TOTAL, Family::default()),
            requests: register(&mut registry, REQUESTS, Family::default()),
            responses: register(&mut registry, RESPONSES, Family::default()),
            response_seconds: register(
                &mut registry,
                RESPONSE_SECONDS,
                Family::new_with_constructor(|| Histogram::new(RESPONSE_BOUNDS_SECONDS)),
            ),
            throttled: register(&mut registry, THROTTLED, Family::default()),
            limited: register(&mut registry, REFUSED_BY_LIMITS, Family::default()),
            captured: register(
                &mut registry,
                CAPTURE_LATENCY,
                Family::new_with_constructor(latency),
            ),
            letters: register(&mut registry, ALERT_LETTERS, Family::default()),
            firing: Mutex::default(),
            settings_refused: AtomicBool::new(false),
            sources: Mutex::default(),
            destinations: Mutex::default(),
            registry,
        }
    }
}

fn register<M: Registered + Clone>(registry: &mut Registry, metric: Metric, family: M) -> M {
    let name = match metric.kind {
        // The library puts it behind the name of every counter.
        Kind::Counter => metric.name.trim_end_matches("_total"),
        Kind::Gauge | Kind::Histogram => metric.name,
    };
    registry.register(name, metric.help, family.clone());
    family
}

impl Meters {
    /// The counters and histograms, to be written out.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The meter of a source.
    pub fn source(&self, name: &str) -> Arc<SourceMeter> {
        let mut sources = lock(&self.sources);
        let meter = sources.entry(name.to_owned()).or_insert_with(|| {
            let captured = self.captured.get_or_create_owned(&labels("source", name));
            let held = self.held_by(MAPPING, MAPPING);
            Arc::new(SourceMeter::new(self.began, captured, held))
        });
        Arc::clone(meter)
    }

    /// The meter of a destination, with what is promised of it.
    pub(crate) fn destination(
        &self,
        name: &str,
        promised: &[(EventType, Duration)],
    ) -> Arc<DestinationMeter> {
        let own = labels("destination", name);
        let with = |label, value: &str| {
            let mut labels = own.clone();
            labels.push((label, value.to_owned()));
            labels
        };
        let sla = promised.iter().map(|(event_type, within)| {
            let counter = |result: &str| {
                let mut labels = with("event_type", event_type.name());
                labels.push(("result", result.to_owned()));
                self.sla.get_or_create_owned(&labels)
            };
            Sla {
                event_type: *event_type,
                within: *within,
                kept: counter("within"),
                late: counter("late"),
            }
        });
        let meter = Arc::new(DestinationMeter {
            began: self.began,
            failing_since_ms: AtomicU64::new(NEVER),
            turned_ms: AtomicU64::new(millis_since(self.began)),
            sla: sla.collect(),
            latency: [const { OnceLock::new() }; EventType::ALL.len()],
            family: self.latency.clone(),
            outcomes: OUTCOME_WORDS
                .map(|word| self.outcomes.get_or_create_owned(&with("outcome", word))),
            retries: self.retries.get_or_create_owned(&own),
            held: HeldCause::ALL.map(|cause| self.held_by(name, cause.name())),
            requests: self.requests.get_or_create_owned(&own),
            responses: CLASSES
                .map(|class| self.responses.get_or_create_owned(&with("class", class))),
            response_seconds: self.response_seconds.get_or_create_owned(&own),
            throttled: self.throttled.get_or_create_owned(&own),
            limited: self.limited.get_or_create_owned(&own),
            batches: super::together::Batches::default(),
            labels: own,
        });
        lock(&self.destinations).insert(name.to_owned(), Arc::clone(&meter));
        meter
    }

    /// The sources by name.
    pub fn sources(&self) -> Vec<(String, Arc<SourceMeter>)> {
        let sources = lock(&self.sources);
        sources
            .iter()
            .map(|(name, meter)| (name.clone(), Arc::clone(meter)))
            .collect()
    }

    /// The destinations by name.
    pub fn destinations(&self) -> Vec<(String, Arc<DestinationMeter>)> {
        let destinations = lock(&self.destinations);
        destinations
            .iter()
            .map(|(name, meter)| (name.clone(), Arc::clone(meter)))
            .collect()
    }

    /// The counter of what came of letters to a channel: `sent` or `failed`.
    pub fn letters(&self, channel: &str, result: &'static str) -> Counter {
        let mut labels = labels("channel", channel);
        labels.push(("result", result.to_owned()));
        self.letters.get_or_create_owned(&labels)
    }

    /// How many series of each alert fire.
    pub fn set_firing(&self, firing: BTreeMap<String, u64>) {
        *lock(&self.firing) = firing;
    }

    /// The same, as it was set.
    pub fn firing(&self) -> BTreeMap<String, u64> {
        lock(&self.firing).clone()
    }

    /// Whether changed settings are refused, so that older ones are in force.
    pub fn set_settings_refused(&self, refused: bool) {
        self.settings_refused.store(refused, Ordering::Relaxed);
    }

    /// Whether they are.
    pub fn are_settings_refused(&self) -> bool {
        self.settings_refused.load(Ordering::Relaxed)
    }

    fn held_by(&self, by: &str, cause: &str) -> Counter {
        let labels = vec![("by", by.to_owned()), ("cause", cause.to_owned())];
        self.held.get_or_create_owned(&labels)
    }
}

fn labels(label: &'static str, value: &str) -> Labels {
    vec![(label, value.to_owned())]
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn millis_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

//! What is counted of one destination while it runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::delivery::HeldCause;
use contract::gate::Together;
use contract::{Answer, EventType, clock};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use state::{DeliveredNow, HeldNow, Said};

use super::meters::{Histograms, Labels, millis_since};
use super::together::{Batch, Batches};

/// Words of outcomes, see [`Said::name`]; what shadow mode says is not an outcome of an attempt.
pub(super) const OUTCOME_WORDS: [&str; 11] = [
    "applied",
    "accepted",
    "waiting",
    "retry",
    "not sent",
    "rejected",
    "conflict",
    "missing",
    "unknown",
    "doubt",
    "not there",
];

/// Classes of statuses.
pub(super) const CLASSES: [&str; 6] = ["2xx", "3xx", "4xx", "5xx", "other", "none"];

pub(super) const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Sla {
    pub(super) event_type: EventType,
    pub(super) within: Duration,
    pub(super) kept: Counter,
    pub(super) late: Counter,
}

/// What is counted of a destination.
#[derive(Debug)]
pub struct DestinationMeter {
    pub(super) labels: Labels,
    pub(super) began: Instant,
    pub(super) failing_since_ms: AtomicU64,
    pub(super) turned_ms: AtomicU64,
    pub(super) sla: Vec<Sla>,
    /// By event type; made with the type's first delivery.
    pub(super) latency: [OnceLock<Histogram>; EventType::ALL.len()],
    pub(super) family: Histograms,
    pub(super) outcomes: [Counter; OUTCOME_WORDS.len()],
    pub(super) retries: Counter,
    pub(super) held: [Counter; HeldCause::ALL.len()],
    pub(super) requests: Counter,
    pub(super) responses: [Counter; CLASSES.len()],
    pub(super) response_seconds: Histogram,
    pub(super) throttled: Counter,
    pub(super) limited: Counter,
    pub(super) batches: Batches,
}

impl DestinationMeter {
    /// The delivery loop turned.
    pub(crate) fn turned(&self) {
        self.turned_ms
            .store(millis_since(self.began), Ordering::Relaxed);
    }

    /// Since when it has not.
    pub fn turned_ago(&self) -> Duration {
        let now = millis_since(self.began);
        Duration::from_millis(now.saturating_sub(self.turned_ms.load(Ordering::Relaxed)))
    }

    /// These are delivered, which is durable.
    pub(crate) fn delivered(&self, delivered: &[DeliveredNow], now: Timestamp) {
        for one in delivered {
            let took = clock::until(one.occurred_at, now);
            if let Some(latency) = self.latency(one.event_type) {
                latency.observe(took.as_secs_f64());
            }
            let sla = self.sla.iter().find(|sla| sla.event_type == one.event_type);
            if let Some(sla) = sla {
                let kept = took <= sla.within;
                let _ = if kept { &sla.kept } else { &sla.late }.inc();
            }
        }
    }

    fn latency(&self, event_type: EventType) -> Option<&Histogram> {
        let place = EventType::ALL
            .iter()
            .position(|known| *known == event_type)?;
        Some(self.latency.get(place)?.get_or_init(|| {
            let mut labels = self.labels.clone();
            labels.push(("event_type", event_type.name().to_owned()));
            self.family.get_or_create_owned(&labels)
        }))
    }

    pub(crate) fn held(&self, held: &[HeldNow]) {
        for one in held {
            let place = HeldCause::ALL.iter().position(|cause| *cause == one.cause);
            if let Some(counter) = place.and_then(|place| self.held.get(place)) {
                counter.inc();
            }
        }
    }

    /// What an attempt came to.
    pub(crate) fn outcome(&self, said: Said) {
        let place = OUTCOME_WORDS.iter().position(|word| *word == said.name());
        if let Some(counter) = place.and_then(|place| self.outcomes.get(place)) {
            counter.inc();
        }
    }

    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    /// A request was answered, or was not.
    pub(crate) fn answered(&self, answer: Option<&Answer>) {
        let class = match answer.and_then(|answer| answer.status) {
            Some(200..=299) => 0,
            Some(300..=399) => 1,
            Some(400..=499) => 2,
            Some(500..=599) => 3,
            Some(_) => 4,
            None => 5,
        };
        if let Some(counter) = self.responses.get(class) {
            counter.inc();
        }
        if let Some(answer) = answer {
            let took = Duration::from_millis(answer.latency_ms);
            self.response_seconds.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn requested(&self) {
        self.requests.inc();
    }

    pub(crate) fn throttled(&self) {
        self.throttled.inc();
    }

    pub(crate) fn limited(&self) {
        self.limited.inc();
    }

    /// A request about several events has left.
    pub(crate) fn together(&self, request: &Together<'_>) {
        self.batches.add(request);
    }

    /// The requests about several events since this was asked last, and how many more there were than are kept.
    pub fn take_batches(&self) -> (Vec<Batch>, u64) {
        self.batches.take()
    }

    /// Its requests fail, or do not.
    pub(crate) fn fails(&self, fails: bool) {
        if fails {
            let now = millis_since(self.began);
            let since = &self.failing_since_ms;
            let _ = since.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed);
        } else {
            self.failing_since_ms.store(NEVER, Ordering::Relaxed);
        }
    }

    /// For how long every request has failed; zero when the newest one did not.
    pub fn failing_for(&self) -> Duration {
        match self.failing_since_ms.load(Ordering::Relaxed) {
            NEVER => Duration::ZERO,
            since => Duration::from_millis(millis_since(self.began).saturating_sub(since)),
        }
    }

    /// What is promised of its deliveries.
    pub fn promised(&self) -> impl Iterator<Item = (EventType, Duration)> + '_ {
        self.sla.iter().map(|sla| (sla.event_type, sla.within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Meters, RESPONSE_SECONDS, UPDATE_LATENCY};

    /// What a line of the answer to monitoring ends with.
    fn shown(meters: &Meters, series: &str) -> String {
        let mut text = String::new();
        let written =
            prometheus_client::encoding::prometheus_text::encode(&mut text, meters.registry());
        written.unwrap();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(series));
        lines.next().unwrap().trim().to_owned()
    }

    #[test]
    fn a_promise_is_kept_to_the_second_and_clocks_that_differ_count_as_no_time() {
        let minute = Duration::from_mins(1);
        let meters = Meters::default();
        let meter = meters.destination("shop", &[(EventType::Order, minute)]);
        let at = |second| Timestamp::from_second(second).unwrap();
        let one = |event_type, second| DeliveredNow {
            event_type,
            occurred_at: at(second),
        };
        let counted = || {
            let sla = &meter.sla[0];
            (sla.kept.get(), sla.late.get())
        };
        meter.delivered(&[one(EventType::Order, 40)], at(100));
        assert_eq!(counted(), (1, 0));
        meter.delivered(&[one(EventType::Order, 39)], at(100));
        assert_eq!(counted(), (1, 1));
        // Of this type nothing is promised; of this one the source's clock is ahead.
        let ahead = [one(EventType::Price, 0), one(EventType::Order, 200)];
        meter.delivered(&ahead, at(100));
        assert_eq!(counted(), (2, 1));
        let labels = "{destination=\"shop\",event_type=\"order.v1\"}";
        let latency =
            |part: &str| shown(&meters, &format!("{}_{part}{labels}", UPDATE_LATENCY.name));
        assert_eq!([latency("count"), latency("sum")], ["3", "121.0"]);
    }

    #[test]
    fn it_fails_from_the_first_failure_until_the_first_success() {
        let meter = Meters::default().destination("shop", &[]);
        assert_eq!(meter.failing_for(), Duration::ZERO);
        meter.fails(true);
        let since = meter.failing_since_ms.load(Ordering::Relaxed);
        meter.fails(true);
        assert_eq!(meter.failing_since_ms.load(Ordering::Relaxed), since);
        meter.fails(false);
        assert_eq!(meter.failing_for(), Duration::ZERO);
    }

    #[test]
    fn answers_are_counted_by_class() {
        let meters = Meters::default();
        let meter = meters.destination("shop", &[]);
        let with = |status| Answer {
            status,
            latency_ms: 40,
            ..Answer::default()
        };
        for status in [200, 204, 301, 429, 503, 100] {
            meter.answered(Some(&with(Some(status))));
        }
        meter.answered(Some(&with(None)));
        meter.answered(None);
        let counts = meter.responses.iter().map(Counter::get);
        assert_eq!(counts.collect::<Vec<_>>(), [2, 1, 1, 1, 1, 2]);
        let count = format!("{}_count{{destination=\"shop\"}}", RESPONSE_SECONDS.name);
        assert_eq!(shown(&meters, &count), "7");
    }

    /// A word that is missing would not be counted at all.
    #[test]
    fn every_outcome_of_an_attempt_has_its_counter() {
        let again = Timestamp::UNIX_EPOCH;
        for said in [
            Said::Applied,
            Said::Accepted,
            Said::Waiting,
            Said::Retry,
            Said::NotSent,
            Said::Rejected,
            Said::Conflict,
            Said::Missing,
            Said::Unknown,
            Said::Doubt { again },
            Said::NotThere,
        ] {
            assert!(OUTCOME_WORDS.contains(&said.name()), "{}", said.name());
        }
    }
}

//! `/metrics`: everything in `engine::observe`, in Prometheus' text form.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use contract::{Level, clock};
use engine::observe::{self, Kind, Labels, Metric};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use state::{DestinationStatus, ReconcileWith, SourceStatus};

use super::process::Process;
use super::seen::{Seen, Standing, State};
use super::{answer, plain};

pub(super) fn routes() -> Router<Arc<Seen>> {
    Router::new().route("/metrics", get(metrics))
}

/// All numbers as `/metrics` writes them, for whoever else looks at them.
///
/// # Errors
/// When they cannot be written, which would be a bug.
pub(crate) async fn numbers(seen: &Seen) -> Result<String, std::fmt::Error> {
    let standing = seen.look().await;
    written(seen, &standing)
}

async fn metrics(Shared(seen): Shared<Arc<Seen>>) -> Response {
    match numbers(&seen).await {
        Ok(text) => answer(StatusCode::OK, prometheus_text::CONTENT_TYPE, text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn written(seen: &Seen, standing: &Standing) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    prometheus_text::encode(&mut text, seen.watched.meters.registry())?;
    let mut looked_up = Registry::default();
    looked_up.register_collector(Box::new(sheet(seen, standing)));
    prometheus_text::encode(&mut text, &looked_up)?;
    Ok(text)
}

/// A number.
#[derive(Debug, Clone, Copy)]
enum Value {
    Whole(u64),
    Seconds(Duration),
    /// So many of so many.
    Part(u64, u64),
}

/// Numbers that are looked up when someone asks.
#[derive(Debug, Default)]
struct Sheet(BTreeMap<&'static str, (Metric, Series)>);

type Series = Vec<(Labels, Value)>;

impl Sheet {
    fn put(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let (_, series) = self.0.entry(metric.name).or_insert((metric, Vec::new()));
        series.push((labels.collect(), value));
    }

    fn whole(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: u64) {
        self.put(metric, labels, Value::Whole(value));
    }

    fn seconds(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: Duration) {
        self.put(metric, labels, Value::Seconds(value));
    }
}

impl Collector for Sheet {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (metric, series) in self.0.values() {
            let (name, kind) = match metric.kind {
                // The library puts it behind the name of every counter.
                Kind::Counter => (metric.name.trim_end_matches("_total"), MetricType::Counter),
                Kind::Gauge | Kind::Histogram => (metric.name, MetricType::Gauge),
            };
            let help = format!("{}.", metric.help);
            let mut encoder = encoder.encode_descriptor(name, &help, None, kind)?;
            for (labels, value) in series {
                let mut encoder = encoder.encode_family(labels)?;
                match (metric.kind, value) {
                    (Kind::Counter, Value::Whole(value)) => {
                        encoder.encode_counter::<NoLabelSet, _, u64>(value, None)?;
                    }
                    (_, Value::Whole(value)) => encoder.encode_gauge(value)?,
                    (_, Value::Seconds(value)) => encoder.encode_gauge(&value.as_secs_f64())?,
                    (_, Value::Part(some, all)) => encoder.encode_gauge(&part(*some, *all))?,
                }
            }
        }
        Ok(())
    }
}

/// In millionths, which is more than anybody reads.
fn part(some: u64, all: u64) -> f64 {
    let millionths = some.saturating_mul(1_000_000) / all.max(1);
    f64::from(u32::try_from(millionths).unwrap_or(u32::MAX)) / 1_000_000.0
}

fn sheet(seen: &Seen, standing: &Standing) -> Sheet {
    let mut sheet = Sheet::default();
    agent(&mut sheet, seen);
    loops(&mut sheet, seen);
    let readable = u64::from(standing.state.is_ok());
    sheet.whole(observe::STATE_READABLE, &[], readable);
    let Ok(state) = &standing.state else {
        return sheet;
    };
    let State { size, held, .. } = state;
    for (file, bytes) in [("database", size.database_bytes), ("wal", size.wal_bytes)] {
        sheet.whole(observe::STATE_BYTES, &[("file", file)], bytes);
    }
    if let Some(checked) = &state.checked {
        for (name, level) in [
            ("pass", Level::Pass),
            ("warn", Level::Warn),
            ("fail", Level::Fail),
        ] {
            let found = checked.findings.iter().filter(|one| one.level == level);
            sheet.whole(
                observe::CHECK_FINDINGS,
                &[("level", name)],
                found.count() as u64,
            );
        }
    }
    for held in held {
        let labels = [("by", held.by.as_str()), ("cause", held.cause.as_str())];
        sheet.whole(observe::HELD_ITEMS, &labels, held.count);
    }
    for name in &seen.watched.sources {
        // One that was never captured, or that the agent still waits for, is not captured either.
        let up = seen.is_running()
            && state
                .sources
                .iter()
                .any(|one| one.name == *name && one.problem.is_none());
        sheet.whole(observe::SOURCE_UP, &[("source", name)], u64::from(up));
    }
    for one in &state.sources {
        source(&mut sheet, one);
    }
    for one in &state.destinations {
        destination(&mut sheet, one);
    }
    for one in &state.standings {
        let age = one.oldest_at.map(|at| clock::until(at, standing.at));
        let labels = [("destination", one.name.as_str())];
        let settings = seen.watched.destinations.get(&one.name);
        // Waiting for the end of a pause of the settings is no trouble.
        if settings.is_none_or(|settings| settings.paused_until(standing.at).is_none()) {
            sheet.seconds(observe::OLDEST_AGE, &labels, age.unwrap_or_default());
        }
    }
    reconciled(&mut sheet, state, standing.at);
    sheet
}

/// What comparisons with destinations and sources came to last.
fn reconciled(sheet: &mut Sheet, state: &State, now: Timestamp) {
    let mut ended: BTreeMap<&ReconcileWith, Timestamp> = BTreeMap::new();
    for one in &state.reconciled {
        let (side, name) = one.with.words();
        let metric = match one.with {
            ReconcileWith::Destination(_) => observe::RECONCILE_MISMATCH,
            ReconcileWith::Source(_) => observe::RECONCILE_SOURCE_MISMATCH,
        };
        let labels = [(side, name), ("event_type", one.count.event_type.as_str())];
        let part = Value::Part(one.count.differing(), one.count.looked_at);
        sheet.put(metric, &labels, part);
        let at = clock::after(one.began_at, Duration::from_millis(one.took_ms));
        let newest = ended.entry(&one.with).or_insert(at);
        *newest = at.max(*newest);
    }
    for (with, at) in ended {
        let (side, name) = with.words();
        let metric = match with {
            ReconcileWith::Destination(_) => observe::RECONCILE_AGE,
            ReconcileWith::Source(_) => observe::RECONCILE_SOURCE_AGE,
        };
        sheet.seconds(metric, &[(side, name)], clock::until(at, now));
    }
}

fn agent(sheet: &mut Sheet, seen: &Seen) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    sheet.whole(observe::AGENT_INFO, &version, 1);
    let began = u64::try_from(seen.began.as_second()).unwrap_or_default();
    sheet.whole(observe::PROCESS_START, &[], began);
    let [sent, dropped, failed] = seen.otlp.all();
    sheet.whole(observe::OTLP_SPANS, &[("result", "sent")], sent);
    sheet.whole(observe::OTLP_SPANS, &[("result", "dropped")], dropped);
    sheet.whole(observe::OTLP_FAILED, &[], failed);
    let process = Process::now();
    for (metric, value) in [
        (observe::PROCESS_MEMORY, process.memory_bytes),
        (observe::PROCESS_FILES, process.files),
        (observe::PROCESS_FILES_MAX, process.files_max),
        (
            observe::STATE_DISK_FREE,
            state::room(&seen.watched.folder).map(|room| room.free_bytes),
        ),
    ] {
        if let Some(value) = value {
            sheet.whole(metric, &[], value);
        }
    }
}

/// What the loops know beyond what they count.
fn loops(sheet: &mut Sheet, seen: &Seen) {
    let meters = &seen.watched.meters;
    let refused = u64::from(meters.are_settings_refused());
    sheet.whole(observe::SETTINGS_REFUSED, &[], refused);
    for (alert, count) in meters.firing() {
        sheet.whole(observe::ALERTS_FIRING, &[("alert", alert.as_str())], count);
    }
    for (name, meter) in meters.sources() {
        let source = [("source", name.as_str())];
        let refused = u64::from(meter.is_refused());
        sheet.whole(observe::MAPPING_REFUSED, &source, refused);
        if let Some((age, _)) = meter.canary() {
            sheet.seconds(observe::CANARY_AGE, &source, age);
        }
        // A loop that has not begun is not stuck.
        if seen.is_running() {
            sheet.seconds(observe::SOURCE_ALIVE_AGE, &source, meter.turned_ago());
        }
        let log = meter.log();
        let log = log.as_ref();
        for (metric, value) in [
            (observe::SOURCE_LAG, meter.lag()),
            (observe::RETENTION_LEFT, log.and_then(|log| log.left)),
        ] {
            if let Some(value) = value {
                sheet.seconds(metric, &source, value);
            }
        }
        for (metric, value) in [
            (
                observe::SOURCE_LAG_BYTES,
                log.and_then(|log| log.kept_bytes),
            ),
            (
                observe::RETENTION_LEFT_BYTES,
                log.and_then(|log| log.left_bytes),
            ),
        ] {
            if let Some(value) = value {
                sheet.whole(metric, &source, value);
            }
        }
    }
    for (name, meter) in meters.destinations() {
        let destination = [("destination", name.as_str())];
        sheet.seconds(observe::FAILING, &destination, meter.failing_for());
        let turned = meter.turned_ago();
        sheet.seconds(observe::DESTINATION_TURN_AGE, &destination, turned);
        for (event_type, within) in meter.promised() {
            let labels = [
                ("destination", name.as_str()),
                ("event_type", event_type.name()),
            ];
            sheet.seconds(observe::SLA_SECONDS, &labels, within);
        }
    }
}

fn source(sheet: &mut Sheet, one: &SourceStatus) {
    let source = [("source", one.name.as_str())];
    let with = |label, value| [("source", one.name.as_str()), (label, value)];
    sheet.whole(observe::CHANGES, &source, one.changes);
    sheet.whole(observe::FILTERED, &source, one.filtered);
    sheet.whole(observe::EVENTS, &source, one.events);
    sheet.whole(
        observe::SUPPRESSED,
        &with("reason", "unchanged"),
        one.suppressed,
    );
    sheet.whole(observe::SUPPRESSED, &with("reason", "stale"), one.stale);
    let stuck = one
        .tables
        .iter()
        .filter(|table| !table.done && table.problem.is_some());
    let down = (one.partly.len() + stuck.count()) as u64;
    sheet.whole(observe::SOURCE_PARTS_DOWN, &source, down);
    let done = one.snapshot_done;
    let reading = one.snapshot_tables.saturating_sub(done);
    sheet.whole(observe::SNAPSHOT_TABLES, &with("state", "done"), done);
    sheet.whole(observe::SNAPSHOT_TABLES, &with("state", "reading"), reading);
    sheet.whole(observe::SNAPSHOT_ROWS, &source, one.snapshot_rows);
    let left = one.tables.iter().filter(|table| !table.done);
    let left = left.filter_map(|table| Some(table.estimate?.saturating_sub(table.rows)));
    sheet.whole(observe::SNAPSHOT_ROWS_LEFT, &source, left.sum());
}

fn destination(sheet: &mut Sheet, one: &DestinationStatus) {
    let destination = [("destination", one.name.as_str())];
    let others = one.sending + one.unknown + one.accepted + one.backoff + one.waiting;
    for (state, count) in [
        ("ready", one.backlog.saturating_sub(others)),
        ("waiting", one.waiting),
        ("sending", one.sending),
        ("unknown", one.unknown),
        ("accepted", one.accepted),
        ("backoff", one.backoff),
    ] {
        let labels = [("destination", one.name.as_str()), ("state", state)];
        sheet.whole(observe::BACKLOG, &labels, count);
    }
    sheet.whole(
        observe::PAUSED,
        &destination,
        u64::from(one.paused.is_some()),
    );
    sheet.whole(observe::DELIVERED, &destination, one.delivered);
    sheet.whole(observe::SUPERSEDED, &destination, one.superseded);
    sheet.whole(observe::DISCARDED, &destination, one.discarded);
}

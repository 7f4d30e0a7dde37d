//! Traces and metrics for a collector, by OTLP over HTTP with JSON.
//!
//! It lives beside the two loops, like the local server: traces are read from the state file, metrics are those of
//! `/metrics`. So the loops have nothing to do with it, and a restart changes no trace. The JSON is made by hand: the
//! client that does it in Rust would bring some thirty crates for two small documents.

mod counts;
mod metrics;
mod settings;
mod traces;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use contract::Clock as _;
use engine::clock::SystemClock;
use http_client::{Request, Sent};
use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value as Json, json};
use state::{Rests, StateReader, StoreError, TraceEvent};

use crate::local::{self, Seen};
pub(crate) use counts::OtlpCounts;
pub(crate) use settings::{OtlpSettings, read};

/// Spans that wait to be sent at most.
const SPANS_MAX: usize = 4_096;
/// Spans of one request at most.
const REQUEST_SPANS_MAX: usize = 1_024;
/// Events looked at in one turn at most.
const EVENTS_MAX: usize = 500;
/// Events that are not at rest, and are looked at again.
const PENDING_MAX: usize = 2_048;
/// Events with a held delivery that are looked at again.
const HELD_MAX: usize = 1_024;
/// A request and its answer take so long at most.
const REQUEST_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Sends them for ever. What the other side does not take waits, within bounds, and is then left out and counted.
pub(crate) async fn export(settings: OtlpSettings, seen: Arc<Seen>) {
    let encrypted = settings.is_encrypted();
    let client = match settings.http.client(encrypted, REQUEST_MAX) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(
                code = "otlp.failing",
                error,
                "traces and metrics cannot be sent"
            );
            return;
        }
    };
    let mut exporter = Exporter {
        settings,
        client,
        seen,
        waiting: VecDeque::new(),
        followed: None,
        failing: false,
    };
    // What is on its way now was stored by an agent before this one.
    if exporter.settings.traces {
        exporter.follow().await;
    }
    loop {
        tokio::time::sleep(exporter.settings.every).await;
        exporter.turn().await;
    }
}

struct Exporter {
    settings: OtlpSettings,
    client: Client,
    seen: Arc<Seen>,
    /// Spans.
    waiting: VecDeque<Json>,
    followed: Option<Followed>,
    failing: bool,
}

/// How far the outbox was followed.
struct Followed {
    reader: StateReader,
    /// Up to here.
    offset: i64,
    /// Before it, and not at rest.
    pending: BTreeSet<i64>,
    /// Told as held: by whom, and since when.
    held: BTreeMap<i64, Vec<(String, Timestamp)>>,
}

/// What a look at the outbox found.
#[derive(Default)]
struct Found {
    spans: Vec<Json>,
    /// Events that were passed by.
    passed: u64,
}

impl Exporter {
    async fn turn(&mut self) {
        failpoint::crash!("task.export");
        if self.settings.traces {
            self.follow().await;
            self.send_traces().await;
        }
        if self.settings.metrics {
            let text = local::numbers(&self.seen).await;
            let now = nanos(SystemClock.now());
            let began = nanos(self.seen.began);
            let metrics = metrics::of(&text.unwrap_or_default(), &began, &now);
            let body = json!({ "resourceMetrics": [{
                "resource": resource(),
                "scopeMetrics": [{ "scope": scope(), "metrics": metrics }],
            }] });
            // A later one says all that this one says.
            self.send("metrics", &body).await;
        }
    }

    /// Looks what has come to rest.
    async fn follow(&mut self) {
        let folder = self.seen.watched.folder.clone();
        let followed = self.followed.take();
        let mut batches = Vec::new();
        let mut dropped = 0;
        for (name, meter) in self.seen.watched.meters.destinations() {
            let (taken, passed) = meter.take_batches();
            dropped += passed;
            batches.extend(taken.into_iter().map(|batch| (name.clone(), batch)));
        }
        let looked = tokio::task::spawn_blocking(move || {
            let mut followed = match followed {
                Some(followed) => followed,
                None => Followed::begin(StateReader::open(&folder)?)?,
            };
            let mut found = followed.look()?;
            followed.look_at_held(&mut found)?;
            for (name, batch) in batches {
                let changes = followed.reader.changes_among(&batch.offsets)?;
                // That of a first load or a replay is of no trace.
                if !changes.is_empty() {
                    found.spans.push(traces::batch(&name, &batch, &changes));
                }
            }
            Ok::<_, StoreError>((followed, found))
        });
        // A state file that cannot be read now is opened anew in the next turn, and said by others.
        let Ok(Ok((followed, found))) = looked.await else {
            return;
        };
        self.followed = Some(followed);
        let counts = &self.seen.otlp;
        dropped += found.passed;
        self.waiting.extend(found.spans);
        while self.waiting.len() > SPANS_MAX {
            self.waiting.pop_front();
            dropped += 1;
        }
        counts.dropped(dropped);
    }

    async fn send_traces(&mut self) {
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(REQUEST_SPANS_MAX);
            let spans: Vec<&Json> = self.waiting.iter().take(count).collect();
            let body = json!({ "resourceSpans": [{
                "resource": resource(),
                "scopeSpans": [{ "scope": scope(), "spans": spans }],
            }] });
            match self.send("traces", &body).await {
                Answered::Taken => {
                    self.waiting.drain(..count);
                    self.seen.otlp.sent(count);
                }
                Answered::Refused => {
                    self.waiting.drain(..count);
                    self.seen.otlp.dropped(count as u64);
                }
                Answered::Later => return,
            }
        }
    }

    async fn send(&mut self, signal: &str, body: &Json) -> Answered {
        let url = format!("{}/v1/{signal}", self.settings.endpoint);
        let mut headers = vec![("content-type", "application/json")];
        let own = self.settings.headers.iter();
        headers.extend(own.map(|(name, value)| (name.as_str(), value.expose())));
        let request = Request {
            method: "POST",
            url: &url,
            headers,
            body: Some(body.to_string().into_bytes()),
        };
        let sent = http_client::send(&self.client, request, REQUEST_MAX, ANSWER_BYTES_MAX).await;
        let (answered, error) = match sent {
            Sent::Answered(answer) => match answer.status {
                200..=299 => (Answered::Taken, None),
                status @ (408 | 429 | 500..) => (Answered::Later, Some(format!("HTTP {status}"))),
                // Also a login that is refused: what waits for it would fill up all the same.
                status => (Answered::Refused, Some(format!("HTTP {status}"))),
            },
            Sent::Refused(error) | Sent::Lost(error) => (Answered::Later, Some(error)),
        };
        let fails = error.is_some();
        if fails {
            self.seen.otlp.failed();
        }
        if fails != self.failing {
            self.failing = fails;
            if let Some(error) = error {
                tracing::warn!(
                    code = "otlp.failing",
                    error,
                    "traces and metrics are not taken; capture and delivery go on"
                );
            } else {
                tracing::info!(code = "otlp.works", "traces and metrics are taken again");
            }
        }
        answered
    }
}

/// What became of a request.
enum Answered {
    Taken,
    Refused,
    Later,
}

impl Followed {
    /// From now on, with what is on its way.
    fn begin(reader: StateReader) -> Result<Self, StoreError> {
        let pending = reader.unfinished_offsets(PENDING_MAX)?;
        let offset = reader.newest_offset()?;
        let mut held = BTreeMap::new();
        for offset in reader.held_offsets(HELD_MAX)? {
            held.insert(offset, held_now(&reader.rests(offset)?));
        }
        Ok(Self {
            reader,
            offset,
            pending: pending.into_iter().collect(),
            held,
        })
    }

    fn look(&mut self) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let new = self.reader.offsets_behind(self.offset, EVENTS_MAX)?;
        if let Some(last) = new.last() {
            self.offset = *last;
        }
        if new.len() == EVENTS_MAX {
            // More than can be followed: a first load, or a flood. Those that come later are seen again.
            let newest = self.reader.newest_offset()?;
            found.passed += u64::try_from(newest - self.offset).unwrap_or_default();
            self.offset = newest;
        }
        self.pending.extend(new);
        while self.pending.len() > PENDING_MAX {
            self.pending.pop_first();
            found.passed += 1;
        }
        let mut rest = BTreeSet::new();
        for offset in std::mem::take(&mut self.pending) {
            let Some(event) = self.reader.story(offset)? else {
                continue;
            };
            if event
                .deliveries
                .iter()
                .all(state::TraceDelivery::is_at_rest)
            {
                if traces::is_change(&event) {
                    found.spans.extend(traces::spans(&event));
                    self.remember(offset, &event);
                }
            } else {
                rest.insert(offset);
            }
        }
        self.pending = rest;
        Ok(found)
    }

    /// What is held now is told once more when it is held no more.
    fn remember(&mut self, offset: i64, event: &TraceEvent) {
        let held = event.deliveries.iter();
        let held = held.filter(|one| one.state == HELD);
        let held: Vec<_> = held
            .map(|one| (one.destination.clone(), one.since))
            .collect();
        if !held.is_empty() {
            self.held.insert(offset, held);
            while self.held.len() > HELD_MAX {
                self.held.pop_first();
            }
        }
    }

    /// Looks what became of what was told as held.
    fn look_at_held(&mut self, found: &mut Found) -> Result<(), StoreError> {
        let offsets: Vec<i64> = self.held.keys().copied().collect();
        for offset in offsets {
            let rests = self.reader.rests(offset)?;
            let of = |name: &str| rests.iter().find(|one| one.destination == name);
            let Some(known) = self.held.get(&offset) else {
                continue;
            };
            let is_as_it_was = known.iter().all(|(name, since)| {
                of(name).is_some_and(|one| one.since == *since || !one.is_at_rest())
            });
            if is_as_it_was {
                continue;
            }
            // It may have left the outbox, with nothing to tell of it any more.
            let known = self.held.remove(&offset).unwrap_or_default();
            let Some(event) = self.reader.story(offset)?.filter(traces::is_change) else {
                continue;
            };
            let mut still = Vec::new();
            for (name, since) in known {
                let mut deliveries = event.deliveries.iter();
                let Some(delivery) = deliveries.find(|one| one.destination == name) else {
                    continue;
                };
                if delivery.since == since || !delivery.is_at_rest() {
                    still.push((name, since));
                    continue;
                }
                found.spans.extend(traces::held(&event, delivery, since));
                if delivery.state == HELD {
                    still.push((name, delivery.since));
                }
            }
            if !still.is_empty() {
                self.held.insert(offset, still);
            }
        }
        Ok(())
    }
}

const HELD: &str = "held";

/// Who holds it, and since when.
fn held_now(rests: &[Rests]) -> Vec<(String, Timestamp)> {
    let held = rests.iter().filter(|one| one.state == HELD);
    held.map(|one| (one.destination.clone(), one.since))
        .collect()
}

fn nanos(at: jiff::Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

fn resource() -> Json {
    json!({ "attributes": [
        attribute("service.name", &json!("lighterman")),
        attribute("service.version", &json!(env!("CARGO_PKG_VERSION"))),
    ] })
}

fn scope() -> Json {
    json!({ "name": "lighterman", "version": env!("CARGO_PKG_VERSION") })
}

/// A name and a text, or a whole number.
fn attribute(key: &str, value: &Json) -> Json {
    let value = match value {
        Json::Number(number) => json!({ "intValue": number.to_string() }),
        Json::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": key, "value": value })
}

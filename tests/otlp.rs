//! Traces and metrics at a collector: what is sent, and that it holds up nothing.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use harness::local::{get, value};
use harness::receiver::{Faults, Receiver};
use serde_json::Value;

use crate::metrics::{SOON, holds, site, until};

/// What came, by path.
#[derive(Clone, Default)]
struct Collector {
    came: Arc<Mutex<Vec<(String, Value)>>>,
    /// The status that it answers with.
    status: Arc<AtomicU16>,
    tokens: Arc<Mutex<BTreeSet<String>>>,
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        collector.answer(200);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(take).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (collector, url)
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Every span that was taken.
    fn spans(&self) -> Vec<Value> {
        let came = self.came.lock().unwrap();
        let traces = came.iter().filter(|(path, _)| path == "/v1/traces");
        traces
            .flat_map(|(_, body)| {
                let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
                spans.as_array().unwrap().clone()
            })
            .collect()
    }

    async fn wait(&self, wanted: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + SOON;
        while !wanted(self) {
            let came = self.came.lock().unwrap().clone();
            assert!(tokio::time::Instant::now() < deadline, "{came:?}");
            drop(came);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Has it all read by OpenTelemetry's own types.
    fn read_strictly(&self) {
        let folder = tempfile::tempdir().unwrap();
        for (n, (path, body)) in self.came.lock().unwrap().iter().enumerate() {
            let kind = path.rsplit('/').next().unwrap();
            let file = folder.path().join(format!("{kind}-{n:03}.json"));
            std::fs::write(file, body.to_string()).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/otlp/run");
        let read = std::process::Command::new(script)
            .arg(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&read.stdout);
        if said.starts_with("skipped") {
            // Not by a print macro: those are captured, and a skipped test must be seen.
            let _ = std::io::stderr().write_all(said.as_bytes());
        }
        assert!(
            read.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&read.stderr)
        );
    }
}

async fn take(State(collector): State<Collector>, request: Request) -> StatusCode {
    let path = request.uri().path().to_owned();
    let (head, body) = request.into_parts();
    let header = |name: &str| {
        let value = head.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default().to_owned()
    };
    assert_eq!(header("content-type"), "application/json");
    collector.tokens.lock().unwrap().insert(header("x-token"));
    let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
    let status = StatusCode::from_u16(collector.status.load(Ordering::Relaxed)).unwrap();
    if status.is_success() {
        let body = serde_json::from_slice(&body).unwrap();
        collector.came.lock().unwrap().push((path, body));
    }
    status
}

fn text<'v>(span: &'v Value, key: &str) -> &'v str {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|one| one["key"] == key);
    found.map_or("", |one| {
        let value = &one["value"];
        value["stringValue"]
            .as_str()
            .or(value["intValue"].as_str())
            .unwrap()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changes_way_is_one_trace_across_a_restart() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (collector, url) = Collector::start().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "t0ken\n").unwrap();
    let otlp = format!(
        "[otlp]\nendpoint = \"{url}\"\nevery_seconds = 1\nheaders = {{ X-Token = {{ file = \"{}\" }} }}",
        secret.path().display()
    );
    let (site, port) = site(&receiver, &otlp);
    let mut agent = site.agent();
    assert!(holds(&receiver, "A", "1").await, "{}", agent.log());

    // Stored before the agent is killed, delivered by the next one.
    let (code, shown) = site.command(&["destination", "pause", "shop"]);
    assert_eq!(code, Some(0), "{shown}");
    site.run("UPDATE stock SET qty = 7 WHERE sku = 'A'");
    let ready = "lighterman_delivery_backlog_events{destination=\"shop\",state=\"ready\"}";
    until(port, "/metrics", &agent, |_, body| {
        value(body, ready).is_some_and(|ready| ready > 0.5)
    })
    .await;
    agent.kill();
    let mut agent = site.agent();
    until(port, "/health/live", &agent, |status, _| status == 200).await;
    let (code, shown) = site.command(&["destination", "resume", "shop"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(holds(&receiver, "A", "7").await, "{}", agent.log());
    collector
        .wait(|collector| !collector.spans().is_empty())
        .await;

    let spans = collector.spans();
    let one = |name: &str| {
        let found: Vec<&Value> = spans.iter().filter(|span| span["name"] == name).collect();
        assert_eq!(found.len(), 1, "{name}: {spans:?}");
        found[0]
    };
    let root = one("inventory.availability.v1");
    let (capture, deliver) = (one("capture erp"), one("deliver shop"));
    let attempt = one("attempt shop");
    for (span, parent) in [(capture, root), (deliver, root), (attempt, deliver)] {
        assert_eq!(span["traceId"], root["traceId"]);
        assert_eq!(span["parentSpanId"], parent["spanId"]);
    }
    // The first load is not among them.
    assert_eq!(spans.len(), 4, "{spans:?}");
    assert_eq!(text(attempt, "lighterman.outcome"), "applied");
    assert_eq!(text(attempt, "http.response.status_code"), "204");
    assert_eq!(text(deliver, "lighterman.outcome"), "delivered");
    let (code, shown) = site.command(&["trace", "--key", "A", "--json"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(text(root, "lighterman.event_id")), "{shown}");

    // What the receiver was given.
    assert_eq!(root.get("parentSpanId"), None);

    // Neither keys nor values leave.
    let all = format!("{:?}", collector.came.lock().unwrap());
    assert!(!all.contains("ACME") && !all.contains("t0ken"), "{all}");
    assert!(
        collector
            .tokens
            .lock()
            .unwrap()
            .iter()
            .all(|token| token == "t0ken")
    );

    // Metrics are those of the local server.
    let (_, shown) = get(port, "/metrics").await;
    let names = |text: &str| -> BTreeSet<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        names
            .map(|line| match line.split_once(' ').unwrap() {
                (name, "counter") => format!("{name}_total"),
                (name, _) => name.to_owned(),
            })
            .collect()
    };
    let with_points = names(&shown);
    let of_metrics = |collector: &Collector| -> BTreeSet<String> {
        let came = collector.came.lock().unwrap();
        let newest = came.iter().rev().find(|(path, _)| path == "/v1/metrics");
        let metrics =
            newest.map(|(_, body)| &body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]);
        let metrics = metrics
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let names = metrics
            .iter()
            .map(|metric| metric["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    collector
        .wait(|collector| {
            let sent = of_metrics(collector);
            sent.contains("lighterman_update_latency_seconds") && sent.is_subset(&with_points)
        })
        .await;
    collector.read_strictly();
    assert!(agent.terminate(SOON).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_holds_up_nothing() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (collector, url) = Collector::start().await;
    let otlp = format!("[otlp]\nendpoint = \"{url}\"\nevery_seconds = 1\nmetrics = false");
    let (site, port) = site(&receiver, &otlp);
    collector.answer(503);
    let mut agent = site.agent();
    assert!(holds(&receiver, "A", "1").await, "{}", agent.log());
    site.run("UPDATE stock SET qty = 7 WHERE sku = 'A'");
    assert!(holds(&receiver, "A", "7").await, "{}", agent.log());
    until(port, "/metrics", &agent, |_, body| {
        value(body, "lighterman_otlp_failed_total").is_some_and(|failed| failed > 0.5)
    })
    .await;
    assert!(agent.logged("otlp.failing", SOON).await, "{}", agent.log());
    assert!(collector.spans().is_empty());

    // What waited is sent.
    collector.answer(200);
    collector
        .wait(|collector| collector.spans().len() == 4)
        .await;
    assert!(agent.logged("otlp.works", SOON).await, "{}", agent.log());
    until(port, "/metrics", &agent, |_, body| {
        let sent = value(body, "lighterman_otlp_spans_total{result=\"sent\"}");
        sent.is_some_and(|sent| sent > 3.5)
    })
    .await;

    // A key that is wrong is refused for good: nothing piles up.
    collector.answer(401);
    site.run("UPDATE stock SET qty = 8 WHERE sku = 'A'");
    assert!(holds(&receiver, "A", "8").await, "{}", agent.log());
    until(port, "/metrics", &agent, |_, body| {
        let dropped = value(body, "lighterman_otlp_spans_total{result=\"dropped\"}");
        dropped.is_some_and(|dropped| dropped > 3.5)
    })
    .await;
    assert!(agent.terminate(SOON).await.is_some());
}

fn links(span: &Value) -> Vec<&str> {
    let links = span["links"].as_array().map(Vec::as_slice);
    let ids = links.unwrap_or_default().iter();
    ids.map(|link| link["traceId"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_held_and_is_delivered_later_says_so_in_the_same_trace() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (collector, url) = Collector::start().await;
    let otlp = format!("[otlp]\nendpoint = \"{url}\"\nevery_seconds = 1\nmetrics = false");
    let (site, port) = site(&receiver, &otlp);
    let mut agent = site.agent();
    assert!(holds(&receiver, "A", "1").await, "{}", agent.log());
    let refuse = |refused: bool| {
        let mut held = receiver.held();
        held.rejected.clear();
        held.rejected
            .extend(refused.then(|| "ACME|A|MAIN".to_owned()));
    };
    let named = |collector: &Collector, name: &str| -> Vec<Value> {
        let spans = collector.spans().into_iter();
        spans.filter(|span| span["name"] == name).collect()
    };
    refuse(true);
    site.run("UPDATE stock SET qty = 7 WHERE sku = 'A'");
    collector
        .wait(|collector| !named(collector, "deliver shop").is_empty())
        .await;
    let deliver = named(&collector, "deliver shop").remove(0);
    assert_eq!(deliver["status"]["code"], 2, "{deliver}");
    assert_eq!(text(&deliver, "lighterman.held_cause"), "rejected");

    // It is sent again and refused again; then it is taken, by an agent that told nothing of it itself.
    let retry = || {
        let (code, shown) = site.command(&["held", "retry", "--all"]);
        assert_eq!(code, Some(0), "{shown}");
    };
    retry();
    collector
        .wait(|collector| named(collector, "held shop").len() == 1)
        .await;
    let again = named(&collector, "held shop").remove(0);
    assert_eq!(again["status"]["code"], 2, "{again}");
    assert_eq!(text(&again, "lighterman.outcome"), "held");

    assert!(agent.terminate(SOON).await.is_some());
    let mut agent = site.agent();
    until(port, "/health/ready", &agent, |status, _| status == 200).await;
    refuse(false);
    retry();
    collector
        .wait(|collector| named(collector, "held shop").len() == 2)
        .await;
    let spans = collector.spans();
    let held = named(&collector, "held shop").remove(1);
    assert_eq!(held["status"]["code"], 1, "{held}");
    assert_eq!(text(&held, "lighterman.outcome"), "delivered");
    let root = spans
        .iter()
        .find(|span| span["spanId"] == held["parentSpanId"]);
    assert_eq!(root.unwrap()["name"], "inventory.availability.v1");
    for span in [&again, &held] {
        assert_eq!(span["traceId"], deliver["traceId"]);
        assert_eq!(span["links"][0]["spanId"], deliver["spanId"], "{span}");
    }
    assert_ne!(again["spanId"], held["spanId"]);
    assert_eq!(again["endTimeUnixNano"], held["startTimeUnixNano"]);
    // What was sent after that hangs below it, and nothing of it is told twice.
    let below = |parent: &Value| {
        let mut below = spans.iter();
        let found = below.find(|span| span["parentSpanId"] == parent["spanId"]);
        text(found.unwrap(), "http.response.status_code").to_owned()
    };
    assert_eq!(
        (below(&again), below(&held)),
        ("422".to_owned(), "204".to_owned())
    );
    let ids: BTreeSet<String> = spans
        .iter()
        .map(|span| span["spanId"].to_string())
        .collect();
    assert_eq!(ids.len(), spans.len(), "{spans:?}");
    collector.read_strictly();
    assert!(agent.terminate(SOON).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_a_trace_of_its_own_that_is_linked_with_its_events() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (collector, url) = Collector::start().await;
    let otlp = format!("[otlp]\nendpoint = \"{url}\"\nevery_seconds = 1\nmetrics = false");
    let (site, _) = site(&receiver, &otlp);
    let file = site.path().join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let batches = settings.replace(
        "timeout_seconds = 1\n",
        "timeout_seconds = 1\nmode = \"batch\"\n",
    );
    std::fs::write(&file, batches).unwrap();
    let mut agent = site.agent();
    assert!(holds(&receiver, "A", "1").await, "{}", agent.log());
    // One alone is in its own trace.
    site.run("UPDATE stock SET qty = 7 WHERE sku = 'A'");
    collector
        .wait(|collector| !collector.spans().is_empty())
        .await;
    assert_eq!(collector.spans().len(), 4, "{:?}", collector.spans());
    site.run("UPDATE stock SET qty = 8");
    let of = |spans: &[Value], name: &str| -> Vec<Value> {
        spans
            .iter()
            .filter(|span| span["name"] == name)
            .cloned()
            .collect()
    };
    collector
        .wait(|collector| !of(&collector.spans(), "batch shop").is_empty())
        .await;
    collector
        .wait(|collector| {
            let spans = collector.spans();
            let told: BTreeSet<String> = of(&spans, "deliver shop")
                .iter()
                .map(|span| span["traceId"].as_str().unwrap().to_owned())
                .collect();
            let batches = of(&spans, "batch shop");
            batches
                .iter()
                .all(|batch| links(batch).iter().all(|id| told.contains(*id)))
        })
        .await;
    for batch in of(&collector.spans(), "batch shop") {
        let linked = links(&batch);
        assert!(!linked.is_empty() && !linked.contains(&batch["traceId"].as_str().unwrap()));
        assert_eq!(batch.get("parentSpanId"), None);
        let events: usize = text(&batch, "lighterman.events").parse().unwrap();
        assert!(events >= linked.len().max(2), "{batch}");
        assert_eq!(text(&batch, "http.response.status_code"), "204");
    }
    collector.read_strictly();
    assert!(agent.terminate(SOON).await.is_some());
}

//! A running agent as monitoring sees it: its numbers fit what was delivered, and its health says when
//! that stops.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::float_cmp,
    missing_docs,
    reason = "tests; what they compare are counts"
)]

use std::io::Write as _;
use std::time::Duration;

use engine::observe::{Kind, METRICS};
use harness::agent::Agent;
use harness::local::{get, value};
use harness::receiver::{Faults, Receiver, free_port};
use harness::site::Site;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
pub(crate) const SOON: Duration = Duration::from_mins(1);
const STOCK: &str = "inventory.availability.v1";

const TABLES: &str = "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty NUMERIC NOT NULL);
    INSERT INTO stock VALUES ('A', 1), ('B', 1), ('C', 1);";

const MAPPING: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: "stock.sku", location: "'MAIN'"}
    fields:
      uom: "'EA'"
      on_hand: "stock.qty"
      allocated: "0"
      active: true
"#;

/// A site whose agent has a local server, and its port.
pub(crate) fn site(receiver: &Receiver, more: &str) -> (Site, u16) {
    let destination = format!(
        "type = \"webhook\"\nurl = \"{}\"\ntimeout_seconds = 1\n\
         delivered_within_seconds = {{ \"{STOCK}\" = 600 }}",
        receiver.url()
    );
    let site = Site::with(BINARY, &destination, TABLES, MAPPING);
    let port = free_port();
    let local = format!("[local]\nlisten = \"127.0.0.1:{port}\"\n{more}\n");
    let file = site.path().join("lighterman.toml");
    let mut file = std::fs::File::options().append(true).open(file).unwrap();
    file.write_all(local.as_bytes()).unwrap();
    (site, port)
}

/// Waits until what a path answers is as wanted.
pub(crate) async fn until(
    port: u16,
    path: &str,
    agent: &Agent,
    wanted: impl Fn(u16, &str) -> bool,
) -> String {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (status, body) = get(port, path).await;
        if wanted(status, &body) {
            return body;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{path}: {status} {body}\n{}",
            agent.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a series has a value.
async fn measured(port: u16, agent: &Agent, series: &str, wanted: impl Fn(f64) -> bool) -> String {
    until(port, "/metrics", agent, |_, body| {
        value(body, series).is_some_and(&wanted)
    })
    .await
}

pub(crate) async fn holds(receiver: &Receiver, sku: &str, quantity: &str) -> bool {
    let (key, wanted) = (format!("ACME|{sku}|MAIN"), Value::from(quantity));
    let there = receiver.wait(SOON, |held| {
        held.body(STOCK, &key)
            .is_some_and(|body| body["on_hand"] == wanted)
    });
    there.await
}

/// Every line is of a metric of the table, of its kind and with its labels.
fn fits_the_table(metrics: &str) {
    let mut kinds = 0;
    for line in metrics.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.starts_with(&["#", "TYPE"]) {
            let metric = METRICS.iter().find(|metric| metric.name == words[2]);
            let metric = metric.unwrap_or_else(|| panic!("{line} is not in the table"));
            assert_eq!(metric.kind.name(), words[3], "{line}");
            kinds += 1;
        } else if !line.starts_with('#') {
            let end = line.find(['{', ' ']).unwrap();
            let name = &line[..end];
            let metric = METRICS
                .iter()
                .find(|metric| {
                    let parts = ["_bucket", "_sum", "_count"].map(|part| name.strip_suffix(part));
                    metric.name == name
                        || metric.kind == Kind::Histogram && parts.contains(&Some(metric.name))
                })
                .unwrap_or_else(|| panic!("{line} is not in the table"));
            let inside = line
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'));
            let labels = inside.map_or("", |(inside, _)| inside).split(',');
            let names = labels.filter_map(|label| Some(label.split_once('=')?.0));
            let names: Vec<&str> = names.filter(|name| *name != "le").collect();
            assert_eq!(names, metric.labels, "{line}");
        }
    }
    assert!(kinds > 20, "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_fit_what_was_delivered_and_the_kept_ones_outlive_a_restart() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = site(&receiver, "");
    let mut agent = site.agent();
    measured(
        port,
        &agent,
        "lighterman_delivery_delivered_total{destination=\"shop\"}",
        |n| n == 3.0,
    )
    .await;
    // A first load is no update.
    let latency = format!(
        "lighterman_update_latency_seconds_count{{destination=\"shop\",event_type=\"{STOCK}\"}}"
    );
    let (_, first) = get(port, "/metrics").await;
    assert_eq!(value(&first, &latency), None, "{first}");
    assert_eq!(
        value(&first, "lighterman_snapshot_rows{source=\"erp\"}"),
        Some(3.0)
    );
    assert_eq!(
        value(
            &first,
            "lighterman_snapshot_tables{source=\"erp\",state=\"done\"}"
        ),
        Some(1.0)
    );

    for (n, sku) in ["A", "B", "C"].into_iter().enumerate() {
        site.run(&format!(
            "UPDATE stock SET qty = {} WHERE sku = '{sku}'",
            n + 10
        ));
        assert!(
            holds(&receiver, sku, &(n + 10).to_string()).await,
            "{}",
            agent.log()
        );
    }
    // What says nothing new is not told.
    site.run("UPDATE stock SET qty = 10 WHERE sku = 'A'");
    measured(
        port,
        &agent,
        "lighterman_source_suppressed_total{source=\"erp\",reason=\"unchanged\"}",
        |n| n == 1.0,
    )
    .await;
    let said = measured(port, &agent, &latency, |n| n == 3.0).await;
    let arrivals = f64::from(u32::try_from(receiver.held().arrivals).unwrap());
    assert_eq!(arrivals, 6.0);
    let sla = format!("destination=\"shop\",event_type=\"{STOCK}\"");
    for (series, wanted) in [
        (
            "lighterman_delivery_delivered_total{destination=\"shop\"}",
            arrivals,
        ),
        (
            "lighterman_delivery_outcomes_total{destination=\"shop\",outcome=\"applied\"}",
            arrivals,
        ),
        (
            "lighterman_delivery_outcomes_total{destination=\"shop\",outcome=\"retry\"}",
            0.0,
        ),
        (
            "lighterman_delivery_oldest_age_seconds{destination=\"shop\"}",
            0.0,
        ),
        (
            "lighterman_destination_failing_seconds{destination=\"shop\"}",
            0.0,
        ),
        ("lighterman_source_changes_total{source=\"erp\"}", 4.0),
        ("lighterman_source_events_total{source=\"erp\"}", 6.0),
        ("lighterman_source_up{source=\"erp\"}", 1.0),
        ("lighterman_state_readable", 1.0),
        (
            &format!("lighterman_sla_deliveries_total{{{sla},result=\"within\"}}"),
            3.0,
        ),
        (
            &format!("lighterman_sla_deliveries_total{{{sla},result=\"late\"}}"),
            0.0,
        ),
        (&format!("lighterman_sla_seconds{{{sla}}}"), 600.0),
    ] {
        assert_eq!(value(&said, series), Some(wanted), "{series}\n{said}");
    }
    let requests = value(&said, "lighterman_api_requests_total{destination=\"shop\"}");
    let answers = value(
        &said,
        "lighterman_api_responses_total{destination=\"shop\",class=\"2xx\"}",
    );
    assert!(requests.unwrap() >= 4.0 && requests == answers, "{said}");
    let memory = value(&said, "process_resident_memory_bytes");
    assert!(
        !cfg!(target_os = "linux") || memory.unwrap() > 1e6,
        "{said}"
    );
    fits_the_table(&said);
    crate::monitoring::lint(&said);

    let ready = until(port, "/health/ready", &agent, |status, _| status == 200).await;
    assert!(
        ready.contains("shop has everything that was captured."),
        "{ready}"
    );
    assert_eq!(get(port, "/health/live").await.0, 200);

    // What is told again is delivered, and no update.
    let (code, shown) = site.command(&["replay", "--destination", "shop", "--yes"]);
    assert_eq!(code, Some(0), "{shown}");
    let delivered = "lighterman_delivery_delivered_total{destination=\"shop\"}";
    let said = measured(port, &agent, delivered, |n| n == 9.0).await;
    assert_eq!(value(&said, &latency), Some(3.0), "{said}");

    assert!(agent.terminate(SOON).await.is_some(), "{}", agent.log());
    let agent = site.agent();
    let said = measured(port, &agent, "lighterman_source_up{source=\"erp\"}", |n| {
        n == 1.0
    })
    .await;
    for (series, wanted) in [
        (
            "lighterman_delivery_delivered_total{destination=\"shop\"}",
            Some(9.0),
        ),
        ("lighterman_source_changes_total{source=\"erp\"}", Some(4.0)),
        (latency.as_str(), None),
    ] {
        assert_eq!(value(&said, series), wanted, "{series}\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_receiver_moves_the_numbers_and_health_says_so() {
    let dead = Faults {
        refuse: 1_000,
        ..Faults::default()
    };
    let receiver = Receiver::start(1, dead).await;
    let (site, port) = site(&receiver, "oldest_delivery_seconds = 1");
    let agent = site.agent();
    until(port, "/metrics", &agent, |_, body| {
        value(body, "lighterman_source_up{source=\"erp\"}") == Some(1.0)
    })
    .await;
    site.run("UPDATE stock SET qty = 5");
    let body = until(port, "/health/ready", &agent, nothing_gets_through).await;
    let ready: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(ready["capture"]["ok"], true, "{ready}");
    assert_eq!(ready["delivery"]["ok"], false, "{ready}");
    assert_eq!(ready["retention"]["ok"], true, "{ready}");
    let said = ready["delivery"]["sentences"].as_array().unwrap();
    let wrong = ready["wrong"].as_array().unwrap();
    assert!(wrong.iter().all(|one| said.contains(one)), "{ready}");
    assert_eq!(wrong.len(), 1, "{ready}");
    assert!(
        ready["wrong"][0].as_str().unwrap().contains("503"),
        "{ready}"
    );

    let age = "lighterman_delivery_oldest_age_seconds{destination=\"shop\"}";
    let said = measured(port, &agent, age, |seconds| seconds >= 1.0).await;
    for series in [
        "lighterman_delivery_outcomes_total{destination=\"shop\",outcome=\"retry\"}",
        "lighterman_api_responses_total{destination=\"shop\",class=\"5xx\"}",
        "lighterman_delivery_retries_total{destination=\"shop\"}",
        "lighterman_destination_failing_seconds{destination=\"shop\"}",
    ] {
        assert!(value(&said, series).unwrap() > 0.0, "{series}\n{said}");
    }
    let backlog = |said: &str| {
        let lines = said.lines();
        let own = lines.filter(|line| line.starts_with("lighterman_delivery_backlog_events{"));
        own.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum::<f64>()
    };
    assert_eq!(backlog(&said), 3.0, "{said}");
    assert_eq!(
        get(port, "/health/live").await.0,
        200,
        "it lives all the same"
    );

    receiver.mend();
    until(port, "/health/ready", &agent, |status, _| status == 200).await;
    let said = until(port, "/metrics", &agent, |_, body| backlog(body) == 0.0).await;
    assert_eq!(value(&said, age), Some(0.0), "{said}");
    let failing = "lighterman_destination_failing_seconds{destination=\"shop\"}";
    assert_eq!(value(&said, failing), Some(0.0), "{said}");
}

/// Whether this answer is about the receiver: an agent that only starts is not ready either.
fn nothing_gets_through(status: u16, body: &str) -> bool {
    status == 503
        && body.contains("Every request to shop has failed for")
        && serde_json::from_str::<Value>(body).is_ok_and(|ready| ready["delivery"]["ok"] == false)
}

/// Each newer state takes the place of the one that could not be delivered, so that none is ever old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_key_does_not_hide_a_dead_receiver() {
    let dead = Faults {
        refuse: 1_000,
        ..Faults::default()
    };
    let receiver = Receiver::start(1, dead).await;
    let (site, port) = site(&receiver, "oldest_delivery_seconds = 3");
    let agent = site.agent();
    let deadline = tokio::time::Instant::now() + SOON;
    let mut updates = 0;
    let wrong = loop {
        updates += 1;
        site.run("UPDATE stock SET qty = qty + 1 WHERE sku = 'A'");
        let (status, body) = get(port, "/health/ready").await;
        if nothing_gets_through(status, &body) {
            break body;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{body}\n{}",
            agent.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let ready: Value = serde_json::from_str(&wrong).unwrap();
    assert_eq!(ready["delivery"]["ok"], false, "{ready}");
    let (_, said) = get(port, "/metrics").await;
    let superseded = "lighterman_delivery_superseded_total{destination=\"shop\"}";
    assert!(
        updates > 5 && value(&said, superseded).unwrap() > 2.0,
        "{updates}\n{said}"
    );
    let age = "lighterman_delivery_oldest_age_seconds{destination=\"shop\"}";
    let failing = "lighterman_destination_failing_seconds{destination=\"shop\"}";
    assert!(
        value(&said, age).unwrap() < value(&said, failing).unwrap(),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capture_that_stops_is_said() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = site(&receiver, "");
    let agent = site.agent();
    until(port, "/health/ready", &agent, |status, _| status == 200).await;
    site.run("DROP TABLE lighterman_log");
    let body = until(port, "/health/ready", &agent, |status, _| status == 503).await;
    let ready: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(ready["capture"]["ok"], false, "{ready}");
    assert_eq!(ready["delivery"]["ok"], true, "{ready}");
    let said = ready["wrong"][0].as_str().unwrap();
    assert!(said.starts_with("Source erp does NOT run: "), "{said}");
    measured(port, &agent, "lighterman_source_up{source=\"erp\"}", |up| {
        up == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_api_refuses_is_counted_by_cause() {
    let receiver = Receiver::start(1, Faults::default()).await;
    receiver.held().rejected.push("ACME|B|MAIN".to_owned());
    let (site, port) = site(&receiver, "");
    let agent = site.agent();
    let held = "lighterman_held_items{by=\"shop\",cause=\"rejected\"}";
    let said = measured(port, &agent, held, |n| n == 1.0).await;
    for (series, wanted) in [
        ("lighterman_held_total{by=\"shop\",cause=\"rejected\"}", 1.0),
        ("lighterman_held_total{by=\"shop\",cause=\"guard\"}", 0.0),
        (
            "lighterman_delivery_outcomes_total{destination=\"shop\",outcome=\"rejected\"}",
            1.0,
        ),
        (
            "lighterman_api_responses_total{destination=\"shop\",class=\"4xx\"}",
            1.0,
        ),
    ] {
        assert!(value(&said, series).unwrap() >= wanted, "{series}\n{said}");
    }
    fits_the_table(&said);
}

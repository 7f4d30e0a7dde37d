//! What is asked of a destination beside sending: what became of accepted events, and, in shadow
//! mode, what it holds.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Answer, Compared, Destination, DestinationTraits, Finding, Gate, Outcome, Outgoing, Report,
    Taken,
};
use engine::clock::SystemClock;
use engine::{DeliverySettings, DestinationPlan, Plan, RetryPolicy};
use jiff::Timestamp;
use state::{CaptureCommit, DestinationStatus, Retention, Route, StateReader, Store};
use tokio::sync::watch;

use crate::common::stock;

/// Takes everything for later, and applies it when it is asked about for the second time. One call
/// at once.
#[derive(Default)]
struct Slow {
    sent: Mutex<Vec<String>>,
    asked: Mutex<BTreeMap<String, u32>>,
}

#[async_trait]
impl Destination for Slow {
    fn traits(&self) -> DestinationTraits {
        DestinationTraits {
            batch_events_max: 2,
            accepted_poll: Duration::from_millis(50),
            ..DestinationTraits::modest()
        }
    }

    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn deliver(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        assert!(gate.pass(0, Duration::from_secs(1)).await);
        let mut report = Report::new(batch.len());
        for (index, outgoing) in batch.iter().enumerate() {
            self.sent.lock().unwrap().push(outgoing.key.clone());
            let ticket = format!("job {}", outgoing.offset);
            let answer = Answer::default();
            report.set(index, Outcome::Accepted { ticket, answer });
        }
        report
    }

    async fn follow_up(&self, taken: &[Taken], gate: &dyn Gate) -> Report {
        assert!(gate.pass(0, Duration::from_secs(1)).await);
        let mut report = Report::new(taken.len());
        let mut asked = self.asked.lock().unwrap();
        for (index, one) in taken.iter().enumerate() {
            assert_eq!(one.ticket, format!("job {}", one.outgoing.offset));
            let times = asked.entry(one.ticket.clone()).or_default();
            *times += 1;
            let answer = Answer::default();
            let outcome = if *times < 2 {
                let ticket = one.ticket.clone();
                Outcome::Accepted { ticket, answer }
            } else {
                Outcome::Applied(answer)
            };
            report.set(index, outcome);
        }
        report
    }

    async fn compare(&self, batch: &[Outgoing], gate: &dyn Gate) -> Vec<Compared> {
        assert!(gate.pass(0, Duration::from_secs(1)).await);
        let compared = |outgoing: &Outgoing| {
            if outgoing.key.contains("S0") {
                return Compared::Same;
            }
            Compared::Differs {
                holds: "5".to_owned(),
                would: "7".to_owned(),
            }
        };
        batch.iter().map(compared).collect()
    }
}

/// Delivers five events until `done`.
async fn run(
    shadow: bool,
    done: impl Fn(&DestinationStatus) -> bool,
) -> (Arc<Slow>, DestinationStatus, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let source = store.source("erp").await.unwrap().id;
    let destination = store.destination("shop").await.unwrap();
    let commit = CaptureCommit {
        items: (0..5).map(|n| stock(n, n + 1, 7)).collect(),
        routes: Arc::from(vec![Route {
            destination,
            event_types: Vec::new(),
        }]),
        ..CaptureCommit::default()
    };
    let stored = store.commit_capture(source, commit, Timestamp::UNIX_EPOCH);
    stored.await.unwrap();
    let slow = Arc::new(Slow::default());
    let plan = Plan {
        tenant: "acme".to_owned(),
        sources: Vec::new(),
        destinations: vec![DestinationPlan {
            name: "shop".to_owned(),
            destination: Arc::clone(&slow) as Arc<dyn Destination>,
            event_types: Vec::new(),
            retry: RetryPolicy::default(),
            settings: DeliverySettings {
                shadow,
                ..DeliverySettings::default()
            },
        }],
        retention: Retention::default(),
        disk: None,
        meters: Arc::default(),
        chance: engine::Chance::default(),
    };
    let (_stop, stopped) = watch::channel(false);
    let clock = Arc::new(SystemClock);
    let engine = tokio::spawn(engine::run(plan, store, clock, stopped, Duration::ZERO));
    let limit = tokio::time::Instant::now() + Duration::from_mins(1);
    let reader = StateReader::open(folder.path()).unwrap();
    loop {
        let status = reader.destinations().unwrap().remove(0);
        if done(&status) {
            engine.abort();
            return (slow, status, folder);
        }
        assert!(tokio::time::Instant::now() < limit, "{status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn accepted_events_are_asked_about_where_one_call_may_run() {
    let (slow, status, _folder) = run(false, |status| status.delivered == 5).await;
    assert_eq!(slow.sent.lock().unwrap().len(), 5, "each was sent once");
    let asked = slow.asked.lock().unwrap();
    assert!(asked.values().all(|times| *times == 2), "{asked:?}");
    assert_eq!(status.backlog, 0);
}

#[tokio::test]
async fn in_shadow_mode_nothing_is_sent_and_what_differs_is_said() {
    let (slow, status, folder) = run(true, |status| status.discarded == 5).await;
    assert!(slow.sent.lock().unwrap().is_empty());
    let shadow = status.shadow.unwrap();
    assert_eq!((shadow.same, shadow.differs), (1, 4));
    assert_eq!((status.backlog, status.delivered), (0, 0));
    let reader = StateReader::open(folder.path()).unwrap();
    let trace = reader.trace("S3", 10).unwrap();
    let cause = trace.events[0].deliveries[0].cause.as_deref();
    assert_eq!(cause, Some("shadow: holds 5, would hold 7"));
}

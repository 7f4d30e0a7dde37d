//! A request is over by the deadline that stands in the store, however slow the store is.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Answer, Body, Clock, Destination, DestinationTraits, Envelope, Event, EventKey, EventOp,
    EventType, FieldValue, Finding, Gate, LogPos, MappingRef, Origin, Outcome, Outgoing, Position,
    Report, Resend,
};
use engine::{DeliverySettings, DestinationPlan, Plan, RetryPolicy};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use state::{CaptureCommit, Item, Published, Retention, Route, Store};
use tokio::sync::{mpsc, watch};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Ten seconds go by while the store marks the first request as sending: the loop asks for the time
/// once before it recovers, once for what may leave, and once before it picks.
struct SlowStore(AtomicUsize);

#[async_trait]
impl Clock for SlowStore {
    fn now(&self) -> Timestamp {
        let asked = self.0.fetch_add(1, Ordering::SeqCst);
        Timestamp::from_second(if asked < 3 { 1_000 } else { 1_010 }).unwrap()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Says of each request when it may last until, and the deadline that the store has for it.
struct Shop {
    clock: Arc<SlowStore>,
    file: PathBuf,
    requests: mpsc::Sender<(i64, i64)>,
}

#[async_trait]
impl Destination for Shop {
    fn traits(&self) -> DestinationTraits {
        DestinationTraits {
            resend: Resend::Safe,
            request_timeout: TIMEOUT,
            ..DestinationTraits::modest()
        }
    }

    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn deliver(&self, batch: &[Outgoing], _: &dyn Gate) -> Report {
        let db = Connection::open_with_flags(&self.file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let deadline = db
            .query_row(
                "SELECT due_at FROM delivery WHERE offset = ?1 AND state = 'sending'",
                [batch[0].offset],
                |row| row.get(0),
            )
            .unwrap();
        let until = contract::clock::after(self.clock.now(), TIMEOUT);
        self.requests
            .send((until.as_millisecond(), deadline))
            .await
            .unwrap();
        Report::all(batch.len(), &Outcome::Applied(Answer::default()))
    }
}

fn product() -> Item {
    let mut body = Body::new(EventType::Product.schema());
    for (field, value) in [
        ("name", "Bolt"),
        ("stock_uom", "EA"),
        ("kind", "stocked"),
        ("status", "active"),
    ] {
        body.set(field, FieldValue::Text(value.to_owned())).unwrap();
    }
    let names = EventType::Product.schema().key;
    let envelope = Envelope {
        tenant: Arc::from("acme"),
        source: Arc::from("erp"),
        event_type: EventType::Product,
        key: EventKey::new(vec![
            (names[0], "ACME".to_owned()),
            (names[1], "B-1".to_owned()),
        ]),
        version: Position::border(1, LogPos::from_number(1)),
        op: EventOp::Upsert,
        origin: Origin::Live,
        occurred_at: Timestamp::UNIX_EPOCH,
        occurred_at_exact: true,
        read_at: Timestamp::UNIX_EPOCH,
        transaction: 0,
        mapping: Arc::new(MappingRef {
            pack: "p".to_owned(),
            version: "1".to_owned(),
            digest: "d".to_owned(),
            rule: "products".to_owned(),
        }),
        fact_key: None,
        reason: None,
        renamed_from: None,
        warnings: Vec::new(),
    };
    Item::Event(Published {
        event: Event::new(envelope, Some(body)),
        row_key: "B-1".to_owned(),
        related: false,
        zero_first: false,
    })
}

#[tokio::test]
async fn a_request_is_over_by_its_deadline_though_the_store_is_slow() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let source = store.source("erp").await.unwrap().id;
    let destination = store.destination("shop").await.unwrap();
    let commit = CaptureCommit {
        items: vec![product()],
        routes: Arc::from(vec![Route {
            destination,
            event_types: Vec::new(),
        }]),
        ..CaptureCommit::default()
    };
    store
        .commit_capture(source, commit, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    let clock = Arc::new(SlowStore(AtomicUsize::new(0)));
    let (requests, mut requested) = mpsc::channel(8);
    let plan = Plan {
        tenant: "acme".to_owned(),
        sources: Vec::new(),
        destinations: vec![DestinationPlan {
            name: "shop".to_owned(),
            destination: Arc::new(Shop {
                clock: Arc::clone(&clock),
                file: state::file_path(folder.path()),
                requests,
            }),
            event_types: Vec::new(),
            retry: RetryPolicy {
                first: Duration::from_millis(100),
                max: Duration::from_secs(2),
            },
            settings: DeliverySettings::default(),
        }],
        retention: Retention::default(),
        disk: None,
        meters: Arc::default(),
        chance: engine::Chance::default(),
    };
    let (_stop, stopped) = watch::channel(false);
    let engine = tokio::spawn(engine::run(plan, store, clock, stopped, TIMEOUT));
    let request = tokio::time::timeout(Duration::from_secs(30), requested.recv());
    let (until, deadline) = request.await.unwrap().unwrap();
    engine.abort();
    assert!(
        until <= deadline,
        "the request may be out until {until}, its deadline is {deadline}"
    );
}

//! A recount in simulated time: every key changes twice while the API takes four requests a second
//! of a hundred events each. The last value of every key is delivered in little more than the time
//! that the fewest requests take, and less stock goes before more.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Answer, Clock, Destination, DestinationTraits, Finding, Gate, Outcome, Outgoing, Rate, Report,
    Resend,
};
use engine::{DeliverySettings, DestinationPlan, Plan, RetryPolicy};
use jiff::Timestamp;
use state::{CaptureCommit, Guards, Retention, Route, Store};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::common::stock;

const KEYS: u64 = 4_000;
const ITEMS: usize = 100;
const PER_SECOND: u32 = 4;

struct VirtualClock(Instant);

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        contract::clock::after(Timestamp::UNIX_EPOCH, self.0.elapsed())
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// What came, in order: key and quantity; and when requests came.
#[derive(Default)]
struct Came {
    events: Vec<(String, i64)>,
    requests: Vec<Duration>,
}

struct Shop {
    came: Arc<Mutex<Came>>,
    began: Instant,
}

#[async_trait]
impl Destination for Shop {
    fn traits(&self) -> DestinationTraits {
        let mut traits = DestinationTraits {
            batch_events_max: ITEMS,
            requests_max: 4,
            resend: Resend::Safe,
            ..DestinationTraits::modest()
        };
        traits.limits.rate = Some(Rate {
            requests: PER_SECOND,
            per: Duration::from_secs(1),
        });
        traits
    }

    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn deliver(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        assert!(gate.pass(0, Duration::from_secs(5)).await);
        {
            let mut came = self.came.lock().unwrap();
            came.requests.push(self.began.elapsed());
            for outgoing in batch {
                let json: serde_json::Value = serde_json::from_slice(&outgoing.json).unwrap();
                let quantity = json["body"]["available"].as_str().unwrap().parse().unwrap();
                came.events.push((outgoing.key.clone(), quantity));
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        Report::all(batch.len(), &Outcome::Applied(Answer::default()))
    }
}

struct Run {
    store: Arc<Store>,
    source: i64,
    destination: i64,
    came: Arc<Mutex<Came>>,
}

impl Run {
    async fn touch(&self, version: u64, of: impl Fn(u64) -> i64) {
        let items = (0..KEYS).map(|n| stock(n, version, of(n))).collect();
        let commit = CaptureCommit {
            items,
            routes: Arc::from(vec![Route {
                destination: self.destination,
                event_types: Vec::new(),
            }]),
            ..CaptureCommit::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let stored = self.store.commit_capture(self.source, commit, now).await;
        stored.unwrap();
    }

    /// Lets simulated time pass until so many events came. Time stands still while the store works:
    /// each step waits for it.
    async fn until(&self, events: usize) {
        while self.came.lock().unwrap().events.len() < events {
            for _ in 0..3 {
                self.store.source("erp").await.unwrap();
                tokio::task::yield_now().await;
            }
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    }
}

#[test]
fn a_recount_is_right_in_hardly_more_time_than_the_fewest_requests_take() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(recount());
}

async fn recount() {
    // Time moves by hand only: it would run away while the store's thread works.
    let (_hold, held) = std::sync::mpsc::sync_channel::<()>(0);
    tokio::task::spawn_blocking(move || held.recv());
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let source = store.source("erp").await.unwrap().id;
    let destination = store.destination("shop").await.unwrap();
    let came = Arc::new(Mutex::new(Came::default()));
    let began = Instant::now();
    let run = Run {
        store: Arc::clone(&store),
        source,
        destination,
        came: Arc::clone(&came),
    };
    run.touch(1, |_| 100).await;
    let plan = Plan {
        tenant: "acme".to_owned(),
        sources: Vec::new(),
        destinations: vec![DestinationPlan {
            name: "shop".to_owned(),
            destination: Arc::new(Shop {
                came: Arc::clone(&came),
                began,
            }),
            event_types: Vec::new(),
            retry: RetryPolicy::default(),
            settings: DeliverySettings {
                guards: Guards::off(),
                ..DeliverySettings::default()
            },
        }],
        retention: Retention::default(),
    };
    let (_stop, stopped) = watch::channel(false);
    let clock = Arc::new(VirtualClock(began));
    let engine = tokio::spawn(engine::run(plan, store, clock, stopped, Duration::ZERO));
    run.until(usize::try_from(KEYS).unwrap()).await;
    // Even keys have more and then less than ever, odd ones less and then more. A fifth of the first
    // touch is told before the second one comes.
    run.touch(2, |n| if n % 2 == 0 { 105 } else { 95 }).await;
    let told = came.lock().unwrap().events.len();
    run.until(told + usize::try_from(KEYS / 5).unwrap()).await;
    let (first, from) = {
        let came = came.lock().unwrap();
        (came.events.len(), began.elapsed())
    };
    run.touch(3, |n| if n % 2 == 0 { 85 } else { 115 }).await;
    run.until(first + usize::try_from(KEYS).unwrap()).await;
    let took = began.elapsed().checked_sub(from).unwrap();
    engine.abort();

    let came = came.lock().unwrap();
    let last: HashMap<_, _> = came.events.iter().cloned().collect();
    assert!(last.values().all(|quantity| [85, 115].contains(quantity)));
    let fewest = u32::try_from(KEYS).unwrap() / 100;
    let minimum = Duration::from_secs(1) * fewest / PER_SECOND;
    assert!(
        took * 100 <= minimum * 105,
        "{took:?}, at least {minimum:?}"
    );
    let requests = came.requests.iter().filter(|at| **at > from).count();
    assert!(requests <= fewest as usize + 1, "{requests} requests");
    for window in came.requests.windows(PER_SECOND as usize + 1) {
        let apart = window[PER_SECOND as usize].checked_sub(window[0]).unwrap();
        assert!(apart > Duration::from_secs(1), "{window:?}");
    }
    // What was told last of an odd key is 95 or 100, and of an even one 100: less goes first.
    let order: Vec<i64> = came.events[first..].iter().map(|(_, one)| *one).collect();
    let increases = order.iter().position(|quantity| *quantity == 115).unwrap();
    let decrease = order.iter().rposition(|quantity| *quantity == 85).unwrap();
    assert!(
        decrease < increases + ITEMS,
        "an increase at {increases}, a decrease at {decrease}"
    );
}

//! A destination that takes a few requests a second, in simulated time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Answer, Clock, Destination, DestinationTraits, Finding, Gate, Outcome, Outgoing, Rate, Report,
    Resend,
};
use engine::{DeliverySettings, RetryPolicy};
use jiff::Timestamp;
use state::{CaptureCommit, Notes, Route, Store, Turn};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{delivers_to, stock};

/// Events in one request, at most.
pub const ITEMS: usize = 100;
/// Requests that the shop takes in a second.
pub const PER_SECOND: u32 = 4;

/// Time that moves by hand only.
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
pub struct Came {
    pub events: Vec<(String, i64)>,
    pub requests: Vec<Duration>,
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

/// An engine with one destination, in simulated time.
pub struct Run {
    store: Arc<Store>,
    source: i64,
    destination: i64,
    keys: u64,
    pub began: Instant,
    pub came: Arc<Mutex<Came>>,
    engine: tokio::task::JoinHandle<Result<(), engine::EngineError>>,
    _folder: tempfile::TempDir,
    _stop: watch::Sender<bool>,
    _hold: std::sync::mpsc::SyncSender<()>,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// Runs a test in simulated time.
pub fn in_virtual_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test);
}

impl Run {
    /// `keys` keys, and a destination with these settings.
    pub async fn start(keys: u64, settings: DeliverySettings) -> Self {
        Self::start_with(keys, settings, None).await
    }

    /// The same, where an earlier run noted something.
    pub async fn start_with(keys: u64, settings: DeliverySettings, notes: Option<Notes>) -> Self {
        // Time would run away while the store's thread works.
        let (hold, held) = std::sync::mpsc::sync_channel::<()>(0);
        tokio::task::spawn_blocking(move || held.recv());
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let source = store.source("erp").await.unwrap().id;
        let destination = store.destination("shop").await.unwrap();
        if let Some(notes) = notes {
            let turn = Turn {
                notes: Some(notes),
                ..Turn::at(Timestamp::UNIX_EPOCH)
            };
            store.turn(destination, turn, Arc::default()).await.unwrap();
        }
        let came = Arc::new(Mutex::new(Came::default()));
        let began = Instant::now();
        let shop = Shop {
            came: Arc::clone(&came),
            began,
        };
        let plan = delivers_to(Arc::new(shop), RetryPolicy::default(), settings);
        let (stop, stopped) = watch::channel(false);
        let clock = Arc::new(VirtualClock(began));
        let running = engine::run(plan, Arc::clone(&store), clock, stopped, Duration::ZERO);
        Self {
            store,
            source,
            destination,
            keys,
            began,
            came,
            engine: tokio::spawn(running),
            _folder: folder,
            _stop: stop,
            _hold: hold,
        }
    }

    /// Every key has another quantity.
    pub async fn touch(&self, version: u64, of: impl Fn(u64) -> i64) {
        let items = (0..self.keys).map(|n| stock(n, version, of(n))).collect();
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

    /// Lets simulated time pass until so many events came.
    pub async fn until(&self, events: usize) {
        while self.came.lock().unwrap().events.len() < events {
            self.pass(Duration::from_millis(10)).await;
        }
    }

    /// Lets so much simulated time pass. It stands still while the store works: each step waits for
    /// it.
    pub async fn pass(&self, time: Duration) {
        for _ in 0..3 {
            self.store.source("erp").await.unwrap();
            tokio::task::yield_now().await;
        }
        tokio::time::advance(time).await;
    }
}

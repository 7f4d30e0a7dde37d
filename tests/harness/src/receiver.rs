//! A real HTTP receiver of CloudEvents that remembers everything and fails as told.
//!
//! It applies events in the order they arrive and recognises repetitions by their id, as a channel
//! should; what would hurt a channel (an older state after a newer one, one id with two bodies, a
//! fact under two ids) is a violation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::sync::Notify;

/// How often the receiver fails, in thousandths of the requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Answers 503 without taking the request.
    pub refuse: u32,
    /// Takes the request and answers 500.
    pub fail_after: u32,
    /// Takes the request and answers too late.
    pub too_late: u32,
}

/// A free loopback port on which nothing listens. It is none that the system gives to connections: one of those
/// could take it while a server that has it is started again. Programs of tests that run beside each other begin
/// at different ones.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        assert!(taken < COUNT, "no port is free");
        let number = (std::process::id().wrapping_mul(211).wrapping_add(taken)) % COUNT;
        let port = u16::try_from(FIRST + number).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What the receiver holds.
#[derive(Debug, Default)]
pub struct Held {
    /// By event type and key: version and body (`None` = gone).
    pub state: BTreeMap<(String, String), (String, Option<Value>)>,
    /// Facts by key: the ids they came under.
    pub facts: BTreeMap<String, Vec<String>>,
    ids: BTreeMap<String, String>,
    /// Events taken, repetitions included.
    pub arrivals: u64,
    /// Repetitions.
    pub repeated: u64,
    /// Keys answered 422.
    pub rejected: Vec<String>,
    /// What must never happen.
    pub violations: Vec<String>,
    rng: Option<StdRng>,
    faults: Faults,
}

/// A receiver on a free loopback port; its server ends with the runtime.
#[derive(Clone)]
pub struct Receiver {
    url: String,
    shared: Arc<(Mutex<Held>, Notify)>,
}

/// Longer than the one-second timeout that tests give the agent.
const TOO_LATE: Duration = Duration::from_millis(1_500);

/// Between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(20);

type Shared = Arc<(Mutex<Held>, Notify)>;

fn lock(shared: &Shared) -> MutexGuard<'_, Held> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// Starts one; `seed` decides which requests fail.
    pub async fn start(seed: u64, faults: Faults) -> Self {
        Self::start_on(0, seed, faults).await
    }

    /// Starts one on a port of 127.0.0.1; 0 = any.
    pub async fn start_on(port: u16, seed: u64, faults: Faults) -> Self {
        let held = Held {
            rng: Some(StdRng::seed_from_u64(seed)),
            faults,
            ..Held::default()
        };
        let shared = Arc::new((Mutex::new(held), Notify::new()));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
            .await
            .unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/events", post(take))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    /// Where to send.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it holds now.
    pub fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.shared)
    }

    /// How it fails from now on.
    pub fn fails(&self, faults: Faults) {
        self.held().faults = faults;
    }

    /// No more failures from now on.
    pub fn mend(&self) {
        self.held().faults = Faults::default();
    }

    /// Waits until `done` holds, looking after each arrival and now and then; false when
    /// `limit` passed first.
    pub async fn wait(&self, limit: Duration, mut done: impl FnMut(&Held) -> bool) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let changed = self.shared.1.notified();
            if done(&self.held()) {
                return true;
            }
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), changed).await;
            // A look can cost as much as many arrivals.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: String) -> StatusCode {
    let (chance, faults) = {
        let mut held = lock(&shared);
        let chance = held
            .rng
            .as_mut()
            .map_or(1_000, |rng| rng.random_range(0..1_000));
        (chance, held.faults)
    };
    if chance < faults.refuse {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let Ok(json) = serde_json::from_str::<Value>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let subject = json
        .get("subject")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let refused = lock(&shared).rejected.iter().any(|key| key == subject);
    if refused {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    let kind = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    {
        let mut held = lock(&shared);
        match (kind, &json) {
            (Some("application/cloudevents-batch+json"), Value::Array(events)) => {
                for event in events {
                    held.take(event);
                }
            }
            (Some("application/cloudevents+json"), event) => held.take(event),
            _ => return StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
    shared.1.notify_waiters();
    if chance < faults.refuse + faults.fail_after {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    if chance < faults.refuse + faults.fail_after + faults.too_late {
        tokio::time::sleep(TOO_LATE).await;
    }
    StatusCode::NO_CONTENT
}

fn text(event: &Value, name: &str) -> String {
    event
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

impl Held {
    /// Events taken, each counted once: one that is out when the agent is killed comes again.
    pub fn events(&self) -> u64 {
        self.arrivals - self.repeated
    }

    fn take(&mut self, event: &Value) {
        self.arrivals += 1;
        let (id, kind, key) = (
            text(event, "id"),
            text(event, "type"),
            text(event, "subject"),
        );
        let data = event.get("data").cloned().unwrap_or_default();
        let digest = text(&data, "body_digest");
        if let Some(known) = self.ids.insert(id.clone(), digest.clone()) {
            self.repeated += 1;
            if known != digest {
                self.violations
                    .push(format!("I3: {id} came with two bodies"));
            }
            return;
        }
        if text(&data, "op") == "fact" {
            let ids = self.facts.entry(key.clone()).or_default();
            ids.push(id);
            if ids.len() > 1 {
                self.violations
                    .push(format!("fact {key} came under {} ids", ids.len()));
            }
            return;
        }
        let version = data.get("version").cloned().unwrap_or_default();
        let number = |name: &str| {
            version
                .get(name)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        let version = format!(
            "{:010}/{}/{:010}",
            number("epoch"),
            text(&version, "pos"),
            number("seq")
        );
        let place = (kind, key);
        if let Some((known, _)) = self.state.get(&place)
            && *known >= version
        {
            let found = format!("I4: {} {}: {version} came after {known}", place.0, place.1);
            self.violations.push(found);
        }
        self.state
            .insert(place, (version, data.get("body").cloned()));
    }

    /// The body the receiver holds for a key.
    pub fn body(&self, event_type: &str, key: &str) -> Option<&Value> {
        self.state
            .get(&(event_type.to_owned(), key.to_owned()))?
            .1
            .as_ref()
    }
}

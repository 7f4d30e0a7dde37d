//! A receiver of CloudEvents over HTTP that keeps whatever it takes and answers as it is told. It recognises
//! repetitions by their id only where it reads what it has: the judge does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use judge::Received;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::event;

/// Longer than the agent waits for an answer.
const TOO_LATE: Duration = Duration::from_millis(1_500);

/// How the next requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// So many of them.
    pub requests: u32,
    pub status: u16,
    /// What came is taken all the same.
    pub taken: bool,
    /// What `Retry-After` says, in seconds.
    pub wait: Option<u32>,
    /// Of a batch only every other event is refused, by a list of results.
    pub partly: bool,
    /// The answer comes when nobody waits for it any more.
    pub late: bool,
}

struct Kept {
    received: Vec<Received>,
    answers: Option<Answers>,
    rng: StdRng,
    /// It fails at random: in thousandths, refused, taken and failed, taken and late.
    random: [u32; 3],
}

/// A receiver on a free loopback port; its server ends with the runtime.
#[derive(Clone)]
pub struct Hook {
    port: u16,
    kept: Arc<Mutex<Kept>>,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hook {
    pub async fn start(seed: u64) -> Self {
        let kept = Arc::new(Mutex::new(Kept {
            received: Vec::new(),
            answers: None,
            rng: StdRng::seed_from_u64(seed),
            random: [30, 20, 2],
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new()
            .route("/events", post(take))
            .with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { port, kept }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn arrivals(&self) -> u64 {
        lock(&self.kept).received.len() as u64
    }

    pub fn received(&self) -> Vec<Received> {
        lock(&self.kept).received.clone()
    }

    /// How it answers from now on.
    pub fn answers(&self, answers: Answers) {
        lock(&self.kept).answers = Some(answers);
    }

    /// No more failures from now on.
    pub fn mend(&self) {
        let mut kept = lock(&self.kept);
        kept.answers = None;
        kept.random = [0; 3];
    }
}

impl Kept {
    /// How this request is answered.
    fn next(&mut self) -> Option<Answers> {
        if let Some(answers) = &mut self.answers {
            let now = *answers;
            answers.requests = answers.requests.saturating_sub(1);
            if answers.requests == 0 {
                self.answers = None;
            }
            return Some(now);
        }
        let answer = |status, taken, late| Answers {
            requests: 1,
            status,
            taken,
            wait: None,
            partly: false,
            late,
        };
        let chance = self.rng.random_range(0..1_000);
        let [refused, failed, late] = self.random;
        match chance {
            _ if chance < refused => Some(answer(503, false, false)),
            _ if chance < refused + failed => Some(answer(500, true, false)),
            _ if chance < refused + failed + late => Some(answer(204, true, true)),
            _ => None,
        }
    }
}

async fn take(State(kept): State<Arc<Mutex<Kept>>>, body: String) -> Response {
    let Ok(json) = serde_json::from_str::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (answer, results) = {
        let mut kept = lock(&kept);
        let answer = kept.next();
        let (taken, results) = sorted(&json, answer);
        kept.received.extend(taken);
        (answer, results)
    };
    let Some(answer) = answer else {
        return StatusCode::NO_CONTENT.into_response();
    };
    if answer.late {
        tokio::time::sleep(TOO_LATE).await;
    }
    if let Some(results) = results {
        let list = json!({ "results": results }).to_string();
        return ([("content-type", "application/json")], list).into_response();
    }
    let status = StatusCode::from_u16(answer.status).unwrap();
    let mut headers = HeaderMap::new();
    if let Some(seconds) = answer.wait {
        headers.insert("retry-after", HeaderValue::from(seconds));
    }
    (status, headers).into_response()
}

/// What of a request is taken, and the list of results where the answer is one.
fn sorted(json: &Value, answer: Option<Answers>) -> (Vec<Received>, Option<Vec<Value>>) {
    let Value::Array(events) = json else {
        let taken = answer.is_none_or(|answer| answer.taken);
        return (
            taken.then(|| event::received(json)).into_iter().collect(),
            None,
        );
    };
    let Some(answer) = answer else {
        return (events.iter().map(event::received).collect(), None);
    };
    if !answer.partly {
        let taken = if answer.taken { &events[..] } else { &[] };
        return (taken.iter().map(event::received).collect(), None);
    }
    let (mut taken, mut results) = (Vec::new(), Vec::new());
    for (n, event) in events.iter().enumerate() {
        let refused = n % 2 == 0;
        let status = if refused { answer.status } else { 204 };
        if !refused {
            taken.push(event::received(event));
        }
        results.push(json!({ "id": event["id"], "status": status }));
    }
    (taken, Some(results))
}

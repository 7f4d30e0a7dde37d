//! A real HTTP receiver of whatever comes: it keeps each request, and answers as it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::Value;

/// Between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Its `content-type`.
    pub content_type: String,
    /// Body.
    pub body: String,
}

impl Asked {
    /// Its body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Kept {
    asked: Vec<Asked>,
    status: StatusCode,
    answer: String,
}

/// A receiver on a free loopback port; its server ends with the runtime.
#[derive(Debug, Clone)]
pub struct Hook {
    port: u16,
    kept: Arc<Mutex<Kept>>,
}

impl Hook {
    /// Starts one that answers 200 and `ok`.
    pub async fn start() -> Self {
        let kept = Arc::new(Mutex::new(Kept {
            asked: Vec::new(),
            status: StatusCode::OK,
            answer: "ok".to_owned(),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(take).with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { port, kept }
    }

    /// Where to send.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it answers from now on.
    pub fn answers(&self, status: u16, text: &str) {
        let mut kept = self.kept();
        kept.status = StatusCode::from_u16(status).unwrap();
        text.clone_into(&mut kept.answer);
    }

    /// What came, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.kept().asked.clone()
    }

    /// Waits until what came is as wanted.
    ///
    /// # Errors
    /// What came, when `limit` passed first.
    pub async fn wait(
        &self,
        limit: Duration,
        wanted: impl Fn(&[Asked]) -> bool,
    ) -> Result<Vec<Asked>, Vec<Asked>> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let asked = self.asked();
            if wanted(&asked) {
                return Ok(asked);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(asked);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn take(
    State(kept): State<Arc<Mutex<Kept>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let kind = headers.get("content-type");
    let kind = kind
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.asked.push(Asked {
        method: method.to_string(),
        path: uri.path().to_owned(),
        content_type: kind.to_owned(),
        body,
    });
    (kept.status, kept.answer.clone())
}

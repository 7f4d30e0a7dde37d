//! The demo's channel: takes events and keeps what a shop would keep.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;

/// What the channel knows.
#[derive(Default)]
pub(crate) struct Shop {
    /// By event type and key: version and body (`None` = gone).
    pub(crate) state: HashMap<(String, String), (String, Option<Value>)>,
    /// When a key's state came last.
    pub(crate) came_at: HashMap<String, Instant>,
    /// Facts seen, by key.
    pub(crate) facts: HashSet<String>,
    seen: HashSet<String>,
    /// Requests that took an event, repetitions apart.
    pub(crate) delivered: u64,
    /// Events that came again with the same id, and were recognised by it.
    pub(crate) repeated: u64,
    /// Older states that came after newer ones: must stay 0.
    pub(crate) out_of_order: u64,
}

pub(crate) type Shared = Arc<Mutex<Shop>>;

pub(crate) fn lock(shop: &Shared) -> std::sync::MutexGuard<'_, Shop> {
    shop.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shop {
    fn take(&mut self, event: &Value) -> Option<()> {
        let id = event.get("id")?.as_str()?;
        if !self.seen.insert(id.to_owned()) {
            self.repeated += 1;
            return Some(());
        }
        self.delivered += 1;
        let kind = event.get("type")?.as_str()?.to_owned();
        let key = event.get("subject")?.as_str()?.to_owned();
        let data = event.get("data")?;
        if kind.starts_with("inventory.movement") {
            self.facts.insert(key);
            return Some(());
        }
        let version = data.get("version")?;
        let version = format!(
            "{:>10}/{}/{:>10}",
            version.get("epoch")?.to_string(),
            version.get("pos")?.as_str()?,
            version.get("seq")?.to_string()
        );
        let known = self.state.get(&(kind.clone(), key.clone()));
        if known.is_some_and(|(known, _)| *known >= version) {
            self.out_of_order += 1;
            return Some(());
        }
        self.came_at.insert(key.clone(), Instant::now());
        self.state
            .insert((kind, key), (version, data.get("body").cloned()));
        Some(())
    }
}

async fn take(State(shop): State<Shared>, body: String) -> StatusCode {
    let Ok(event) = serde_json::from_str::<Value>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    match lock(&shop).take(&event) {
        Some(()) => StatusCode::NO_CONTENT,
        None => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Starts the channel on a free loopback port; returns its address.
pub(crate) async fn start(shop: Shared) -> std::io::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/events", listener.local_addr()?);
    let app = Router::new().route("/events", post(take)).with_state(shop);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

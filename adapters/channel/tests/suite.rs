//! A channel passes the suite of every destination, one by one and in batches.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::common::*;
use async_trait::async_trait;
use contract::Destination;
use harness::receiver::free_port;
use harness::suite::destination::{DestinationBackend, Fault, run};
use serde_json::{Value as Json, json};

const FILE: &str = r"
channel: suite
title: Suite
proven: documentation
resend: safe
settings: {url: {type: url, ask: where?}}
url: setting.url
timeout: 1s
auth: none
events:
  product.v1:
    batch: BATCH
    steps:
      - send:
          post: /items
          body: {key: request_key, items: {$items: {id: event.id, name: name}}}
          done: ok
    delete: same
  inventory.movement.v1:
    batch: BATCH
    steps:
      - send:
          post: /items
          body: {key: request_key, items: {$items: {id: event.id}}}
          done: ok
";

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    effects: HashMap<String, usize>,
    /// Keys of requests that were taken.
    known: HashSet<String>,
}

struct Backend {
    state: Arc<Mutex<State>>,
    url: String,
    batch: usize,
}

fn shop(url: &str, batch: usize) -> Arc<dyn Destination> {
    let more = vec![
        ("settings", map([("url", text(url))])),
        ("timeout_seconds", number(3)),
    ];
    of_file(&FILE.replace("BATCH", &batch.to_string()), more)
}

#[async_trait]
impl DestinationBackend for Backend {
    fn destination(&self) -> Arc<dyn Destination> {
        shop(&self.url, self.batch)
    }

    fn fail_next(&self, fault: Fault) {
        self.state.lock().unwrap().fault = Some(fault);
    }

    fn effects(&self, id: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.effects.get(id).copied().unwrap_or(0)
    }

    fn nobody(&self) -> Arc<dyn Destination> {
        shop(&format!("http://127.0.0.1:{}", free_port()), self.batch)
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Do {
        let fault = self.fault.take();
        match fault {
            Some(Fault::Reject) => return answer(422, json!({"message": "no"})),
            Some(Fault::Throttle(seconds)) => {
                let wait = vec![("retry-after", seconds.to_string())];
                return Do::Answer(429, wait, Json::Null);
            }
            Some(Fault::Unavailable) => return answer(503, Json::Null),
            Some(Fault::LoseAnswer | Fault::Hang) | None => {}
        }
        let key = request.body["key"].as_str().unwrap().to_owned();
        let new = self.known.insert(key);
        let items = request.body["items"].as_array().unwrap().iter();
        for item in items.filter(|_| new) {
            // What is there already is set to the same.
            self.effects
                .insert(item["id"].as_str().unwrap().to_owned(), 1);
        }
        match fault {
            Some(Fault::LoseAnswer) => Do::Lose,
            Some(Fault::Hang) => Do::Hang,
            _ => answer(200, json!({"ok": true})),
        }
    }
}

async fn passes(batch: usize) {
    let state = Arc::new(Mutex::new(State::default()));
    let told = Arc::clone(&state);
    let api = Api::start(move |request: &Request| told.lock().unwrap().answer(request)).await;
    run(&Backend {
        state,
        url: api.url.clone(),
        batch,
    })
    .await;
}

#[tokio::test]
async fn passes_the_suite_event_by_event() {
    // A body with one for each event takes one as well.
    passes(1).await;
}

#[tokio::test]
async fn passes_the_suite_in_batches() {
    passes(10).await;
}

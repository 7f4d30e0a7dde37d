//! What look-ups found, from one call to the next and from one try to the next.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::*;
use async_trait::async_trait;
use contract::gate::Open;
use contract::{Allowance, EventOp, EventType, Gate, Outgoing};
use serde_json::{Value as Json, json};

const FILE: &str = r#"
channel: lookups
title: Look-ups
proven: documentation
resend: safe
settings: {url: {type: url, ask: where?}}
url: setting.url
timeout: 1s
auth: none
events:
  inventory.availability.v1:
    batch: 100
    steps:
      - find: {name: variant, by: sku, get: "/variant/{sku}", take: {variant: id}, missing: missing, cache: 1h}
      - send: {post: /stock, body: {items: {$items: {id: found.variant, left: sellable}}}, done: ok}
    delete: same
  product.v1:
    steps:
      - {when: "1 = 2", send: {post: /never, done: ok}}
      - {when: "1 = 2", send: {post: /never, done: ok}}
      - find: {name: item, by: sku, get: "/item/{sku}", take: {etag: $header.etag}, missing: missing}
      - send: {put: "/item/{sku}", headers: {if-match: found.etag}, body: {name: name}, done: {status: 204}}
    conflict: {from: item, tries: 2}
    delete:
      steps:
        - find: {name: OWN, by: sku, get: "/item/{sku}", take: {etag: $header.etag}, missing: skip}
        - send: {delete: "/item/{sku}", headers: {if-match: found.etag}, done: {status: 204}}
"#;

fn shop(url: &str, own: &str) -> Arc<dyn contract::Destination> {
    let more = vec![("settings", map([("url", text(url))]))];
    of_file(&FILE.replace("OWN", own), more)
}

/// A gate with room for so many requests in one call.
struct Room(Mutex<usize>);

#[async_trait]
impl Gate for Room {
    async fn pass(&self, _: u32, _: Duration) -> bool {
        let mut left = self.0.lock().unwrap();
        let is_there = *left > 0;
        *left = left.saturating_sub(1);
        is_there
    }

    fn heard(&self, _: &Allowance) {}
}

/// One call has room for 7 requests, and there are 20 items to be looked up.
#[tokio::test]
async fn a_batch_with_more_lookups_than_one_call_has_room_for_gets_through() {
    let api = Api::start(|request: &Request| match request.path.as_str() {
        "/stock" => answer(200, json!({"ok": true})),
        path => answer(200, json!({"id": path})),
    })
    .await;
    let shop = shop(&api.url, "own");
    let batch: Vec<Outgoing> = (1..=20)
        .map(|n| stock(n, &format!("S{n}"), "MAIN", 1))
        .collect();
    let mut said = Vec::new();
    for _ in 0..3 {
        let outcomes = shop.deliver(&batch, &Room(Mutex::new(7))).await.outcomes();
        assert!(outcomes.iter().all(|one| word(one) == word(&outcomes[0])));
        said.push(word(&outcomes[0]));
    }
    assert_eq!(said, ["retry", "retry", "applied"]);
    let took = api.took();
    let asked = took.iter().filter(|one| one.path != "/stock").count();
    assert_eq!(asked, 20, "each item is looked up once");
}

#[tokio::test]
async fn what_was_found_is_kept_when_the_api_has_no_time_and_forgotten_when_it_refuses() {
    let status = Arc::new(Mutex::new(0));
    let says = Arc::clone(&status);
    let api = Api::start(move |request: &Request| match request.path.as_str() {
        "/stock" => answer(*says.lock().unwrap(), json!({})),
        path => answer(200, json!({"id": path})),
    })
    .await;
    let shop = shop(&api.url, "own");
    let batch = [stock(1, "A", "MAIN", 1)];
    for (refused, said, looked_up) in [
        (429, "retry", 1),
        (503, "retry", 0),
        (404, "missing", 0),
        (422, "rejected", 1),
        (409, "conflict", 1),
    ] {
        *status.lock().unwrap() = refused;
        let outcomes = shop.deliver(&batch, &Open).await.outcomes();
        let took = api.took();
        let asked = took.iter().filter(|one| one.path != "/stock").count();
        assert_eq!(
            (words(&outcomes).as_str(), asked),
            (said, looked_up),
            "{refused}"
        );
    }
}

/// A tombstone has steps of its own: it begins again at its own look-up, or at its first step.
#[tokio::test]
async fn a_tombstone_that_meets_a_conflict_begins_again_in_its_own_steps() {
    for own in ["item", "own"] {
        let api = Api::start(|request: &Request| match request.method.as_str() {
            "GET" => Do::Answer(200, vec![("etag", "\"2\"".to_owned())], json!({})),
            _ if request.header("if-match") == "\"2\"" => Do::Answer(204, Vec::new(), Json::Null),
            _ => answer(412, json!({})),
        })
        .await;
        let shop = shop(&api.url, own);
        let old = vec![("etag", "\"1\"".to_owned())];
        api.then([Do::Answer(200, old, json!({}))]);
        let key = json!({"company": "C", "sku": "A"});
        let gone = event(1, EventType::Product, EventOp::Delete, key, Json::Null);
        let outcomes = shop.deliver(&[gone], &Open).await.outcomes();
        let took = api.took();
        let methods: Vec<&str> = took.iter().map(|one| one.method.as_str()).collect();
        assert_eq!(
            (words(&outcomes).as_str(), methods),
            ("applied", vec!["GET", "DELETE", "GET", "DELETE"]),
            "{own}"
        );
    }
}

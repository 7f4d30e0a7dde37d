//! What must be taken neither for done nor for surely not done.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use crate::common::*;
use contract::gate::Open;
use contract::{EventOp, EventType, Outcome, Outgoing, Taken};
use serde_json::json;

const FILE: &str = r#"
channel: doubts
title: Doubts
proven: documentation
resend: RESEND
settings: {url: {type: url, ask: where?}}
url: setting.url
timeout: 1s
auth: none
events:
  inventory.availability.v1:
    steps:
      - find: {name: place, get: /place, take: {place: place}, missing: missing}
      - send: {put: "/stock/{sku}", body: {left: sellable}, done: ok}
    delete: same
    read:
      steps:
        - find: {name: stock, get: "/stock/{sku}", list: stocks, take: {left: left}, missing: rejected}
      compare: {left: {holds: "cast(found.left as decimal)", would: sellable}}
"#;

const FEED: &str = r"
  price.v1:
    batch: 10
    steps:
      - send:
          post: /feed
          body: {prices: {$items: {sku: sku, price: amount}}}
          done: feed
          accepted:
            ticket: feed
            ask:
              get: /feed/{ticket}
              waiting: {at: status, is: INPROGRESS}
              done: {at: status, is: DONE}
              report:
                list: items
                id: sku
                is: sku
                done: {at: state, is: SUCCESS}
                answers:
                  - {at: state, is: DATA_ERROR, means: rejected, says: why}
                  - {at: state, is: BUSY, means: retry, says: why}
                  - {at: state, is: QUOTA, means: throttled, says: why}
                others: OTHERS
    delete: {skip: none}
";

fn shop(url: &str, resend: &str, others: &str) -> std::sync::Arc<dyn contract::Destination> {
    let more = vec![("settings", map([("url", text(url))]))];
    let feed = if others.is_empty() {
        ""
    } else {
        FEED.trim_start_matches('\n')
    };
    let file = format!("{FILE}{feed}")
        .replace("RESEND", resend)
        .replace("OTHERS", others);
    of_file(&file, more)
}

/// What stands behind a gateway may still be at work: a newer state must not overtake it.
#[tokio::test]
async fn a_gateway_that_gave_up_says_nothing_of_what_was_written() {
    for (status, said) in [
        (502, "unknown"),
        (504, "unknown"),
        (500, "retry"),
        (503, "retry"),
    ] {
        let api = Api::start(|_: &Request| answer(200, json!({"ok": true}))).await;
        let shop = shop(&api.url, "safe", "unknown");
        let event = [stock(1, "A", "MAIN", 1)];
        api.then([answer(200, json!({})), answer(status, json!({}))]);
        let outcomes = shop.deliver(&event, &Open).await.outcomes();
        assert_eq!(words(&outcomes), said, "{status} of what writes");
        api.then([answer(status, json!({}))]);
        let outcomes = shop.deliver(&event, &Open).await.outcomes();
        assert_eq!(words(&outcomes), "retry", "{status} of what reads");
    }
}

fn taken(skus: &[&str]) -> Vec<Taken> {
    let one = |(sku, n): (&&str, u32)| {
        let key = json!({"company": "C", "sku": sku, "currency": "EUR"});
        let body = json!({"amount": {"amount": "1.50", "currency": "EUR"}});
        Taken {
            outgoing: event(n, EventType::Price, EventOp::Upsert, key, body),
            ticket: "0:F1".to_owned(),
        }
    };
    skus.iter().zip(1..).map(one).collect()
}

/// The ticket is used up, so asking again brings the same answer: as with any doubt, the engine sends again
/// where that is safe.
#[tokio::test]
async fn an_item_of_a_finished_report_that_may_be_tried_again_does_not_wait_for_it() {
    let items = json!([{"sku": "A", "state": "SUCCESS"}, {"sku": "B", "state": "BUSY", "why": "later"},
        {"sku": "C", "state": "QUOTA", "why": "too many"}]);
    let api =
        Api::start(move |_: &Request| answer(200, json!({"status": "DONE", "items": items}))).await;
    let shop = shop(&api.url, "safe", "unknown");
    let outcomes = shop
        .follow_up(&taken(&["A", "B", "C"]), &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied unknown unknown");
    assert!(cause(&outcomes[1]).contains("later"), "{outcomes:?}");
}

#[tokio::test]
async fn a_report_without_its_list_tells_of_nobody() {
    for (others, said) in [("unknown", "unknown unknown"), ("done", "applied applied")] {
        let api = Api::start(|_: &Request| answer(200, json!({"status": "DONE"}))).await;
        let shop = shop(&api.url, "safe", others);
        let outcomes = shop.follow_up(&taken(&["A", "B"]), &Open).await.outcomes();
        assert_eq!(words(&outcomes), said, "others: {others}");
    }
}

/// Where nothing was done because of what failed, the others are not there either, whatever is said of them.
#[tokio::test]
async fn a_report_that_undid_all_leaves_nobody_applied() {
    let items = json!([{"sku": "B", "state": "DATA_ERROR", "why": "too cheap"}, {"sku": "C", "state": "SUCCESS"}]);
    for (how, said) in [
        ("again", "unknown rejected applied"),
        ("again, atomic: true", "unknown rejected unknown"),
    ] {
        let items = items.clone();
        let api =
            Api::start(move |_: &Request| answer(200, json!({"status": "DONE", "items": items})))
                .await;
        let shop = shop(&api.url, "safe", &how.replace(", ", "\n                "));
        let all = taken(&["A", "B", "C"]);
        let outcomes = shop.follow_up(&all, &Open).await.outcomes();
        assert_eq!(words(&outcomes), said, "others: {how}");
    }
}

fn status_of(outcome: &Outcome) -> Option<u16> {
    match outcome {
        Outcome::Unknown { answer, .. } => answer.as_ref()?.status,
        other => panic!("{other:?}"),
    }
}

/// What was written stays in doubt, and the answer's status says whether the API could be asked at all.
#[tokio::test]
async fn what_cannot_be_read_back_stays_unknown() {
    let api = Api::start(|_: &Request| answer(404, json!({}))).await;
    let shop = shop(&api.url, "verify", "");
    let events: Vec<Outgoing> = vec![stock(1, "A", "MAIN", 1)];
    for (said, status) in [
        (answer(403, json!({"message": "no"})), Some(403)),
        (answer(400, json!({})), Some(400)),
        (answer(429, json!({})), Some(429)),
        (answer(503, json!({})), Some(503)),
        (answer(401, json!({})), Some(401)),
        (answer(200, json!({"stocks": [{}, {}]})), Some(200)),
        (
            answer(200, json!({"stocks": [{"left": "many"}]})),
            Some(200),
        ),
        (Do::Lose, None),
    ] {
        api.then([said]);
        let outcomes = shop.verify(&events, &Open).await.outcomes();
        assert_eq!(status_of(&outcomes[0]), status, "{outcomes:?}");
    }
    // What could not be asked about at all is no doubt, but a reason to look.
    let broken = Outgoing {
        json: b"no event"[..].into(),
        ..events[0].clone()
    };
    let outcomes = shop.verify(&[broken], &Open).await.outcomes();
    assert_eq!(words(&outcomes), "rejected");
}

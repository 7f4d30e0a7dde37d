//! What requests say of the traces that they belong to.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use crate::common::*;
use contract::Outgoing;
use contract::gate::Open;
use contract::trace_context::{Context, traceparent};
use serde_json::json;

/// Looks each SKU up, and writes all of a batch in one request. `HEADERS` stands at the write.
const FILE: &str = r"
channel: traced
title: Traced
proven: documentation
resend: safe
settings:
  url: {type: url, ask: where?}
  password: {type: secret, ask: which?}
url: setting.url
auth: {login: {post: /login, body: {password: setting.password}, take: {token: token}, expires: 1h}}
events:
  inventory.availability.v1:
    batch: 4
    steps:
      - find: {name: item, get: '/item/{sku}', take: {id: id}, missing: missing}
      - send:
          post: /stock
          HEADERS
          body: {items: {$items: {id: found.id, quantity: sellable}}}
          done: ok
    delete: same
";

async fn api() -> Api {
    Api::start(|request| match request.path.as_str() {
        "/login" => answer(200, json!({"token": "t"})),
        "/stock" => answer(200, json!({"ok": true})),
        path => answer(200, json!({"id": path.rsplit('/').next()})),
    })
    .await
}

fn settings(api: &Api) -> Vec<(&'static str, contract::Node)> {
    let own = map([("url", text(&api.url)), ("password", environment())]);
    vec![("settings", own)]
}

#[tokio::test]
async fn a_request_says_its_events_trace_and_a_bulk_one_has_its_own() {
    let api = api().await;
    let shop = of_file(&FILE.replace("          HEADERS\n", ""), settings(&api));
    let batch = [stock(1, "A", "MAIN", 5), stock(2, "B", "MAIN", 6)];
    let outcomes = shop.deliver(&batch, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied applied");
    let both: Vec<&Outgoing> = batch.iter().collect();
    let both = Context::of_request(&both).unwrap().traceparent();
    let took = api.took();
    let of = |path: &str| {
        let found = took.iter().find(|request| request.path == path).unwrap();
        found.header("traceparent").to_owned()
    };
    assert_eq!(of("/login"), "", "a login is nobody's");
    assert_eq!(of("/item/A"), traceparent(&batch[0].id));
    assert_eq!(of("/item/B"), traceparent(&batch[1].id));
    assert_eq!(of("/stock"), both);

    shop.deliver(&batch[..1], &Open).await;
    let alone = api.took().pop().unwrap();
    assert_eq!(alone.path, "/stock");
    assert_eq!(alone.header("traceparent"), traceparent(&batch[0].id));
    // It stands beside what is sent, not in it.
    assert_eq!(
        alone.body,
        json!({"items": [{"id": "A", "quantity": 5}]}),
        "{}",
        alone.text
    );
}

#[tokio::test]
async fn what_a_channels_file_says_itself_is_left_alone() {
    let api = api().await;
    let own = r#"headers: {traceparent: "'theirs'"}"#;
    let shop = of_file(&FILE.replace("HEADERS", own), settings(&api));
    let outcomes = shop.deliver(&[stock(1, "A", "MAIN", 5)], &Open).await;
    assert_eq!(words(&outcomes.outcomes()), "applied");
    let sent = api.took().pop().unwrap();
    let headers = sent
        .headers
        .iter()
        .filter(|(name, _)| name == "traceparent");
    let values: Vec<&str> = headers.map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["theirs"]);
}

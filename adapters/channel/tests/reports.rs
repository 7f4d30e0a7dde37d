//! What answers say of single events, of what is taken for later, and of what changed meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use crate::common::*;
use contract::gate::Open;
use contract::{EventOp, EventType, Outgoing, Taken};
use serde_json::{Value as Json, json};

fn batch(skus: &[&str]) -> Vec<Outgoing> {
    let all = skus.iter().zip(1..);
    all.map(|(sku, n)| stock(n, sku, "MAIN", i64::from(n)))
        .collect()
}

/// A report for each item, look-ups with ETags, a group that stands or falls together, and a feed.
const REPORTS: &str = r#"
channel: reports
title: Reports
proven: documentation
resend: safe
settings: {url: {type: url, ask: where?}}
url: setting.url
timeout: 1s
auth: none
events:
  inventory.availability.v1:
    batch: 10
    steps:
      - send:
          post: /batch
          body: {items: {$items: {id: event.id, sku: sku}}}
          report:
            list: results
            id: id
            is: event.id
            atomic: ATOMIC
            done: {at: status, is: [200-299]}
            answers:
              - {at: status, is: [503], means: retry}
              - {at: status, is: [400-499], means: rejected, says: error}
    delete: same
  product.v1:
    steps:
      - find: {name: item, by: sku, get: "/item/{sku}", take: {etag: $header.etag}, missing: missing, cache: 1h}
      - send: {put: "/item/{sku}", headers: {if-match: found.etag}, body: {name: name}, done: {status: 204}}
    conflict: {from: item, tries: 2}
    delete: same
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
              waiting: {at: status, is: [RECEIVED, INPROGRESS]}
              report:
                list: items
                id: sku
                is: sku
                done: {at: state, is: SUCCESS}
                answers: [{at: state, is: DATA_ERROR, means: rejected, says: why}]
    delete: {skip: none}
"#;

fn product(n: u32, sku: &str) -> Outgoing {
    let key = json!({"company": "C", "sku": sku});
    event(
        n,
        contract::EventType::Product,
        contract::EventOp::Upsert,
        key,
        json!({"name": "x"}),
    )
}

fn reports(url: &str, atomic: &str) -> std::sync::Arc<dyn contract::Destination> {
    let more = vec![
        ("settings", map([("url", text(url))])),
        ("timeout_seconds", number(3)),
    ];
    of_file(&REPORTS.replace("ATOMIC", atomic), more)
}

/// Reports each item; `BAD` fails.
fn reporting(request: &Request) -> Do {
    let one = |item: &Json| {
        let bad = item["sku"] == "BAD";
        json!({"id": item["id"], "status": if bad { 422 } else { 200 }, "error": "bad sku"})
    };
    let results: Vec<Json> = request.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["sku"] != "SILENT")
        .map(one)
        .collect();
    answer(200, json!({"results": results}))
}

#[tokio::test]
async fn a_report_is_mapped_item_by_item() {
    let api = Api::start(reporting).await;
    let shop = reports(&api.url, "false");
    let outcomes = shop
        .deliver(&batch(&["A", "BAD", "SILENT", "D"]), &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied rejected unknown applied");
    assert_eq!(cause(&outcomes[1]), "bad sku");
    assert_eq!(api.took().len(), 1);
}

#[tokio::test]
async fn one_that_failed_in_a_group_undoes_the_others_whatever_they_say() {
    let api = Api::start(reporting).await;
    let shop = reports(&api.url, "true");
    let outcomes = shop
        .deliver(&batch(&["A", "BAD", "C"]), &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied rejected applied");
    let took = api.took();
    assert_eq!(took.len(), 2, "what was reported as done is sent again");
    assert_eq!(took[1].body["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_conflict_is_read_again_and_at_last_told() {
    let api = Api::start(|request: &Request| match request.method.as_str() {
        "GET" => Do::Answer(200, vec![("etag", "\"2\"".to_owned())], json!({})),
        _ if request.header("if-match") == "\"2\"" => Do::Answer(204, Vec::new(), Json::Null),
        _ => answer(412, json!({})),
    })
    .await;
    let shop = reports(&api.url, "false");
    api.then([Do::Answer(
        200,
        vec![("etag", "\"1\"".to_owned())],
        json!({}),
    )]);
    let outcomes = shop.deliver(&[product(1, "A")], &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied");
    let methods: Vec<String> = api
        .took()
        .into_iter()
        .map(|request| request.method)
        .collect();
    assert_eq!(methods, ["GET", "PUT", "GET", "PUT"]);
    // What was found last is still known.
    let outcomes = shop.deliver(&[product(2, "A")], &Open).await.outcomes();
    assert_eq!(
        (words(&outcomes), api.took().len()),
        ("applied".to_owned(), 1)
    );

    let api = Api::start(|request: &Request| {
        if request.method == "GET" {
            answer(200, json!({}))
        } else {
            answer(428, json!({}))
        }
    })
    .await;
    let outcomes = reports(&api.url, "false")
        .deliver(&[product(1, "A")], &Open)
        .await
        .outcomes();
    assert_eq!(
        (words(&outcomes), api.took().len()),
        ("conflict".to_owned(), 6)
    );
}

#[tokio::test]
async fn what_is_taken_for_later_is_asked_about() {
    let state = std::sync::Arc::new(std::sync::Mutex::new("INPROGRESS"));
    let said = std::sync::Arc::clone(&state);
    let api = Api::start(move |request: &Request| match request.path.as_str() {
        "/feed" => answer(202, json!({"feed": "F 1"})),
        "/feed/F%201" => {
            let items = json!([{"sku": "A", "state": "SUCCESS"}, {"sku": "B", "state": "DATA_ERROR", "why": "too cheap"}]);
            answer(200, json!({"status": *said.lock().unwrap(), "items": items}))
        }
        _ => answer(404, json!({})),
    })
    .await;
    let shop = reports(&api.url, "false");
    let price = |n, sku: &str| {
        let key = json!({"company": "C", "sku": sku, "currency": "EUR"});
        event(
            n,
            contract::EventType::Price,
            contract::EventOp::Upsert,
            key,
            json!({"amount": {"amount": "1.50", "currency": "EUR"}}),
        )
    };
    let events = [price(1, "A"), price(2, "B"), price(3, "C")];
    let outcomes = shop.deliver(&events, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "accepted accepted accepted");
    // Exact, and a number.
    assert!(
        api.took()[0].text.contains("\"price\":1.5}"),
        "the price is exact"
    );
    let taken: Vec<Taken> = events
        .iter()
        .zip(&outcomes)
        .map(|(event, outcome)| {
            let contract::Outcome::Accepted { ticket, .. } = outcome else {
                panic!("{outcome:?}")
            };
            Taken {
                outgoing: event.clone(),
                ticket: ticket.clone(),
            }
        })
        .collect();
    assert_eq!(
        words(&shop.follow_up(&taken, &Open).await.outcomes()),
        "accepted accepted accepted"
    );
    api.then([answer(503, json!({}))]);
    assert_eq!(
        words(&shop.follow_up(&taken, &Open).await.outcomes()),
        "accepted accepted accepted"
    );
    *state.lock().unwrap() = "PROCESSED";
    let outcomes = shop.follow_up(&taken, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied rejected unknown");
    assert_eq!(cause(&outcomes[1]), "too cheap");
    assert_eq!(api.took().len(), 3, "one question for all of a feed");
}

/// GraphQL that counts points and says so in its bodies, with HTTP 200 whatever comes of it.
const POINTS: &str = r#"
channel: points
title: Points
proven: documentation
resend: safe
settings: {url: {type: url, ask: where?}}
url: setting.url
timeout: 1s
auth: none
limits:
  points:
    max: 1000
    per_second: 50
    left_at: extensions.cost.throttleStatus.currentlyAvailable
    max_at: extensions.cost.throttleStatus.maximumAvailable
    per_second_at: extensions.cost.throttleStatus.restoreRate
answers:
  - {at: errors.0.extensions.code, is: THROTTLED, means: throttled, after: errors.0.wait}
events:
  product.v1:
    steps:
      - send: {post: /graphql, points: 10, body: {query: {$text: "{ a }"}}, done: data.a}
    delete: same
"#;

#[tokio::test]
async fn points_are_told_to_the_gate_and_heard_from_bodies() {
    let cost = |left: &str| json!({"cost": {"throttleStatus": {"currentlyAvailable": left.parse::<Json>().unwrap(), "maximumAvailable": 2000.0, "restoreRate": 100.0}}});
    let api = Api::start(move |_: &Request| {
        answer(200, json!({"data": {"a": 1}, "extensions": cost("1990.5")}))
    })
    .await;
    let more = vec![("settings", map([("url", text(&api.url))]))];
    let shop = of_file(POINTS, more);
    let limits = shop.traits().limits.points.unwrap();
    assert_eq!((limits.max, limits.per_second), (1_000, 50));
    let gate = Watched::default();
    let body = json!({"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}, "wait": 1.2}], "extensions": cost("3")});
    api.then([answer(200, body)]);
    let outcomes = shop.deliver(&[product(1, "A")], &gate).await.outcomes();
    assert_eq!(words(&outcomes), "retry after 2", "{outcomes:?}");
    let outcomes = shop.deliver(&[product(2, "A")], &gate).await.outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    assert_eq!(*gate.passed.lock().unwrap(), [10, 10]);
    let heard = gate.heard.lock().unwrap();
    assert_eq!((heard[0].throttled, heard[0].points_left), (true, Some(3)));
    assert_eq!(
        (heard[1].throttled, heard[1].points_left),
        (false, Some(1_990))
    );
    let points = heard[1].points.unwrap();
    assert_eq!((points.max, points.per_second), (2_000, 100));
}

/// Keys and lines go by the channel's SKU; an item whose own SKU is another's there goes nowhere.
#[tokio::test]
async fn items_are_called_what_the_channel_calls_them() {
    let api = Api::start(|_: &Request| answer(200, json!({"ok": true}))).await;
    let file = r"
channel: named
title: Named
proven: documentation
resend: safe
settings: {url: {type: url, ask: where?}}
url: setting.url
auth: none
events:
  inventory.availability.v1:
    steps: [{send: {put: '/stock/{sku}', body: {left: sellable}, done: ok}}]
    delete: same
  shipment.v1:
    steps: [{send: {post: /shipments, body: {lines: {$each: lines, as: item.sku}}, done: ok}}]
    delete: {skip: none}
";
    let pairs = std::env::temp_dir().join(format!("skus-{:032x}.csv", rand_name()));
    std::fs::write(&pairs, "A,SHOP-A\nB,C\n").unwrap();
    let more = vec![
        ("settings", map([("url", text(&api.url))])),
        ("skus_file", text(pairs.to_str().unwrap())),
    ];
    let shop = of_file(file, more);
    std::fs::remove_file(pairs).unwrap();
    let lines = json!([{"sku": "A"}, {"sku": "D"}]);
    let events = [
        stock(1, "A", "MAIN", 1),
        stock(2, "B", "MAIN", 2),
        stock(3, "C", "MAIN", 3),
        stock(4, "D", "MAIN", 4),
        event(
            5,
            EventType::Shipment,
            EventOp::Upsert,
            json!({"company": "C", "shipment_id": "1"}),
            json!({"lines": lines}),
        ),
    ];
    let outcomes = shop.deliver(&events, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied applied rejected applied applied",
        "{outcomes:?}"
    );
    assert!(
        cause(&outcomes[2]).contains("another item's"),
        "{outcomes:?}"
    );
    let mut told: Vec<String> = api
        .took()
        .iter()
        .map(|request| format!("{} {}", request.path, request.text))
        .collect();
    told.sort();
    let expected = [
        r#"/shipments {"lines":["SHOP-A","D"]}"#,
        r#"/stock/C {"left":2}"#,
        r#"/stock/D {"left":4}"#,
        r#"/stock/SHOP-A {"left":1}"#,
    ];
    assert_eq!(told, expected);
}

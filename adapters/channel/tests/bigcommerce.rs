//! The channel `bigcommerce` on the wire, against a store that answers as its documentation says: not
//! a real one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use contract::gate::Open;
use contract::{Destination, EventOp, EventType};
use serde_json::{Value as Json, json};

fn store(api: &Api) -> Arc<dyn Destination> {
    destination(&map([
        ("channel", text("bigcommerce")),
        (
            "settings",
            map([
                ("url", text(&api.url)),
                ("store", text("abc123")),
                ("token", environment()),
                ("locations", map([("MAIN", text("1"))])),
            ]),
        ),
    ]))
}

fn asked(request: &Request) -> Vec<u32> {
    let all = request.path.split("sku%3Ain=").nth(1).unwrap_or_default();
    let all = all.split('&').next().unwrap_or_default();
    all.split("%2C")
        .filter_map(|sku| sku.strip_prefix('S')?.parse().ok())
        .collect()
}

/// `S1` is product 1 with base variant 1, and so on. Stock of 4 is refused with all that goes with it.
fn answers(request: &Request) -> Do {
    let path = request.path.strip_prefix("/stores/abc123").unwrap();
    let path = path.split('?').next().unwrap();
    match (request.method.as_str(), path) {
        ("GET", "/v3/inventory/items") => {
            let one = |n: u32| json!({"identity": {"sku": format!("S{n}"), "product_id": n, "variant_id": n, "sku_id": null}});
            let all: Json = asked(request).into_iter().map(one).collect();
            answer(200, json!({"data": all, "meta": {}}))
        }
        ("GET", "/v3/catalog/products") => {
            let one =
                |n: u32| json!({"id": n, "sku": format!("S{n}"), "base_variant_id": n + 1_000});
            let all: Json = asked(request).into_iter().map(one).collect();
            answer(200, json!({"data": all, "meta": {}}))
        }
        ("PUT", "/v3/inventory/adjustments/absolute") => {
            let items = request.body["items"].as_array().unwrap();
            if items.iter().any(|item| item["product_id"] == 4) {
                let title = "[Item with product_id 4 is tracked by variant, please update stock by variant id]";
                return answer(422, json!({"status": 422, "title": title, "errors": {}}));
            }
            answer(200, json!({"transaction_id": "t"}))
        }
        ("PUT", "/v3/catalog/products") if request.body.as_array().unwrap().len() > 10 => answer(
            413,
            json!({"status": 413, "title": "The request payload is too large. The maximum items allowed in the array is 10."}),
        ),
        ("PUT", "/v3/catalog/products") => answer(200, json!({"data": request.body, "meta": {}})),
        _ => answer(404, json!({"status": 404, "title": "no such path"})),
    }
}

#[tokio::test]
async fn one_bad_item_of_a_request_is_found_and_the_others_are_set() {
    let api = Api::start(answers).await;
    let events: Vec<_> = (1..=5)
        .map(|n| stock(n, &format!("S{n}"), "MAIN", 7))
        .collect();
    let channel = store(&api);
    let outcomes = channel.deliver(&events, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied applied applied rejected applied",
        "{outcomes:?}"
    );
    assert!(
        cause(&outcomes[3]).contains("tracked by variant"),
        "{outcomes:?}"
    );
    let took = api.took();
    assert!(
        took.iter()
            .all(|one| one.header("x-auth-token") == "s3cr3t-pass"
                && one.header("accept") == "application/json"),
        "every request has the token"
    );
    // The quota is another app's as well: what is left of it is heard, and waited for.
    let said = vec![
        ("x-rate-limit-requests-left", "0".to_owned()),
        ("x-rate-limit-requests-quota", "450".to_owned()),
        ("x-rate-limit-time-reset-ms", "15000".to_owned()),
        ("x-rate-limit-time-window-ms", "30000".to_owned()),
    ];
    api.then([Do::Answer(429, said, json!({}))]);
    let gate = Watched::default();
    let outcomes = channel.deliver(&events[..1], &gate).await.outcomes();
    assert_eq!(words(&outcomes), "retry", "{outcomes:?}");
    let heard = gate.heard.lock().unwrap();
    assert_eq!(
        (heard[0].throttled, heard[0].requests_left, heard[0].reset),
        (true, Some(0), Some(Duration::from_secs(15)))
    );
    assert_eq!(heard[0].rate.unwrap().requests, 450);
}

#[tokio::test]
async fn prices_of_the_catalogue_go_by_ten() {
    let api = Api::start(answers).await;
    let price = |n: u32| {
        let key = json!({"company": "C", "sku": format!("S{n}"), "price_list": "", "currency": "USD", "min_qty": "", "customer_id": "", "valid_from": "", "uom": "EA"});
        let body = json!({"amount": {"amount": "1.50", "currency": "USD"}, "per_qty": "1", "kind": "list", "tax_included": false});
        event(n, EventType::Price, EventOp::Upsert, key, body)
    };
    let events: Vec<_> = (1..=23).map(price).collect();
    let outcomes = store(&api).deliver(&events, &Open).await.outcomes();
    assert!(
        outcomes.iter().all(|one| word(one) == "applied"),
        "{outcomes:?}"
    );
    let sizes: Vec<usize> = api
        .took()
        .iter()
        .filter(|one| one.method == "PUT")
        .map(|one| one.body.as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [10, 10, 3]);
}

#[tokio::test]
async fn a_delivery_holds_no_more_prices_than_can_be_looked_up_in_its_time() {
    let api = Api::start(answers).await;
    let traits = store(&api).traits();
    // One look-up for each price of a variant, 150 in 30 seconds; half of the time is for what is written, and for
    // others of the store.
    let looked_up = Duration::from_millis(200) * u32::try_from(traits.batch_events_max).unwrap();
    assert!(
        looked_up * 2 <= traits.request_timeout,
        "{looked_up:?} of {:?}",
        traits.request_timeout
    );
}

//! The channel `woocommerce` on the wire, against a shop that answers as its source and documentation
//! say: not a real one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use crate::common::*;
use contract::Destination;
use serde_json::{Value as Json, json};

const PRODUCTS: &str = "/wp-json/wc/v3/products";

fn shop(api: &Api) -> Arc<dyn Destination> {
    destination(&map([
        ("channel", text("woocommerce")),
        (
            "settings",
            map([
                ("url", text(&api.url)),
                ("consumer_key", environment()),
                ("consumer_secret", environment()),
                ("location", text("MAIN")),
            ]),
        ),
    ]))
}

/// `S1` is product 1, and so on; 3 is of a kind that has no stock, and 4 is refused.
fn answers(request: &Request) -> Do {
    if request.method == "GET" {
        let asked = request.path.split("sku=").nth(1).unwrap_or_default();
        let asked = asked.split('&').next().unwrap_or_default();
        let one = |sku: &str| json!({"id": sku[1..].parse::<u32>().unwrap(), "parent_id": 0, "type": "simple", "sku": sku});
        let all: Json = asked.split("%2C").map(one).collect();
        return answer(200, all);
    }
    let one = |item: &Json| match item["id"].as_u64() {
        Some(3) => json!({"id": 3, "manage_stock": false, "stock_quantity": null}),
        Some(4) => {
            json!({"id": 4, "error": {"code": "x", "message": "Not this one.", "data": {"status": 400}}})
        }
        _ => {
            json!({"id": item["id"], "manage_stock": true, "stock_quantity": item["stock_quantity"]})
        }
    };
    let all: Json = request.body["update"]
        .as_array()
        .unwrap()
        .iter()
        .map(one)
        .collect();
    answer(200, json!({"update": all}))
}

#[tokio::test]
async fn one_bad_product_of_a_batch_is_held_with_the_shops_words() {
    let api = Api::start(answers).await;
    let events: Vec<_> = (1..=5)
        .map(|n| stock(n, &format!("S{n}"), "MAIN", 7))
        .collect();
    let channel = shop(&api);
    let outcomes = channel.deliver(&events, &contract::gate::Open).await;
    let outcomes = outcomes.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied applied rejected rejected applied",
        "{outcomes:?}"
    );
    assert!(
        cause(&outcomes[2]).contains("keeps no stock"),
        "{outcomes:?}"
    );
    assert_eq!(cause(&outcomes[3]), "Not this one.");
    let took = api.took();
    let paths: Vec<&str> = took
        .iter()
        .map(|one| one.path.split('?').next().unwrap())
        .collect();
    assert_eq!(
        paths,
        [PRODUCTS, "/wp-json/wc/v3/products/batch"],
        "one look-up and one write"
    );
    assert!(
        took.iter()
            .all(|one| one.header("authorization").starts_with("Basic ")),
        "the key goes as a header"
    );
    // A hoster that throttles is waited for.
    let throttled = vec![("retry-after", "7".to_owned())];
    api.then([Do::Answer(429, throttled, json!(null))]);
    let outcomes = channel
        .deliver(&events[..1], &contract::gate::Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "retry after 7", "{outcomes:?}");
}

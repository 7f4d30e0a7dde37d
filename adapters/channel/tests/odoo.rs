//! Odoo's JSON-2 calls on the wire, against a scripted API: by documentation only.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use crate::common::*;
use contract::Destination;
use contract::gate::Open;
use serde_json::{Value as Json, json};

fn shop(url: &str) -> Arc<dyn Destination> {
    let settings = map([
        ("url", text(url)),
        ("key", environment()),
        ("database", text("prod")),
        ("locations", map([("MAIN", text("8"))])),
    ]);
    destination(&map([
        ("channel", text("odoo-json2")),
        ("settings", settings),
        ("timeout_seconds", number(5)),
    ]))
}

/// Knows every product but `NONE`; that of `BAD` has no stock of its own.
fn odoo(request: &Request) -> Do {
    match request.path.as_str() {
        "/json/2/res.users/context_get" => answer(200, json!({"lang": "en_US", "uid": 2})),
        "/json/2/product.product/search_read" => {
            let skus = request.body["domain"][0][2].as_array().unwrap();
            let found = skus.iter().zip(100..).filter(|(sku, _)| *sku != "NONE");
            let found: Vec<Json> = found
                .map(|(sku, id)| json!({"id": if sku == "BAD" { 13 } else { id }, "default_code": sku}))
                .collect();
            answer(200, json!(found))
        }
        "/json/2/stock.quant/create" => {
            let all = request.body["vals_list"].as_array().unwrap();
            if all.iter().any(|one| one["product_id"] == 13) {
                let said = "Quants cannot be created for consumables or services.";
                let name = "odoo.exceptions.ValidationError";
                return answer(
                    422,
                    json!({"name": name, "message": said, "debug": "Traceback"}),
                );
            }
            answer(200, json!((1..=all.len()).collect::<Vec<_>>()))
        }
        _ => answer(
            404,
            json!({"name": "werkzeug.exceptions.NotFound", "message": "no"}),
        ),
    }
}

#[tokio::test]
async fn one_call_takes_a_batch_and_one_bad_product_is_held_alone() {
    let api = Api::start(odoo).await;
    let shop = shop(&api.url);
    let skus = ["A", "B", "BAD", "NONE", "E"];
    let batch: Vec<_> = skus
        .iter()
        .zip(1..)
        .map(|(sku, n)| stock(n, sku, "MAIN", i64::from(n)))
        .collect();
    let outcomes = shop.deliver(&batch, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied applied rejected missing applied");
    assert!(cause(&outcomes[2]).contains("consumables or services"));
    let took = api.took();
    assert_eq!(took[0].header("authorization"), "bearer s3cr3t-pass");
    assert_eq!(took[0].header("x-odoo-database"), "prod");
    assert_eq!(took[1].body["context"]["inventory_mode"], true);
    assert_eq!(
        took[1].body["vals_list"][1],
        json!({"product_id": 101, "location_id": 8, "inventory_quantity_auto_apply": 2})
    );
}

#[tokio::test]
async fn a_proxy_that_throttles_and_a_key_that_has_run_out_hold_no_event() {
    let api = Api::start(odoo).await;
    let shop = shop(&api.url);
    api.then([Do::Answer(
        429,
        vec![("retry-after", "7".to_owned())],
        Json::Null,
    )]);
    let one = [stock(1, "A", "MAIN", 1)];
    let outcomes = shop.deliver(&one, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "retry after 7");
    let name = "werkzeug.exceptions.Unauthorized";
    api.then([answer(
        401,
        json!({"name": name, "message": "Invalid apikey"}),
    )]);
    let outcomes = shop.deliver(&one, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "retry");
    assert!(cause(&outcomes[0]).contains("Invalid apikey"));
    assert!(
        shop.check()
            .await
            .iter()
            .all(|found| found.level == contract::Level::Pass)
    );
}

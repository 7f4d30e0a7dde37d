//! The channel `shopify` against a stand-in on Shopify's own schema: what is valid is Shopify's word,
//! what becomes of it is simulated.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use async_trait::async_trait;
use contract::gate::Open;
use contract::{
    Allowance, Compared, Destination, EventOp, EventType, Gate, Level, Node, Outcome, Outgoing,
    Taken,
};
use harness::channels::{Shopify, ShopifyLimits};
use serde_json::json;
use tokio::sync::Mutex;

const EAST: &str = "gid://shopify/Location/1";

fn settings<'n>(url: &str, more: impl IntoIterator<Item = (&'n str, Node)>) -> Node {
    let locations = map([
        ("MAIN", text(EAST)),
        ("WEST", text("gid://shopify/Location/2")),
        ("GONE", text("gid://shopify/Location/9")),
    ]);
    let known = [
        ("url", text(url)),
        ("client_id", text(Shopify::CLIENT)),
        ("client_secret", text(Shopify::CLIENT)),
        ("locations", locations),
        ("buffer", number(2)),
    ];
    map(known.into_iter().chain(more))
}

fn destination_of(url: &str) -> Arc<dyn Destination> {
    let settings = settings(url, []);
    destination(&map([("channel", text("shopify")), ("settings", settings)]))
}

fn flag(on: bool) -> Node {
    Node {
        line: 1,
        column: 1,
        kind: contract::NodeKind::Bool(on),
    }
}

#[tokio::test]
async fn stock_is_what_the_erp_says_and_a_repetition_undoes_no_sale() {
    let shop = Shopify::start();
    let channel = destination_of(&shop.url());
    let findings = channel.check().await;
    assert_eq!(findings[0].level, Level::Pass, "{findings:?}");

    // An SKU and a location that the shop does not have, and a location that nobody knows, in one batch.
    let events = [
        stock(1, "SKU-001", "MAIN", 12),
        stock(2, "SKU-001", "WEST", 1),
        stock(3, "SKU-NOT-THERE", "MAIN", 5),
        stock(4, "SKU-002", "GONE", 5),
        stock(5, "SKU-003", "MAIN", 7),
        stock(6, "SKU-004", "NOWHERE", 7),
    ];
    let outcomes = channel.deliver(&events, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied applied missing rejected applied rejected",
        "{outcomes:?}"
    );
    assert_eq!(cause(&outcomes[3]), "INVALID_LOCATION");
    assert_eq!(shop.stock("SKU-001", "EAST").await, 10);
    assert_eq!(
        shop.stock("SKU-001", "WEST").await,
        0,
        "less than what is kept back"
    );
    assert_eq!(shop.stock("SKU-003", "EAST").await, 5);

    let event = stock(7, "SKU-005", "MAIN", 12);
    for _ in 0..2 {
        let outcomes = channel
            .deliver(std::slice::from_ref(&event), &Open)
            .await
            .outcomes();
        assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
        if shop.stock("SKU-005", "EAST").await == 10 {
            assert_eq!(
                channel.compare(std::slice::from_ref(&event), &Open).await,
                [Compared::Same]
            );
            shop.sell("SKU-005", "EAST", 3).await;
        }
    }
    assert_eq!(
        shop.stock("SKU-005", "EAST").await,
        7,
        "the same request under the same key does nothing"
    );
    assert_eq!(
        channel.compare(std::slice::from_ref(&event), &Open).await,
        [Compared::Differs {
            holds: "available 7".to_owned(),
            would: "available 10".to_owned()
        }]
    );
    let outcomes = channel.deliver(&[gone(&event)], &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied");
    assert_eq!(shop.stock("SKU-005", "EAST").await, 0);
}

#[tokio::test]
async fn one_bad_sku_in_a_batch_stops_only_itself() {
    let shop = Shopify::start();
    let channel = destination_of(&shop.url());
    let all: Vec<Outgoing> = (1..=100)
        .map(|n| {
            let sellable = if n == 37 { 2_000_000_000 } else { 42 };
            stock(n, &format!("SKU-{n:03}"), "MAIN", sellable)
        })
        .collect();
    let outcomes = channel.deliver(&all, &Open).await.outcomes();
    for (n, outcome) in (1..).zip(&outcomes) {
        let sku = format!("SKU-{n:03}");
        if n == 37 {
            assert_eq!(word(outcome), "rejected", "{outcome:?}");
            assert_eq!(cause(outcome), "INVALID_QUANTITY_TOO_HIGH");
        } else {
            assert_eq!(word(outcome), "applied", "{sku}: {outcome:?}");
            assert_eq!(shop.stock(&sku, "EAST").await, 40, "{sku}");
        }
    }
    let read = 99;
    assert_eq!(
        shop.requests().await - read,
        4,
        "looked up in two, refused, and sent again without it"
    );
}

#[tokio::test]
async fn too_many_points_are_told_to_the_limits_whatever_the_status() {
    for status in [200, 429] {
        let shop = Shopify::start_with(ShopifyLimits {
            bucket: 20,
            restore: 0,
            status,
        });
        let channel = destination_of(&shop.url());
        let gate = Watched::default();
        let events = [
            stock(1, "SKU-001", "MAIN", 5),
            stock(2, "SKU-001", "MAIN", 6),
        ];
        let mut outcomes = Vec::new();
        for event in &events {
            let delivered = channel.deliver(std::slice::from_ref(event), &gate).await;
            outcomes.extend(delivered.outcomes());
        }
        assert_eq!(words(&outcomes), "applied retry", "{outcomes:?}");
        assert_eq!(shop.requests().await, 3, "looked up, set, throttled");
        let heard = *gate.heard.lock().unwrap().last().unwrap();
        assert!(heard.throttled, "{heard:?}");
        let points = heard.points.unwrap();
        assert_eq!((points.max, heard.points_left), (20, Some(5)), "{heard:?}");
    }
}

/// Lets all pass, and sells one piece before a certain request.
struct Sale<'s> {
    shop: &'s Shopify,
    before: usize,
    passed: Mutex<usize>,
}

#[async_trait]
impl Gate for Sale<'_> {
    async fn pass(&self, _: u32, _: Duration) -> bool {
        let mut passed = self.passed.lock().await;
        *passed += 1;
        if *passed == self.before {
            self.shop.sell("SKU-001", "EAST", 1).await;
        }
        true
    }

    fn heard(&self, _: &Allowance) {}
}

#[tokio::test]
async fn what_is_sold_between_reading_and_writing_is_read_again() {
    let shop = Shopify::start();
    let settings = settings(&shop.url(), [("compare", flag(true))]);
    let channel = destination(&map([("channel", text("shopify")), ("settings", settings)]));
    let gate = |before| Sale {
        shop: &shop,
        before,
        passed: Mutex::default(),
    };
    let (quiet, sale) = (gate(0), gate(2));
    for (n, gate) in [(1, &quiet), (2, &sale)] {
        let event = stock(n, "SKU-001", "MAIN", 10 + i64::from(n));
        let outcomes = channel.deliver(&[event], gate).await.outcomes();
        assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    }
    assert_eq!(shop.stock("SKU-001", "EAST").await, 10);
    assert_eq!(
        *sale.passed.lock().await,
        5,
        "read, refused as stale; looked up, read and written"
    );
}

fn price(n: u32, sku: &str, amount: &str) -> Outgoing {
    let key = json!({"company": "C", "sku": sku, "price_list": "", "uom": "EA", "min_qty": "1", "currency": "USD", "valid_from": "", "customer_id": ""});
    let body = json!({"amount": {"amount": amount, "currency": "USD"}, "per_qty": "1", "kind": "net", "tax_included": false, "computed": false});
    event(n, EventType::Price, EventOp::Upsert, key, body)
}

fn product(n: u32, sku: &str, status: &str) -> Outgoing {
    let body =
        json!({"name": "A \"new\" name", "stock_uom": "EA", "kind": "stocked", "status": status});
    let key = json!({"company": "C", "sku": sku});
    event(n, EventType::Product, EventOp::Upsert, key, body)
}

fn shipment(n: u32, status: &str, tracking: &[&str]) -> Outgoing {
    let body = json!({"status": status, "order_refs": [], "channel_order_refs": ["1001"], "ship_from": "MAIN", "carrier_name": "UPS", "tracking": tracking,
        "drop_ship": false, "lines": [{"sku": "A", "qty": "2", "uom": "EA"}]});
    let key = json!({"company": "C", "shipment_id": "S-1"});
    event(n, EventType::Shipment, EventOp::Upsert, key, body)
}

/// What a shop would answer to each request, by what stands in it.
fn shop_says(request: &Request, fulfilled: bool) -> Do {
    let query = request.body["query"].as_str().unwrap_or_default();
    let has = |what: &str| query.contains(what);
    let fulfilments = if fulfilled {
        json!([{"id": "gid://shopify/Fulfillment/1", "status": "SUCCESS", "trackingInfo": [{"number": "S-1"}]}])
    } else {
        json!([])
    };
    let said = if request.path.ends_with("/access_token") {
        return answer(200, json!({"access_token": "t", "expires_in": 86399}));
    } else if has("productVariants(") {
        let of = |sku: &str| {
            json!({"id": format!("gid://shopify/ProductVariant/{sku}"), "sku": sku, "price": "19.99",
            "product": {"id": "gid://shopify/Product/1", "status": "ARCHIVED", "hasOnlyDefaultVariant": true}})
        };
        json!({"productVariants": {"nodes": [of("A"), of("B")]}})
    } else if has("inventoryItems(") {
        json!({"inventoryItems": {"nodes": [{"id": "gid://shopify/InventoryItem/1", "sku": "A"}]}})
    } else if has("inventoryLevel(") {
        json!({"inventoryItem": {"id": "gid://shopify/InventoryItem/1", "inventoryLevel": null}})
    } else if has("inventoryActivate") {
        json!({"inventoryActivate": {"inventoryLevel": {"id": "l"}, "userErrors": []}})
    } else if has("productVariantsBulkUpdate") {
        json!({"productVariantsBulkUpdate": {"product": {"id": "p"}, "userErrors": []}})
    } else if has("productUpdate") {
        json!({"productUpdate": {"product": {"id": "p"}, "userErrors": []}})
    } else if has("orders(") {
        json!({"orders": {"nodes": [{"id": "gid://shopify/Order/1", "name": "#1001", "cancelledAt": null}]}})
    } else if has("orderCancel") {
        json!({"orderCancel": {"job": {"id": "gid://shopify/Job/1"}, "orderCancelUserErrors": []}})
    } else if has("job(") {
        json!({"job": {"id": "gid://shopify/Job/1", "done": true}})
    } else if has("fulfillments(") {
        json!({"order": {"id": "gid://shopify/Order/1", "fulfillments": fulfilments}})
    } else if has("fulfillmentOrders(") {
        json!({"order": {"id": "gid://shopify/Order/1", "fulfillmentOrders": {"nodes": [{"id": "gid://shopify/FulfillmentOrder/1",
            "assignedLocation": {"location": {"id": EAST}}, "lineItems": {"nodes": [{"id": "gid://shopify/FulfillmentOrderLineItem/1", "sku": "A"}]}}]}}})
    } else {
        let mutation = [
            "fulfillmentCreate",
            "fulfillmentTrackingInfoUpdate",
            "fulfillmentCancel",
        ];
        let name = mutation.into_iter().find(|name| has(name)).unwrap();
        json!({name: {"fulfillment": {"id": "gid://shopify/Fulfillment/1"}, "userErrors": []}})
    };
    answer(200, json!({ "data": said }))
}

/// Each request that the channel makes of other events than stock, held against Shopify's schema.
#[tokio::test]
async fn every_request_is_one_of_shopifys_schema() {
    let schema = Shopify::start();
    let mut kinds = std::collections::BTreeSet::new();
    for fulfilled in [false, true] {
        let api = Api::start(move |request| shop_says(request, fulfilled)).await;
        let more = [("compare", flag(true)), ("archive", flag(true))];
        let settings = settings(&api.url, more);
        let channel = destination(&map([("channel", text("shopify")), ("settings", settings)]));
        let cancelled = event(
            6,
            EventType::Order,
            EventOp::Upsert,
            json!({"company": "C", "order_id": "1"}),
            json!({"channel_order_id": "1001", "document_kind": "order", "lifecycle": "cancelled"}),
        );
        let events = [
            stock(1, "A", "MAIN", 5),
            price(2, "A", "19.99"),
            price(3, "B", "0.105"),
            product(4, "A", "discontinued"),
            product(5, "A", "active"),
            gone(&product(6, "A", "active")),
            cancelled.clone(),
            shipment(7, "shipped", &["1Z999"]),
            shipment(8, "delivered", &[]),
            shipment(9, "voided", &[]),
        ];
        let outcomes = channel.deliver(&events, &Open).await.outcomes();
        assert_eq!(
            words(&outcomes),
            "applied applied applied applied applied applied accepted applied applied applied",
            "{outcomes:?}"
        );
        let Outcome::Accepted { ticket, .. } = &outcomes[6] else {
            panic!("{outcomes:?}");
        };
        let taken = [Taken {
            outgoing: cancelled,
            ticket: ticket.clone(),
        }];
        let outcomes = channel.follow_up(&taken, &Open).await.outcomes();
        assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
        channel.compare(&events, &Open).await;
        for after in [None, Some("C1")] {
            let stock = EventType::InventoryAvailability;
            // What comes of it, the file's own tests say.
            let _ = channel.list(stock, after, &Open).await;
        }
        for request in api.took() {
            if request.path.ends_with("/access_token") {
                continue;
            }
            assert_eq!(request.path, "/admin/api/2026-04/graphql.json");
            let query = request.body["query"].as_str().unwrap();
            kinds.insert(query.to_owned());
            // The stand-in finds no other SKUs; whether a search is one is not a matter of the schema.
            let mut variables = request.body["variables"].clone();
            if let Some(search) = variables.get_mut("query") {
                *search = json!("sku:A");
            }
            let said = schema.graphql(query, variables).await;
            assert!(said.get("errors").is_none(), "{query}: {said}");
        }
    }
    assert_eq!(kinds.len(), 21, "{kinds:#?}");
}

//! The channel `medusa` against a real Medusa, judged by what its own API says. Skipped by name where
//! it is not installed.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use crate::common::*;
use contract::gate::Open;
use contract::{Compared, Destination, EventOp, EventType, Level, Outgoing};
use harness::channels::Medusa;
use reqwest::Method;
use serde_json::{Value as Json, json};

async fn destination_of(shop: &Medusa) -> Arc<dyn Destination> {
    let (east, west) = (shop.location("EAST").await, shop.location("WEST").await);
    let locations = map([
        ("MAIN", text(&east)),
        ("WEST", text(&west)),
        ("GONE", text("sloc_gone")),
    ]);
    let settings = map([
        ("url", text(&shop.url())),
        ("email", text(Medusa::ADMIN)),
        ("password", text(Medusa::PASSWORD)),
        ("locations", locations),
        ("buffer", number(2)),
        ("currency", text("USD")),
    ]);
    destination(&map([("channel", text("medusa")), ("settings", settings)]))
}

fn price(n: u32, sku: &str, amount: &str) -> Outgoing {
    let key = json!({"company": "C", "sku": sku, "price_list": "", "uom": "EA", "min_qty": "1", "currency": "USD", "valid_from": "", "customer_id": ""});
    let body = json!({"amount": {"amount": amount, "currency": "USD"}, "per_qty": "1", "kind": "net", "tax_included": false, "computed": false});
    event(n, EventType::Price, EventOp::Upsert, key, body)
}

fn product(n: u32, sku: &str, name: &str, status: &str) -> Outgoing {
    let body = json!({"name": name, "stock_uom": "EA", "kind": "stocked", "status": status});
    let key = json!({"company": "C", "sku": sku});
    event(n, EventType::Product, EventOp::Upsert, key, body)
}

async fn deliver(channel: &Arc<dyn Destination>, events: &[Outgoing]) -> String {
    let outcomes = channel.deliver(events, &Open).await.outcomes();
    words(&outcomes)
}

async fn get(shop: &Medusa, path: &str) -> Json {
    let (status, answer) = shop.ask(Method::GET, path, None).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

/// The one variant of a SKU, with its product and prices.
async fn variant(shop: &Medusa, sku: &str) -> Json {
    let fields = "id,title,product_id,product.title,product.status,prices.*,prices.price_rules.*";
    let found = get(
        shop,
        &format!("/admin/product-variants?sku={sku}&fields={fields}"),
    )
    .await;
    assert_eq!(found["count"], 1, "{found}");
    found["variants"][0].clone()
}

/// Currency, amount, least quantity and rules of a SKU's prices, in order.
async fn prices(shop: &Medusa, sku: &str) -> Vec<String> {
    let found = variant(shop, sku).await;
    let all = found["prices"].as_array().unwrap().iter();
    let mut all: Vec<String> = all
        .map(|one| {
            let ruled = !one["rules"].as_object().unwrap().is_empty();
            let (currency, least) = (one["currency_code"].as_str().unwrap(), &one["min_quantity"]);
            format!("{currency} {} {least} {ruled}", one["amount"])
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn stock_is_what_the_erp_says() {
    let Some(shop) = Medusa::start().await else {
        return;
    };
    let channel = destination_of(&shop).await;
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
    assert_eq!(
        deliver(&channel, &events).await,
        "applied applied missing rejected applied rejected"
    );
    assert_eq!(shop.stock("SKU-001", "EAST").await, Some(10));
    assert_eq!(
        shop.stock("SKU-001", "WEST").await,
        Some(0),
        "less than what is kept back"
    );
    assert_eq!(shop.stock("SKU-003", "EAST").await, Some(5));
    let item = shop.item("SKU-002").await;
    let levels = get(
        &shop,
        &format!("/admin/inventory-items/{item}/location-levels"),
    )
    .await;
    assert_eq!(
        levels["count"], 0,
        "nothing at a place that is not there: {levels}"
    );
    let compared = channel.compare(&events[..1], &Open).await;
    assert_eq!(compared, [Compared::Same]);
    // All that is there, as what was told is called; what has nothing is not in it.
    let (all, pages) = listed(&channel, EventType::InventoryAvailability).await;
    let called = channel.called(&events[..2]);
    let names: Vec<&str> = called.iter().flatten().map(String::as_str).collect();
    assert_eq!(
        (all.get(names[0]).map(String::as_str), all.get(names[1])),
        (Some("quantity 10"), None),
        "{names:?} {all:?}"
    );
    assert!(pages > 1 && all.len() == 2, "{pages} {all:?}");

    // Some are there already and some are not; one was sold out and taken from the location since it was seen.
    let all: Vec<Outgoing> = (1..=9)
        .map(|n| stock(n, &format!("SKU-{n:03}"), "MAIN", 42))
        .collect();
    assert_eq!(deliver(&channel, &all).await, ["applied"; 9].join(" "));
    assert_eq!(deliver(&channel, &all).await, ["applied"; 9].join(" "));
    let (item, east) = (shop.item("SKU-007").await, shop.location("EAST").await);
    let level = format!("/admin/inventory-items/{item}/location-levels/{east}");
    shop.post(&level, json!({"stocked_quantity": 0})).await;
    let (status, answer) = shop.ask(Method::DELETE, &level, None).await;
    assert!(status.is_success(), "{answer}");
    // And another item is gone with its variant.
    let fourth = shop.item("SKU-004").await;
    let path = format!("/admin/inventory-items/{fourth}");
    let (status, answer) = shop.ask(Method::DELETE, &path, None).await;
    assert!(status.is_success(), "{answer}");
    let all: Vec<Outgoing> = (1..=9)
        .map(|n| stock(20 + n, &format!("SKU-{n:03}"), "MAIN", 52))
        .collect();
    assert_eq!(
        deliver(&channel, &all).await,
        "applied applied applied missing applied applied applied applied applied"
    );
    for n in [1, 2, 3, 5, 6, 7, 8, 9] {
        let sku = format!("SKU-{n:03}");
        assert_eq!(shop.stock(&sku, "EAST").await, Some(50), "{sku}");
    }
    let compared = channel.compare(&events[..1], &Open).await;
    assert_eq!(
        compared,
        [Compared::Differs {
            holds: "quantity 50".to_owned(),
            would: "quantity 10".to_owned()
        }]
    );
    assert_eq!(deliver(&channel, &[gone(&events[0])]).await, "applied");
    assert_eq!(shop.stock("SKU-001", "EAST").await, Some(0));
}

#[tokio::test]
async fn prices_and_products_are_what_the_erp_says_and_others_stay() {
    let Some(shop) = Medusa::start().await else {
        return;
    };
    let channel = destination_of(&shop).await;
    let region = json!({"name": "US", "currency_code": "usd", "countries": ["us"]});
    let region = shop.post("/admin/regions", region).await["region"]["id"].take();
    let fifth = variant(&shop, "SKU-005").await;
    let path = |variant: &Json| {
        let text = |name: &str| variant[name].as_str().unwrap().to_owned();
        format!(
            "/admin/products/{}/variants/{}",
            text("product_id"),
            text("id")
        )
    };
    let has = json!({"prices": [
        {"amount": 10, "currency_code": "usd"}, {"amount": 12, "currency_code": "eur"},
        {"amount": 9.5, "currency_code": "usd", "min_quantity": 10},
        {"amount": 11, "currency_code": "usd", "rules": {"region_id": region}},
    ]});
    shop.post(&path(&fifth), has).await;
    for (n, amount) in [(1, "19.99"), (2, "0.105")] {
        let events = [
            price(n, "SKU-005", amount),
            price(10 + n, "SKU-006", amount),
        ];
        assert_eq!(deliver(&channel, &events).await, "applied applied");
        let usd = format!("usd {amount} null false");
        let mut expected = vec![
            "eur 12 null false".to_owned(),
            usd.clone(),
            "usd 11 null true".to_owned(),
            "usd 9.5 10 false".to_owned(),
        ];
        expected.sort();
        assert_eq!(prices(&shop, "SKU-005").await, expected);
        assert_eq!(prices(&shop, "SKU-006").await, [usd]);
    }

    let new = product(3, "NEW 1/A", "A \"new\" thing", "active");
    for _ in 0..2 {
        assert_eq!(
            deliver(&channel, std::slice::from_ref(&new)).await,
            "applied"
        );
    }
    let found = variant(&shop, "NEW%201%2FA").await;
    assert_eq!(
        (&found["product"]["title"], &found["product"]["status"]),
        (&json!("A \"new\" thing"), &json!("published")),
        "{found}"
    );
    // What was made has stock and a price like everything else.
    let events = [stock(4, "NEW 1/A", "WEST", 7), price(5, "NEW 1/A", "3")];
    assert_eq!(deliver(&channel, &events).await, "applied applied");
    assert_eq!(shop.stock("NEW%201%2FA", "WEST").await, Some(5));
    assert_eq!(prices(&shop, "NEW%201%2FA").await, ["usd 3 null false"]);
    let old = product(6, "NEW 1/A", "An old thing", "discontinued");
    assert_eq!(deliver(&channel, &[old]).await, "applied");
    let found = variant(&shop, "NEW%201%2FA").await;
    assert_eq!(
        (&found["product"]["title"], &found["product"]["status"]),
        (&json!("An old thing"), &json!("draft")),
        "{found}"
    );
    let gone = gone(&product(7, "SKU-008", "", "active"));
    assert_eq!(deliver(&channel, &[gone]).await, "applied");
    let found = variant(&shop, "SKU-008").await;
    assert_eq!(found["product"]["status"], "draft", "{found}");

    // Of several variants one is renamed, and their product stays as it is.
    let kind = |name: &str| json!({"title": name, "sku": format!("TWO-{name}"), "prices": [], "options": {"kind": name}});
    let two = json!({"title": "Two", "status": "published", "options": [{"title": "kind", "values": ["a", "b"]}],
        "variants": [kind("a"), kind("b")]});
    shop.post("/admin/products", two).await;
    let events = [product(8, "TWO-a", "First", "blocked")];
    assert_eq!(deliver(&channel, &events).await, "applied");
    for (sku, title) in [("TWO-a", "First"), ("TWO-b", "b")] {
        let found = variant(&shop, sku).await;
        let product = (&found["product"]["title"], &found["product"]["status"]);
        assert_eq!(product, (&json!("Two"), &json!("published")), "{found}");
        assert_eq!(found["title"], title, "{found}");
    }
}

#[tokio::test]
async fn orders_are_shipped_once_and_cancelled() {
    let Some(shop) = Medusa::start().await else {
        return;
    };
    let channel = destination_of(&shop).await;
    assert_eq!(
        deliver(&channel, &[stock(1, "SKU-010", "MAIN", 22)]).await,
        "applied"
    );
    let number = shop.place_order("SKU-010", 3).await;
    let shipment = |n, status: &str, id: &str, order: u64, qty: &str| {
        let body = json!({"status": status, "order_refs": [], "channel_order_refs": [order.to_string()], "ship_from": "MAIN", "tracking": ["1Z999"],
            "drop_ship": false, "lines": [{"sku": "SKU-010", "qty": qty, "uom": "EA"}]});
        let key = json!({"company": "C", "shipment_id": id});
        event(n, EventType::Shipment, EventOp::Upsert, key, body)
    };
    for n in 2..=3 {
        let events = [shipment(n, "shipped", "S-1", number, "2")];
        assert_eq!(deliver(&channel, &events).await, "applied");
    }
    let found = shop.order(number).await;
    let of = |order: &Json| order["fulfillments"].as_array().unwrap().clone();
    assert_eq!(of(&found).len(), 1, "once: {found}");
    let first = &of(&found)[0];
    assert_eq!(first["items"][0]["quantity"], 2, "{first}");
    assert_eq!(first["labels"][0]["tracking_number"], "1Z999", "{first}");
    assert!(first["shipped_at"].is_string(), "{first}");
    assert!(first["delivered_at"].is_null(), "{first}");
    for n in 4..=5 {
        let events = [shipment(n, "delivered", "S-1", number, "2")];
        assert_eq!(deliver(&channel, &events).await, "applied");
    }
    // The rest of the order, and more than there is of it.
    let events = [shipment(6, "delivered", "S-2", number, "1")];
    assert_eq!(deliver(&channel, &events).await, "applied");
    let events = [shipment(7, "shipped", "S-3", number, "1")];
    assert_eq!(deliver(&channel, &events).await, "rejected");
    // What has left is not called back.
    let events = [shipment(8, "voided", "S-1", number, "2")];
    assert_eq!(deliver(&channel, &events).await, "rejected");
    let found = of(&shop.order(number).await);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found.iter().all(|one| one["delivered_at"].is_string()),
        "{found:?}"
    );

    let number = shop.place_order("SKU-010", 1).await;
    let cancelled = |n, order: &str| {
        let body =
            json!({"channel_order_id": order, "document_kind": "order", "lifecycle": "cancelled"});
        let key = json!({"company": "C", "order_id": "1"});
        event(n, EventType::Order, EventOp::Upsert, key, body)
    };
    for n in 9..=10 {
        let events = [cancelled(n, &number.to_string())];
        assert_eq!(deliver(&channel, &events).await, "applied");
        assert_eq!(channel.compare(&events, &Open).await, [Compared::Same]);
    }
    assert_eq!(shop.order(number).await["status"], "canceled");
    assert_eq!(
        deliver(&channel, &[cancelled(11, "999999")]).await,
        "missing"
    );
}

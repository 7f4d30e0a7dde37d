//! The channel `tryton` against a real Tryton, judged by what it says itself.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use crate::common::*;
use contract::gate::Open;
use contract::{Compared, EventOp, EventType, Level, Node, NodeKind, Outgoing};
use harness::channels::Tryton;
use serde_json::{Value as Json, json};

async fn settings(erp: &Tryton) -> Node {
    let id = |json: &Json| Node {
        line: 1,
        column: 1,
        kind: NodeKind::Number(json.to_string()),
    };
    let storage = erp.storage().await.to_string();
    let units = erp
        .search("product.uom", json!([["symbol", "=", "u"]]))
        .await;
    map([
        ("url", text(&format!("{}/{}", erp.url(), Tryton::DATABASE))),
        ("user", text(Tryton::ADMIN)),
        ("password", text(Tryton::ADMIN)),
        ("company", id(&erp.company().await)),
        ("unit", id(&units[0])),
        ("locations", map([("MAIN", text(&storage))])),
        ("units", map([("EA", text(&units[0].to_string()))])),
    ])
}

fn price(n: u32, sku: &str, amount: &str) -> Outgoing {
    let key = json!({"company": "C", "sku": sku, "price_list": "", "uom": "u", "min_qty": "", "currency": "USD", "valid_from": "", "customer_id": ""});
    event(
        n,
        EventType::Price,
        EventOp::Upsert,
        key,
        json!({"amount": {"amount": amount, "currency": "USD"}, "per_qty": "1", "kind": "list"}),
    )
}

#[tokio::test]
async fn counts_prices_and_products_are_what_the_erp_says() {
    let erp = Tryton::start();
    let channel = destination(&map([
        ("channel", text("tryton")),
        ("settings", settings(&erp).await),
    ]));
    let findings = channel.check().await;
    assert_eq!(findings[0].level, Level::Pass, "{findings:?}");
    let events = [
        stock(1, "P-001", "MAIN", 12),
        stock(2, "P-NOT-THERE", "MAIN", 1),
        stock(3, "P-002", "MAIN", 7),
    ];
    let outcomes = channel.deliver(&events, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied missing applied", "{outcomes:?}");
    let outcomes = channel
        .deliver(&[stock(4, "P-001", "MAIN", 3)], &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    assert_eq!((erp.stock("P-001").await, erp.stock("P-002").await), (3, 7));
    // What somebody counted there is in the list as well.
    erp.set_stock("P-004", 9).await;
    let (all, pages) = listed(&channel, EventType::InventoryAvailability).await;
    let called = channel.called(&events);
    assert_eq!(called[0].as_deref(), Some("P-001"));
    for (sku, wanted) in [("P-001", 3), ("P-002", 7), ("P-004", 9)] {
        let holds = all
            .get(sku)
            .map(|holds| holds.trim_end_matches(".0").to_owned());
        assert_eq!(holds, Some(format!("quantity {wanted}")), "{all:?}");
    }
    assert!(pages > 1 && !all.contains_key("P-005"), "{pages} {all:?}");

    let one = price(5, "P-003", "19.95");
    let outcomes = channel
        .deliver(std::slice::from_ref(&one), &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    assert_eq!(
        erp.product("P-003").await["list_price_used"]["decimal"],
        "19.95"
    );
    assert_eq!(channel.compare(&[one], &Open).await, [Compared::Same]);

    let product = |n, name: &str| {
        event(
            n,
            EventType::Product,
            EventOp::Upsert,
            json!({"company": "C", "sku": "NEW-1"}),
            json!({"name": name, "kind": "stocked", "status": "active"}),
        )
    };
    for (n, name) in [(6, "First"), (7, "Second")] {
        let outcomes = channel.deliver(&[product(n, name)], &Open).await.outcomes();
        assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
        assert!(
            erp.product("NEW-1").await["name"]
                .as_str()
                .unwrap()
                .contains(name)
        );
    }
    let gone = event(
        8,
        EventType::Product,
        EventOp::Delete,
        json!({"company": "C", "sku": "NEW-1"}),
        Json::Null,
    );
    assert_eq!(
        words(&channel.deliver(&[gone], &Open).await.outcomes()),
        "applied"
    );
    assert_eq!(erp.product("NEW-1").await, Json::Null);
    // When the ERP has it again, it is the same one.
    let outcomes = channel
        .deliver(&[product(9, "Third")], &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    let all = json!([["code", "=", "NEW-1"], ["active", "in", [true, false]]]);
    let found = erp.search("product.product", all).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let found = erp.product("NEW-1").await;
    assert!(found["name"].as_str().unwrap().contains("Third"), "{found}");
}

#[tokio::test]
async fn what_somebody_changed_meanwhile_is_read_again() {
    let erp = Tryton::start();
    // With look-ups that are remembered, the second write comes with what was seen before the first.
    let (_, file) = mappings::channel::shipped("tryton").unwrap();
    let (head, rest) = file.split_once("  price.v1:").unwrap();
    let remembered = rest.replacen(
        "missing: missing\n          says",
        "missing: missing\n          cache: 1h\n          says",
        1,
    );
    let channel = of_file(
        &format!("{head}  price.v1:{remembered}"),
        vec![("settings", settings(&erp).await)],
    );
    let gate = Watched::default();
    assert_eq!(
        words(
            &channel
                .deliver(&[price(1, "P-004", "11")], &gate)
                .await
                .outcomes()
        ),
        "applied"
    );
    let template = erp.product("P-004").await["template"].clone();
    erp.call(
        "product.template",
        "write",
        json!([[template], {"name": "Somebody else's"}]),
    )
    .await;
    let before = gate.passed.lock().unwrap().len();
    let outcomes = channel
        .deliver(&[price(2, "P-004", "12")], &gate)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    assert_eq!(
        erp.product("P-004").await["list_price_used"]["decimal"],
        "12"
    );
    assert_eq!(
        gate.passed.lock().unwrap().len() - before,
        3,
        "refused as stale, read again, written"
    );
}

fn order(n: u32, number: &str, skus: &[(&str, &str)], more: Json) -> Outgoing {
    let line = |(sku, qty): &(&str, &str)| {
        json!({"line_id": sku, "sku": sku, "uom": "EA", "qty_ordered": qty, "qty_cancelled": "0",
            "unit_price": {"amount": "12.34", "currency": "USD"}})
    };
    let lines: Vec<Json> = skus.iter().map(line).collect();
    let mut body = json!({"order_number": number, "document_kind": "order", "customer_id": "C-1", "currency": "USD",
        "ordered_on": "2026-11-20", "lifecycle": "open", "lines": lines});
    let Json::Object(more) = more else {
        panic!("{more}")
    };
    body.as_object_mut().unwrap().extend(more);
    let key = json!({"company": "C", "order_id": number});
    event(n, EventType::Order, EventOp::Upsert, key, body)
}

fn shipment(n: u32, number: &str, order: &str, skus: &[(&str, &str)]) -> Outgoing {
    let line = |(sku, qty): &(&str, &str)| json!({"sku": sku, "uom": "EA", "qty": qty});
    let lines: Vec<Json> = skus.iter().map(line).collect();
    let body = json!({"status": "shipped", "order_refs": [order], "ship_from": "MAIN", "drop_ship": false, "lines": lines});
    let key = json!({"company": "C", "shipment_id": number});
    event(n, EventType::Shipment, EventOp::Upsert, key, body)
}

#[tokio::test]
async fn orders_are_sold_once_and_their_goods_leave_once() {
    let erp = Tryton::start();
    let channel = destination(&map([
        ("channel", text("tryton")),
        ("settings", settings(&erp).await),
    ]));
    let told = async |event: Outgoing| {
        let outcome = channel.deliver(&[event], &Open).await.outcomes().remove(0);
        (word(&outcome), format!("{outcome:?}"))
    };
    let goods = [("P-010", "2"), ("P-011", "3")];
    for n in 1..=2 {
        let (what, why) = told(order(n, "O-1", &goods, json!({}))).await;
        assert_eq!(what, "applied", "{why}");
    }
    let sale = erp.sale("O-1").await;
    assert_eq!(sale["state"], "processing", "{sale}");
    assert_eq!(sale["lines"].as_array().unwrap().len(), 2, "{sale}");
    let shipments = sale["shipments"].as_array().unwrap().clone();
    assert_eq!(shipments.len(), 1, "{sale}");

    // Other goods than Tryton waits to send are a person's to decide.
    let (what, why) = told(shipment(3, "S-1", "O-1", &goods[..1])).await;
    assert_eq!(what, "rejected");
    assert!(why.contains("just these goods"), "{why}");
    for n in 4..=5 {
        let (what, why) = told(shipment(n, "S-1", "O-1", &goods)).await;
        assert_eq!(what, "applied", "{why}");
    }
    let fields = ["state", "reference"];
    let left = erp
        .find(
            "stock.shipment.out",
            json!([["reference", "=", "S-1"]]),
            &fields,
        )
        .await;
    assert_eq!(left["state"], "done", "{left}");
    assert_eq!(erp.stock("P-010").await, -2, "once");
    let (what, why) = told(shipment(6, "S-2", "O-1", &goods)).await;
    assert_eq!(what, "rejected", "they have left already: {why}");
    assert_eq!(
        told(shipment(7, "S-3", "NO-ORDER", &goods)).await.0,
        "missing"
    );

    // What the ERP has stopped waits as a quotation, and may be cancelled.
    let stopped = json!({"hold": {"held": true}});
    assert_eq!(told(order(8, "O-2", &goods, stopped)).await.0, "applied");
    assert_eq!(erp.sale("O-2").await["state"], "quotation");
    let off = json!({"lifecycle": "cancelled"});
    assert_eq!(
        told(order(9, "O-2", &goods, off.clone())).await.0,
        "applied"
    );
    assert_eq!(erp.sale("O-2").await["state"], "cancelled");
    let (what, why) = told(order(10, "O-1", &goods, off.clone())).await;
    assert_eq!(what, "rejected");
    assert!(why.contains("on its way"), "{why}");
    assert_eq!(told(order(11, "O-NEVER", &goods, off)).await.0, "applied");
    assert_eq!(erp.sale("O-NEVER").await, Json::Null);

    // Nothing is guessed.
    for (more, part) in [
        (json!({"customer_id": "C-NONE"}), "no party of this code"),
        (json!({"currency": "EUR"}), "another currency"),
        (json!({"lines": []}), "no lines"),
    ] {
        let (_, why) = told(order(12, "O-3", &goods, more)).await;
        assert!(why.contains(part), "{part}: {why}");
    }
    let (what, why) = told(order(13, "O-3", &[("P-NOT-THERE", "1")], json!({}))).await;
    assert_eq!(what, "rejected", "{why}");
    assert_eq!(erp.sale("O-3").await, Json::Null);
}

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

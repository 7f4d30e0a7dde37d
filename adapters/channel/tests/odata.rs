//! The channel `odata-v4` against SAP CAP's OData server, judged by what it says itself.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use crate::common::*;
use contract::gate::Open;
use contract::{Compared, Destination, EventOp, EventType, Level, Node, Outgoing};
use harness::channels::Cap;
use serde_json::{Value as Json, json};

fn settings(erp: &Cap) -> Node {
    let locations = map([("MAIN", text("EAST")), ("NEW", text("NORTH"))]);
    let statuses = map([("open", text("released")), ("closed", text("lost"))]);
    map([
        ("url", text(&erp.url())),
        ("user", text(Cap::USER)),
        ("password", text(Cap::PASSWORD)),
        ("locations", locations),
        ("statuses", statuses),
    ])
}

fn destination_of(erp: &Cap) -> Arc<dyn Destination> {
    destination(&map([
        ("channel", text("odata-v4")),
        ("settings", settings(erp)),
    ]))
}

fn order(n: u32, number: &str, lifecycle: &str) -> Outgoing {
    let key = json!({"company": "C", "order_id": number});
    event(
        n,
        EventType::Order,
        EventOp::Upsert,
        key,
        json!({"channel_order_id": number, "document_kind": "order", "lifecycle": lifecycle}),
    )
}

#[tokio::test]
async fn what_is_there_is_changed_by_its_etag_and_what_is_not_is_made() {
    let erp = Cap::start();
    let channel = destination_of(&erp);
    assert_eq!(
        channel.check().await[0].level,
        Level::Pass,
        "{:?}",
        channel.check().await
    );
    let events = [stock(1, "P-001", "MAIN", 5), stock(2, "P-001", "NEW", 7)];
    for event in &events {
        let outcomes = channel
            .deliver(std::slice::from_ref(event), &Open)
            .await
            .outcomes();
        assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    }
    assert_eq!(erp.stock("P-001", "EAST").await["quantity"], json!(5));
    assert_eq!(erp.stock("P-001", "NORTH").await["quantity"], json!(7));
    assert_eq!(
        channel.compare(&events, &Open).await,
        [Compared::Same, Compared::Same]
    );

    let key = json!({"company": "C", "sku": "O'Brien & Co"});
    let product = event(
        3,
        EventType::Product,
        EventOp::Upsert,
        key,
        json!({"name": "A \"new\" one", "status": "active"}),
    );
    let outcomes = channel
        .deliver(std::slice::from_ref(&product), &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    assert_eq!(
        erp.get("Products('O''Brien%20&%20Co')").await["name"],
        "A \"new\" one"
    );
}

#[tokio::test]
async fn a_stale_etag_is_read_again() {
    let erp = Cap::start();
    // With look-ups that are remembered, the second write comes with the first one's ETag.
    let (_, file) = mappings::channel::shipped("odata-v4").unwrap();
    let file = file.replacen(
        "missing: continue",
        "missing: continue\n          cache: 1h",
        1,
    );
    let channel = of_file(&file, vec![("settings", settings(&erp))]);
    let gate = Watched::default();
    for (n, quantity) in [(1, 5), (2, 6)] {
        let outcomes = channel
            .deliver(&[stock(n, "P-002", "MAIN", quantity)], &gate)
            .await
            .outcomes();
        assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    }
    assert_eq!(erp.stock("P-002", "EAST").await["quantity"], json!(6));
    assert_eq!(
        gate.passed.lock().unwrap().len(),
        5,
        "read, written; refused, read again, written"
    );
}

#[tokio::test]
async fn one_order_that_is_refused_undoes_its_group_and_is_found() {
    let erp = Cap::start();
    for number in ["A", "B", "C"] {
        let body: Json = json!({"number": number, "status": "open"});
        erp.ask(reqwest::Method::POST, "Orders", Some(body)).await;
    }
    let channel = destination_of(&erp);
    let events = [
        order(1, "A", "open"),
        order(2, "B", "closed"),
        order(3, "C", "open"),
        order(4, "NOT-THERE", "open"),
    ];
    let outcomes = channel.deliver(&events, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied rejected applied missing",
        "{outcomes:?}"
    );
    for (number, status) in [("A", "released"), ("B", "open"), ("C", "released")] {
        assert_eq!(erp.order(number).await["status"], status, "{number}");
    }
}

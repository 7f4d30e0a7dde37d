//! The channel `vendure` against a real Vendure, judged by what its own API says.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};

use crate::common::*;
use contract::gate::Open;
use contract::{Compared, Destination, EventOp, EventType, Level, Outgoing};
use harness::channels::Vendure;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the next request between us and the shop.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Next {
    Pass,
    /// The token is not known any more.
    Expire,
    /// It arrives, and its answer does not.
    Lose,
    /// The same with the first that holds this text; those before it pass.
    LoseAt(&'static str),
}

/// Something between us and the shop.
pub(crate) struct Between {
    pub(crate) url: String,
    next: Arc<Mutex<Next>>,
}

impl Between {
    pub(crate) async fn start(shop: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let next = Arc::new(Mutex::new(Next::Pass));
        let (shop, told) = (
            shop.strip_prefix("http://").unwrap().to_owned(),
            Arc::clone(&next),
        );
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, shop.clone(), Arc::clone(&told)));
            }
        });
        Self { url, next }
    }

    pub(crate) fn next(&self, next: Next) {
        *self.next.lock().unwrap() = next;
    }
}

async fn carry(mut client: TcpStream, shop: String, next: Arc<Mutex<Next>>) {
    let mut read = Vec::new();
    let request = loop {
        if let Some((request, _)) = parse(&read) {
            break request;
        }
        let mut part = [0; 4096];
        match client.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(n) => read.extend_from_slice(&part[..n]),
        }
    };
    let now = {
        let mut next = next.lock().unwrap();
        match *next {
            Next::LoseAt(part) if !request.text.contains(part) => Next::Pass,
            _ => std::mem::replace(&mut *next, Next::Pass),
        }
    };
    let mut head = format!(
        "{} {} HTTP/1.1\r\nconnection: close\r\n",
        request.method, request.path
    );
    for (name, value) in &request.headers {
        let value = if now == Next::Expire && name == "authorization" {
            "Bearer ended"
        } else {
            value
        };
        head.extend([name, ": ", value, "\r\n"]);
    }
    let mut server = TcpStream::connect(shop).await.unwrap();
    server
        .write_all(format!("{head}\r\n{}", request.text).as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.unwrap();
    if !matches!(now, Next::Lose | Next::LoseAt(_)) {
        let _ = client.write_all(&answer).await;
    }
}

pub(crate) async fn destination_of(shop: &Vendure, url: &str) -> Arc<dyn Destination> {
    let (east, west) = (shop.location("EAST").await, shop.location("WEST").await);
    let locations = map([
        ("MAIN", text(&east)),
        ("WEST", text(&west)),
        ("GONE", text("999")),
    ]);
    let settings = map([
        ("url", text(url)),
        ("user", text(Vendure::ADMIN)),
        ("password", text(Vendure::ADMIN)),
        ("locations", locations),
        ("buffer", number(2)),
    ]);
    destination(&map([("channel", text("vendure")), ("settings", settings)]))
}

fn price(n: u32, sku: &str, amount: &str) -> Outgoing {
    let key = json!({"company": "C", "sku": sku, "price_list": "", "uom": "EA", "min_qty": "1", "currency": "EUR", "valid_from": "", "customer_id": ""});
    let body = json!({"amount": {"amount": amount, "currency": "EUR"}, "per_qty": "1", "kind": "net", "tax_included": false, "computed": false});
    event(n, EventType::Price, EventOp::Upsert, key, body)
}

pub(crate) fn product(n: u32, sku: &str, name: &str, status: &str) -> Outgoing {
    let body = json!({"name": name, "stock_uom": "EA", "kind": "stocked", "status": status});
    event(
        n,
        EventType::Product,
        EventOp::Upsert,
        json!({"company": "C", "sku": sku}),
        body,
    )
}

#[tokio::test]
async fn stock_prices_and_products_are_what_the_erp_says() {
    let shop = Vendure::start();
    let channel = destination_of(&shop, &shop.url()).await;
    let findings = channel.check().await;
    assert_eq!(findings[0].level, Level::Pass, "{findings:?}");

    // One SKU that the shop does not have, and a location that it does not have, in one batch.
    let events = [
        stock(1, "SKU-001", "MAIN", 12),
        stock(2, "SKU-001", "WEST", 1),
        stock(3, "SKU-NOT-THERE", "MAIN", 5),
        stock(4, "SKU-002", "GONE", 5),
        stock(5, "SKU-003", "MAIN", 7),
        stock(6, "SKU-004", "NOWHERE", 7),
    ];
    let gate = Watched::default();
    let outcomes = channel.deliver(&events, &gate).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied applied missing rejected applied rejected",
        "{outcomes:?}"
    );
    assert_eq!(shop.stock("SKU-001", "EAST").await, 10);
    assert_eq!(
        shop.stock("SKU-001", "WEST").await,
        0,
        "less than what is kept back"
    );
    assert_eq!(shop.stock("SKU-003", "EAST").await, 5);
    let compared = channel.compare(&events[..1], &Open).await;
    assert_eq!(compared, [Compared::Same]);
    shop.set_stock("SKU-001", "EAST", 3).await;
    let compared = channel.compare(&events[..1], &Open).await;
    assert_eq!(
        compared,
        [Compared::Differs {
            holds: "quantity 3".to_owned(),
            would: "quantity 10".to_owned()
        }]
    );
    // All that is there, as what was told is called; what has nothing is not in it.
    let (all, pages) = listed(&channel, EventType::InventoryAvailability).await;
    let called = channel.called(&events[..3]);
    let names: Vec<&str> = called.iter().flatten().map(String::as_str).collect();
    assert_eq!(
        (all.get(names[0]).map(String::as_str), all.get(names[1])),
        (Some("quantity 3"), None),
        "{names:?} {all:?}"
    );
    assert!(pages > 1 && all.len() == 2, "{pages} {all:?}");

    let outcomes = channel.deliver(&[gone(&events[0])], &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied");
    assert_eq!(shop.stock("SKU-001", "EAST").await, 0);

    let outcomes = channel
        .deliver(
            &[price(7, "SKU-005", "19.99"), price(8, "SKU-006", "0.105")],
            &Open,
        )
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied applied");
    assert_eq!(
        (shop.price("SKU-005").await, shop.price("SKU-006").await),
        (1_999, 11)
    );

    assert_eq!(
        words(
            &channel
                .deliver(&[gone(&product(11, "SKU-007", "", "active"))], &Open)
                .await
                .outcomes()
        ),
        "applied"
    );
    assert_eq!(shop.variant("SKU-007").await["enabled"], json!(false));
}

#[tokio::test]
async fn one_bad_sku_in_an_atomic_batch_stops_only_itself() {
    let shop = Vendure::start();
    let channel = destination_of(&shop, &shop.url()).await;
    let all: Vec<Outgoing> = (1..=64)
        .map(|n| stock(n, &format!("SKU-{n:03}"), "MAIN", 40))
        .collect();
    assert_eq!(
        words(&channel.deliver(&all, &Open).await.outcomes()),
        ["applied"; 64].join(" ")
    );
    // Its id is still known when somebody in the shop takes it out.
    let id = shop.variant("SKU-037").await["id"].clone();
    shop.data(
        "mutation ($id: ID!) { deleteProductVariant(id: $id) { result } }",
        json!({"id": id}),
    )
    .await;
    let all: Vec<Outgoing> = (1..=64)
        .map(|n| stock(n, &format!("SKU-{n:03}"), "MAIN", 50))
        .collect();
    let gate = Watched::default();
    let outcomes = channel.deliver(&all, &gate).await.outcomes();
    for (n, outcome) in (1..).zip(&outcomes) {
        let sku = format!("SKU-{n:03}");
        if n == 37 {
            assert_eq!(word(outcome), "rejected", "{outcome:?}");
            assert!(
                cause(outcome).contains("ProductVariant"),
                "the shop's own words: {}",
                cause(outcome)
            );
        } else {
            assert_eq!(word(outcome), "applied", "{sku}: {outcome:?}");
            assert_eq!(shop.stock(&sku, "EAST").await, 48, "{sku}");
        }
    }
    let requests = gate.passed.lock().unwrap().len();
    assert!(
        requests <= 13,
        "halving takes 2 log2(64) + 1 requests, not {requests}"
    );
    // Looked up anew, it is not there.
    let outcomes = channel.deliver(&all[36..37], &Open).await.outcomes();
    assert_eq!(words(&outcomes), "missing", "{outcomes:?}");
}

#[tokio::test]
async fn a_session_that_has_ended_is_renewed_and_a_lost_answer_is_unknown() {
    let shop = Vendure::start();
    let between = Between::start(&shop.url()).await;
    let channel = destination_of(&shop, &between.url).await;
    assert_eq!(
        words(
            &channel
                .deliver(&[stock(1, "SKU-002", "MAIN", 5)], &Open)
                .await
                .outcomes()
        ),
        "applied"
    );
    // The shop does not know the token any more.
    between.next(Next::Expire);
    let gate = Watched::default();
    let outcomes = channel
        .deliver(&[stock(2, "SKU-002", "MAIN", 32)], &gate)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    assert_eq!(shop.stock("SKU-002", "EAST").await, 30);
    assert_eq!(
        gate.passed.lock().unwrap().len(),
        3,
        "refused, logged in, sent again"
    );

    // The shop takes it, and the answer is lost on the way.
    between.next(Next::Lose);
    let event = stock(5, "SKU-002", "MAIN", 9);
    let outcomes = channel
        .deliver(std::slice::from_ref(&event), &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "unknown", "{outcomes:?}");
    assert_eq!(shop.stock("SKU-002", "EAST").await, 7, "it was taken");
    let outcomes = channel
        .verify(std::slice::from_ref(&event), &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    // And twice is the same as once.
    assert_eq!(
        words(
            &channel
                .deliver(std::slice::from_ref(&event), &Open)
                .await
                .outcomes()
        ),
        "applied"
    );
    assert_eq!(shop.stock("SKU-002", "EAST").await, 7);
}

#[tokio::test]
async fn orders_are_shipped_once_and_cancelled() {
    let shop = Vendure::start();
    let channel = destination_of(&shop, &shop.url()).await;
    shop.set_stock("SKU-010", "EAST", 20).await;
    let order = shop.place_order("SKU-010", 2).await;
    let code = shop.order(&order).await["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let shipment = |n, status: &str, code: &str, number: &str| {
        let body = json!({"status": status, "order_refs": [], "channel_order_refs": [code], "ship_from": "MAIN", "tracking": [number], "drop_ship": false,
            "lines": [{"sku": "SKU-010", "qty": "2", "uom": "EA"}]});
        event(
            n,
            EventType::Shipment,
            EventOp::Upsert,
            json!({"company": "C", "shipment_id": "S-1"}),
            body,
        )
    };
    for n in 1..=2 {
        let outcomes = channel
            .deliver(&[shipment(n, "shipped", &code, "1Z999")], &Open)
            .await
            .outcomes();
        assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    }
    let found = shop.order(&order).await;
    assert_eq!(found["state"], "Shipped", "{found}");
    assert_eq!(
        found["fulfillments"].as_array().unwrap().len(),
        1,
        "once: {found}"
    );
    assert_eq!(found["fulfillments"][0]["trackingCode"], "1Z999");
    // Another number cannot be told, and is not passed over.
    for (n, number, told) in [(3, "1Z000", "rejected"), (4, "1Z999", "applied")] {
        let events = [shipment(n, "delivered", &code, number)];
        let outcomes = channel.deliver(&events, &Open).await.outcomes();
        assert_eq!(words(&outcomes), told, "{outcomes:?}");
        assert_eq!(shop.order(&order).await["state"], "Delivered");
    }

    // What was taken back, and leaves again.
    let order = shop.place_order("SKU-010", 2).await;
    let code = shop.order(&order).await["code"]
        .as_str()
        .unwrap()
        .to_owned();
    for (n, status, told) in [
        (5, "shipped", "applied"),
        (6, "voided", "applied"),
        (7, "shipped", "rejected"),
    ] {
        let events = [shipment(n, status, &code, "1Z999")];
        let outcomes = channel.deliver(&events, &Open).await.outcomes();
        assert_eq!(words(&outcomes), told, "{status}: {outcomes:?}");
    }

    let order = shop.place_order("SKU-010", 1).await;
    let code = shop.order(&order).await["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let cancelled = |n, code: &str| {
        event(
            n,
            EventType::Order,
            EventOp::Upsert,
            json!({"company": "C", "order_id": "1"}),
            json!({"channel_order_id": code, "document_kind": "order", "lifecycle": "cancelled"}),
        )
    };
    for n in 8..=9 {
        let outcomes = channel
            .deliver(&[cancelled(n, &code)], &Open)
            .await
            .outcomes();
        assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    }
    assert_eq!(shop.order(&order).await["state"], "Cancelled");
    let outcomes = channel
        .deliver(&[cancelled(10, "NO-SUCH-ORDER")], &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "missing");
}

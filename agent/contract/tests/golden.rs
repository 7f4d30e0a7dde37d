//! Events in their JSON form, byte for byte. Set `BLESS=1` to write the files anew.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;

use contract::body::availability;
use contract::{
    Body, Envelope, Event, EventKey, EventOp, EventType, FieldValue, LogPos, MappingRef, Origin,
    Position,
};

fn envelope(event_type: EventType, key: Vec<(&'static str, &str)>, op: EventOp) -> Envelope {
    Envelope {
        tenant: Arc::from("acme"),
        source: Arc::from("erp"),
        event_type,
        key: EventKey::new(key.into_iter().map(|(n, v)| (n, v.to_owned())).collect()),
        version: Position {
            epoch: 1,
            pos: LogPos::from_number(0x016B_3748),
            seq: 3,
        },
        op,
        origin: Origin::Live,
        occurred_at: "2026-11-20T08:15:00.25Z".parse().unwrap(),
        occurred_at_exact: true,
        read_at: "2026-11-20T08:15:00.75Z".parse().unwrap(),
        transaction: 4711,
        mapping: Arc::new(MappingRef {
            pack: "demo".to_owned(),
            version: "1.0.0".to_owned(),
            digest: "00112233445566778899aabbccddeeff".to_owned(),
            rule: "stock".to_owned(),
        }),
        fact_key: None,
        reason: None,
        renamed_from: None,
        warnings: Vec::new(),
    }
}

fn text(value: &str) -> FieldValue {
    FieldValue::Text(value.to_owned())
}

fn number(value: &str) -> FieldValue {
    FieldValue::Decimal(value.parse().unwrap())
}

fn availability_event() -> Event {
    let mut body = Body::new(EventType::InventoryAvailability.schema());
    body.set("uom", text("EA")).unwrap();
    body.set("on_hand", number("80.0000")).unwrap();
    body.set("allocated", number("29.5")).unwrap();
    body.set("safety_stock", number("1")).unwrap();
    body.set("active", FieldValue::Bool(true)).unwrap();
    availability::derive(&mut body).unwrap();
    body.complete().unwrap();
    let key = vec![("company", "ACME"), ("sku", "A|1"), ("location", "MAIN")];
    Event::new(
        envelope(EventType::InventoryAvailability, key, EventOp::Upsert),
        Some(body),
    )
}

fn movement_event() -> Event {
    let mut body = Body::new(EventType::InventoryMovement.schema());
    body.set("kind", text("shipment")).unwrap();
    body.set("sku", text("A1")).unwrap();
    body.set("location", text("MAIN")).unwrap();
    body.set("uom", text("EA")).unwrap();
    body.set("quantity", number("-2.000")).unwrap();
    body.set("posted_on", FieldValue::Date("2026-11-20".parse().unwrap()))
        .unwrap();
    body.complete().unwrap();
    let key = vec![("company", "ACME"), ("movement_id", "12")];
    let mut envelope = envelope(EventType::InventoryMovement, key, EventOp::Fact);
    envelope.fact_key = Some("ACME/main.movement/12".to_owned());
    Event::new(envelope, Some(body))
}

fn product_event() -> Event {
    let mut body = Body::new(EventType::Product.schema());
    body.set("name", text("Hex bolt \"M8\" ä")).unwrap();
    body.set("stock_uom", text("EA")).unwrap();
    body.set("kind", text("stocked")).unwrap();
    body.set("status", text("active")).unwrap();
    body.complete().unwrap();
    let key = vec![("company", "ACME"), ("sku", "A1")];
    Event::new(
        envelope(EventType::Product, key, EventOp::Upsert),
        Some(body),
    )
}

fn order_event() -> Event {
    let mut body = Body::new(EventType::Order.schema());
    body.set("order_number", text("SO-1")).unwrap();
    body.set("document_kind", text("order")).unwrap();
    body.set("customer_id", text("C1")).unwrap();
    body.set(
        "ordered_on",
        FieldValue::Date("2026-11-19".parse().unwrap()),
    )
    .unwrap();
    let total = FieldValue::Money {
        amount: "19.90".parse().unwrap(),
        currency: "EUR".to_owned(),
    };
    body.set("total", total).unwrap();
    body.set("lifecycle", text("open")).unwrap();
    body.set("fulfillment", text("none")).unwrap();
    body.set("has_backorder", FieldValue::Bool(false)).unwrap();
    body.set("source_status", text("O")).unwrap();
    body.set("archived", FieldValue::Bool(false)).unwrap();
    body.complete().unwrap();
    let key = vec![("company", "ACME"), ("order_id", "1")];
    Event::new(envelope(EventType::Order, key, EventOp::Upsert), Some(body))
}

fn tombstone_event() -> Event {
    let key = vec![("company", "ACME"), ("sku", "A1")];
    let mut envelope = envelope(EventType::Product, key, EventOp::Delete);
    envelope.reason = Some("hard_delete");
    Event::new(envelope, None)
}

fn check(name: &str, event: &Event) {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let json = format!("{}\n", event.json());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &json).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), json, "{path}");
    if let Some(body) = &event.body {
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        let read = Body::from_json(body.schema(), &parsed["body"]).unwrap();
        assert_eq!(read.json(), body.json(), "{name} reads back");
    }
}

#[test]
fn events_are_written_as_in_the_golden_files() {
    check("availability", &availability_event());
    check("movement", &movement_event());
    check("product", &product_event());
    check("order", &order_event());
    check("tombstone", &tombstone_event());
}

#[test]
fn id_depends_on_identity_only() {
    let event = product_event();
    let mut later = event.envelope.clone();
    later.read_at = "2027-01-01T00:00:00Z".parse().unwrap();
    later.origin = Origin::Replay;
    assert_eq!(Event::new(later, event.body.clone()).id, event.id);
    let mut newer = event.envelope.clone();
    newer.version.seq += 1;
    assert_ne!(Event::new(newer, event.body.clone()).id, event.id);
    let fact = movement_event();
    let mut reread = fact.envelope.clone();
    reread.version.epoch += 1;
    assert_eq!(
        Event::new(reread, fact.body.clone()).id,
        fact.id,
        "a re-snapshot repeats no fact"
    );
}

#[test]
fn what_does_not_fit_a_body_is_refused() {
    let mut body = Body::new(EventType::Product.schema());
    assert!(body.set("nmae", text("x")).is_err());
    assert!(body.set("name", number("1")).is_err());
    assert!(body.set("kind", text("thing")).is_err());
    assert_eq!(
        body.complete().unwrap_err().to_string(),
        "required field name is missing"
    );
}

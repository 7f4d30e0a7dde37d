//! Events, and an engine's plan, for the tests of delivery.
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, reason = "tests")]

pub mod shop;

use std::sync::Arc;

use contract::{
    Body, Decimal, Destination, Envelope, Event, EventKey, EventOp, EventType, FieldValue, LogPos,
    MappingRef, Origin, Position,
};
use engine::{DeliverySettings, DestinationPlan, Plan, RetryPolicy};
use jiff::Timestamp;
use state::{Item, Published, Retention};

/// No source, and one destination.
pub fn delivers_to(
    destination: Arc<dyn Destination>,
    retry: RetryPolicy,
    settings: DeliverySettings,
) -> Plan {
    Plan {
        tenant: "acme".to_owned(),
        sources: Vec::new(),
        destinations: vec![DestinationPlan {
            name: "shop".to_owned(),
            destination,
            event_types: Vec::new(),
            retry,
            settings,
        }],
        retention: Retention::default(),
        disk: None,
        meters: Arc::default(),
        chance: engine::Chance::default(),
    }
}

/// Stock of a SKU at the main place.
pub fn stock(n: u64, version: u64, available: i64) -> Item {
    let event_type = EventType::InventoryAvailability;
    let mut body = Body::new(event_type.schema());
    let number = |value: i64| FieldValue::Decimal(Decimal::from(value));
    for field in ["on_hand", "available", "atp", "sellable"] {
        body.set(field, number(available)).unwrap();
    }
    let names = event_type.schema().key.iter().copied();
    let parts = ["ACME".to_owned(), format!("S{n}"), "MAIN".to_owned()];
    let envelope = Envelope {
        tenant: Arc::from("acme"),
        source: Arc::from("erp"),
        event_type,
        key: EventKey::new(names.zip(parts).collect()),
        version: Position::border(1, LogPos::from_number(version)),
        op: EventOp::Upsert,
        origin: Origin::Live,
        occurred_at: Timestamp::UNIX_EPOCH,
        occurred_at_exact: true,
        read_at: Timestamp::UNIX_EPOCH,
        transaction: 0,
        mapping: Arc::new(MappingRef {
            pack: "p".to_owned(),
            version: "1".to_owned(),
            digest: "d".to_owned(),
            rule: "stock".to_owned(),
        }),
        fact_key: None,
        reason: None,
        renamed_from: None,
        warnings: Vec::new(),
    };
    Item::Event(Published {
        event: Event::new(envelope, Some(body)),
        row_key: n.to_string(),
        related: false,
        zero_first: false,
    })
}

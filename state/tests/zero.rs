//! Stock that ends tells zero first: a channel that ignores deletes must not go on selling.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use contract::delivery::DeliveryEvent;
use contract::{Answer, Body, Event, EventKey, EventOp, EventType, FieldValue, Outgoing};
use state::{Happened, Item, Published};

use crate::common::{NOW, World, envelope};

const TYPE: EventType = EventType::InventoryAvailability;

fn stock(version: u64, op: EventOp, on_hand: &str) -> Item {
    let mut envelope = envelope(TYPE, "A", version, op);
    let key = [("company", "ACME"), ("sku", "A"), ("location", "MAIN")];
    envelope.key = EventKey::new(key.map(|(name, part)| (name, part.to_owned())).to_vec());
    let body = (op == EventOp::Upsert).then(|| {
        let mut body = Body::new(TYPE.schema());
        let number = |text: &str| FieldValue::Decimal(text.parse().unwrap());
        body.set("uom", FieldValue::Text("EA".to_owned())).unwrap();
        body.set("on_hand", number(on_hand)).unwrap();
        body.set("allocated", number("0")).unwrap();
        body.set("active", FieldValue::Bool(true)).unwrap();
        contract::body::availability::derive(&mut body).unwrap();
        body
    });
    Item::Event(Published {
        event: Event::new(envelope, body),
        row_key: "A".to_owned(),
        related: false,
        zero_first: true,
    })
}

/// Everything that leaves, in order: operation, on hand and version.
async fn leaving(world: &World) -> Vec<(String, Option<String>, String)> {
    let mut all = Vec::new();
    let mut outcomes = Vec::new();
    loop {
        let picked = world.turn(std::mem::take(&mut outcomes), NOW).await;
        if picked.is_empty() {
            return all;
        }
        for outgoing in &picked {
            let json: serde_json::Value = serde_json::from_slice(&outgoing.json).unwrap();
            let on_hand = json["body"]["on_hand"].as_str().map(str::to_owned);
            all.push((json["op"].to_string(), on_hand, json["version"].to_string()));
        }
        let applied = |outgoing: &Outgoing| Happened {
            offset: outgoing.offset,
            event: DeliveryEvent::Applied,
            cause: None,
            answer: Some(Answer::default()),
        };
        outcomes = picked.iter().map(applied).collect();
    }
}

#[tokio::test]
async fn zero_goes_before_the_tombstone_and_nothing_supersedes_it() {
    let world = World::new().await;
    world.commit(vec![stock(1, EventOp::Upsert, "5")], 1).await;
    assert_eq!(leaving(&world).await.len(), 1);
    world
        .commit(
            vec![
                stock(2, EventOp::Delete, ""),
                stock(3, EventOp::Upsert, "7"),
            ],
            3,
        )
        .await;
    let left = leaving(&world).await;
    let told: Vec<(&str, Option<&str>)> = left
        .iter()
        .map(|(op, on_hand, _)| (op.as_str(), on_hand.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("\"upsert\"", Some("0")),
            ("\"delete\"", None),
            ("\"upsert\"", Some("7"))
        ]
    );
    let versions: Vec<&String> = left.iter().map(|(_, _, version)| version).collect();
    assert!(
        versions.is_sorted() && versions[0] != versions[1],
        "{versions:?}"
    );
}

#[tokio::test]
async fn what_was_zero_or_never_told_needs_no_zero() {
    let world = World::new().await;
    world.commit(vec![stock(1, EventOp::Delete, "")], 1).await;
    let told = leaving(&world).await;
    assert!(told.iter().all(|(op, ..)| op == "\"delete\""), "{told:?}");
}

//! What delivery must know of an event beside its lane: the number that says how much of it there
//! is, and what must be at the destination before it.

use contract::event::digest;
use contract::{Body, Decimal, EventKey, EventKind, EventType, FieldValue};

/// Facts have no code of their own: nothing is compared between them.
pub(crate) const FACT: i64 = 0;

/// A type as the store's tables hold it. Never changes.
pub(crate) fn code(event_type: EventType) -> i64 {
    match event_type {
        EventType::InventoryAvailability => 1,
        EventType::Product => 2,
        EventType::Price => 3,
        EventType::Customer => 4,
        EventType::Order => 5,
        EventType::Shipment => 6,
        EventType::Return => 7,
        EventType::PurchaseOrder => 8,
        EventType::InventoryMovement | EventType::PurchaseReceipt => FACT,
    }
}

/// State or fact.
pub(crate) fn kind(code: i64) -> EventKind {
    if code == FACT {
        EventKind::Fact
    } else {
        EventKind::State
    }
}

/// Whether others may need one of these.
pub(crate) fn is_needed(kind: i64) -> bool {
    [
        EventType::Product,
        EventType::Order,
        EventType::PurchaseOrder,
    ]
    .into_iter()
    .any(|needed| code(needed) == kind)
}

/// How much there is to sell, or what it costs; `None` where an event says neither.
pub(crate) fn measure(event_type: EventType, body: Option<&Body>) -> Option<Decimal> {
    let body = body?;
    match event_type {
        EventType::InventoryAvailability => body.decimal("available"),
        EventType::Price => {
            // A percentage or a factor is no price.
            let kind = match body.get("kind") {
                Some(FieldValue::Text(kind)) => kind.as_str(),
                _ => return None,
            };
            match body.get("amount") {
                Some(FieldValue::Money { amount, .. }) if matches!(kind, "list" | "net") => {
                    Some(*amount)
                }
                _ => None,
            }
        }
        EventType::InventoryMovement
        | EventType::Product
        | EventType::Customer
        | EventType::Order
        | EventType::Shipment
        | EventType::Return
        | EventType::PurchaseOrder
        | EventType::PurchaseReceipt => None,
    }
}

/// What must be at a destination before an event: types and keys. Nothing before a tombstone.
pub(crate) fn needs(
    event_type: EventType,
    key: &EventKey,
    body: Option<&Body>,
) -> Vec<(EventType, String)> {
    let Some(body) = body else {
        return Vec::new();
    };
    let of = |event_type: EventType, own: &str| {
        let company = key.fields().first().map_or("", |(_, company)| company);
        let names = event_type.schema().key.iter().copied();
        let parts = [company, own].map(str::to_owned);
        (event_type, EventKey::new(names.zip(parts).collect()).text())
    };
    let listed = |field: &str, event_type| match body.get(field) {
        Some(FieldValue::Texts(texts)) => texts.iter().map(|own| of(event_type, own)).collect(),
        Some(FieldValue::Text(own)) if !own.is_empty() => vec![of(event_type, own)],
        _ => Vec::new(),
    };
    match event_type {
        EventType::InventoryAvailability | EventType::Price => {
            let sku = key.fields().get(1);
            sku.map(|(_, sku)| vec![of(EventType::Product, sku)])
                .unwrap_or_default()
        }
        EventType::Shipment | EventType::Return => listed("order_refs", EventType::Order),
        EventType::PurchaseReceipt => listed("po_id", EventType::PurchaseOrder),
        EventType::InventoryMovement
        | EventType::Product
        | EventType::Customer
        | EventType::Order
        | EventType::PurchaseOrder => Vec::new(),
    }
}

/// A fact's lane: negative, so that it never meets a `published.id`. Two facts on one lane by
/// chance only wait for each other.
pub(crate) fn fact_lane(event_type: EventType, key: &str) -> i64 {
    let text = digest(&[event_type.name(), key]);
    let head = u64::from_str_radix(text.get(..15).unwrap_or("0"), 16).unwrap_or(0);
    -1 - i64::try_from(head).unwrap_or(0)
}

/// Whether a key is meant: it is this text, or one of its parts is.
pub(crate) fn is_meant(event_type: &str, key: &str, wanted: &str) -> bool {
    let parts = event_type
        .parse()
        .ok()
        .and_then(|known: EventType| EventKey::parse(known.schema(), key));
    key == wanted
        || parts.is_some_and(|parts| parts.fields().iter().any(|(_, part)| part == wanted))
}

/// A type in the business's words.
pub(crate) fn word(event_type: EventType) -> &'static str {
    match event_type {
        EventType::InventoryAvailability => "availability",
        EventType::InventoryMovement => "stock movement",
        EventType::Product => "product",
        EventType::Price => "price",
        EventType::Customer => "customer",
        EventType::Order => "order",
        EventType::Shipment => "shipment",
        EventType::Return => "return",
        EventType::PurchaseOrder => "purchase order",
        EventType::PurchaseReceipt => "purchase receipt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_code_of_its_own_and_facts_have_none() {
        let mut codes: Vec<i64> = EventType::ALL.into_iter().map(code).collect();
        for event_type in EventType::ALL {
            assert_eq!(kind(code(event_type)), event_type.kind());
        }
        codes.retain(|code| *code != FACT);
        codes.sort_unstable();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}

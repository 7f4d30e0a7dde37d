//! One made-up event of each type and what comes after it: for the documents and to test the
//! schemas with. They are built as the agent builds its own, so they cannot show what is not sent.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::body::{Body, BodyError, FieldValue, availability};
use crate::event::{
    Envelope, Event, EventKey, EventKind, EventOp, EventType, HARD_DELETE, MappingRef, Origin,
};
use crate::position::{LogPos, Position};

/// 2026-03-17T09:24:31.482Z.
const COMMITTED: Timestamp = Timestamp::constant(1_773_739_471, 482_000_000);

/// An event of the type: an upsert or a fact.
///
/// # Errors
/// Never, as long as the example fits its type; a test sees to that.
pub fn example(event_type: EventType) -> Result<Event, BodyError> {
    let op = match event_type.kind() {
        EventKind::State => EventOp::Upsert,
        EventKind::Fact => EventOp::Fact,
    };
    let body = body(event_type, &body_json(event_type))?;
    Ok(Event::new(envelope(event_type, op, 1), Some(body)))
}

/// What may come later for the same key: a tombstone, or the fact's correction.
///
/// # Errors
/// Never, as long as the example fits its type; a test sees to that.
pub fn later_example(event_type: EventType) -> Result<Event, BodyError> {
    if event_type.kind() == EventKind::State {
        let mut envelope = envelope(event_type, EventOp::Delete, 2);
        envelope.reason = Some(HARD_DELETE);
        return Ok(Event::new(envelope, None));
    }
    let mut body = body(event_type, &body_json(event_type))?;
    body.set("lot", FieldValue::Text("L2026-114".to_owned()))?;
    let mut envelope = envelope(event_type, EventOp::Correction, 2);
    envelope.warnings = vec!["the lot was changed after posting".to_owned()];
    Ok(Event::new(envelope, Some(body)))
}

/// The envelope of the `n`th event of the type's key.
fn envelope(event_type: EventType, op: EventOp, n: u32) -> Envelope {
    let occurred_at = COMMITTED + (i64::from(n) - 1).minutes();
    let key = key(event_type);
    let fact_key = (event_type.kind() == EventKind::Fact).then(|| {
        let row: Vec<&str> = key.iter().skip(1).map(|(_, text)| *text).collect();
        format!("NORTH/dbo.{}/{}", table(event_type), row.join("|"))
    });
    let key = key.into_iter().map(|(name, text)| (name, text.to_owned()));
    Envelope {
        tenant: Arc::from("north-fasteners"),
        source: Arc::from("erp"),
        event_type,
        key: EventKey::new(key.collect()),
        version: Position {
            epoch: 1,
            pos: LogPos::from_number(0x2_6F1A_3C00 + u64::from(n) * 0x1C8),
            seq: n,
        },
        op,
        origin: Origin::Live,
        occurred_at,
        occurred_at_exact: true,
        read_at: occurred_at + 310.milliseconds(),
        transaction: 88_213 + u64::from(n),
        mapping: Arc::new(MappingRef {
            pack: "my-erp".to_owned(),
            version: "1.4.0".to_owned(),
            digest: "5d0c1f7e9a3b48c2a6e1904d7b82f35c".to_owned(),
            rule: table(event_type).to_owned(),
        }),
        fact_key,
        reason: None,
        renamed_from: None,
        warnings: Vec::new(),
    }
}

fn body(event_type: EventType, json: &Value) -> Result<Body, BodyError> {
    let mut body = Body::from_json(event_type.schema(), json)?;
    if event_type == EventType::InventoryAvailability {
        // The quantities are small: there is nothing to overflow.
        let _ = availability::derive(&mut body);
    }
    body.complete()?;
    Ok(body)
}

fn table(event_type: EventType) -> &'static str {
    match event_type {
        EventType::InventoryAvailability => "stock",
        EventType::InventoryMovement => "stock_ledger",
        EventType::Product => "item",
        EventType::Price => "item_price",
        EventType::Customer => "customer",
        EventType::Order => "sales_order",
        EventType::Shipment => "shipment",
        EventType::Return => "rma",
        EventType::PurchaseOrder => "purchase_order",
        EventType::PurchaseReceipt => "receipt_line",
    }
}

fn key(event_type: EventType) -> Vec<(&'static str, &'static str)> {
    let own: &[(&str, &str)] = match event_type {
        EventType::InventoryAvailability => &[("sku", "BOLT-M8-40"), ("location", "MAIN")],
        EventType::InventoryMovement => &[("movement_id", "1204417")],
        EventType::Product => &[("sku", "BOLT-M8-40")],
        EventType::Price => &[
            ("sku", "BOLT-M8-40"),
            ("price_list", "TRADE"),
            ("uom", "BOX"),
            ("min_qty", "10"),
            ("currency", "EUR"),
            ("valid_from", "2026-01-01"),
            ("customer_id", ""),
        ],
        EventType::Customer => &[("customer_id", "C-10482")],
        EventType::Order => &[("order_id", "502211")],
        EventType::Shipment => &[("shipment_id", "S-77310")],
        EventType::Return => &[("return_id", "R-2093")],
        EventType::PurchaseOrder => &[("po_id", "31077")],
        EventType::PurchaseReceipt => &[("receipt_id", "GR-5561"), ("line_id", "2")],
    };
    let mut key = vec![("company", "NORTH")];
    key.extend(own);
    key
}

fn body_json(event_type: EventType) -> Value {
    match event_type {
        EventType::InventoryAvailability => json!({
            "uom": "EA",
            "on_hand": "1480",
            "allocated": "220",
            "soft_demand": "35",
            "unavailable": {"damaged": "12", "quality_control": "40"},
            "unavailable_in_on_hand": true,
            "safety_stock": "100",
            "on_order": "2000",
            "incoming": [{"qty": "2000", "due_on": "2026-03-27", "document": "PO-31077"}],
            "next_receipt_on": "2026-03-27",
            "backordered": "0",
            "active": true,
            "counted_at": "2026-02-28T16:05:00Z",
        }),
        EventType::InventoryMovement => json!({
            "kind": "shipment",
            "sku": "BOLT-M8-40",
            "location": "MAIN",
            "uom": "EA",
            "quantity": "-200",
            "bin": "A-03-2",
            "lot": "L2026-113",
            "document": {"type": "order", "id": "SO-502211", "line": "10"},
            "occurred_at": "2026-03-17T09:24:30Z",
            "posted_on": "2026-03-17",
            "balance_after": "1280",
        }),
        EventType::Product => json!({
            "name": "Hexagon bolt M8 x 40, zinc plated",
            "names": {"de": "Sechskantschraube M8 x 40, verzinkt", "en": "Hexagon bolt M8 x 40, zinc plated"},
            "brand": "Norfix",
            "category_path": "Fasteners/Bolts/Hexagon",
            "manufacturer_part_no": "NF-933-0840",
            "gtins": [
                {"gtin": "04012345678901", "uom": "EA", "qty": "1"},
                {"gtin": "14012345678908", "uom": "BOX", "qty": "200"},
            ],
            "stock_uom": "EA",
            "uoms": [{"uom": "BOX", "factor_num": "200", "factor_den": "1", "sell": true, "buy": true}],
            "kind": "stocked",
            "variant_of": "BOLT-M8",
            "attributes": {"length": "40 mm", "thread": "M8"},
            "lot_tracked": true,
            "serial_tracked": false,
            "hazardous": false,
            "weight": "0.0213",
            "weight_unit": "kg",
            "dimensions": {"length": "45.3", "width": "13", "height": "13", "unit": "mm"},
            "status": "active",
            "replaced_by": [],
            "min_order_qty": "200",
            "order_multiple": "200",
            "custom": {"abc_class": "A"},
        }),
        EventType::Price => json!({
            "amount": {"amount": "14.25", "currency": "EUR"},
            "per_qty": "1",
            "kind": "net",
            "tax_included": false,
            "valid_to": "2026-12-31",
            "computed": false,
        }),
        EventType::Customer => json!({
            "name": "Hafen Werft GmbH",
            "status": "hold",
            "hold_reasons": ["CREDIT"],
            "currency": "EUR",
            "price_list": "TRADE",
            "terms": "N30",
            "tax_id": "DE123456789",
            "tax_exempt": false,
            "group": "SHIPYARD",
            "addresses": [address(&json!({"id": "PRIMARY", "role": "both"}))],
            "ship_via": "ROAD",
            "salesperson": "KL",
            "channel_ids": ["shop-88120"],
            "erased": false,
        }),
        EventType::Order => json!({
            "order_number": "SO-502211",
            "channel_order_id": "100045512",
            "customer_po": "HW-2026-0317",
            "document_kind": "order",
            "customer_id": "C-10482",
            "customer_name": "Hafen Werft GmbH",
            "ship_to": address(&json!({"id": "PRIMARY"})),
            "ordered_on": "2026-03-16",
            "promised_on": "2026-03-18",
            "currency": "EUR",
            "total": {"amount": "50.87", "currency": "EUR"},
            "tax": {"amount": "8.12", "currency": "EUR"},
            "lifecycle": "open",
            "hold": {"held": false, "reasons": []},
            "fulfillment": "partial",
            "billing": "none",
            "has_backorder": false,
            "source_status": "20",
            "preceded_by": ["501870"],
            "archived": false,
            "lines": [{
                "line_id": "991204",
                "line_no": "10",
                "sku": "BOLT-M8-40",
                "description": "Hexagon bolt M8 x 40",
                "location": "MAIN",
                "uom": "BOX",
                "stock_qty_factor": "200",
                "qty_ordered": "3",
                "qty_allocated": "2",
                "qty_shipped": "1",
                "qty_cancelled": "0",
                "qty_open": "2",
                "unit_price": {"amount": "14.25", "currency": "EUR"},
                "promised_on": "2026-03-18",
                "drop_ship": false,
                "status": "partial",
                "source_status": "2",
            }],
        }),
        EventType::Shipment => json!({
            "status": "shipped",
            "shipped_at": "2026-03-17T09:20:00Z",
            "order_refs": ["502211"],
            "channel_order_refs": ["100045512"],
            "ship_from": "MAIN",
            "ship_to": address(&json!({"id": "PRIMARY"})),
            "carrier_code": "NXP",
            "carrier_name": "North Express",
            "carrier_service": "Standard",
            "tracking": ["NX0049302211"],
            "packages": [{
                "sscc": "340123450000000018",
                "tracking": "NX0049302211",
                "weight": "4.6",
                "weight_unit": "kg",
                "contents": [{"sku": "BOLT-M8-40", "qty": "1", "uom": "BOX", "lot": "L2026-113"}],
            }],
            "lines": [{
                "sku": "BOLT-M8-40",
                "qty": "1",
                "uom": "BOX",
                "order_id": "502211",
                "order_line_id": "991204",
                "lot": "L2026-113",
            }],
            "freight": {"amount": "6.9", "currency": "EUR"},
            "drop_ship": false,
        }),
        EventType::Return => json!({
            "kind": "customer_return",
            "status": "received",
            "customer_id": "C-10482",
            "order_refs": ["502211"],
            "shipment_refs": ["S-77310"],
            "reason": "wrong length ordered",
            "lines": [{
                "sku": "BOLT-M8-40",
                "uom": "BOX",
                "qty_authorized": "1",
                "qty_received": "1",
                "disposition": "restock",
                "credit": {"amount": "14.25", "currency": "EUR"},
                "lot": "L2026-113",
            }],
            "credit_total": {"amount": "14.25", "currency": "EUR"},
        }),
        EventType::PurchaseOrder => json!({
            "po_number": "PO-31077",
            "vendor_id": "V-204",
            "status": "confirmed",
            "kind": "standard",
            "ordered_on": "2026-03-09",
            "currency": "EUR",
            "lines": [{
                "line_id": "1",
                "sku": "BOLT-M8-40",
                "location": "MAIN",
                "uom": "BOX",
                "qty_ordered": "10",
                "qty_received": "0",
                "qty_cancelled": "0",
                "qty_open": "10",
                "due_on": "2026-03-25",
                "promised_on": "2026-03-27",
            }],
        }),
        EventType::PurchaseReceipt => json!({
            "po_id": "30952",
            "po_line_id": "1",
            "vendor_id": "V-204",
            "received_at": "2026-03-17T09:20:00Z",
            "sku": "BOLT-M8-40",
            "location": "MAIN",
            "qty_received": "10",
            "qty_rejected": "0",
            "uom": "BOX",
            "lot": "L2026-113",
            "asn": "DN-88190",
        }),
    }
}

/// One address for all of them, with what is its own in each.
fn address(own: &Value) -> Value {
    let mut address = own.clone();
    let rest = json!({
        "name": "Hafen Werft GmbH",
        "lines": ["Kaistraße 14", "Tor 3"],
        "city": "Kiel",
        "postal": "24103",
        "country": "DE",
    });
    if let (Some(address), Value::Object(rest)) = (address.as_object_mut(), rest) {
        address.extend(rest);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reading a body ignores what it does not know; an example must not lose anything that way.
    #[test]
    fn examples_hold_all_that_is_written_here() {
        for event_type in EventType::ALL {
            let event = example(event_type).unwrap();
            let sent: Value = serde_json::from_str(&event.json()).unwrap();
            for (name, value) in body_json(event_type).as_object().unwrap() {
                assert_eq!(&sent["body"][name], value, "{event_type} {name}");
            }
            let names: Vec<_> = event.envelope.key.fields().iter().map(|f| f.0).collect();
            assert_eq!(names, event_type.schema().key);
        }
    }

    #[test]
    fn what_comes_later_is_newer_and_recognised() {
        for event_type in EventType::ALL {
            let (first, later) = (
                example(event_type).unwrap(),
                later_example(event_type).unwrap(),
            );
            assert!(later.envelope.version > first.envelope.version);
            assert_eq!(later.envelope.key, first.envelope.key);
            let same = later.idempotency_key() == first.idempotency_key();
            assert_eq!(same, event_type.kind() == EventKind::Fact, "{event_type}");
        }
    }
}

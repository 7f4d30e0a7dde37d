//! What event types and key parts are, in words.

use crate::event::{EventKind, EventOp, EventType, HARD_DELETE, OUT_OF_SCOPE, SOFT_FLAG};

/// What an event of the type says.
pub(super) fn about(event_type: EventType) -> &'static str {
    match event_type {
        EventType::InventoryAvailability => {
            "How much of an item there is at a location and how much of it can be sold: the whole \
             breakdown, as absolute quantities that replace earlier ones."
        }
        EventType::InventoryMovement => {
            "One stock movement. Movements explain stock; they must not be added up to get it, \
             because ledgers are posted again, purged and closed. Take quantities from \
             `inventory.availability.v1`."
        }
        EventType::Product => "An item: what it is called, how it is measured, whether it is sold.",
        EventType::Price => {
            "One price of an item, for one list, unit, quantity, currency and start, or the \
             percentage or factor a list applies instead. What tells one price from another \
             stands in the key and only there. A part of the key that a price does not have, \
             such as a start (`valid_from`) or a customer of its own (`customer_id`), is the \
             empty text; it is never left out."
        }
        EventType::Customer => "A customer: who they are, whether one may deliver to them, where.",
        EventType::Order => {
            "A sales document as a whole: quote, order, blanket order, return order. Each event \
             holds the whole document."
        }
        EventType::Shipment => {
            "Goods on their way to a customer. It changes until it is shipped and is fixed then; a \
             tracking number that comes later is a new version of the same shipment."
        }
        EventType::Return => {
            "Goods that come back from a customer, or go back to a vendor, or credit without goods."
        }
        EventType::PurchaseOrder => {
            "An order to a vendor, or a transfer written as one. Each event holds the whole document."
        }
        EventType::PurchaseReceipt => "Goods received for one line of a receipt.",
    }
}

/// What a part of a type's key is.
pub(super) fn key_part(event_type: EventType, part: &str) -> &'static str {
    match (event_type, part) {
        (_, "company") => "company in the ERP: its database, prefix or column",
        (EventType::Price, "uom") => "unit the price is for, as the ERP calls it",
        (EventType::Price, "customer_id") => {
            "customer of a contract price; the empty text if it is for all"
        }
        (_, "sku") => "item, by the code the ERP knows it by",
        (_, "location") => "location: warehouse, site or store",
        (_, "movement_id") => "row of the source's stock ledger",
        (_, "price_list") => "list, level, customer class or contract",
        (_, "min_qty") => {
            "least quantity the price holds for, in `uom`: a decimal in its shortest form; the \
             empty text where the source has no quantity breaks"
        }
        (_, "currency") => "ISO 4217 code; that of `amount`",
        (_, "valid_from") => {
            "first day it holds, `YYYY-MM-DD`, that day included, in the company's own calendar; \
             the empty text if it has no start"
        }
        (_, "customer_id") => "customer, by the ERP's number",
        (_, "order_id") => "technical key of the document",
        (_, "shipment_id") => "technical key of the shipment",
        (_, "return_id") => "technical key of the return",
        (_, "po_id") => "technical key of the purchase order",
        (_, "receipt_id") => "technical key of the receipt",
        (_, "line_id") => "technical key of the receipt's line",
        _ => "",
    }
}

/// The operations of a kind of event, with what they do.
pub(super) fn ops(kind: EventKind) -> &'static [(EventOp, &'static str)] {
    match kind {
        EventKind::State => &[
            (EventOp::Upsert, "the key now looks like the body"),
            (EventOp::Delete, "the key is gone; there is no body"),
        ],
        EventKind::Fact => &[
            (EventOp::Fact, "this happened"),
            (
                EventOp::Correction,
                "the source changed a fact: the body replaces the earlier one",
            ),
        ],
    }
}

/// Why a tombstone was sent.
pub(super) const REASONS: &[(&str, &str)] = &[
    (
        HARD_DELETE,
        "the source's row is gone, or has another key now",
    ),
    (SOFT_FLAG, "the row is there, but marked as deleted"),
    (
        OUT_OF_SCOPE,
        "the row is there, but the mapping no longer takes it",
    ),
];

/// State or fact.
pub(super) fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::State => "state",
        EventKind::Fact => "fact",
    }
}

//! `inventory.movement.v1`: one stock movement. A fact: each must arrive, once in effect.

use super::{BodySchema, FieldType, may, must};

/// Kinds of movement.
pub const KINDS: &[&str] = &[
    "receipt",
    "shipment",
    "customer_return",
    "vendor_return",
    "transfer_out",
    "transfer_in",
    "adjustment",
    "count",
    "production_in",
    "production_out",
    "scrap",
    "status_change",
    "other",
];

static DOCUMENT: BodySchema = BodySchema {
    name: "document",
    minor: 0,
    key: &[],
    fields: &[
        must("type", FieldType::Text, "kind of document"),
        must("id", FieldType::Text, "document number"),
        may("line", FieldType::Text, "line"),
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "inventory.movement.v1",
    minor: 0,
    key: &["company", "movement_id"],
    fields: &[
        must("kind", FieldType::Word(KINDS), "what moved it"),
        must("sku", FieldType::Text, "item"),
        must("location", FieldType::Text, "where"),
        must("uom", FieldType::Text, "unit of the quantity"),
        must("quantity", FieldType::Decimal, "+ in, - out"),
        may("count_level", FieldType::Decimal, "level set by a count"),
        may("from_location", FieldType::Text, "from"),
        may("to_location", FieldType::Text, "to"),
        may("bin", FieldType::Text, "bin"),
        may("lot", FieldType::Text, "lot"),
        may("serial", FieldType::Text, "serial number"),
        may("reason_code", FieldType::Text, "reason"),
        may("reason_text", FieldType::Text, "reason in words"),
        may("document", FieldType::Object(&DOCUMENT), "source document"),
        may(
            "occurred_at",
            FieldType::Timestamp,
            "moment, where the source knows it",
        ),
        may(
            "posted_on",
            FieldType::Date,
            "posting date; may lie in the past",
        ),
        may(
            "balance_after",
            FieldType::Decimal,
            "only if the ERP stores it",
        ),
        may("reverses", FieldType::Text, "movement it cancels"),
    ],
};

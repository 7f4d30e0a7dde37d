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

/// States of stock: the ones `inventory.availability.v1` counts as unavailable, and `available`.
/// There is no `other`: a state outside this list is left out, since the fields are optional.
const STATES: &[&str] = &[
    "available",
    "damaged",
    "quality_control",
    "hold",
    "returned",
    "in_service",
    "in_use",
    "consigned",
    "non_pickable",
    "reserved_other",
];

static DOCUMENT: BodySchema = BodySchema {
    name: "document",
    minor: 0,
    key: &[],
    fields: &[
        must(
            "type",
            FieldType::Text,
            "kind of document, in the source's own word or code",
        ),
        must("id", FieldType::Text, "number of the document"),
        may("line", FieldType::Text, "line of the document"),
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "inventory.movement.v1",
    minor: 0,
    key: &["company", "movement_id"],
    fields: &[
        must("kind", FieldType::Word(KINDS), "what moved the stock"),
        may(
            "source_value",
            FieldType::Text,
            "the source's own code where `kind` is `other`",
        ),
        must(
            "sku",
            FieldType::Text,
            "item that moved, as in the key of `product.v1`",
        ),
        must(
            "location",
            FieldType::Text,
            "location whose stock changed, as in the key of `inventory.availability.v1`",
        ),
        must(
            "uom",
            FieldType::Text,
            "unit of every quantity of this event: the item's stocking unit, as the ERP calls \
             it",
        ),
        must(
            "quantity",
            FieldType::Decimal,
            "by how much the stock of `location` changed, in `uom`: positive is in, negative \
             is out; for a count the difference it found; for a change of state the quantity \
             that changed",
        ),
        may(
            "count_level",
            FieldType::Decimal,
            "level a count set, in `uom`",
        ),
        may(
            "from_location",
            FieldType::Text,
            "where it came from, in a transfer",
        ),
        may(
            "to_location",
            FieldType::Text,
            "where it went, in a transfer",
        ),
        may("bin", FieldType::Text, "bin or shelf"),
        may("lot", FieldType::Text, "lot or batch number"),
        may(
            "serial",
            FieldType::Text,
            "serial number, where the source keeps one movement per piece",
        ),
        may(
            "from_state",
            FieldType::Word(STATES),
            "state of the stock before; left out where the source names no state or one \
             outside this list",
        ),
        may(
            "to_state",
            FieldType::Word(STATES),
            "state of the stock afterwards; left out where the source names no state or one \
             outside this list",
        ),
        may(
            "reason_code",
            FieldType::Text,
            "the source's code of the reason",
        ),
        may("reason_text", FieldType::Text, "the reason in words"),
        may(
            "document",
            FieldType::Object(&DOCUMENT),
            "document that caused it",
        ),
        may(
            "occurred_at",
            FieldType::Timestamp,
            "moment it happened, where the source knows one; an event has this, `posted_on` or \
             both",
        ),
        may(
            "posted_on",
            FieldType::Date,
            "day it counts for in the books, which may lie before the day it was entered; an \
             event has this, `occurred_at` or both",
        ),
        may(
            "balance_after",
            FieldType::Decimal,
            "stock after the movement as the ERP stored it, in `uom`; never worked out",
        ),
        may(
            "reverses",
            FieldType::Text,
            "`movement_id` of the movement this one cancels",
        ),
        may(
            "unit_cost",
            FieldType::Money,
            "cost of one `uom`. Sensitive: off by default, sent only if the mapping sets it",
        )
        .private(),
    ],
};

//! `order.v1`: a sales document. Lines are optional until the mapping language can join them.

use super::{BodySchema, FieldType, may, must};

static LINE: BodySchema = BodySchema {
    name: "order line",
    minor: 0,
    key: &[],
    fields: &[
        must("line_id", FieldType::Text, "technical key of the line"),
        may("line_no", FieldType::Text, "number users see"),
        must("sku", FieldType::Text, "item"),
        may("description", FieldType::Text, "description"),
        may("location", FieldType::Text, "ships from"),
        must("uom", FieldType::Text, "unit of the quantities"),
        must("qty_ordered", FieldType::Decimal, "ordered"),
        may("qty_allocated", FieldType::Decimal, "allocated"),
        may("qty_picked", FieldType::Decimal, "picked"),
        must("qty_shipped", FieldType::Decimal, "shipped"),
        may("qty_invoiced", FieldType::Decimal, "invoiced"),
        must("qty_cancelled", FieldType::Decimal, "cancelled"),
        must("qty_open", FieldType::Decimal, "still open"),
        may("unit_price", FieldType::Money, "price per unit"),
        may("requested_on", FieldType::Date, "requested"),
        may("promised_on", FieldType::Date, "promised"),
        must("status", FieldType::Text, "status"),
        may("source_status", FieldType::Text, "raw code"),
    ],
};

static HOLD: BodySchema = BodySchema {
    name: "hold",
    minor: 0,
    key: &[],
    fields: &[
        must("held", FieldType::Bool, "on hold"),
        may("reasons", FieldType::Text, "why"),
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "order.v1",
    minor: 0,
    key: &["company", "order_id"],
    fields: &[
        must("order_number", FieldType::Text, "number users see"),
        may("channel_order_id", FieldType::Text, "the channel's number"),
        may("customer_po", FieldType::Text, "the customer's number"),
        must(
            "document_kind",
            FieldType::Word(&[
                "quote",
                "order",
                "blanket",
                "backorder",
                "drop_ship",
                "return_order",
                "other",
            ]),
            "kind of document",
        ),
        must("customer_id", FieldType::Text, "customer"),
        must("ordered_on", FieldType::Date, "ordered"),
        may("requested_on", FieldType::Date, "requested"),
        may("promised_on", FieldType::Date, "promised"),
        may("shipped_on", FieldType::Date, "shipped"),
        may("currency", FieldType::Text, "document currency"),
        may("total", FieldType::Money, "total"),
        may("tax", FieldType::Money, "tax"),
        may("freight", FieldType::Money, "freight"),
        must(
            "lifecycle",
            FieldType::Word(&["quote", "draft", "open", "closed", "cancelled"]),
            "where it stands",
        ),
        may("hold", FieldType::Object(&HOLD), "hold"),
        must(
            "fulfillment",
            FieldType::Word(&[
                "none",
                "allocated",
                "picking",
                "partial",
                "shipped",
                "delivered",
            ]),
            "how far it is shipped",
        ),
        may(
            "billing",
            FieldType::Word(&["none", "partial", "invoiced", "paid"]),
            "how far it is billed",
        ),
        must("has_backorder", FieldType::Bool, "some of it waits"),
        must("source_status", FieldType::Text, "raw code"),
        must("archived", FieldType::Bool, "moved to history, not deleted"),
        may("lines", FieldType::List(&LINE), "lines"),
    ],
};

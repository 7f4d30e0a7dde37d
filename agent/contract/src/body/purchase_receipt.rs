//! `purchase_receipt.v1`: goods of one line received. A fact: each must arrive, once in effect.

use super::{BodySchema, FieldType, may, must};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "purchase_receipt.v1",
    minor: 0,
    key: &["company", "receipt_id", "line_id"],
    fields: &[
        may(
            "po_id",
            FieldType::Text,
            "purchase order, as in the key of `purchase_order.v1`",
        ),
        may(
            "po_line_id",
            FieldType::Text,
            "`line_id` of the purchase order's line",
        ),
        may("vendor_id", FieldType::Text, "vendor, the source's code"),
        must(
            "received_at",
            FieldType::Timestamp,
            "moment it was received",
        ),
        must(
            "sku",
            FieldType::Text,
            "item, as in the key of `product.v1`",
        ),
        must(
            "location",
            FieldType::Text,
            "location it was received into, as in the key of `inventory.availability.v1`",
        ),
        must(
            "qty_received",
            FieldType::Decimal,
            "received and accepted, in `uom`; negative where the line takes an earlier one \
             back",
        ),
        may(
            "qty_rejected",
            FieldType::Decimal,
            "received and refused, in `uom`; not part of `qty_received`",
        ),
        must(
            "uom",
            FieldType::Text,
            "unit of both quantities, as the ERP calls it",
        ),
        may("lot", FieldType::Text, "lot or batch number"),
        may("expiry", FieldType::Date, "day the lot expires"),
        may("serials", FieldType::Texts, "serial numbers"),
        may(
            "asn",
            FieldType::Text,
            "number of the vendor's shipping notice",
        ),
        may(
            "sscc",
            FieldType::Text,
            "GS1 number of the package (SSCC), 18 digits",
        ),
        may(
            "reverses",
            FieldType::Text,
            "`receipt_id` of the receipt this line cancels",
        ),
    ],
};

//! `return.v1`: goods or credit on their way back. (`return` alone is a word of the language.)

use super::{BodySchema, FieldType, may, must};

static LINE: BodySchema = BodySchema {
    name: "return line",
    minor: 0,
    key: &[],
    fields: &[
        must(
            "sku",
            FieldType::Text,
            "item, as in the key of `product.v1`",
        ),
        may(
            "uom",
            FieldType::Text,
            "unit of this line's quantities, as the ERP calls it; the item's stocking unit if \
             left out",
        ),
        may(
            "qty_authorized",
            FieldType::Decimal,
            "allowed to come back, in `uom`",
        ),
        may(
            "qty_received",
            FieldType::Decimal,
            "come back so far, in `uom`",
        ),
        may(
            "disposition",
            FieldType::Word(&["restock", "damaged", "scrap", "vendor"]),
            "what becomes of the goods: back into stock, kept as damaged, thrown away, or on \
             to the vendor",
        ),
        may("credit", FieldType::Money, "credit for the line"),
        may("lot", FieldType::Text, "lot or batch number"),
        may("serial", FieldType::Text, "serial number"),
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "return.v1",
    minor: 0,
    key: &["company", "return_id"],
    fields: &[
        must(
            "kind",
            FieldType::Word(&["customer_return", "vendor_return", "credit_only"]),
            "a customer's goods come back, goods go back to a vendor, or credit without goods",
        ),
        must(
            "status",
            FieldType::Word(&[
                "requested",
                "authorized",
                "received",
                "inspected",
                "credited",
                "closed",
                "cancelled",
            ]),
            "where it stands",
        ),
        must(
            "customer_id",
            FieldType::Text,
            "customer, as in the key of `customer.v1`; the empty text for a `vendor_return`",
        ),
        may(
            "vendor_id",
            FieldType::Text,
            "vendor the goods go back to, for a `vendor_return`",
        ),
        may(
            "order_refs",
            FieldType::Texts,
            "`order_id` of each order it refers to",
        ),
        may(
            "shipment_refs",
            FieldType::Texts,
            "`shipment_id` of each shipment it refers to",
        ),
        may(
            "reason",
            FieldType::Text,
            "reason, in the source's own words or code",
        )
        .private(),
        must(
            "lines",
            FieldType::List(&LINE),
            "all lines of the return; an empty list where credit is given for no item",
        ),
        may(
            "credit_total",
            FieldType::Money,
            "credit for the whole return",
        ),
    ],
};

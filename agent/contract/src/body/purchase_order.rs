//! `purchase_order.v1`: an order to a vendor, or a transfer written as one.

use super::{BodySchema, FieldType, may, must};

static LINE: BodySchema = BodySchema {
    name: "purchase order line",
    minor: 0,
    key: &[],
    fields: &[
        must(
            "line_id",
            FieldType::Text,
            "technical key of the line; stays the same when lines are sorted anew",
        ),
        must(
            "sku",
            FieldType::Text,
            "item, as in the key of `product.v1`",
        ),
        must(
            "location",
            FieldType::Text,
            "location it is for, as in the key of `inventory.availability.v1`",
        ),
        must(
            "uom",
            FieldType::Text,
            "unit of this line's quantities, as the ERP calls it",
        ),
        must("qty_ordered", FieldType::Decimal, "ordered, in `uom`"),
        must(
            "qty_received",
            FieldType::Decimal,
            "received so far, in `uom`",
        ),
        must("qty_cancelled", FieldType::Decimal, "cancelled, in `uom`"),
        must("qty_open", FieldType::Decimal, "still to come, in `uom`"),
        may("due_on", FieldType::Date, "day it is wanted"),
        may(
            "promised_on",
            FieldType::Date,
            "day the vendor promised it for",
        ),
        may(
            "unit_cost",
            FieldType::Money,
            "cost of one `uom`. Sensitive: off by default, sent only if the mapping sets it",
        )
        .private(),
        may(
            "so_ref",
            FieldType::Text,
            "`order_id` of the sales order it is bought for, in a drop shipment",
        ),
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "purchase_order.v1",
    minor: 0,
    key: &["company", "po_id"],
    fields: &[
        must(
            "po_number",
            FieldType::Text,
            "number of the document as users see it",
        ),
        must(
            "vendor_id",
            FieldType::Text,
            "vendor, the source's code; in a transfer the location it comes from",
        ),
        must(
            "status",
            FieldType::Word(&[
                "draft",
                "open",
                "confirmed",
                "partially_received",
                "received",
                "closed",
                "cancelled",
            ]),
            "where it stands; `closed` is finished, whether or not all of it came",
        ),
        must(
            "kind",
            FieldType::Word(&["standard", "drop_ship", "blanket", "transfer"]),
            "goods into stock, straight to a customer, a frame for later calls, or from \
             another location of the company",
        ),
        must(
            "ordered_on",
            FieldType::Date,
            "day of the order, in the company's own calendar",
        ),
        may(
            "currency",
            FieldType::Text,
            "currency of the document, ISO 4217 code",
        ),
        must(
            "lines",
            FieldType::List(&LINE),
            "all lines of the document, never only the changed ones",
        ),
    ],
};

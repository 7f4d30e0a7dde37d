//! `order.v1`: a sales document. Lines are optional until the mapping language can join them.

use super::address::ADDRESS;
use super::{BodySchema, FieldType, may, must};

static LINE: BodySchema = BodySchema {
    name: "order line",
    minor: 0,
    key: &[],
    fields: &[
        must(
            "line_id",
            FieldType::Text,
            "technical key of the line; stays the same when lines are sorted anew",
        ),
        may(
            "line_no",
            FieldType::Text,
            "number of the line as users see it",
        ),
        may(
            "parent_line_id",
            FieldType::Text,
            "`line_id` of the kit this line is a component of",
        ),
        must(
            "sku",
            FieldType::Text,
            "item, as in the key of `product.v1`",
        ),
        may("description", FieldType::Text, "text of the line"),
        may("location", FieldType::Text, "location it ships from"),
        must(
            "uom",
            FieldType::Text,
            "unit of this line's quantities, as the ERP calls it",
        ),
        may(
            "stock_qty_factor",
            FieldType::Decimal,
            "how many stocking units one `uom` is; not known if left out",
        ),
        must("qty_ordered", FieldType::Decimal, "ordered, in `uom`"),
        may(
            "qty_allocated",
            FieldType::Decimal,
            "reserved from stock, in `uom`",
        ),
        may(
            "qty_picked",
            FieldType::Decimal,
            "taken from the shelf, in `uom`",
        ),
        must(
            "qty_shipped",
            FieldType::Decimal,
            "shipped so far, in `uom`",
        ),
        may(
            "qty_invoiced",
            FieldType::Decimal,
            "invoiced so far, in `uom`",
        ),
        must("qty_cancelled", FieldType::Decimal, "cancelled, in `uom`"),
        must(
            "qty_open",
            FieldType::Decimal,
            "still to be shipped, in `uom`",
        ),
        may(
            "unit_price",
            FieldType::Money,
            "price of one `uom`, in the document's currency",
        ),
        may("requested_on", FieldType::Date, "day the customer wants it"),
        may("promised_on", FieldType::Date, "day it was promised for"),
        may(
            "drop_ship",
            FieldType::Bool,
            "whether the vendor ships it straight to the customer",
        ),
        must(
            "status",
            FieldType::Text,
            "where the line stands, in the mapping's word",
        ),
        may(
            "source_status",
            FieldType::Text,
            "the source's own code of `status`",
        ),
    ],
};

static HOLD: BodySchema = BodySchema {
    name: "hold",
    minor: 0,
    key: &[],
    fields: &[
        must("held", FieldType::Bool, "whether the document is stopped"),
        may(
            "reasons",
            FieldType::Texts,
            "why, such as credit, approval or payment, in the source's own words or codes",
        )
        .private(),
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "order.v1",
    minor: 0,
    key: &["company", "order_id"],
    fields: &[
        must(
            "order_number",
            FieldType::Text,
            "number of the document as users see it",
        ),
        may(
            "channel_order_id",
            FieldType::Text,
            "the sales channel's own number of the order: by it an order is recognised that is \
             already there",
        ),
        may(
            "customer_po",
            FieldType::Text,
            "the customer's own number of the order",
        ),
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
        may(
            "source_value",
            FieldType::Text,
            "the source's own code where `document_kind` is `other`",
        ),
        must(
            "customer_id",
            FieldType::Text,
            "who ordered, as in the key of `customer.v1`",
        ),
        may(
            "customer_name",
            FieldType::Text,
            "name of the customer as it stands in the document",
        )
        .private(),
        may(
            "bill_to",
            FieldType::Object(&ADDRESS),
            "where the invoice goes",
        ),
        may(
            "ship_to",
            FieldType::Object(&ADDRESS),
            "where the goods go, unless a shipment says otherwise",
        ),
        must(
            "ordered_on",
            FieldType::Date,
            "day of the order, in the company's own calendar",
        ),
        may("requested_on", FieldType::Date, "day the customer wants it"),
        may("promised_on", FieldType::Date, "day it was promised for"),
        may("shipped_on", FieldType::Date, "day it was last shipped"),
        may(
            "currency",
            FieldType::Text,
            "currency of the document, ISO 4217 code",
        ),
        may(
            "fx_rate",
            FieldType::Decimal,
            "how much of the company's own currency one unit of `currency` was worth",
        ),
        may(
            "total",
            FieldType::Money,
            "total with tax and freight, in the document's currency",
        ),
        may(
            "company_total",
            FieldType::Money,
            "`total` in the company's own currency, as the source worked it out",
        ),
        may("tax", FieldType::Money, "tax in `total`"),
        may("freight", FieldType::Money, "freight in `total`"),
        must(
            "lifecycle",
            FieldType::Word(&["quote", "draft", "open", "closed", "cancelled"]),
            "where the document as a whole stands",
        ),
        may(
            "hold",
            FieldType::Object(&HOLD),
            "whether it is stopped and why; left out only where the mapping reads no holds, so \
             that missing is not the same as free",
        ),
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
            "how far the goods are: taken from the lines unless the ERP says it itself",
        ),
        may(
            "billing",
            FieldType::Word(&["none", "partial", "invoiced", "paid"]),
            "how far it is billed and paid",
        ),
        must(
            "has_backorder",
            FieldType::Bool,
            "whether some of it waits for stock",
        ),
        must(
            "source_status",
            FieldType::Text,
            "the source's own code of where it stands; several codes are joined by the mapping",
        ),
        may(
            "succeeded_by",
            FieldType::Texts,
            "`order_id` of each document that follows it, such as the invoice or the amended \
             order",
        ),
        may(
            "preceded_by",
            FieldType::Texts,
            "`order_id` of each document it came from, such as the quote",
        ),
        must(
            "archived",
            FieldType::Bool,
            "moved to history and no longer worked on; not deleted",
        ),
        may(
            "lines",
            FieldType::List(&LINE),
            "all lines of the document, never only the changed ones; left out where the \
             mapping reads no lines",
        ),
    ],
};

//! `shipment.v1`: goods on their way to a customer. It changes until it is shipped; a tracking
//! number that comes later is a new version of the same shipment.

use super::address::ADDRESS;
use super::{BodySchema, FieldType, may, must};

static CONTENT: BodySchema = BodySchema {
    name: "package content",
    minor: 0,
    key: &[],
    fields: &[
        must(
            "sku",
            FieldType::Text,
            "item, as in the key of `product.v1`",
        ),
        must(
            "qty",
            FieldType::Decimal,
            "how much of it is in the package, in `uom`",
        ),
        must("uom", FieldType::Text, "unit of `qty`, as the ERP calls it"),
        may("lot", FieldType::Text, "lot or batch number"),
        may("serials", FieldType::Texts, "serial numbers"),
    ],
};

static PACKAGE: BodySchema = BodySchema {
    name: "package",
    minor: 0,
    key: &[],
    fields: &[
        may(
            "sscc",
            FieldType::Text,
            "GS1 number of the package (SSCC), 18 digits",
        ),
        may(
            "tracking",
            FieldType::Text,
            "the carrier's tracking number of the package",
        ),
        may(
            "weight",
            FieldType::Decimal,
            "gross weight, in `weight_unit`",
        ),
        may(
            "weight_unit",
            FieldType::Text,
            "unit of `weight`, such as `kg` or `lb`; always there when `weight` is",
        ),
        may("contents", FieldType::List(&CONTENT), "what is in it"),
    ],
};

static LINE: BodySchema = BodySchema {
    name: "shipment line",
    minor: 0,
    key: &[],
    fields: &[
        must(
            "sku",
            FieldType::Text,
            "item, as in the key of `product.v1`",
        ),
        must(
            "qty",
            FieldType::Decimal,
            "quantity in this shipment, in `uom`",
        ),
        must("uom", FieldType::Text, "unit of `qty`, as the ERP calls it"),
        may(
            "order_id",
            FieldType::Text,
            "order it belongs to, as in the key of `order.v1`",
        ),
        may(
            "order_line_id",
            FieldType::Text,
            "`line_id` of the order's line",
        ),
        may("lot", FieldType::Text, "lot or batch number"),
        may("serials", FieldType::Texts, "serial numbers"),
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "shipment.v1",
    minor: 1,
    key: &["company", "shipment_id"],
    fields: &[
        must(
            "status",
            FieldType::Word(&[
                "planned",
                "picking",
                "packed",
                "shipped",
                "delivered",
                "voided",
            ]),
            "where it stands; `voided` is taken back, whether or not it had left",
        ),
        may("shipped_at", FieldType::Timestamp, "moment it left"),
        must(
            "order_refs",
            FieldType::Texts,
            "`order_id` of each order in it, as in the key of `order.v1`; an empty list where \
             there is none",
        ),
        may(
            "channel_order_refs",
            FieldType::Texts,
            "the sales channel's own number of each of these orders, as in `channel_order_id` of \
             `order.v1`: a channel knows them by no other",
        ),
        must(
            "ship_from",
            FieldType::Text,
            "location it leaves from, as in the key of `inventory.availability.v1`",
        ),
        may("ship_to", FieldType::Object(&ADDRESS), "where it goes"),
        may(
            "carrier_code",
            FieldType::Text,
            "carrier, the source's code",
        ),
        may("carrier_name", FieldType::Text, "name of the carrier"),
        may(
            "carrier_service",
            FieldType::Text,
            "service of the carrier, such as express",
        ),
        may(
            "tracking",
            FieldType::Texts,
            "tracking numbers of the whole shipment; may come later than the shipment",
        ),
        may("packages", FieldType::List(&PACKAGE), "its packages"),
        must("lines", FieldType::List(&LINE), "all lines of the shipment"),
        may(
            "freight",
            FieldType::Money,
            "what the carriage costs the customer",
        ),
        must(
            "drop_ship",
            FieldType::Bool,
            "whether the vendor ships it straight to the customer",
        ),
        may(
            "void_of",
            FieldType::Text,
            "`shipment_id` of the shipment this one takes back",
        ),
    ],
};

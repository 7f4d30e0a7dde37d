//! `price.v1`: one price of an item, for one list, unit, quantity, currency and time.
//!
//! What tells one price from another stands in the key, and only there. Key parts are texts; the
//! ones a source does not have (no start, no customer) are the empty text, never left out.

use super::{BodySchema, FieldType, may, must};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "price.v1",
    minor: 0,
    key: &[
        "company",
        "sku",
        "price_list",
        "uom",
        "min_qty",
        "currency",
        "valid_from",
        "customer_id",
    ],
    fields: &[
        must(
            "amount",
            FieldType::Money,
            "for the kinds `list` and `net` the price of `per_qty` of the key's `uom`, in the \
             key's `currency`. For the other kinds no sum of money: its number is the \
             percentage (12.5 is 12.5 percent) or the factor, and must not be shown as a price",
        ),
        must(
            "per_qty",
            FieldType::Decimal,
            "quantity `amount` is for, in the key's `uom`: 1, 100 or 1000 as a rule; 1 for \
             percentages and factors",
        ),
        must(
            "kind",
            FieldType::Word(&[
                "list",
                "net",
                "discount_percent",
                "markup_percent",
                "multiplier",
            ]),
            "what `amount` is: the price before discounts, the price to pay, percent off, \
             percent on top, or a factor",
        ),
        must(
            "tax_included",
            FieldType::Bool,
            "whether `amount` holds the sales tax",
        ),
        may(
            "valid_to",
            FieldType::Date,
            "last day it holds, that day included, in the company's own calendar; left out if \
             it has no end",
        ),
        must(
            "computed",
            FieldType::Bool,
            "true when a procedure worked it out, false when it is stored in the source as it \
             is",
        ),
    ],
};

//! `customer.v1`: a customer.

use super::address::{CITY, COUNTRY, EMAIL, ID, LINES, NAME, PHONE, POSTAL, REGION};
use super::{BodySchema, FieldType, may, must};

static ADDRESS: BodySchema = BodySchema {
    name: "customer address",
    minor: 0,
    key: &[],
    fields: &[
        ID,
        must(
            "role",
            FieldType::Word(&["bill", "ship", "both"]),
            "what it is used for: invoices, goods, or both",
        ),
        NAME,
        LINES,
        CITY,
        REGION,
        POSTAL,
        COUNTRY,
        PHONE,
        EMAIL,
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "customer.v1",
    minor: 0,
    key: &["company", "customer_id"],
    fields: &[
        must(
            "name",
            FieldType::Text,
            "name of the customer; the empty text where `erased` is true",
        )
        .private(),
        must(
            "status",
            FieldType::Word(&["active", "hold", "blocked", "deleted"]),
            "whether one may deliver to them: yes, not now, not at all, or gone from the ERP",
        ),
        may(
            "hold_reasons",
            FieldType::Texts,
            "why they are on hold or blocked, in the source's own words or codes",
        )
        .private(),
        may(
            "currency",
            FieldType::Text,
            "currency they are billed in, ISO 4217 code",
        ),
        may(
            "price_list",
            FieldType::Text,
            "list, level or class their prices come from, as in the key of `price.v1`",
        ),
        may(
            "terms",
            FieldType::Text,
            "terms of payment, the source's code",
        ),
        may("tax_id", FieldType::Text, "tax number, such as the VAT id").private(),
        may(
            "tax_exempt",
            FieldType::Bool,
            "whether they pay no sales tax",
        ),
        may(
            "credit_limit",
            FieldType::Money,
            "most they may owe. Sensitive: off by default, sent only if the mapping sets it",
        )
        .private(),
        may("group", FieldType::Text, "group or class of customers"),
        may("addresses", FieldType::List(&ADDRESS), "their addresses"),
        may(
            "parent_id",
            FieldType::Text,
            "`customer_id` of the customer they belong to, such as a head office",
        ),
        may(
            "ship_via",
            FieldType::Text,
            "usual way to ship to them, the source's code",
        ),
        may(
            "salesperson",
            FieldType::Text,
            "who looks after them, the source's code or name",
        )
        .private(),
        may(
            "channel_ids",
            FieldType::Texts,
            "their ids at sales channels",
        ),
        must(
            "erased",
            FieldType::Bool,
            "true when their personal data was erased: receivers erase theirs too, keeping \
             only the key",
        ),
    ],
};

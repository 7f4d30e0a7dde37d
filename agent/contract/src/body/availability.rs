//! `inventory.availability.v1`: how much of an item can be sold at a location.

use super::{Body, BodySchema, FieldSchema, FieldType, FieldValue, may, must};
use crate::decimal::{Decimal, DecimalError};

static UNAVAILABLE_SCHEMA: BodySchema = BodySchema {
    name: "unavailable",
    minor: 0,
    key: &[],
    fields: &[
        may("damaged", FieldType::Decimal, "damaged"),
        may("quality_control", FieldType::Decimal, "in quality control"),
        may("hold", FieldType::Decimal, "on hold"),
        may("returned", FieldType::Decimal, "returned, not restocked"),
        may("in_service", FieldType::Decimal, "in service"),
        may("consigned", FieldType::Decimal, "consigned"),
        may(
            "non_pickable",
            FieldType::Decimal,
            "in bins nobody picks from",
        ),
        may(
            "reserved_other",
            FieldType::Decimal,
            "reserved for other uses",
        ),
    ],
};

static INCOMING_SCHEMA: BodySchema = BodySchema {
    name: "incoming",
    minor: 0,
    key: &[],
    fields: &[
        must("qty", FieldType::Decimal, "quantity"),
        must("due_on", FieldType::Date, "date due"),
        may("document", FieldType::Text, "purchase order or transfer"),
    ],
};

const FIELDS: &[FieldSchema] = &[
    may("gtin", FieldType::Text, "GS1 item number"),
    may("gln", FieldType::Text, "GS1 location number"),
    must("uom", FieldType::Text, "stocking unit of all quantities"),
    must(
        "on_hand",
        FieldType::Decimal,
        "physically present and owned",
    ),
    must(
        "allocated",
        FieldType::Decimal,
        "hard reserved to documents, still on hand",
    ),
    may(
        "soft_demand",
        FieldType::Decimal,
        "open confirmed demand not yet allocated",
    ),
    may(
        "unavailable",
        FieldType::Object(&UNAVAILABLE_SCHEMA),
        "states that cannot be sold",
    ),
    must(
        "unavailable_in_on_hand",
        FieldType::Bool,
        "whether those are inside on_hand",
    ),
    may("safety_stock", FieldType::Decimal, "the ERP's safety stock"),
    may("on_order", FieldType::Decimal, "open purchase quantity"),
    may("in_transit", FieldType::Decimal, "transfers on the way in"),
    may(
        "incoming",
        FieldType::List(&INCOMING_SCHEMA),
        "dated supply",
    ),
    may(
        "backordered",
        FieldType::Decimal,
        "customer quantity waiting",
    ),
    must("available", FieldType::Decimal, "may be negative"),
    must("atp", FieldType::Decimal, "available less safety stock"),
    must("sellable", FieldType::Decimal, "never below zero"),
    must("formula", FieldType::Text, "id of the ATP rule used"),
    must("active", FieldType::Bool, "item and location may be sold"),
    may("counted_at", FieldType::Timestamp, "last physical count"),
];

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "inventory.availability.v1",
    minor: 0,
    key: &["company", "sku", "location"],
    fields: FIELDS,
};

/// Fields that [`derive`] works out when a mapping does not set them.
pub const DERIVED: &[&str] = &[
    "available",
    "atp",
    "sellable",
    "formula",
    "unavailable_in_on_hand",
];

/// Id of the rule [`derive`] applies: horizon 0, no incoming supply counted, soft demand and
/// safety stock counted.
pub const FORMULA: &str = "on_hand-unavailable-allocated-soft_demand-safety_stock";

/// Fills the quantities that follow from the others, where the mapping left them open:
/// `available = on_hand - unavailable in it - allocated - soft_demand`,
/// `atp = available - safety_stock`, `sellable = max(0, floor(atp))`.
///
/// # Errors
/// When a number leaves 38 digits.
pub fn derive(body: &mut Body) -> Result<(), DecimalError> {
    let part = |body: &Body, name: &str| body.decimal(name).unwrap_or_default();
    let mut unavailable = Decimal::ZERO;
    if let Some(FieldValue::Object(states)) = body.get("unavailable") {
        for field in UNAVAILABLE_SCHEMA.fields {
            unavailable = unavailable.try_add(part(states, field.name))?;
        }
    }
    let inside = match body.get("unavailable_in_on_hand") {
        Some(FieldValue::Bool(inside)) => *inside,
        _ => false,
    };
    let unavailable = if inside { unavailable } else { Decimal::ZERO };
    let available = match body.decimal("available") {
        Some(given) => given,
        None => part(body, "on_hand")
            .try_sub(unavailable)?
            .try_sub(part(body, "allocated"))?
            .try_sub(part(body, "soft_demand"))?,
    };
    let atp = match body.decimal("atp") {
        Some(given) => given,
        None => available.try_sub(part(body, "safety_stock"))?,
    };
    let sellable = body
        .decimal("sellable")
        .unwrap_or_else(|| atp.floor().max(Decimal::ZERO));
    let formula = FieldValue::Text(FORMULA.to_owned());
    let derived = [
        ("unavailable_in_on_hand", FieldValue::Bool(inside)),
        ("available", FieldValue::Decimal(available)),
        ("atp", FieldValue::Decimal(atp)),
        ("sellable", FieldValue::Decimal(sellable)),
        ("formula", formula),
    ];
    for (name, value) in derived {
        if let Some(slot) = SCHEMA
            .index(name)
            .and_then(|index| body.values.get_mut(index))
        {
            slot.get_or_insert(value);
        }
    }
    Ok(())
}

//! `inventory.availability.v1`: how much of an item can be sold at a location.

use super::{Body, BodyError, BodySchema, FieldType, FieldValue, may, must};
use crate::decimal::{Decimal, DecimalError};

static UNAVAILABLE_SCHEMA: BodySchema = BodySchema {
    name: "unavailable",
    minor: 0,
    key: &[],
    fields: &[
        may("damaged", FieldType::Decimal, "damaged, in `uom`"),
        may(
            "quality_control",
            FieldType::Decimal,
            "waiting for or under inspection, in `uom`",
        ),
        may(
            "hold",
            FieldType::Decimal,
            "blocked by somebody's decision, such as a recall or a lock on a lot, in `uom`",
        ),
        may(
            "returned",
            FieldType::Decimal,
            "come back from customers and not yet put back into stock, in `uom`",
        ),
        may(
            "in_service",
            FieldType::Decimal,
            "out for or under repair or maintenance, in `uom`",
        ),
        may(
            "in_use",
            FieldType::Decimal,
            "used by the company itself, such as demonstration or loan pieces, in `uom`",
        ),
        may(
            "consigned",
            FieldType::Decimal,
            "in consignment and so not to be promised from here, in `uom`",
        ),
        may(
            "non_pickable",
            FieldType::Decimal,
            "in bins nobody picks orders from, in `uom`",
        ),
        may(
            "reserved_other",
            FieldType::Decimal,
            "set aside for anything else the source names, in `uom`",
        ),
    ],
};

static INCOMING_SCHEMA: BodySchema = BodySchema {
    name: "incoming",
    minor: 0,
    key: &[],
    fields: &[
        must(
            "qty",
            FieldType::Decimal,
            "quantity still to come, in `uom` of the event",
        ),
        must(
            "due_on",
            FieldType::Date,
            "day it is expected, in the location's own calendar",
        ),
        may(
            "document",
            FieldType::Text,
            "number of the purchase order, transfer or production order behind it",
        ),
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "inventory.availability.v1",
    minor: 0,
    key: &["company", "sku", "location"],
    fields: &[
        may(
            "gtin",
            FieldType::Text,
            "GS1 number of the item (GTIN) in its stocking unit, where the ERP has it",
        ),
        may(
            "gln",
            FieldType::Text,
            "GS1 number of the location (GLN), where the ERP has it",
        ),
        must(
            "uom",
            FieldType::Text,
            "stocking unit of the item, as the ERP calls it; every quantity of this event is \
             in it",
        ),
        must(
            "on_hand",
            FieldType::Decimal,
            "physically present and owned, in `uom`; holds every state the source counts as on \
             hand. May be negative",
        ),
        must(
            "allocated",
            FieldType::Decimal,
            "hard reserved to documents and still on hand, in `uom`; 0 if the ERP reserves \
             nothing",
        ),
        may(
            "soft_demand",
            FieldType::Decimal,
            "open confirmed demand that is not allocated yet, in `uom`",
        ),
        may(
            "unavailable",
            FieldType::Object(&UNAVAILABLE_SCHEMA),
            "quantities in states that cannot be sold, in `uom`; a state that is not there is \
             0",
        ),
        must(
            "unavailable_in_on_hand",
            FieldType::Bool,
            "whether the quantities of `unavailable` are part of `on_hand` (then they are \
             taken off for `available`) or lie beside it",
        ),
        may(
            "safety_stock",
            FieldType::Decimal,
            "the ERP's safety stock, in `uom`; a channel's own buffer is a setting of the \
             destination and not in here",
        ),
        may(
            "on_order",
            FieldType::Decimal,
            "ordered from vendors and not received yet, in `uom`",
        ),
        may(
            "requested",
            FieldType::Decimal,
            "asked for, by purchase requests or proposals, and not ordered from a vendor yet, \
             in `uom`",
        ),
        may(
            "planned",
            FieldType::Decimal,
            "planned own production that is not received into stock yet, in `uom`",
        ),
        may(
            "in_transit",
            FieldType::Decimal,
            "on the way in from other locations of the company, in `uom`",
        ),
        may(
            "incoming",
            FieldType::List(&INCOMING_SCHEMA),
            "dated supply lines, as many as the source tells inside the horizon of `formula`",
        ),
        may(
            "next_receipt_on",
            FieldType::Date,
            "day the earliest open purchase line is due",
        ),
        may(
            "backordered",
            FieldType::Decimal,
            "quantity customers wait for because it was not there, in `uom`",
        ),
        must(
            "available",
            FieldType::Decimal,
            "what is on hand and free, in `uom`: `on_hand` less `unavailable` (if inside) less \
             `allocated` less `soft_demand`. May be negative",
        ),
        must(
            "atp",
            FieldType::Decimal,
            "what can be promised, in `uom`: `available` less `safety_stock`, plus the supply \
             that `formula` counts. May be negative",
        ),
        must(
            "sellable",
            FieldType::Decimal,
            "what a channel may offer, in `uom`: `atp` rounded down to what can be sold, never \
             below zero",
        ),
        must(
            "formula",
            FieldType::Text,
            "id of the rule that worked out `available`, `atp` and `sellable`",
        ),
        must(
            "active",
            FieldType::Bool,
            "whether the item may be sold from this location at all",
        ),
        may(
            "counted_at",
            FieldType::Timestamp,
            "when it was last counted by hand",
        ),
    ],
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
    let given = |index: usize| match body.at(index) {
        Some(FieldValue::Decimal(value)) => Some(*value),
        _ => None,
    };
    let part = |index: usize| given(index).unwrap_or_default();
    let inside = match body.at(UNAVAILABLE_IN_ON_HAND) {
        Some(FieldValue::Bool(inside)) => *inside,
        _ => false,
    };
    let mut unavailable = Decimal::ZERO;
    if let (true, Some(FieldValue::Object(states))) = (inside, body.at(UNAVAILABLE)) {
        for value in states.values.iter().flatten() {
            if let FieldValue::Decimal(value) = value {
                unavailable = unavailable.try_add(*value)?;
            }
        }
    }
    let available = match given(AVAILABLE) {
        Some(given) => given,
        None => part(ON_HAND)
            .try_sub(unavailable)?
            .try_sub(part(ALLOCATED))?
            .try_sub(part(SOFT_DEMAND))?,
    };
    let atp = match given(ATP) {
        Some(given) => given,
        None => available.try_sub(part(SAFETY_STOCK))?,
    };
    let sellable = given(SELLABLE).unwrap_or_else(|| atp.floor().max(Decimal::ZERO));
    for (index, value) in [(AVAILABLE, available), (ATP, atp), (SELLABLE, sellable)] {
        body.fill(index, || FieldValue::Decimal(value));
    }
    body.fill(UNAVAILABLE_IN_ON_HAND, || FieldValue::Bool(inside));
    body.fill(FORMULA_FIELD, || FieldValue::Text(FORMULA.to_owned()));
    Ok(())
}

const ON_HAND: usize = index("on_hand");
const ALLOCATED: usize = index("allocated");
const SOFT_DEMAND: usize = index("soft_demand");
const UNAVAILABLE: usize = index("unavailable");
const UNAVAILABLE_IN_ON_HAND: usize = index("unavailable_in_on_hand");
const SAFETY_STOCK: usize = index("safety_stock");
const AVAILABLE: usize = index("available");
const ATP: usize = index("atp");
const SELLABLE: usize = index("sellable");
const FORMULA_FIELD: usize = index("formula");

/// Where a field stands; a name that is none does not compile.
const fn index(name: &str) -> usize {
    let mut n = 0;
    loop {
        let known = SCHEMA.fields[n].name.as_bytes();
        let wanted = name.as_bytes();
        let mut same = known.len() == wanted.len();
        let mut at = 0;
        while same && at < known.len() {
            same = known[at] == wanted[at];
            at += 1;
        }
        if same {
            return n;
        }
        n += 1;
    }
}

/// The same place with nothing to sell: what is told before its tombstone, because many channels
/// ignore deletes.
///
/// # Errors
/// When the body has no unit.
pub fn zeroed(body: &Body) -> Result<Body, BodyError> {
    let mut zero = Body::new(&SCHEMA);
    let uom = body.get("uom").cloned().ok_or(BodyError::Missing("uom"))?;
    zero.set("uom", uom)?;
    for name in ["on_hand", "allocated", "available", "atp", "sellable"] {
        zero.set(name, FieldValue::Decimal(Decimal::ZERO))?;
    }
    zero.set("unavailable_in_on_hand", FieldValue::Bool(false))?;
    zero.set("formula", FieldValue::Text(FORMULA.to_owned()))?;
    zero.set("active", FieldValue::Bool(false))?;
    Ok(zero)
}

/// What `formula` says where a person had nothing to sell told.
pub const STOPPED: &str = "stopped";

/// The same stock with nothing to sell: what is on hand stays as it is, for it is there. `None` where
/// there is nothing to sell anyway.
pub fn unsellable(body: &Body) -> Option<Body> {
    const OFFERED: [&str; 3] = ["available", "atp", "sellable"];
    let some = |name| {
        body.decimal(name)
            .is_some_and(|quantity| quantity > Decimal::ZERO)
    };
    if !OFFERED.into_iter().any(some) {
        return None;
    }
    let mut zero = body.clone();
    for name in OFFERED {
        zero.set(name, FieldValue::Decimal(Decimal::ZERO)).ok()?;
    }
    zero.set("formula", FieldValue::Text(STOPPED.to_owned()))
        .ok()?;
    Some(zero)
}

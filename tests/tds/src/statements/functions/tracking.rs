//! Change Tracking and rowversion.

use super::{Entry, big, bytes, whole};
use crate::model::in_mask;
use crate::statements::bind::{Cx, Result};
use crate::statements::plan::allowed;
use crate::statements::types::Kind;
use crate::wire::{Type, Value};

pub(super) const ALL: &[Entry] = &[
    ("CHANGE_TRACKING_CURRENT_VERSION", 0, 0, big, current),
    ("CHANGE_TRACKING_MIN_VALID_VERSION", 1, 1, big, min_valid),
    (
        "CHANGE_TRACKING_IS_COLUMN_IN_MASK",
        2,
        2,
        |_| Kind::new(Type::Bit),
        in_a_mask,
    ),
    (
        "MIN_ACTIVE_ROWVERSION",
        0,
        0,
        |_| Kind::new(Type::Binary(8)).not_null(),
        min_active,
    ),
];

fn current(cx: &Cx<'_>, _: &[Value], _: &[&Kind]) -> Result<Value> {
    allowed(cx)?;
    Ok(cx
        .state
        .tracking_version(cx.view)
        .map_or(Value::Null, Value::BigInt))
}

/// NULL for a table that is not there, not tracked, or that the caller has no rights on.
fn min_valid(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let id = whole(&values[0], kinds[0])?.and_then(|id| i32::try_from(id).ok());
    let table = id.and_then(|id| cx.state.tables.get(&id));
    let table = table.filter(|table| cx.user.selects(table) && cx.user.views_tracking(table));
    let tracking = table.and_then(|table| table.tracking.as_ref());
    Ok(tracking.map_or(Value::Null, |tracking| {
        Value::BigInt(tracking.min_valid(cx.view))
    }))
}

fn in_a_mask(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(column) = whole(&values[0], kinds[0])?.and_then(|id| i32::try_from(id).ok()) else {
        return Ok(Value::Null);
    };
    let mask = bytes(&values[1], kinds[1])?;
    Ok(Value::Bit(in_mask(column, mask.as_deref())))
}

fn min_active(cx: &Cx<'_>, _: &[Value], _: &[&Kind]) -> Result<Value> {
    Ok(Value::Bytes(
        cx.state.min_active_rowversion().to_be_bytes().to_vec(),
    ))
}

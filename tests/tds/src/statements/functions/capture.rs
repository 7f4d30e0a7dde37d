//! `sys.fn_cdc_..`

use super::{Entry, bytes, lsn_kind, text, whole};
use crate::model::{lsn, next_lsn};
use crate::statements::bind::{Cx, Result};
use crate::statements::moments::{self, moment};
use crate::statements::types::Kind;
use crate::wire::{ServerError, Type, Value};

pub(super) const ALL: &[Entry] = &[
    ("SYS.FN_CDC_GET_MAX_LSN", 0, 0, lsn_kind, max),
    ("SYS.FN_CDC_GET_MIN_LSN", 1, 1, lsn_kind, min),
    ("SYS.FN_CDC_INCREMENT_LSN", 1, 1, lsn_kind, |_, v, k| {
        step(v, k, true)
    }),
    ("SYS.FN_CDC_DECREMENT_LSN", 1, 1, lsn_kind, |_, v, k| {
        step(v, k, false)
    }),
    ("SYS.FN_CDC_MAP_TIME_TO_LSN", 2, 2, lsn_kind, from_time),
    (
        "SYS.FN_CDC_MAP_LSN_TO_TIME",
        1,
        1,
        |_| Kind::new(Type::DateTime),
        to_time,
    ),
    (
        "SYS.FN_CDC_IS_BIT_SET",
        2,
        2,
        |_| Kind::new(Type::Bit),
        is_set,
    ),
    (
        "SYS.FN_CDC_GET_COLUMN_ORDINAL",
        2,
        2,
        |_| Kind::int(),
        ordinal,
    ),
    (
        "SYS.FN_CDC_HAS_COLUMN_CHANGED",
        3,
        3,
        |_| Kind::new(Type::Bit),
        has_changed,
    ),
];

/// NULL until the job has run once; it needs no rights on `cdc` [from memory].
fn max(cx: &Cx<'_>, _: &[Value], _: &[&Kind]) -> Result<Value> {
    let found = cx
        .state
        .max_lsn(|time| cx.view.between(time.from, time.until));
    Ok(found.map_or(Value::Null, |place| Value::Bytes(lsn(place))))
}

/// Zero for an instance that is not there, and for one that the caller may not read.
fn min(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(name) = text(&values[0], kinds[0])? else {
        return Ok(Value::Bytes(vec![0; 10]));
    };
    let found = cx
        .state
        .instance(&name)
        .filter(|_| cx.state.reads_instance(cx.user, &name));
    Ok(Value::Bytes(
        lsn(found.map_or(0, |instance| instance.start)),
    ))
}

fn step(values: &[Value], kinds: &[&Kind], up: bool) -> Result<Value> {
    Ok(
        bytes(&values[0], kinds[0])?
            .map_or(Value::Null, |bytes| Value::Bytes(next_lsn(&bytes, up))),
    )
}

fn from_time(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(how) = text(&values[0], kinds[0])? else {
        return Ok(Value::Null);
    };
    let at = crate::statements::convert(&values[1], &kinds[1].of, &Type::DateTime, 0)?;
    let (Some(at), Some(capture)) = (moment(&at), &cx.state.capture) else {
        return Ok(Value::Null);
    };
    let local = |utc: i64| utc + i64::from(cx.state.offset_minutes) * 600_000_000;
    let seen = capture
        .times
        .iter()
        .filter(|time| cx.view.between(time.from, time.until));
    let smallest = how.trim().to_lowercase();
    let fits = |time: &&crate::model::Time| match smallest.as_str() {
        "smallest greater than" => local(time.end) > at.ticks,
        "smallest greater than or equal" => local(time.end) >= at.ticks,
        "largest less than" => local(time.end) < at.ticks,
        _ => local(time.end) <= at.ticks,
    };
    let known = [
        "smallest greater than",
        "smallest greater than or equal",
        "largest less than",
        "largest less than or equal",
    ];
    if !known.contains(&smallest.as_str()) {
        return Err(ServerError::new(
            22_864,
            16,
            "The relational operator is not valid.",
        ));
    }
    let places = seen.filter(fits).map(|time| time.place);
    let found = if smallest.starts_with("smallest") {
        places.min()
    } else {
        places.max()
    };
    Ok(found.map_or(Value::Null, |place| Value::Bytes(lsn(place))))
}

fn to_time(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(wanted) = bytes(&values[0], kinds[0])? else {
        return Ok(Value::Null);
    };
    let Some(capture) = &cx.state.capture else {
        return Ok(Value::Null);
    };
    let found = capture.times.iter().find(|time| lsn(time.place) == wanted);
    let Some(time) = found else {
        return Ok(Value::Null);
    };
    let ticks = time.end + i64::from(cx.state.offset_minutes) * 600_000_000;
    moments::value(
        moments::Moment {
            ticks,
            offset: None,
        },
        &Type::DateTime,
    )
}

/// The first ordinal is the lowest bit of the last byte.
fn set(mask: &[u8], ordinal: i64) -> Option<bool> {
    let bit = usize::try_from(ordinal.checked_sub(1)?).ok()?;
    Some(mask.iter().rev().nth(bit / 8)? & (1 << (bit % 8)) != 0)
}

fn is_set(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let (Some(at), Some(mask)) = (whole(&values[0], kinds[0])?, bytes(&values[1], kinds[1])?)
    else {
        return Ok(Value::Null);
    };
    Ok(set(&mask, at).map_or(Value::Null, Value::Bit))
}

fn place(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Option<i64>> {
    let (Some(instance), Some(column)) = (text(&values[0], kinds[0])?, text(&values[1], kinds[1])?)
    else {
        return Ok(None);
    };
    let instance = cx
        .state
        .instance(&instance)
        .filter(|_| cx.state.reads_instance(cx.user, &instance));
    let found = instance.and_then(|i| {
        i.columns
            .iter()
            .position(|c| c.name.eq_ignore_ascii_case(&column))
    });
    Ok(found.and_then(|at| i64::try_from(at + 1).ok()))
}

fn ordinal(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let found = place(cx, values, kinds)?.and_then(|at| i32::try_from(at).ok());
    Ok(found.map_or(Value::Null, Value::Int))
}

fn has_changed(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let at = place(cx, values, kinds)?;
    let mask = bytes(&values[2], kinds[2])?;
    Ok(at
        .zip(mask)
        .and_then(|(at, mask)| set(&mask, at))
        .map_or(Value::Null, Value::Bit))
}

/// COLUMNPROPERTY of a change table's own column, for who may see it: its number, NULL where there is none.
pub(super) fn own_column(cx: &Cx<'_>, id: Option<i32>, column: Option<&str>) -> Option<Value> {
    let mut all = cx
        .state
        .capture
        .iter()
        .flat_map(|capture| &capture.instances);
    let instance = all.find(|instance| Some(instance.id) == id)?;
    let is_there = column == Some("__$command_id") && cx.state.options.command_id;
    if !is_there || !cx.user.selects_cdc() {
        return Some(Value::Null);
    }
    // Behind five columns of its own and those that it captures.
    Some(i32::try_from(instance.columns.len() + 6).map_or(Value::Null, Value::Int))
}

//! The clock.

use super::{Entry, int, text, whole};
use crate::statements::bind::{Cx, Result};
use crate::statements::convert::convert;
use crate::statements::moments::{self, DAY, Moment, moment};
use crate::statements::types::{Family, Kind, family};
use crate::wire::{ServerError, Type, Value};

pub(super) const ALL: &[Entry] = &[
    (
        "SYSDATETIMEOFFSET",
        0,
        0,
        |_| Kind::new(Type::DateTimeOffset(7)).not_null(),
        |cx, _, _| {
            let offset = cx.state.offset_minutes;
            moments::value(now(cx, offset, Some(offset)), &Type::DateTimeOffset(7))
        },
    ),
    (
        "SYSDATETIME",
        0,
        0,
        |_| Kind::new(Type::DateTime2(7)).not_null(),
        |cx, _, _| moments::value(now(cx, cx.state.offset_minutes, None), &Type::DateTime2(7)),
    ),
    (
        "SYSUTCDATETIME",
        0,
        0,
        |_| Kind::new(Type::DateTime2(7)).not_null(),
        |cx, _, _| moments::value(now(cx, 0, None), &Type::DateTime2(7)),
    ),
    (
        "GETDATE",
        0,
        0,
        |_| Kind::new(Type::DateTime).not_null(),
        |cx, _, _| moments::value(now(cx, cx.state.offset_minutes, None), &Type::DateTime),
    ),
    (
        "GETUTCDATE",
        0,
        0,
        |_| Kind::new(Type::DateTime).not_null(),
        |cx, _, _| moments::value(now(cx, 0, None), &Type::DateTime),
    ),
    ("DATEPART", 2, 2, int, part),
    ("DATEADD", 3, 3, of_third, add),
    ("DATEDIFF", 3, 3, int, |cx, v, k| {
        Ok(match diff(cx, v, k)? {
            Some(found) => Value::Int(i32::try_from(found).map_err(|_| {
                ServerError::new(535, 16, "The datediff function resulted in an overflow.")
            })?),
            None => Value::Null,
        })
    }),
    (
        "DATEDIFF_BIG",
        3,
        3,
        |_| Kind::new(Type::BigInt),
        |cx, v, k| Ok(diff(cx, v, k)?.map_or(Value::Null, Value::BigInt)),
    ),
    (
        "SWITCHOFFSET",
        2,
        2,
        |_| Kind::new(Type::DateTimeOffset(7)),
        switch_offset,
    ),
    (
        "TODATETIMEOFFSET",
        2,
        2,
        |_| Kind::new(Type::DateTimeOffset(7)),
        to_offset,
    ),
];

fn now(cx: &Cx<'_>, minutes: i16, offset: Option<i16>) -> Moment {
    Moment {
        ticks: cx.state.now + i64::from(minutes) * 600_000_000,
        offset,
    }
}

fn of_third(kinds: &[&Kind]) -> Kind {
    match kinds.get(2) {
        Some(kind) if family(&kind.of) == Family::Moment => (*kind).clone(),
        _ => Kind::new(Type::DateTime),
    }
}

/// 100 nanoseconds of a part of fixed length.
fn unit(part: &str) -> Result<i64> {
    Ok(match part {
        "DAY" | "DD" | "D" => DAY,
        "HOUR" | "HH" => DAY / 24,
        "MINUTE" | "MI" | "N" => DAY / 1440,
        "SECOND" | "SS" | "S" => DAY / 86_400,
        "MILLISECOND" | "MS" => 10_000,
        "MICROSECOND" | "MCS" => 10,
        _ => {
            return Err(ServerError::new(
                155,
                15,
                format!("'{part}' is not a recognized datepart option."),
            ));
        }
    })
}

fn of(value: &Value, kind: &Kind) -> Result<Option<Moment>> {
    let value = match family(&kind.of) {
        Family::Moment => value.clone(),
        _ => convert(value, &kind.of, &Type::DateTimeOffset(7), 0)?,
    };
    Ok(moment(&value))
}

fn part(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let word = text(&values[0], kinds[0])?.unwrap_or_default();
    let Some(at) = of(&values[1], kinds[1])? else {
        return Ok(Value::Null);
    };
    let (year, month, day) = moments::date(at.ticks.div_euclid(DAY));
    let clock = at.ticks.rem_euclid(DAY);
    let found = match word.as_str() {
        "TZOFFSET" | "TZ" => i64::from(at.offset.unwrap_or(0)),
        "YEAR" | "YY" | "YYYY" => year,
        "MONTH" | "MM" | "M" => month,
        "DAY" | "DD" | "D" => day,
        "NANOSECOND" | "NS" => clock % 10_000_000 * 100,
        "MICROSECOND" | "MCS" => clock % 10_000_000 / 10,
        "MILLISECOND" | "MS" => clock % 10_000_000 / 10_000,
        "SECOND" | "SS" | "S" => clock / 10_000_000 % 60,
        word => clock / unit(word)? % if word.starts_with('H') { 24 } else { 60 },
    };
    Ok(i32::try_from(found).map_or(Value::Null, Value::Int))
}

fn add(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let unit = unit(&text(&values[0], kinds[0])?.unwrap_or_default())?;
    let (Some(count), Some(at)) = (whole(&values[1], kinds[1])?, of(&values[2], kinds[2])?) else {
        return Ok(Value::Null);
    };
    let ticks = count
        .checked_mul(unit)
        .and_then(|by| at.ticks.checked_add(by));
    let ticks = ticks.ok_or_else(|| {
        ServerError::new(
            517,
            16,
            "Adding a value to a 'datetime' column caused an overflow.",
        )
    })?;
    moments::value(Moment { ticks, ..at }, &of_third(kinds).of)
}

/// How many borders of the part lie between two moments.
fn diff(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Option<i64>> {
    let unit = unit(&text(&values[0], kinds[0])?.unwrap_or_default())?;
    let (Some(from), Some(to)) = (of(&values[1], kinds[1])?, of(&values[2], kinds[2])?) else {
        return Ok(None);
    };
    Ok(Some(
        to.utc().div_euclid(unit) - from.utc().div_euclid(unit),
    ))
}

/// Minutes, or `+02:00`.
fn offset(value: &Value, kind: &Kind) -> Result<Option<i16>> {
    if family(&kind.of) == Family::Text {
        let Some(text) = text(value, kind)? else {
            return Ok(None);
        };
        let found =
            moments::parse(&format!("2000-01-01T00:00:00{text}")).and_then(|moment| moment.offset);
        return found.map(Some).ok_or_else(|| {
            ServerError::new(
                9812,
                16,
                "The timezone provided to builtin function is invalid.",
            )
        });
    }
    Ok(whole(value, kind)?.and_then(|minutes| i16::try_from(minutes).ok()))
}

fn switch_offset(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let (Some(at), Some(minutes)) = (of(&values[0], kinds[0])?, offset(&values[1], kinds[1])?)
    else {
        return Ok(Value::Null);
    };
    let ticks = at.utc() + i64::from(minutes) * 600_000_000;
    moments::value(
        Moment {
            ticks,
            offset: Some(minutes),
        },
        &Type::DateTimeOffset(7),
    )
}

fn to_offset(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let (Some(at), Some(minutes)) = (of(&values[0], kinds[0])?, offset(&values[1], kinds[1])?)
    else {
        return Ok(Value::Null);
    };
    moments::value(
        Moment {
            ticks: at.ticks,
            offset: Some(minutes),
        },
        &Type::DateTimeOffset(7),
    )
}

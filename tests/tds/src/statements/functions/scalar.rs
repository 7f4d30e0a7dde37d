//! Texts and numbers.

use super::{Entry, both, bytes, first_text, int, sysname, text, whole};
use crate::statements::bind::{Cx, Result};

use crate::statements::type_name;
use crate::statements::types::Kind;
use crate::wire::{Length, Type, Value};

fn long(_: &[&Kind]) -> Kind {
    Kind::nvarchar(4000)
}

fn same(kinds: &[&Kind]) -> Kind {
    kinds[0].clone()
}

pub(super) const ALL: &[Entry] = &[
    ("LEN", 1, 1, int, len),
    ("DATALENGTH", 1, 1, int, data_length),
    ("UPPER", 1, 1, first_text, |_, v, k| {
        map(v, k, |text| text.to_uppercase())
    }),
    ("LOWER", 1, 1, first_text, |_, v, k| {
        map(v, k, |text| text.to_lowercase())
    }),
    ("LTRIM", 1, 1, first_text, |_, v, k| {
        map(v, k, |text| text.trim_start_matches(' ').to_owned())
    }),
    ("RTRIM", 1, 1, first_text, |_, v, k| {
        map(v, k, |text| text.trim_end_matches(' ').to_owned())
    }),
    ("TRIM", 1, 1, first_text, |_, v, k| {
        map(v, k, |text| text.trim_matches(' ').to_owned())
    }),
    (
        "QUOTENAME",
        1,
        2,
        |_| Kind::nvarchar(258),
        |_, v, k| map(v, k, |text| format!("[{}]", text.replace(']', "]]"))),
    ),
    ("CONCAT", 2, 254, long, concat),
    ("LEFT", 2, 2, first_text, left),
    ("RIGHT", 2, 2, first_text, right),
    ("SUBSTRING", 3, 3, same, substring),
    ("REPLACE", 3, 3, first_text, replace),
    ("CHARINDEX", 2, 2, int, charindex),
    ("ABS", 1, 1, same, abs),
    ("CHECKSUM", 1, 254, int, checksum),
    ("SQL_VARIANT_PROPERTY", 2, 2, sysname, variant_property),
    ("GREATEST", 1, 254, both, |_, v, k| best(v, k, true)),
    ("LEAST", 1, 254, both, |_, v, k| best(v, k, false)),
];

fn map(values: &[Value], kinds: &[&Kind], of: impl Fn(&str) -> String) -> Result<Value> {
    Ok(text(&values[0], kinds[0])?.map_or(Value::Null, |text| Value::Text(of(&text))))
}

fn number(value: usize) -> Value {
    i32::try_from(value).map_or(Value::Null, Value::Int)
}

fn len(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let found = text(&values[0], kinds[0])?;
    Ok(found.map_or(Value::Null, |text| {
        number(text.trim_end_matches(' ').encode_utf16().count())
    }))
}

fn data_length(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    Ok(match &values[0] {
        Value::Null => Value::Null,
        Value::Text(text) => match kinds[0].of {
            Type::NChar(_) | Type::NVarChar(_) | Type::NText | Type::Xml => {
                number(text.encode_utf16().count() * 2)
            }
            _ => number(text.chars().count()),
        },
        Value::Bytes(bytes) => number(bytes.len()),
        _ => Value::Int(i32::from(crate::statements::length_of(&kinds[0].of))),
    })
}

fn concat(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let mut all = String::new();
    for (value, kind) in values.iter().zip(kinds) {
        all.push_str(&text(value, kind)?.unwrap_or_default());
    }
    Ok(Value::Text(all))
}

fn piece(
    values: &[Value],
    kinds: &[&Kind],
    of: impl Fn(&[u16], usize) -> (usize, usize),
) -> Result<Value> {
    let (Some(text), Some(count)) = (text(&values[0], kinds[0])?, whole(&values[1], kinds[1])?)
    else {
        return Ok(Value::Null);
    };
    let units: Vec<u16> = text.encode_utf16().collect();
    let (from, to) = of(&units, usize::try_from(count).unwrap_or(0).min(units.len()));
    Ok(Value::Text(String::from_utf16_lossy(&units[from..to])))
}

fn left(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    piece(values, kinds, |_, count| (0, count))
}

fn right(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    piece(values, kinds, |units, count| {
        (units.len() - count, units.len())
    })
}

fn substring(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let (Some(from), Some(count)) = (whole(&values[1], kinds[1])?, whole(&values[2], kinds[2])?)
    else {
        return Ok(Value::Null);
    };
    let start = usize::try_from(from - 1).unwrap_or(0);
    let count = usize::try_from(count + from.min(1) - 1).unwrap_or(0);
    if matches!(
        kinds[0].of,
        Type::Binary(_) | Type::VarBinary(_) | Type::Image
    ) {
        let Some(all) = bytes(&values[0], &Kind::new(Type::VarBinary(Length::Max)))? else {
            return Ok(Value::Null);
        };
        let part = all.iter().skip(start).take(count).copied().collect();
        return Ok(Value::Bytes(part));
    }
    let Some(all) = text(&values[0], kinds[0])? else {
        return Ok(Value::Null);
    };
    let units: Vec<u16> = all.encode_utf16().skip(start).take(count).collect();
    Ok(Value::Text(String::from_utf16_lossy(&units)))
}

fn replace(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let part = |at: usize| text(&values[at], kinds[at]);
    let (Some(all), Some(from), Some(to)) = (part(0)?, part(1)?, part(2)?) else {
        return Ok(Value::Null);
    };
    if from.is_empty() {
        return Ok(Value::Text(all));
    }
    Ok(Value::Text(all.replace(&from, &to)))
}

fn charindex(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let (Some(what), Some(all)) = (text(&values[0], kinds[0])?, text(&values[1], kinds[1])?) else {
        return Ok(Value::Null);
    };
    let (what, all) = (what.to_lowercase(), all.to_lowercase());
    Ok(all.find(&what).map_or(Value::Int(0), |at| {
        number(all[..at].encode_utf16().count() + 1)
    }))
}

fn abs(_: &Cx<'_>, values: &[Value], _: &[&Kind]) -> Result<Value> {
    Ok(match &values[0] {
        Value::Int(value) => Value::Int(value.wrapping_abs()),
        Value::BigInt(value) => Value::BigInt(value.wrapping_abs()),
        Value::Decimal(value) => Value::Decimal(value.wrapping_abs()),
        Value::Float(value) => Value::Float(value.abs()),
        value => value.clone(),
    })
}

/// Some number of the values; not the one that a server gives.
fn checksum(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let mut sum = 0_i32;
    for (value, kind) in values.iter().zip(kinds) {
        for byte in crate::statements::compare::sameness(value, kind) {
            sum = sum.wrapping_mul(31).wrapping_add(i32::from(byte));
        }
    }
    Ok(Value::Int(sum))
}

fn variant_property(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let property = text(&values[1], kinds[1])?.unwrap_or_default();
    Ok(match &values[0] {
        Value::Variant(inner) if property.eq_ignore_ascii_case("BaseType") => {
            Value::Text(type_name(&inner.kind))
        }
        _ => Value::Null,
    })
}

fn best(values: &[Value], kinds: &[&Kind], most: bool) -> Result<Value> {
    let to = both(kinds);
    let mut found = Value::Null;
    for (value, kind) in values.iter().zip(kinds) {
        let value = crate::statements::convert(value, &kind.of, &to.of, 0)?;
        let order = crate::statements::compare::order(&value, &found, &to);
        if found == Value::Null || (value != Value::Null && order.is_gt() == most && order.is_ne())
        {
            found = value;
        }
    }
    Ok(found)
}

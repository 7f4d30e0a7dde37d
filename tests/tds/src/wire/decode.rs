//! Values as clients send them.

use super::reader::{Malformed, Reader};
use super::types::{Collation, Length, Type, decimal_bytes, time_bytes};
use super::value::{Value, Variant, decode_page, decode_utf16, turn_guid};

/// Reads a value whose length is known.
pub(super) fn plain(kind: &Type, collation: Collation, bytes: &[u8]) -> Result<Value, Malformed> {
    let mut from = Reader::new(bytes);
    let value = match kind {
        Type::Bit => Value::Bit(from.u8()? != 0),
        Type::TinyInt => Value::TinyInt(from.u8()?),
        Type::SmallInt => Value::SmallInt(i16::from_le_bytes(from.array()?)),
        Type::Int => Value::Int(i32::from_le_bytes(from.array()?)),
        Type::BigInt => Value::BigInt(i64::from_le_bytes(from.array()?)),
        Type::Real => Value::Real(f32::from_le_bytes(from.array()?)),
        Type::Float => Value::Float(f64::from_le_bytes(from.array()?)),
        Type::Money => {
            // The high half comes first.
            let high = i64::from(i32::from_le_bytes(from.array()?));
            Value::Money((high << 32) | i64::from(from.u32()?))
        }
        Type::SmallMoney => Value::SmallMoney(i32::from_le_bytes(from.array()?)),
        Type::DateTime => {
            let days = i32::from_le_bytes(from.array()?);
            let ticks = bounded(u64::from(from.u32()?), 25_920_000, "a time of day")?;
            let ticks = u32::try_from(ticks).map_err(|_| Malformed("a time of day".to_owned()))?;
            Value::DateTime { days, ticks }
        }
        Type::SmallDateTime => {
            let days = from.u16()?;
            let minutes = from.u16()?;
            bounded(u64::from(minutes), 1440, "a time of day")?;
            Value::SmallDateTime { days, minutes }
        }
        Type::Decimal(precision, _) | Type::Numeric(precision, _) => {
            Value::Decimal(decimal(&mut from, *precision)?)
        }
        Type::Date => Value::Date(day(&mut from)?),
        Type::Time(scale) => Value::Time(time(&mut from, *scale)?),
        Type::DateTime2(scale) => {
            let ticks = time(&mut from, *scale)?;
            Value::DateTime2 {
                days: day(&mut from)?,
                ticks,
            }
        }
        Type::DateTimeOffset(scale) => {
            let ticks = time(&mut from, *scale)?;
            let days = day(&mut from)?;
            let offset_minutes = i16::from_le_bytes(from.array()?);
            bounded(u64::from(offset_minutes.unsigned_abs()), 841, "an offset")?;
            Value::DateTimeOffset {
                days,
                ticks,
                offset_minutes,
            }
        }
        Type::UniqueIdentifier => Value::Guid(turn_guid(from.array()?)),
        Type::Char(_) | Type::VarChar(_) | Type::Text => {
            decode_page(from.take(from.left())?, collation)
        }
        Type::NChar(_) | Type::NVarChar(_) | Type::NText => decode_utf16(from.take(from.left())?),
        Type::Xml => {
            let bytes = from.take(from.left())?;
            // Some clients put a byte order mark before it.
            decode_utf16(bytes.strip_prefix(&[0xFF, 0xFE]).unwrap_or(bytes))
        }
        Type::Binary(_) | Type::VarBinary(_) | Type::Image | Type::Udt(_) => {
            Value::bytes(from.take(from.left())?)
        }
        Type::Variant => return Err(Malformed("a sql_variant in a sql_variant".to_owned())),
    };
    if !from.is_empty() {
        return Err(Malformed(format!(
            "{} bytes too many for {kind:?}",
            from.left()
        )));
    }
    Ok(value)
}

fn bounded(value: u64, end: u64, what: &str) -> Result<u64, Malformed> {
    if value >= end {
        return Err(Malformed(format!("{what} of {value}")));
    }
    Ok(value)
}

fn decimal(from: &mut Reader<'_>, precision: u8) -> Result<i128, Malformed> {
    let positive = match from.u8()? {
        0 => false,
        1 => true,
        sign => return Err(Malformed(format!("a sign of {sign}"))),
    };
    // Clients send as many bytes as they like, at least as many as the number takes.
    if from.left() > 16 {
        return Err(Malformed(format!("a decimal of {} bytes", from.left())));
    }
    let mut bytes = [0; 16];
    let sent = from.take(from.left())?;
    bytes[..sent.len()].copy_from_slice(sent);
    let magnitude = u128::from_le_bytes(bytes);
    if magnitude >= 10_u128.pow(u32::from(precision)) {
        return Err(Malformed(format!(
            "more digits than decimal({precision}) holds"
        )));
    }
    let magnitude =
        i128::try_from(magnitude).map_err(|_| Malformed("a decimal too large".to_owned()))?;
    Ok(if positive { magnitude } else { -magnitude })
}

fn day(from: &mut Reader<'_>) -> Result<u32, Malformed> {
    let [a, b, c] = from.array()?;
    let days = u32::from_le_bytes([a, b, c, 0]);
    bounded(u64::from(days), 3_652_059, "a day")?;
    Ok(days)
}

fn time(from: &mut Reader<'_>, scale: u8) -> Result<u64, Malformed> {
    let size = time_bytes(scale).ok_or_else(|| Malformed(format!("a time of scale {scale}")))?;
    let sent = from.take(usize::from(size))?;
    let mut bytes = [0; 8];
    bytes[..sent.len()].copy_from_slice(sent);
    let ticks = u64::from_le_bytes(bytes) * 10_u64.pow(u32::from(7 - scale));
    bounded(ticks, 864_000_000_000, "a time of day")
}

/// Reads a `sql_variant`.
pub(super) fn variant(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut from = Reader::new(bytes);
    let token = from.u8()?;
    let property_count = usize::from(from.u8()?);
    let mut properties = Reader::new(from.take(property_count)?);
    let mut collation = Collation::LATIN1;
    let kind = match token {
        0x24 => Type::UniqueIdentifier,
        0x28 => Type::Date,
        0x29 => Type::Time(properties.u8()?),
        0x2A => Type::DateTime2(properties.u8()?),
        0x2B => Type::DateTimeOffset(properties.u8()?),
        0x30 => Type::TinyInt,
        0x32 => Type::Bit,
        0x34 => Type::SmallInt,
        0x38 => Type::Int,
        0x3A => Type::SmallDateTime,
        0x3B => Type::Real,
        0x3C => Type::Money,
        0x3D => Type::DateTime,
        0x3E => Type::Float,
        0x7A => Type::SmallMoney,
        0x7F => Type::BigInt,
        0x6A | 0x6C => {
            let precision = properties.u8()?;
            let scale = properties.u8()?;
            if decimal_bytes(precision).is_none() || scale > precision {
                return Err(Malformed(format!("decimal({precision},{scale})")));
            }
            if token == 0x6A {
                Type::Decimal(precision, scale)
            } else {
                Type::Numeric(precision, scale)
            }
        }
        0xA5 => Type::VarBinary(Length::Of(properties.u16()?)),
        0xAD => Type::Binary(properties.u16()?),
        0xA7 | 0xAF | 0xE7 | 0xEF => {
            collation = Collation {
                info: properties.u32()?,
                sort: properties.u8()?,
            };
            let most = properties.u16()?;
            match token {
                0xA7 => Type::VarChar(Length::Of(most)),
                0xAF => Type::Char(most),
                0xE7 => Type::NVarChar(Length::Of(most / 2)),
                _ => Type::NChar(most / 2),
            }
        }
        _ => return Err(Malformed(format!("type {token:#04x} in a sql_variant"))),
    };
    if !properties.is_empty() {
        return Err(Malformed(format!(
            "properties of {kind:?} in a sql_variant are too long"
        )));
    }
    let value = plain(&kind, collation, from.take(from.left())?)?;
    Ok(Value::Variant(Box::new(Variant {
        kind,
        collation,
        value,
    })))
}

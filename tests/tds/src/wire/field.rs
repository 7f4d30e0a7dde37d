//! Values as the server sends them.

use super::encode::{Outcome, RowShape, Unfit, narrow};
use super::types::{Collation, Column, Length, Type, decimal_bytes, time_bytes};
use super::value::{Value, Variant, encode_page, turn_guid, utf16};

fn null(out: &mut Vec<u8>, kind: &Type) {
    match kind {
        Type::VarChar(Length::Max)
        | Type::NVarChar(Length::Max)
        | Type::VarBinary(Length::Max)
        | Type::Xml
        | Type::Udt(_) => out.extend([0xFF; 8]),
        Type::Char(_)
        | Type::VarChar(_)
        | Type::NChar(_)
        | Type::NVarChar(_)
        | Type::Binary(_)
        | Type::VarBinary(_) => out.extend([0xFF, 0xFF]),
        Type::Variant => out.extend([0; 4]),
        _ => out.push(0),
    }
}

/// Writes a value with what stands before it.
pub(super) fn field(out: &mut Vec<u8>, column: &Column, value: &Value, shape: RowShape) -> Outcome {
    let kind = &column.kind;
    if *value == Value::Null {
        null(out, kind);
        return Ok(());
    }
    if let (Type::Variant, Value::Variant(variant)) = (kind, value) {
        return variant_field(out, variant);
    }
    let bytes = plain(kind, column.collation, value)?;
    match kind {
        Type::Bit
        | Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Real
        | Type::Float
        | Type::Money
        | Type::SmallMoney
        | Type::DateTime
        | Type::SmallDateTime => {
            if column.nullable {
                out.push(narrow(bytes.len(), "a number")?);
            }
        }
        Type::Decimal(..)
        | Type::Numeric(..)
        | Type::Date
        | Type::Time(_)
        | Type::DateTime2(_)
        | Type::DateTimeOffset(_)
        | Type::UniqueIdentifier => out.push(narrow(bytes.len(), "a value")?),
        Type::Char(_)
        | Type::VarChar(Length::Of(_))
        | Type::NChar(_)
        | Type::NVarChar(Length::Of(_))
        | Type::Binary(_)
        | Type::VarBinary(Length::Of(_)) => {
            let length: u16 = narrow(bytes.len(), "a value")?;
            out.extend(length.to_le_bytes());
        }
        Type::Text | Type::NText | Type::Image => {
            // A pointer to the value and its time stamp, which clients only skip.
            out.push(16);
            out.extend([0x11; 16]);
            out.extend([0x22; 8]);
            let length: u32 = narrow(bytes.len(), "a value")?;
            out.extend(length.to_le_bytes());
        }
        Type::VarChar(Length::Max)
        | Type::NVarChar(Length::Max)
        | Type::VarBinary(Length::Max)
        | Type::Xml
        | Type::Udt(_) => return chunks(out, &bytes, shape),
        Type::Variant => return Err(Unfit(format!("{value:?} for sql_variant"))),
    }
    out.extend(bytes);
    Ok(())
}

/// Writes a value in chunks.
fn chunks(out: &mut Vec<u8>, bytes: &[u8], shape: RowShape) -> Outcome {
    let length: u64 = narrow(bytes.len(), "a value")?;
    let announced = if shape.announce_length {
        length
    } else {
        u64::MAX - 1
    };
    out.extend(announced.to_le_bytes());
    for chunk in bytes.chunks(shape.chunk_bytes.max(1)) {
        let length: u32 = narrow(chunk.len(), "a chunk")?;
        out.extend(length.to_le_bytes());
        out.extend(chunk);
    }
    out.extend([0; 4]);
    Ok(())
}

/// The bytes of a value without its length.
fn plain(kind: &Type, collation: Collation, value: &Value) -> Outcome<Vec<u8>> {
    let unfit = || Unfit(format!("{value:?} is no {kind:?}"));
    let bytes = match (kind, value) {
        (Type::Bit, Value::Bit(bit)) => vec![u8::from(*bit)],
        (Type::TinyInt, Value::TinyInt(number)) => vec![*number],
        (Type::SmallInt, Value::SmallInt(number)) => number.to_le_bytes().to_vec(),
        (Type::Int, Value::Int(number)) => number.to_le_bytes().to_vec(),
        (Type::BigInt, Value::BigInt(number)) => number.to_le_bytes().to_vec(),
        (Type::Real, Value::Real(number)) => number.to_le_bytes().to_vec(),
        (Type::Float, Value::Float(number)) => number.to_le_bytes().to_vec(),
        (Type::Decimal(precision, _) | Type::Numeric(precision, _), Value::Decimal(digits)) => {
            decimal(*precision, *digits).ok_or_else(unfit)?
        }
        (Type::Money, Value::Money(number)) => {
            // The high half comes first, each half with its low byte first.
            let bytes = number.to_le_bytes();
            [&bytes[4..], &bytes[..4]].concat()
        }
        (Type::SmallMoney, Value::SmallMoney(number)) => number.to_le_bytes().to_vec(),
        (Type::DateTime, Value::DateTime { days, ticks }) => {
            [days.to_le_bytes(), ticks.to_le_bytes()].concat()
        }
        (Type::SmallDateTime, Value::SmallDateTime { days, minutes }) => {
            [days.to_le_bytes(), minutes.to_le_bytes()].concat()
        }
        (Type::Date, Value::Date(days)) => day(*days).ok_or_else(unfit)?.to_vec(),
        (Type::Time(scale), Value::Time(ticks)) => time(*scale, *ticks).ok_or_else(unfit)?,
        (Type::DateTime2(scale), Value::DateTime2 { days, ticks }) => {
            let mut bytes = time(*scale, *ticks).ok_or_else(unfit)?;
            bytes.extend(day(*days).ok_or_else(unfit)?);
            bytes
        }
        (
            Type::DateTimeOffset(scale),
            Value::DateTimeOffset {
                days,
                ticks,
                offset_minutes,
            },
        ) => {
            let mut bytes = time(*scale, *ticks).ok_or_else(unfit)?;
            bytes.extend(day(*days).ok_or_else(unfit)?);
            bytes.extend(offset_minutes.to_le_bytes());
            bytes
        }
        (Type::Char(_) | Type::VarChar(_) | Type::Text, Value::Text(text)) => {
            encode_page(text, collation)
                .map_err(|c| Unfit(format!("{c:?} is not in the code page; give the bytes")))?
        }
        (Type::NChar(_) | Type::NVarChar(_) | Type::NText | Type::Xml, Value::Text(text)) => {
            utf16(text)
        }
        (
            Type::Char(_)
            | Type::VarChar(_)
            | Type::Text
            | Type::NChar(_)
            | Type::NVarChar(_)
            | Type::NText
            | Type::Xml
            | Type::Binary(_)
            | Type::VarBinary(_)
            | Type::Image
            | Type::Udt(_),
            Value::Bytes(bytes),
        ) => bytes.clone(),
        (Type::UniqueIdentifier, Value::Guid(guid)) => turn_guid(*guid).to_vec(),
        _ => return Err(unfit()),
    };
    fitted(kind, bytes)
}

/// Pads what has a fixed length and refuses what is too long.
fn fitted(kind: &Type, mut bytes: Vec<u8>) -> Outcome<Vec<u8>> {
    let (most, pad): (u16, &[u8]) = match kind {
        Type::Char(most) => (*most, b" "),
        Type::Binary(most) => (*most, &[0]),
        Type::NChar(units) => (units.saturating_mul(2), &[b' ', 0]),
        Type::VarChar(Length::Of(most)) | Type::VarBinary(Length::Of(most)) => (*most, &[]),
        Type::NVarChar(Length::Of(units)) => (units.saturating_mul(2), &[]),
        _ => return Ok(bytes),
    };
    let most = usize::from(most);
    if bytes.len() > most {
        return Err(Unfit(format!("{} bytes for {kind:?}", bytes.len())));
    }
    while !pad.is_empty() && bytes.len() < most {
        bytes.extend(pad);
    }
    Ok(bytes)
}

fn decimal(precision: u8, digits: i128) -> Option<Vec<u8>> {
    let size = usize::from(decimal_bytes(precision)?);
    let magnitude = digits.unsigned_abs();
    if magnitude >= 10_u128.checked_pow(u32::from(precision))? {
        return None;
    }
    let mut bytes = vec![u8::from(digits >= 0)];
    bytes.extend(&magnitude.to_le_bytes()[..size]);
    Some(bytes)
}

fn day(days: u32) -> Option<[u8; 3]> {
    // The last day is 9999-12-31.
    if days > 3_652_058 {
        return None;
    }
    let [a, b, c, _] = days.to_le_bytes();
    Some([a, b, c])
}

fn time(scale: u8, ticks: u64) -> Option<Vec<u8>> {
    if ticks >= 864_000_000_000 {
        return None;
    }
    let size = usize::from(time_bytes(scale)?);
    let units = ticks / 10_u64.pow(u32::from(7 - scale));
    Some(units.to_le_bytes()[..size].to_vec())
}

/// Writes a `sql_variant`: the type of the value with what belongs to it, then the value.
fn variant_field(out: &mut Vec<u8>, variant: &Variant) -> Outcome {
    let Variant {
        kind,
        collation,
        value,
    } = variant;
    let mut properties = Vec::new();
    let token = match kind {
        Type::Bit => 0x32,
        Type::TinyInt => 0x30,
        Type::SmallInt => 0x34,
        Type::Int => 0x38,
        Type::BigInt => 0x7F,
        Type::Real => 0x3B,
        Type::Float => 0x3E,
        Type::Money => 0x3C,
        Type::SmallMoney => 0x7A,
        Type::DateTime => 0x3D,
        Type::SmallDateTime => 0x3A,
        Type::UniqueIdentifier => 0x24,
        Type::Date => 0x28,
        Type::Time(scale) | Type::DateTime2(scale) | Type::DateTimeOffset(scale) => {
            properties.push(*scale);
            match kind {
                Type::Time(_) => 0x29,
                Type::DateTime2(_) => 0x2A,
                _ => 0x2B,
            }
        }
        Type::Decimal(precision, scale) => {
            properties.extend([*precision, *scale]);
            0x6A
        }
        Type::Numeric(precision, scale) => {
            properties.extend([*precision, *scale]);
            0x6C
        }
        Type::Char(most) | Type::VarChar(Length::Of(most)) => {
            properties.extend(collation.bytes());
            properties.extend(most.to_le_bytes());
            if matches!(kind, Type::Char(_)) {
                0xAF
            } else {
                0xA7
            }
        }
        Type::NChar(units) | Type::NVarChar(Length::Of(units)) => {
            properties.extend(collation.bytes());
            properties.extend(units.saturating_mul(2).to_le_bytes());
            if matches!(kind, Type::NChar(_)) {
                0xEF
            } else {
                0xE7
            }
        }
        Type::Binary(most) | Type::VarBinary(Length::Of(most)) => {
            properties.extend(most.to_le_bytes());
            if matches!(kind, Type::Binary(_)) {
                0xAD
            } else {
                0xA5
            }
        }
        Type::VarChar(Length::Max)
        | Type::NVarChar(Length::Max)
        | Type::VarBinary(Length::Max)
        | Type::Text
        | Type::NText
        | Type::Image
        | Type::Xml
        | Type::Udt(_)
        | Type::Variant => return Err(Unfit(format!("{kind:?} cannot be in a sql_variant"))),
    };
    let bytes = plain(kind, *collation, value)?;
    let length: u32 = narrow(2 + properties.len() + bytes.len(), "a sql_variant")?;
    out.extend(length.to_le_bytes());
    out.extend([token, narrow(properties.len(), "its properties")?]);
    out.extend(properties);
    out.extend(bytes);
    Ok(())
}

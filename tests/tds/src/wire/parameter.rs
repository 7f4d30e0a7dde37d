//! Parameters as clients send them: a name, a type and a value.

use super::reader::{Malformed, Reader};
use super::types::{Collation, Length, Type, Udt, decimal_bytes, time_bytes};
use super::value::{Value, Variant, decode_page, decode_utf16, turn_guid};

/// A parameter of a statement or procedure.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name with the `@`. Empty when the client gave none and none was declared.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// The collation, of character types only.
    pub collation: Collation,
    /// Its value.
    pub value: Value,
    /// Whether the client wants it back.
    pub output: bool,
}

/// Reads one parameter.
pub(super) fn parameter(from: &mut Reader<'_>) -> Result<Parameter, Malformed> {
    let name = from.short_text()?;
    let flags = from.u8()?;
    let wrap = |malformed: Malformed| Malformed(format!("parameter `{name}`: {malformed}"));
    if flags & 0x08 != 0 {
        return Err(wrap(Malformed(
            "it is encrypted, which this server does not do".to_owned(),
        )));
    }
    let (shape, collation) = type_info(from).map_err(wrap)?;
    let value = value(from, &shape, collation).map_err(wrap)?;
    Ok(Parameter {
        name,
        kind: shape.kind,
        collation,
        value,
        output: flags & 0x01 != 0,
    })
}

/// How the length of a value is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    /// Not at all: always so many bytes.
    Fixed(usize),
    /// In one byte; 0 is NULL.
    Byte,
    /// In two bytes; 65535 is NULL.
    Two,
    /// In four bytes; 4294967295 is NULL.
    Four,
    /// In chunks.
    Chunks,
    /// A `sql_variant`: four bytes, 0 is NULL.
    Variant,
}

struct Shape {
    kind: Type,
    prefix: Prefix,
    most: usize,
}

fn type_info(from: &mut Reader<'_>) -> Result<(Shape, Collation), Malformed> {
    let token = from.u8()?;
    let fixed = |kind, size| Shape {
        kind,
        prefix: Prefix::Fixed(size),
        most: size,
    };
    let by_byte = |kind, most: u8| Shape {
        kind,
        prefix: Prefix::Byte,
        most: usize::from(most),
    };
    let unknown = |what: &str, number: u8| Malformed(format!("{what} {number}"));
    let shape = match token {
        0x1F => fixed(Type::Int, 0),
        0x30 => fixed(Type::TinyInt, 1),
        0x32 => fixed(Type::Bit, 1),
        0x34 => fixed(Type::SmallInt, 2),
        0x38 => fixed(Type::Int, 4),
        0x3A => fixed(Type::SmallDateTime, 4),
        0x3B => fixed(Type::Real, 4),
        0x3C => fixed(Type::Money, 8),
        0x3D => fixed(Type::DateTime, 8),
        0x3E => fixed(Type::Float, 8),
        0x7A => fixed(Type::SmallMoney, 4),
        0x7F => fixed(Type::BigInt, 8),
        0x24 | 0x26 | 0x68 | 0x6D | 0x6E | 0x6F => {
            let size = from.u8()?;
            let kind = match (token, size) {
                // tiberius announces no length for a NULL.
                (0x24, 0 | 16) => Type::UniqueIdentifier,
                (0x26, 1) => Type::TinyInt,
                (0x26, 2) => Type::SmallInt,
                (0x26, 4) => Type::Int,
                (0x26, 8) => Type::BigInt,
                (0x68, 1) => Type::Bit,
                (0x6D, 4) => Type::Real,
                (0x6D, 8) => Type::Float,
                (0x6E, 4) => Type::SmallMoney,
                (0x6E, 8) => Type::Money,
                (0x6F, 4) => Type::SmallDateTime,
                (0x6F, 8) => Type::DateTime,
                _ => return Err(unknown("a number or time of bytes", size)),
            };
            by_byte(kind, size)
        }
        0x6A | 0x6C => {
            let size = from.u8()?;
            let precision = from.u8()?;
            let scale = from.u8()?;
            // Clients announce the largest size for any precision.
            if decimal_bytes(precision).is_none() || scale > precision || size > 17 {
                return Err(Malformed(format!(
                    "decimal({precision},{scale}) of {size} bytes"
                )));
            }
            let kind = if token == 0x6A {
                Type::Decimal(precision, scale)
            } else {
                Type::Numeric(precision, scale)
            };
            by_byte(kind, 17)
        }
        0x28 => by_byte(Type::Date, 3),
        0x29..=0x2B => {
            let scale = from.u8()?;
            let time = time_bytes(scale).ok_or_else(|| unknown("a time of scale", scale))?;
            match token {
                0x29 => by_byte(Type::Time(scale), time),
                0x2A => by_byte(Type::DateTime2(scale), time + 3),
                _ => by_byte(Type::DateTimeOffset(scale), time + 5),
            }
        }
        0xA5 | 0xA7 | 0xAD | 0xAF | 0xE7 | 0xEF => {
            let size = from.u16()?;
            let most = usize::from(size);
            let length = if size == u16::MAX {
                Length::Max
            } else {
                Length::Of(size)
            };
            let units = if size == u16::MAX {
                Length::Max
            } else {
                Length::Of(size / 2)
            };
            if size != u16::MAX && size > 8000 {
                return Err(Malformed(format!("a type of {size} bytes")));
            }
            let kind = match token {
                0xA5 => Type::VarBinary(length),
                0xA7 => Type::VarChar(length),
                0xE7 => Type::NVarChar(units),
                _ if size == u16::MAX => return Err(unknown("a fixed type of any length", token)),
                0xAD => Type::Binary(size),
                0xAF => Type::Char(size),
                _ => Type::NChar(size / 2),
            };
            let prefix = if size == u16::MAX {
                Prefix::Chunks
            } else {
                Prefix::Two
            };
            Shape { kind, prefix, most }
        }
        0x22 | 0x23 | 0x63 => {
            let most = from.length()?;
            let kind = match token {
                0x22 => Type::Image,
                0x23 => Type::Text,
                _ => Type::NText,
            };
            Shape {
                kind,
                prefix: Prefix::Four,
                most,
            }
        }
        0x62 => {
            let most = from.length()?;
            Shape {
                kind: Type::Variant,
                prefix: Prefix::Variant,
                most: most.min(8016),
            }
        }
        0xF1 => {
            if from.u8()? != 0 {
                from.short_text()?;
                from.short_text()?;
                from.long_text()?;
            }
            Shape {
                kind: Type::Xml,
                prefix: Prefix::Chunks,
                most: 0,
            }
        }
        0xF0 => {
            // A client says only which type it is.
            let udt = Udt {
                database: from.short_text()?,
                schema: from.short_text()?,
                name: from.short_text()?,
                assembly: String::new(),
                bytes_max: u16::MAX,
            };
            Shape {
                kind: Type::Udt(udt),
                prefix: Prefix::Chunks,
                most: 0,
            }
        }
        0xF3 => {
            return Err(Malformed(
                "a table, which this server does not take".to_owned(),
            ));
        }
        _ => return Err(Malformed(format!("type {token:#04x}"))),
    };
    let collation = if super::encode::has_collation(&shape.kind) {
        Collation {
            info: from.u32()?,
            sort: from.u8()?,
        }
    } else {
        Collation::LATIN1
    };
    Ok((shape, collation))
}

fn value(from: &mut Reader<'_>, shape: &Shape, collation: Collation) -> Result<Value, Malformed> {
    let length = match shape.prefix {
        Prefix::Fixed(0) => return Ok(Value::Null),
        Prefix::Fixed(size) => size,
        Prefix::Byte => match from.u8()? {
            0 => return Ok(Value::Null),
            length => usize::from(length),
        },
        Prefix::Two => match from.u16()? {
            u16::MAX => return Ok(Value::Null),
            length => usize::from(length),
        },
        Prefix::Four => match from.u32()? {
            u32::MAX => return Ok(Value::Null),
            length => usize::try_from(length)
                .map_err(|_| Malformed(format!("a value of {length} bytes")))?,
        },
        Prefix::Chunks => {
            return match chunks(from)? {
                None => Ok(Value::Null),
                Some(bytes) => plain(&shape.kind, collation, &bytes),
            };
        }
        Prefix::Variant => match from.length()? {
            0 => return Ok(Value::Null),
            length => length,
        },
    };
    if length > shape.most {
        return Err(Malformed(format!("{length} bytes for {:?}", shape.kind)));
    }
    let bytes = from.take(length)?;
    if shape.prefix == Prefix::Variant {
        return variant(bytes);
    }
    plain(&shape.kind, collation, bytes)
}

/// The bytes of a value in chunks. They are all in the message already, so its bound is theirs.
fn chunks(from: &mut Reader<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    let announced = from.u64()?;
    if announced == u64::MAX {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    loop {
        match from.length()? {
            0 => break,
            length => bytes.extend(from.take(length)?),
        }
    }
    if announced != u64::MAX - 1 && u64::try_from(bytes.len()).ok() != Some(announced) {
        return Err(Malformed(format!(
            "{announced} bytes announced, {} came",
            bytes.len()
        )));
    }
    Ok(Some(bytes))
}

fn plain(kind: &Type, collation: Collation, bytes: &[u8]) -> Result<Value, Malformed> {
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
            let [e, f, g, h, a, b, c, d] = from.array()?;
            Value::Money(i64::from_le_bytes([a, b, c, d, e, f, g, h]))
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

fn variant(bytes: &[u8]) -> Result<Value, Malformed> {
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

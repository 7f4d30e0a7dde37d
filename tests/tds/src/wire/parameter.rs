//! Parameters as clients send them: a name, a type and a value.

use super::decode::{plain, variant};
use super::reader::{Malformed, Reader};
use super::types::{Collation, Length, Type, Udt, decimal_bytes, time_bytes};
use super::value::Value;

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

#[cfg(test)]
mod tests;

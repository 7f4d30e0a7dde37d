//! Types and values as the server sends them.

use std::fmt;

use super::types::{Collation, Column, Length, Type, Udt, decimal_bytes, time_bytes};
use super::value::{Value, Variant, encode_page, turn_guid, utf16};

/// The script gave something that the protocol cannot say: a value of another type, a name too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit(pub(super) String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Outcome<T = ()> = Result<T, Unfit>;

pub(super) fn narrow<T: TryFrom<usize>>(length: usize, what: &str) -> Outcome<T> {
    T::try_from(length).map_err(|_| Unfit(format!("{what} is too long: {length}")))
}

/// Writes a text with its length in one byte.
pub(super) fn short_text(out: &mut Vec<u8>, text: &str) -> Outcome {
    let bytes = utf16(text);
    out.push(narrow(bytes.len() / 2, "a name")?);
    out.extend(bytes);
    Ok(())
}

/// Writes a text with its length in two bytes.
pub(super) fn long_text(out: &mut Vec<u8>, text: &str) -> Outcome {
    let bytes = utf16(text);
    let units: u16 = narrow(bytes.len() / 2, "a text")?;
    out.extend(units.to_le_bytes());
    out.extend(bytes);
    Ok(())
}

/// Writes the description of a column's type.
fn type_info(out: &mut Vec<u8>, kind: &Type, nullable: bool, collation: Collation) -> Outcome {
    // A type that can be NULL has a token with a length; one that cannot has a token of its own.
    let mut either = |fixed: u8, token: u8, size: u8| {
        if nullable {
            out.extend([token, size]);
        } else {
            out.push(fixed);
        }
    };
    match kind {
        Type::Bit => either(0x32, 0x68, 1),
        Type::TinyInt => either(0x30, 0x26, 1),
        Type::SmallInt => either(0x34, 0x26, 2),
        Type::Int => either(0x38, 0x26, 4),
        Type::BigInt => either(0x7F, 0x26, 8),
        Type::Real => either(0x3B, 0x6D, 4),
        Type::Float => either(0x3E, 0x6D, 8),
        Type::Money => either(0x3C, 0x6E, 8),
        Type::SmallMoney => either(0x7A, 0x6E, 4),
        Type::DateTime => either(0x3D, 0x6F, 8),
        Type::SmallDateTime => either(0x3A, 0x6F, 4),
        Type::Decimal(precision, scale) | Type::Numeric(precision, scale) => {
            let token = if matches!(kind, Type::Decimal(..)) {
                0x6A
            } else {
                0x6C
            };
            let size = decimal_bytes(*precision)
                .filter(|_| scale <= precision)
                .ok_or_else(|| Unfit(format!("{kind:?} is no type")))?;
            out.extend([token, size + 1, *precision, *scale]);
        }
        Type::Date => out.push(0x28),
        Type::Time(scale) | Type::DateTime2(scale) | Type::DateTimeOffset(scale) => {
            let token = match kind {
                Type::Time(_) => 0x29,
                Type::DateTime2(_) => 0x2A,
                _ => 0x2B,
            };
            time_bytes(*scale).ok_or_else(|| Unfit(format!("{kind:?} is no type")))?;
            out.extend([token, *scale]);
        }
        Type::Char(bytes) => sized(out, 0xAF, *bytes, 8000)?,
        Type::VarChar(Length::Of(bytes)) => sized(out, 0xA7, *bytes, 8000)?,
        Type::NChar(units) => sized(out, 0xEF, units.saturating_mul(2), 8000)?,
        Type::NVarChar(Length::Of(units)) => sized(out, 0xE7, units.saturating_mul(2), 8000)?,
        Type::Binary(bytes) => sized(out, 0xAD, *bytes, 8000)?,
        Type::VarBinary(Length::Of(bytes)) => sized(out, 0xA5, *bytes, 8000)?,
        Type::VarChar(Length::Max) => out.extend([0xA7, 0xFF, 0xFF]),
        Type::NVarChar(Length::Max) => out.extend([0xE7, 0xFF, 0xFF]),
        Type::VarBinary(Length::Max) => out.extend([0xA5, 0xFF, 0xFF]),
        Type::Text => old_lob(out, 0x23, 0x7FFF_FFFF),
        Type::NText => old_lob(out, 0x63, 0x7FFF_FFFE),
        Type::Image => old_lob(out, 0x22, 0x7FFF_FFFF),
        Type::UniqueIdentifier => out.extend([0x24, 16]),
        // No schema.
        Type::Xml => out.extend([0xF1, 0]),
        Type::Udt(udt) => udt_info(out, udt)?,
        Type::Variant => old_lob(out, 0x62, 8009),
    }
    if has_collation(kind) {
        out.extend(collation.bytes());
    }
    Ok(())
}

pub(super) fn has_collation(kind: &Type) -> bool {
    matches!(
        kind,
        Type::Char(_)
            | Type::VarChar(_)
            | Type::NChar(_)
            | Type::NVarChar(_)
            | Type::Text
            | Type::NText
    )
}

fn sized(out: &mut Vec<u8>, token: u8, bytes: u16, most: u16) -> Outcome {
    if bytes > most {
        return Err(Unfit(format!(
            "a column of {bytes} bytes; {most} is the most without (max)"
        )));
    }
    out.push(token);
    out.extend(bytes.to_le_bytes());
    Ok(())
}

fn old_lob(out: &mut Vec<u8>, token: u8, most: u32) {
    out.push(token);
    out.extend(most.to_le_bytes());
}

fn udt_info(out: &mut Vec<u8>, udt: &Udt) -> Outcome {
    out.push(0xF0);
    out.extend(udt.bytes_max.to_le_bytes());
    short_text(out, &udt.database)?;
    short_text(out, &udt.schema)?;
    short_text(out, &udt.name)?;
    long_text(out, &udt.assembly)
}

/// Writes the token that describes the columns of a result set.
pub(super) fn columns(out: &mut Vec<u8>, columns: &[Column]) -> Outcome {
    out.push(0x81);
    let count: u16 = narrow(columns.len(), "the list of columns")?;
    out.extend(count.to_le_bytes());
    for column in columns {
        out.extend(column.user_type.to_le_bytes());
        // Whether it can be written is unknown, as it is for a real server's ordinary answers.
        let flags = u16::from(column.nullable)
            | (2 << 2)
            | (u16::from(column.identity) << 4)
            | (u16::from(column.computed) << 5);
        out.extend(flags.to_le_bytes());
        type_info(out, &column.kind, column.nullable, column.collation)?;
        if matches!(column.kind, Type::Text | Type::NText | Type::Image) {
            // The name of the table, which the old large types need, in one part.
            out.push(1);
            long_text(out, "t")?;
        }
        short_text(out, &column.name)?;
    }
    Ok(())
}

/// How rows are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowShape {
    /// Whether NULLs may stand in a bitmap before the row.
    pub(super) null_bitmap: bool,
    /// The most bytes in one chunk of a `(max)` value.
    pub(super) chunk_bytes: usize,
    /// Whether the length of a `(max)` value is announced before its chunks.
    pub(super) announce_length: bool,
}

/// Writes a row.
pub(super) fn row(
    out: &mut Vec<u8>,
    columns: &[Column],
    values: &[Value],
    shape: RowShape,
) -> Outcome {
    if columns.len() != values.len() {
        return Err(Unfit(format!(
            "{} values for {} columns",
            values.len(),
            columns.len()
        )));
    }
    let bitmap = shape.null_bitmap && values.contains(&Value::Null);
    if bitmap {
        out.push(0xD2);
        for eight in values.chunks(8) {
            let bits = eight
                .iter()
                .enumerate()
                .map(|(at, value)| u8::from(*value == Value::Null) << at);
            out.push(bits.fold(0, |all, bit| all | bit));
        }
    } else {
        out.push(0xD1);
    }
    for (column, value) in columns.iter().zip(values) {
        if *value == Value::Null && !column.nullable {
            return Err(Unfit(format!(
                "NULL for column `{}`, which is never NULL",
                column.name
            )));
        }
        if !(bitmap && *value == Value::Null) {
            field(out, column, value, shape)
                .map_err(|unfit| Unfit(format!("column `{}`: {unfit}", column.name)))?;
        }
    }
    Ok(())
}

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

fn field(out: &mut Vec<u8>, column: &Column, value: &Value, shape: RowShape) -> Outcome {
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
            let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
            vec![e, f, g, h, a, b, c, d]
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

/// Writes the type and value of an output parameter.
pub(super) fn output(out: &mut Vec<u8>, name: &str, kind: &Type, value: &Value) -> Outcome {
    let mut column = Column::new(name, kind.clone());
    column.nullable = true;
    out.push(0xAC);
    out.extend([0, 0]);
    short_text(out, name)?;
    // An output parameter, without a user type and without flags.
    out.push(1);
    out.extend([0; 6]);
    type_info(out, kind, true, column.collation)?;
    let shape = RowShape {
        null_bitmap: false,
        chunk_bytes: 8000,
        announce_length: true,
    };
    field(out, &column, value, shape)
}

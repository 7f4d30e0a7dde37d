//! Columns and rows as the server sends them.

use std::fmt;

use super::field::field;
use super::types::{Collation, Column, Length, Type, Udt, decimal_bytes, time_bytes};
use super::value::{Value, utf16};

/// The script gave something that the protocol cannot say: a value of another type, a name too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit(pub(super) String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) type Outcome<T = ()> = Result<T, Unfit>;

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

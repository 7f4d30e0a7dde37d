//! One cell of a row.

use std::sync::Arc;

use contract::Value;

use super::input::Input;
use super::{Result, bits, compressed, decimal, jsonb, malformed, net, temporal};
use crate::charset::Decoder;

/// How a column's cells are read: how they are stored, and what they mean.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    /// A whole number of so many bytes.
    Int {
        bytes: u8,
        unsigned: bool,
    },
    Year,
    Bits(u16),
    Decimal {
        precision: u8,
        scale: u8,
    },
    Float,
    Double,
    Date,
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    OldTime,
    OldDateTime,
    OldTimestamp,
    /// Bytes whose length is in so many bytes before them.
    Long {
        length: u8,
        meaning: Meaning,
        packed: bool,
    },
    Enum {
        bytes: u8,
        labels: Arc<[String]>,
    },
    Set {
        bytes: u8,
        labels: Arc<[String]>,
    },
}

/// What bytes stand for.
#[derive(Debug, Clone)]
pub(super) enum Meaning {
    Text(Decoder),
    Bytes,
    /// Bytes that are filled up with zeros to this length.
    Fixed(usize),
    Json,
    Uuid,
    Inet4,
    Inet6,
}

impl Cell {
    pub(super) fn is_document(&self) -> bool {
        matches!(
            self,
            Self::Long {
                meaning: Meaning::Json,
                ..
            }
        )
    }

    /// Reads a cell that is neither null nor absent.
    #[inline]
    pub(super) fn read(&self, input: &mut Input<'_>) -> Result<Value> {
        match self {
            Self::Int { bytes, unsigned } => int(input, *bytes, *unsigned),
            Self::Year => {
                let year = input.u8()?;
                Ok(Value::Int(if year == 0 {
                    0
                } else {
                    1900 + i64::from(year)
                }))
            }
            Self::Bits(count) => bits::bits(input, *count),
            Self::Decimal { precision, scale } => decimal::decimal(input, *precision, *scale),
            Self::Float => Ok(float(f64::from(f32::from_le_bytes(input.array()?)))),
            Self::Double => Ok(float(f64::from_le_bytes(input.array()?))),
            Self::Date => temporal::stored_date(input),
            Self::Time(places) => temporal::stored_time(input, *places),
            Self::DateTime(places) => temporal::stored_date_time(input, *places),
            Self::Timestamp(places) => temporal::stored_timestamp(input, *places),
            Self::OldTime => temporal::stored_old_time(input),
            Self::OldDateTime => temporal::stored_old_date_time(input),
            Self::OldTimestamp => temporal::stored_old_timestamp(input),
            Self::Long {
                length,
                meaning,
                packed,
            } => {
                let length = input.little(usize::from(*length))?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let bytes = input.take(length)?;
                if *packed {
                    meaning.value(&unpack(bytes)?)
                } else {
                    meaning.value(bytes)
                }
            }
            Self::Enum { bytes, labels } => {
                let number = input.little(usize::from(*bytes))?;
                Ok(bits::label(labels, number))
            }
            Self::Set { bytes, labels } => {
                let number = input.little(usize::from(*bytes))?;
                Ok(bits::labels(labels, number))
            }
        }
    }
}

impl Meaning {
    fn value(&self, bytes: &[u8]) -> Result<Value> {
        let too_long = malformed("a value longer than its column");
        Ok(match self {
            Self::Text(decoder) => decoder.value(bytes),
            Self::Bytes => Value::Bytes(bytes.to_vec()),
            Self::Fixed(length) => {
                if bytes.len() > *length {
                    return Err(too_long);
                }
                let mut all = Vec::with_capacity(*length);
                all.extend_from_slice(bytes);
                all.resize(*length, 0);
                Value::Bytes(all)
            }
            Self::Json => Value::Json(jsonb::text(bytes)?),
            Self::Uuid => Value::Uuid(net::padded(bytes).ok_or(too_long)?),
            Self::Inet4 => net::inet4(net::padded(bytes).ok_or(too_long)?),
            Self::Inet6 => net::inet6(net::padded(bytes).ok_or(too_long)?),
        })
    }
}

#[inline]
fn int(input: &mut Input<'_>, bytes: u8, unsigned: bool) -> Result<Value> {
    if unsigned {
        return Ok(match bytes {
            1 => Value::Int(i64::from(input.u8()?)),
            2 => Value::Int(i64::from(input.u16()?)),
            3 => Value::Int(i64::from(input.u24()?)),
            4 => Value::Int(i64::from(input.u32()?)),
            _ => Value::unsigned(input.u64()?),
        });
    }
    Ok(Value::Int(match bytes {
        1 => i64::from(i8::from_le_bytes(input.array()?)),
        2 => i64::from(i16::from_le_bytes(input.array()?)),
        3 => {
            let [a, b, c] = input.array()?;
            // The sign is the highest of three bytes: shifted up and down again, it fills the
            // fourth.
            i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)
        }
        4 => i64::from(i32::from_le_bytes(input.array()?)),
        _ => i64::from_le_bytes(input.array()?),
    }))
}

fn float(value: f64) -> Value {
    if value.is_finite() {
        Value::Float(value)
    } else {
        Value::Invalid(value.to_string())
    }
}

/// A value of MariaDB's `COMPRESSED` columns
/// (<https://mariadb.com/kb/en/storage-engine-independent-column-compression/>): nothing, a byte 0
/// and the value, or a byte (8 = zlib in its upper half; the next bit: without zlib's own header; the
/// number of bytes of the length in the lowest three), the length, and the packed value.
fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut input = Input(bytes);
    if input.is_empty() {
        return Ok(Vec::new());
    }
    let head = input.u8()?;
    match head >> 4 {
        0 => Ok(input.rest().to_vec()),
        8 => {
            let length = input.big(usize::from(head & 0x07))?;
            compressed::inflate_value(input.rest(), length, head & 0x08 != 0)
        }
        _ => Err(malformed(
            "a column that is compressed in a way that is not known",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_numbers_of_three_bytes_keep_their_sign() {
        for (bytes, unsigned, expected) in [
            ([0xfb, 0xff, 0xff], false, -5),
            ([0xff, 0xff, 0xff], false, -1),
            ([0x00, 0x00, 0x80], false, -8_388_608),
            ([0xff, 0xff, 0x7f], false, 8_388_607),
            ([0xfb, 0xff, 0xff], true, 16_777_211),
        ] {
            assert_eq!(
                int(&mut Input(&bytes), 3, unsigned),
                Ok(Value::Int(expected)),
                "{bytes:?}"
            );
        }
    }
}

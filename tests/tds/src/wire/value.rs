//! Values as the server holds them: exact, never through a binary float unless the type is one.

use super::types::{Collation, Type};

/// Days from 0001-01-01 to 1900-01-01, between the two beginnings of time that the protocol has.
pub const DAYS_TO_1900: u32 = 693_595;

/// One value of a row or parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// `bit`
    Bit(bool),
    /// `tinyint`
    TinyInt(u8),
    /// `smallint`
    SmallInt(i16),
    /// `int`
    Int(i32),
    /// `bigint`
    BigInt(i64),
    /// `real`
    Real(f32),
    /// `float`
    Float(f64),
    /// `decimal` and `numeric`: the digits without the point, with the type's scale.
    Decimal(i128),
    /// `money` in ten-thousandths.
    Money(i64),
    /// `smallmoney` in ten-thousandths.
    SmallMoney(i32),
    /// `datetime`: days from 1900-01-01 and three-hundredths of a second.
    DateTime {
        /// Days from 1900-01-01.
        days: i32,
        /// 1/300 seconds since midnight.
        ticks: u32,
    },
    /// `smalldatetime`: days from 1900-01-01 and minutes.
    SmallDateTime {
        /// Days from 1900-01-01.
        days: u16,
        /// Minutes since midnight.
        minutes: u16,
    },
    /// `date`: days from 0001-01-01.
    Date(u32),
    /// `time`: 100 nanoseconds since midnight. What the scale does not hold is cut off.
    Time(u64),
    /// `datetime2`
    DateTime2 {
        /// Days from 0001-01-01.
        days: u32,
        /// 100 nanoseconds since midnight.
        ticks: u64,
    },
    /// `datetimeoffset`: the date and time are those of UTC.
    DateTimeOffset {
        /// Days from 0001-01-01, in UTC.
        days: u32,
        /// 100 nanoseconds since midnight, in UTC.
        ticks: u64,
        /// The offset of the place from UTC.
        offset_minutes: i16,
    },
    /// Text of any character type and `xml`. `char` and `varchar` take it in UTF-8 or code page 1252,
    /// after their collation.
    Text(String),
    /// Bytes of any binary type or an assembly's type; also the raw bytes of a character type, for
    /// other code pages and for UTF-16 that is not well-formed.
    Bytes(Vec<u8>),
    /// `uniqueidentifier` in the order of its text; the mixed order of the wire is made from it.
    Guid([u8; 16]),
    /// A value in a `sql_variant`, with the type it has there.
    Variant(Box<Variant>),
}

/// What a `sql_variant` holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The type of the value.
    pub kind: Type,
    /// The collation, of character types.
    pub collation: Collation,
    /// The value, never NULL.
    pub value: Value,
}

impl Value {
    /// Text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// Bytes.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }

    /// A value of a type in a `sql_variant`, text in the default collation.
    pub fn variant(kind: Type, value: Value) -> Self {
        Self::Variant(Box::new(Variant {
            kind,
            collation: Collation::LATIN1,
            value,
        }))
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}
from!(bool => Bit, u8 => TinyInt, i16 => SmallInt, i32 => Int, i64 => BigInt, f32 => Real,
    f64 => Float, String => Text, Vec<u8> => Bytes);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The characters of code page 1252 from 0x80 to 0x9F; those that it leaves out stand for themselves.
const CP1252_HIGH: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}', '\u{178}',
];

/// The bytes of a text in a collation's code page, or the character that it does not hold.
pub(super) fn encode_page(text: &str, collation: Collation) -> Result<Vec<u8>, char> {
    if collation.is_utf8() {
        return Ok(text.as_bytes().to_vec());
    }
    text.chars()
        .map(|c| {
            if let Some(at) = CP1252_HIGH.iter().position(|&high| high == c) {
                return u8::try_from(at + 0x80).map_err(|_| c);
            }
            match u8::try_from(c) {
                Ok(byte) if !(0x80..0xA0).contains(&byte) => Ok(byte),
                _ => Err(c),
            }
        })
        .collect()
}

/// The text of bytes in a collation's code page, or the bytes when they are none.
pub(super) fn decode_page(bytes: &[u8], collation: Collation) -> Value {
    if collation.is_utf8() {
        return match std::str::from_utf8(bytes) {
            Ok(text) => Value::text(text),
            Err(_) => Value::bytes(bytes),
        };
    }
    Value::Text(
        bytes
            .iter()
            .map(|&byte| match byte {
                0x80..=0x9F => CP1252_HIGH[usize::from(byte - 0x80)],
                _ => char::from(byte),
            })
            .collect(),
    )
}

/// The text of little-endian UTF-16, or the bytes when they are none.
pub(super) fn decode_utf16(bytes: &[u8]) -> Value {
    if !bytes.len().is_multiple_of(2) {
        return Value::bytes(bytes);
    }
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match char::decode_utf16(units).collect::<Result<String, _>>() {
        Ok(text) => Value::Text(text),
        Err(_) => Value::bytes(bytes),
    }
}

/// Little-endian UTF-16.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The wire's order of a `uniqueidentifier`: its first three groups are turned round. The same turn
/// leads back.
pub(super) fn turn_guid(guid: [u8; 16]) -> [u8; 16] {
    let mut turned = guid;
    turned[0..4].reverse();
    turned[4..6].reverse();
    turned[6..8].reverse();
    turned
}

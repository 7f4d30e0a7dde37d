//! One cell of a source row, as exactly as the source knows it.

use std::fmt;

use jiff::{Timestamp, civil};

use crate::decimal::Decimal;

/// A cell's value. Every source maps its types to these and nothing else, on the snapshot path
/// and on the stream path alike.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// The log did not carry the cell (unchanged TOAST, partial row image). Never the same as
    /// [`Value::Null`].
    Unchanged,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer above `i64::MAX`; smaller ones are [`Value::Int`].
    UInt(u64),
    /// An exact decimal.
    Decimal(Decimal),
    /// A binary float, only where the column itself is one.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A date without time; never shifted between zones.
    Date(civil::Date),
    /// A time of day without date.
    Time(civil::Time),
    /// A date and time without zone; a mapping must name the zone before it becomes a moment.
    DateTime(civil::DateTime),
    /// A moment in UTC.
    Timestamp(Timestamp),
    /// A UUID.
    Uuid([u8; 16]),
    /// A JSON document, in the source's own text.
    Json(String),
    /// What the source holds but no type here can (a zero date, a numeric of 50 digits), as its
    /// raw text. A mapping that needs it holds the row.
    Invalid(String),
}

impl Value {
    /// An unsigned integer in its one form: [`Value::Int`] where it fits.
    pub fn unsigned(value: u64) -> Self {
        i64::try_from(value).map_or(Self::UInt(value), Self::Int)
    }

    /// The type's plain name, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Unchanged => "unchanged",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::UInt(_) => "uint",
            Self::Decimal(_) => "decimal",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::DateTime(_) => "datetime",
            Self::Timestamp(_) => "timestamp",
            Self::Uuid(_) => "uuid",
            Self::Json(_) => "json",
            Self::Invalid(_) => "invalid",
        }
    }

    /// The canonical text of the value, as keys and held rows show it. Null and unchanged have
    /// none.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Self::Null | Self::Unchanged => return None,
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::UInt(value) => value.to_string(),
            Self::Decimal(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(value) | Self::Json(value) | Self::Invalid(value) => value.clone(),
            Self::Bytes(value) => hex(value),
            Self::Date(value) => value.to_string(),
            Self::Time(value) => value.to_string(),
            Self::DateTime(value) => value.to_string(),
            Self::Timestamp(value) => value.to_string(),
            Self::Uuid(value) => uuid_text(value),
        })
    }

    /// Bytes the value takes in memory, about: the measure of every bounded queue.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text(value) | Self::Json(value) | Self::Invalid(value) => value.len(),
                Self::Bytes(value) => value.len(),
                Self::Null
                | Self::Unchanged
                | Self::Bool(_)
                | Self::Int(_)
                | Self::UInt(_)
                | Self::Decimal(_)
                | Self::Float(_)
                | Self::Date(_)
                | Self::Time(_)
                | Self::DateTime(_)
                | Self::Timestamp(_)
                | Self::Uuid(_) => 0,
            }
    }
}

/// Shows the type and size, never the content: a row value must not reach a log by `{:?}`.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if cfg!(test) {
            write!(
                f,
                "{}({})",
                self.type_name(),
                self.text().unwrap_or_default()
            )
        } else {
            f.write_str(self.type_name())
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

/// Appends lower-case hexadecimal.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// The bytes of a hexadecimal text of even length, in either case.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

/// The hyphenated lower-case form of a UUID.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    let all = hex(bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &all[..8],
        &all[8..12],
        &all[12..16],
        &all[16..20],
        &all[20..]
    )
}

/// A UUID from its hyphenated or plain text.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    unhex(&plain)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hex_round_trips(bytes: Vec<u8>) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }

        #[test]
        fn uuid_round_trips(bytes: [u8; 16]) {
            prop_assert_eq!(parse_uuid(&uuid_text(&bytes)), Some(bytes));
        }

        #[test]
        fn unhex_never_panics(text: String) {
            let _ = unhex(&text);
            let _ = parse_uuid(&text);
        }
    }
}

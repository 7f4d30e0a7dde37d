//! A value of a column as text, and back: where a table was read up to is kept so.

use contract::Value;
use contract::value::uuid_text;

use super::Kind;
use crate::session::Parameter;

/// A value as text, to stand in a cursor and be bound again by [`Kind::unpacked`].
pub(crate) fn packed(value: &Value) -> Option<String> {
    match value {
        Value::Uuid(uuid) => Some(uuid_text(uuid)),
        other => other.text(),
    }
}

impl Kind {
    /// The parameter behind a text of [`packed`], which [`Kind::mark`] stands for; `None` = the text is of
    /// another type, or the column cannot be compared with.
    pub(crate) fn unpacked(&self, text: &str) -> Option<Parameter> {
        Some(match self {
            Self::Bit => Parameter::Int(i64::from(text.parse::<bool>().ok()?)),
            Self::Int(_) => Parameter::Int(text.parse().ok()?),
            Self::Real | Self::Float => Parameter::Float(text.parse().ok()?),
            Self::Binary { .. } | Self::Rowversion => {
                Parameter::Bytes(contract::value::unhex(text)?)
            }
            Self::Uuid => Parameter::Uuid(contract::value::parse_uuid(text)?),
            Self::Xml | Self::Udt(_) | Self::Foreign(_) => return None,
            _ => Parameter::Text(text.to_owned()),
        })
    }
}

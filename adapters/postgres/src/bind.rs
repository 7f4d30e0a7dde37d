//! Values as parameters of a statement: their texts, read by the server as the types it inferred.

use std::error::Error;
use std::fmt;

use bytes::BytesMut;
use contract::read_query::refused;
use contract::value::{hex, uuid_text};
use contract::{SourceError, Value};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

/// A parameter's text; `None` = NULL.
pub(crate) struct Bind(Option<String>);

/// Shows nothing: the client logs parameters by this.
impl fmt::Debug for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
}

impl Bind {
    /// The parameter `name` of the inferred type.
    ///
    /// # Errors
    /// When the server would quietly drop a part of the value: PostgreSQL reads `12:00Z` as a time
    /// without a zone by leaving out the `Z`, and a date and time as a date by leaving out the time.
    pub(crate) fn new(name: &str, value: &Value, inferred: &Type) -> Result<Self, SourceError> {
        let lossy = match value {
            Value::Timestamp(_) => [Type::DATE, Type::TIME, Type::TIMESTAMP].contains(inferred),
            Value::DateTime(_) => [Type::DATE, Type::TIME, Type::TIMESTAMPTZ].contains(inferred),
            Value::Date(_) => *inferred == Type::TIMESTAMPTZ,
            _ => false,
        };
        if lossy {
            return Err(refused(format!(
                ":{name} is a {}, but the statement compares it with a {}: cast one of them",
                value.type_name(),
                inferred.name()
            )));
        }
        let text = match value {
            Value::Null | Value::Unchanged | Value::Invalid(_) => None,
            Value::Bytes(bytes) => Some(format!("\\x{}", hex(bytes))),
            Value::Uuid(uuid) => Some(uuid_text(uuid)),
            other => other.text(),
        };
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(refused(format!(
                ":{name} holds a NUL character, which no text in PostgreSQL does"
            )));
        }
        Ok(Self(text))
    }
}

impl ToSql for Bind {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = &self.0 else {
            return Ok(IsNull::Yes);
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

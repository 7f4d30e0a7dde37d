//! Cells of a result set as values: the same, to the cell, that the log's rows give.
//!
//! The statements are prepared ones, whose binary rows have `FLOAT` exactly and dates by their parts
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html>). And the
//! server converts no text ([`RAW`]): it comes in its column's own character set and is read by the
//! same tables as the log's, so that what is invalid there is invalid here.

use contract::value::parse_uuid;
use contract::{SourceError, Value};
use jiff::tz::TimeZone;
use mysql_async::Value as Sent;
use mysql_async::consts::{ColumnFlags, ColumnType};

use crate::binlog::temporal::{self, Parts};
use crate::charset::{Charsets, Decoder};
use crate::column::Kind;
use crate::connect::Connection;
use crate::known;

/// Sent to a session that reads rows: texts come as they are stored
/// (<https://dev.mysql.com/doc/refman/8.4/en/charset-connection.html>), and dates that are none,
/// which a table may hold, can be compared with.
pub(crate) const RAW: &str =
    "SET SESSION character_set_results = NULL, SESSION sql_mode = 'ALLOW_INVALID_DATES'";
/// The number that stands for bytes among the collations.
const BYTES: u16 = 63;
/// Whose texts are UTF-8: what the server makes of its own types.
const UTF8: u16 = 45;

/// How the cells of a column are read.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Int,
    /// So many bits.
    Bits(u8),
    Decimal,
    Float,
    Date,
    /// With so many decimal places, as the others below.
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    Text(Decoder),
    Bytes,
    Json,
    Uuid,
}

impl Cell {
    /// How the cells of a column of this kind are read, which the server describes as `sent`.
    ///
    /// # Errors
    /// [`SourceError::Denied`] when its character set is not known.
    pub(crate) fn of(
        kind: &Kind,
        sent: &mysql_async::Column,
        charsets: &Charsets,
        doing: &str,
    ) -> Result<Self, SourceError> {
        let places = sent.decimals();
        let text = |collation: u16| {
            let decoder = charsets.decoder(collation);
            decoder.map(Self::Text).map_err(|why| SourceError::Denied {
                what: format!("{doing}: column {}: {why}", sent.name_str()),
                hint: "give the column a character set that is known: ALTER TABLE .. MODIFY"
                    .to_owned(),
            })
        };
        Ok(match kind {
            Kind::Int { .. } | Kind::Year => Self::Int,
            Kind::Bit(bits) => Self::Bits(*bits),
            Kind::Decimal => Self::Decimal,
            Kind::Float | Kind::Double => Self::Float,
            Kind::Date => Self::Date,
            Kind::Time => Self::Time(places),
            Kind::DateTime => Self::DateTime(places),
            Kind::Timestamp => Self::Timestamp(places),
            Kind::Text { collation } => text(*collation)?,
            // Labels come as texts in their column's character set.
            Kind::Enum(_) | Kind::Set(_) if sent.character_set() != BYTES => {
                text(sent.character_set())?
            }
            Kind::Enum(_) | Kind::Set(_) | Kind::Inet4 | Kind::Inet6 => text(UTF8)?,
            Kind::Bytes { .. } | Kind::Geometry => Self::Bytes,
            Kind::Json => Self::Json,
            Kind::Uuid => Self::Uuid,
        })
    }

    /// A cell's value; `None` = it is of another type than its column.
    pub(crate) fn value(&self, sent: Sent) -> Option<Value> {
        Some(match (self, sent) {
            (_, Sent::NULL) => Value::Null,
            (Self::Int, Sent::Int(number)) => Value::Int(number),
            (Self::Int, Sent::UInt(number)) => Value::unsigned(number),
            (Self::Bits(1), Sent::Bytes(bytes)) => Value::Bool(bits(&bytes)? == 1),
            (Self::Bits(_), Sent::Bytes(bytes)) => Value::unsigned(bits(&bytes)?),
            (Self::Decimal, Sent::Bytes(bytes)) => decimal(std::str::from_utf8(&bytes).ok()?),
            (Self::Float, Sent::Float(number)) => float(f64::from(number)),
            (Self::Float, Sent::Double(number)) => float(number),
            (Self::Date, Sent::Date(year, month, day, ..)) => temporal::date(year, month, day),
            (Self::Time(places), Sent::Time(negative, days, hour, minute, second, micros)) => {
                let hour = days.checked_mul(24)?.checked_add(u32::from(hour))?;
                let hour = u16::try_from(hour).ok()?;
                temporal::time(negative, hour, minute, second, micros, *places)
            }
            (Self::DateTime(places), sent @ Sent::Date(..)) => date_time(&sent, *places)?,
            (Self::Timestamp(places), sent @ Sent::Date(..)) => {
                match date_time(&sent, *places)? {
                    // The session's zone is UTC.
                    Value::DateTime(at) => Value::Timestamp(TimeZone::UTC.to_timestamp(at).ok()?),
                    zero => zero,
                }
            }
            (Self::Text(decoder), Sent::Bytes(bytes)) => decoder.value(&bytes),
            (Self::Bytes, Sent::Bytes(bytes)) => Value::Bytes(bytes),
            (Self::Json, Sent::Bytes(bytes)) => Value::Json(String::from_utf8(bytes).ok()?),
            (Self::Uuid, Sent::Bytes(bytes)) => {
                Value::Uuid(parse_uuid(std::str::from_utf8(&bytes).ok()?)?)
            }
            _ => return None,
        })
    }
}

/// The number of bits, most significant byte first.
pub(crate) fn bits(bytes: &[u8]) -> Option<u64> {
    let mut all = [0; 8];
    let from = all.len().checked_sub(bytes.len())?;
    all.get_mut(from..)?.copy_from_slice(bytes);
    Some(u64::from_be_bytes(all))
}

/// A decimal by the server's text, which `ZEROFILL` fills up.
fn decimal(text: &str) -> Value {
    if let Ok(number) = text.parse() {
        return Value::Decimal(number);
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let digits = digits.trim_start_matches('0');
    let zero = if digits.is_empty() || digits.starts_with('.') {
        "0"
    } else {
        ""
    };
    let text = format!("{sign}{zero}{digits}");
    match text.parse() {
        Ok(number) => Value::Decimal(number),
        Err(_) => Value::Invalid(text),
    }
}

fn float(number: f64) -> Value {
    if number.is_finite() {
        Value::Float(number)
    } else {
        Value::Invalid(number.to_string())
    }
}

fn date_time(sent: &Sent, places: u8) -> Option<Value> {
    let Sent::Date(year, month, day, hour, minute, second, micros) = *sent else {
        return None;
    };
    let parts = Parts {
        year,
        month,
        day,
        hour: u16::from(hour),
        minute,
        second,
        micros,
    };
    Some(temporal::date_time(parts, places))
}

/// What the column of a statement's answer holds; `None` = a type we do not know. What is made of
/// labels is text here, and MariaDB's `uuid` and addresses are texts too: an answer does not say.
pub(crate) fn kind(sent: &mysql_async::Column) -> Option<Kind> {
    let unsigned = sent.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    Some(match sent.column_type() {
        ColumnType::MYSQL_TYPE_TINY
        | ColumnType::MYSQL_TYPE_SHORT
        | ColumnType::MYSQL_TYPE_INT24
        | ColumnType::MYSQL_TYPE_LONG
        | ColumnType::MYSQL_TYPE_LONGLONG => Kind::Int { unsigned },
        ColumnType::MYSQL_TYPE_YEAR => Kind::Year,
        ColumnType::MYSQL_TYPE_BIT => Kind::Bit(u8::try_from(sent.column_length()).ok()?),
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => Kind::Decimal,
        ColumnType::MYSQL_TYPE_FLOAT => Kind::Float,
        ColumnType::MYSQL_TYPE_DOUBLE => Kind::Double,
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Kind::Date,
        ColumnType::MYSQL_TYPE_TIME => Kind::Time,
        ColumnType::MYSQL_TYPE_DATETIME => Kind::DateTime,
        ColumnType::MYSQL_TYPE_TIMESTAMP => Kind::Timestamp,
        ColumnType::MYSQL_TYPE_JSON => Kind::Json,
        ColumnType::MYSQL_TYPE_GEOMETRY => Kind::Geometry,
        ColumnType::MYSQL_TYPE_STRING
        | ColumnType::MYSQL_TYPE_VAR_STRING
        | ColumnType::MYSQL_TYPE_VARCHAR
        | ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
        | ColumnType::MYSQL_TYPE_ENUM
        | ColumnType::MYSQL_TYPE_SET
            if sent.character_set() != BYTES =>
        {
            Kind::Text {
                collation: sent.character_set(),
            }
        }
        ColumnType::MYSQL_TYPE_STRING
        | ColumnType::MYSQL_TYPE_VAR_STRING
        | ColumnType::MYSQL_TYPE_VARCHAR
        | ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
        | ColumnType::MYSQL_TYPE_VECTOR
        | ColumnType::MYSQL_TYPE_NULL => Kind::Bytes { fixed: None },
        _ => return None,
    })
}

/// Asks the server for the character sets of columns that are not known yet.
pub(crate) async fn learn(
    connection: &mut Connection,
    charsets: &mut Charsets,
    sent: &[mysql_async::Column],
) -> Result<(), SourceError> {
    let collations: Vec<u16> = sent
        .iter()
        .map(mysql_async::Column::character_set)
        .collect();
    known::ask(connection, charsets, &collations).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Sent {
        Sent::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn cells_are_values() {
        let latin1 = Cell::Text(Charsets::default().decoder(8).unwrap());
        let long = "1".repeat(39);
        let (filled, shown) = (format!("00{long}.0"), format!("{long}.0"));
        let half = format!("{}.5", "0".repeat(60));
        for (cell, sent, kind, text) in [
            (Cell::Int, Sent::Int(-8_388_608), "int", "-8388608"),
            (
                Cell::Int,
                Sent::UInt(u64::MAX),
                "uint",
                "18446744073709551615",
            ),
            (Cell::Bits(1), Sent::Bytes(vec![1]), "bool", "true"),
            (Cell::Bits(10), Sent::Bytes(vec![3, 255]), "int", "1023"),
            (
                Cell::Bits(64),
                Sent::Bytes(vec![255; 8]),
                "uint",
                "18446744073709551615",
            ),
            (Cell::Decimal, bytes("-0.50"), "decimal", "-0.5"),
            (Cell::Decimal, bytes(&filled), "invalid", shown.as_str()),
            (Cell::Decimal, bytes(&half), "decimal", "0.5"),
            (
                Cell::Float,
                Sent::Float(0.1),
                "float",
                "0.10000000149011612",
            ),
            (
                Cell::Date,
                Sent::Date(0, 0, 0, 0, 0, 0, 0),
                "invalid",
                "0000-00-00",
            ),
            (
                Cell::Date,
                Sent::Date(2026, 2, 31, 0, 0, 0, 0),
                "invalid",
                "2026-02-31",
            ),
            (
                Cell::Time(2),
                Sent::Time(true, 34, 22, 59, 59, 500_000),
                "invalid",
                "-838:59:59.50",
            ),
            (
                Cell::Time(0),
                Sent::Time(false, 0, 1, 2, 3, 0),
                "time",
                "01:02:03",
            ),
            (
                Cell::DateTime(3),
                Sent::Date(2026, 0, 1, 0, 0, 0, 0),
                "invalid",
                "2026-00-01 00:00:00.000",
            ),
            (
                Cell::Timestamp(6),
                Sent::Date(2026, 1, 2, 3, 4, 5, 600_000),
                "timestamp",
                "2026-01-02T03:04:05.6Z",
            ),
            (
                Cell::Timestamp(0),
                Sent::Date(0, 0, 0, 0, 0, 0, 0),
                "invalid",
                "0000-00-00 00:00:00",
            ),
            (latin1, Sent::Bytes(vec![b'c', 0x80]), "text", "c\u{20ac}"),
            (
                Cell::Uuid,
                bytes("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
                "uuid",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            ),
            (Cell::Json, bytes("{}"), "json", "{}"),
        ] {
            let value = cell.value(sent).unwrap();
            let shown = value.text().unwrap();
            assert_eq!(
                (value.type_name(), shown.as_str()),
                (kind, text),
                "{cell:?}"
            );
        }
        assert_eq!(Cell::Date.value(Sent::NULL), Some(Value::Null));
        for (cell, sent) in [
            (Cell::Int, bytes("1")),
            (Cell::Date, Sent::Int(1)),
            (Cell::Uuid, bytes("a0")),
            (Cell::Bits(64), Sent::Bytes(vec![0; 9])),
            (Cell::Json, Sent::Bytes(vec![0xff])),
            (Cell::Time(0), Sent::Time(false, u32::MAX, 0, 0, 0, 0)),
        ] {
            assert_eq!(cell.value(sent), None, "{cell:?}");
        }
    }
}

//! PostgreSQL's text form of a value to [`Value`]: the one place, for snapshot, stream and
//! re-reads alike.
//!
//! | type | value |
//! |---|---|
//! | boolean | bool |
//! | smallint, integer, bigint | int |
//! | numeric | decimal; NaN, infinity and more than 38 digits are invalid |
//! | money | decimal, with the places that the database's own `lc_monetary` gives it |
//! | real, double precision | float; NaN and infinity are invalid |
//! | text, varchar, char, name, citext, enums | text, `char(n)` with its padding |
//! | date | date; infinity, years before 1 and after 9999 are invalid |
//! | time | time; 24:00:00 is invalid |
//! | timestamp | datetime, limits as for date |
//! | timestamptz | timestamp, limits as for date |
//! | uuid | uuid |
//! | json, jsonb | json, in PostgreSQL's own text |
//! | bytea | bytes |
//! | a domain | as its base type |
//! | a type that is gone from the catalogue | invalid: nobody can say how its text was meant |
//! | anything else (arrays, ranges, interval, inet, ...) | text, as PostgreSQL writes it |

use contract::Value;
use contract::value::{parse_uuid, unhex};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

/// What stands for a text that is not UTF-8 (a database in encoding `SQL_ASCII` can hold it).
const NOT_UTF8: &str = "(not UTF-8)";

/// How a column's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Decimal,
    /// An amount stored as a whole number of the smallest coin, of which so many places make one.
    Money(u8),
    Float,
    Text,
    Date,
    Time,
    DateTime,
    Timestamp,
    Uuid,
    Json,
    Bytes,
    /// Of a type that is no longer in the catalogue.
    Gone,
}

/// The kind of a built-in type. Object identifiers of built-in types never change.
pub(crate) fn built_in(oid: u32) -> Option<Kind> {
    Some(match oid {
        16 => Kind::Bool,
        17 => Kind::Bytes,
        20 | 21 | 23 => Kind::Int,
        18 | 19 | 25 | 1042 | 1043 => Kind::Text,
        114 | 3802 => Kind::Json,
        700 | 701 => Kind::Float,
        1082 => Kind::Date,
        1083 => Kind::Time,
        1114 => Kind::DateTime,
        1184 => Kind::Timestamp,
        1700 => Kind::Decimal,
        2950 => Kind::Uuid,
        _ => return None,
    })
}

/// The value of a cell given as bytes.
pub(crate) fn value_of_bytes(kind: Kind, bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => value(kind, text),
        Err(_) => not_utf8(),
    }
}

/// The value of a cell whose text is not UTF-8.
pub(crate) fn not_utf8() -> Value {
    Value::Invalid(NOT_UTF8.to_owned())
}

/// The value of a cell.
pub(crate) fn value(kind: Kind, text: &str) -> Value {
    let read = match kind {
        Kind::Text => return Value::Text(text.to_owned()),
        Kind::Json => return Value::Json(text.to_owned()),
        Kind::Gone => None,
        Kind::Bool => match text {
            "t" => Some(Value::Bool(true)),
            "f" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Int => text.parse().ok().map(Value::Int),
        Kind::Decimal => text.parse().ok().map(Value::Decimal),
        Kind::Money(places) => amount(text, places),
        Kind::Float => text
            .parse::<f64>()
            .ok()
            .filter(|float| float.is_finite())
            .map(Value::Float),
        Kind::Date => date(text).map(Value::Date),
        Kind::Time => time(text).map(Value::Time),
        Kind::DateTime => date_time(text).map(Value::DateTime),
        Kind::Timestamp => timestamp(text),
        Kind::Uuid => parse_uuid(text).map(Value::Uuid),
        Kind::Bytes => text.strip_prefix("\\x").and_then(unhex).map(Value::Bytes),
    };
    read.unwrap_or_else(|| Value::Invalid(text.to_owned()))
}

/// `-$1,234.56`, as `lc_monetary = 'C'` writes 123456 of the smallest coin.
fn amount(text: &str, places: u8) -> Option<Value> {
    let (sign, plain) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (whole, cents) = plain.strip_prefix('$')?.split_once('.')?;
    let coins = format!("{}{cents}", whole.replace(',', ""));
    if cents.len() != 2 || !coins.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{sign}{coins}e-{places}")
        .parse()
        .ok()
        .map(Value::Decimal)
}

/// A number of exactly `width` digits.
fn digits<T: std::str::FromStr>(text: &str, width: usize) -> Option<T> {
    let plain = text.len() == width && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// `2026-11-24`; five-digit years, BC and infinity have other forms.
fn date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Date::new(digits(year, 4)?, digits(month, 2)?, digits(day, 2)?).ok()
}

/// `07:26:02` with up to six decimal places.
fn time(text: &str) -> Option<Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = whole.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !(1..=9).contains(&fraction.len()) {
        return None;
    }
    let nanosecond = digits::<i32>(fraction, fraction.len())?
        * 10_i32.pow(9 - u32::try_from(fraction.len()).ok()?);
    Time::new(
        digits(hour, 2)?,
        digits(minute, 2)?,
        digits(second, 2)?,
        nanosecond,
    )
    .ok()
}

fn date_time(text: &str) -> Option<DateTime> {
    let (day, clock) = text.split_once(' ')?;
    Some(DateTime::from_parts(date(day)?, time(clock)?))
}

/// `2026-11-24 07:26:02.5+00`; the offset may have minutes and seconds.
fn timestamp(text: &str) -> Option<Value> {
    let sign = text.rfind(['+', '-']).filter(|at| *at > 10)?;
    let local = date_time(&text[..sign])?;
    let mut seconds = 0_i32;
    let mut unit = 3600_i32;
    for part in text[sign + 1..].split(':') {
        seconds += digits::<i32>(part, 2)? * unit;
        unit /= 60;
    }
    if text.as_bytes().get(sign) == Some(&b'-') {
        seconds = -seconds;
    }
    let moment = Offset::from_seconds(seconds)
        .ok()?
        .to_timestamp(local)
        .ok()?;
    Some(Value::Timestamp(moment))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Kind; 14] = [
        Kind::Bool,
        Kind::Int,
        Kind::Decimal,
        Kind::Money(2),
        Kind::Float,
        Kind::Text,
        Kind::Date,
        Kind::Time,
        Kind::DateTime,
        Kind::Timestamp,
        Kind::Uuid,
        Kind::Json,
        Kind::Bytes,
        Kind::Gone,
    ];

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, text in "[-+0-9: .TZe\\\\xBCinfty]{0,30}") {
            for kind in ALL {
                let _ = value_of_bytes(kind, &bytes);
                let _ = value(kind, &text);
            }
        }
    }

    fn check(kind: Kind, text: &str, type_name: &str, canonical: &str) {
        let value = value(kind, text);
        assert_eq!(
            (value.type_name(), value.text().unwrap().as_str()),
            (type_name, canonical),
            "{kind:?} {text}"
        );
    }

    #[test]
    fn reads_the_forms_postgresql_writes() {
        check(Kind::Bool, "t", "bool", "true");
        check(
            Kind::Int,
            "-9223372036854775808",
            "int",
            "-9223372036854775808",
        );
        check(Kind::Decimal, "12.500", "decimal", "12.5");
        check(Kind::Money(2), "-$1,234.50", "decimal", "-1234.5");
        check(Kind::Money(0), "$12,345.67", "decimal", "1234567");
        check(Kind::Money(3), "-$0.01", "decimal", "-0.001");
        check(Kind::Float, "1e-07", "float", "0.0000001");
        check(Kind::Date, "2024-02-29", "date", "2024-02-29");
        check(Kind::Time, "23:59:59.999999", "time", "23:59:59.999999");
        check(
            Kind::DateTime,
            "2024-02-29 00:00:00",
            "datetime",
            "2024-02-29T00:00:00",
        );
        check(
            Kind::Timestamp,
            "2024-02-29 01:02:03.04+00",
            "timestamp",
            "2024-02-29T01:02:03.04Z",
        );
        check(
            Kind::Timestamp,
            "2024-02-29 01:02:03-05:30",
            "timestamp",
            "2024-02-29T06:32:03Z",
        );
        check(
            Kind::Timestamp,
            "1850-01-01 00:00:00+00:53:28",
            "timestamp",
            "1849-12-31T23:06:32Z",
        );
        check(Kind::Bytes, "\\xDEadbe", "bytes", "deadbe");
        check(Kind::Json, "{\"a\" : 1}", "json", "{\"a\" : 1}");
    }

    #[test]
    fn what_no_type_holds_is_kept_as_its_text() {
        let digits = "1".repeat(39);
        for (kind, text) in [
            (Kind::Decimal, "NaN"),
            (Kind::Decimal, "-Infinity"),
            (Kind::Decimal, digits.as_str()),
            (Kind::Money(2), "1.234,50 €"),
            (Kind::Money(2), "$1.5"),
            (Kind::Gone, "12"),
            (Kind::Float, "NaN"),
            (Kind::Float, "-Infinity"),
            (Kind::Date, "infinity"),
            (Kind::Date, "0044-03-15 BC"),
            (Kind::Date, "10000-01-01"),
            (Kind::Time, "24:00:00"),
            (Kind::DateTime, "-infinity"),
            (Kind::DateTime, "294276-12-31 23:59:59"),
            (Kind::Timestamp, "0044-03-15 00:00:00+00 BC"),
            (Kind::Timestamp, "10000-01-01 00:00:00+00"),
            (Kind::Bytes, "\\000"),
        ] {
            check(kind, text, "invalid", text);
        }
    }
}

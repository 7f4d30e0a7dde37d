//! Cells of an answer as values: the same, to the cell, whichever way a row is read.

use contract::value::hex;
use contract::{Decimal, Value};
use jiff::civil::{self, Date};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use tiberius::ColumnData;

use crate::column::Kind;

/// What half a character becomes, which the server may hold in its texts.
const BROKEN: char = '\u{fffd}';

/// A cell's value; `None` = it is of another type than its column is asked for as.
pub(crate) fn value(kind: &Kind, cell: ColumnData<'static>) -> Option<Value> {
    Some(match (kind, cell) {
        (Kind::Bit, ColumnData::Bit(value)) => or_null(value, Value::Bool),
        (Kind::Int(_), ColumnData::U8(value)) => or_null(value, |value| Value::Int(value.into())),
        (Kind::Int(_), ColumnData::I16(value)) => or_null(value, |value| Value::Int(value.into())),
        (Kind::Int(_), ColumnData::I32(value)) => or_null(value, |value| Value::Int(value.into())),
        (Kind::Int(_), ColumnData::I64(value)) => or_null(value, Value::Int),
        (Kind::Decimal { .. } | Kind::Money | Kind::SmallMoney, ColumnData::Numeric(value)) => {
            or_null(value, |number| decimal(number.value(), number.scale()))
        }
        (Kind::Real, ColumnData::F32(value)) => or_null(value, |value| float(value.into())),
        (Kind::Real | Kind::Float, ColumnData::F64(value)) => or_null(value, float),
        (Kind::Float, ColumnData::F32(None)) => Value::Null,
        (Kind::Date, ColumnData::Date(value)) => match value {
            None => Value::Null,
            Some(date) => Value::Date(since_year_one(date.days())?),
        },
        (Kind::Time(_), ColumnData::Time(value)) => match value {
            None => Value::Null,
            Some(time) => Value::Time(of_day(time)?),
        },
        (Kind::DateTime, ColumnData::DateTime(value)) => match value {
            None => Value::Null,
            Some(at) => {
                let millis = i64::from(at.seconds_fragments())
                    .checked_mul(10)?
                    .checked_add(1)?
                    / 3;
                Value::DateTime(since_1900(at.days(), millis)?)
            }
        },
        (Kind::SmallDateTime, ColumnData::SmallDateTime(value)) => match value {
            None => Value::Null,
            Some(at) => {
                let millis = i64::from(at.seconds_fragments()).checked_mul(60_000)?;
                Value::DateTime(since_1900(at.days().into(), millis)?)
            }
        },
        (Kind::DateTime2(_), ColumnData::DateTime2(value)) => match value {
            None => Value::Null,
            Some(at) => Value::DateTime(moment(at)?),
        },
        (Kind::DateTimeOffset(_), ColumnData::DateTimeOffset(value)) => match value {
            None => Value::Null,
            Some(at) => timestamp(moment(at.datetime2())?),
        },
        (Kind::Char { .. } | Kind::NChar { .. } | Kind::Xml, ColumnData::String(value)) => {
            or_null(value, |value| text(value.into_owned()))
        }
        (Kind::Xml, ColumnData::Xml(value)) => {
            or_null(value, |value| text(value.into_owned().into_string()))
        }
        (Kind::Binary { .. } | Kind::Rowversion | Kind::Udt(_), ColumnData::Binary(value)) => {
            or_null(value, |value| Value::Bytes(value.into_owned()))
        }
        (Kind::Uuid, ColumnData::Guid(value)) => {
            or_null(value, |value| Value::Uuid(*value.as_bytes()))
        }
        _ => return None,
    })
}

fn or_null<T>(value: Option<T>, of: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Null, of)
}

/// A decimal by its digits and scale.
fn decimal(digits: i128, scale: u8) -> Value {
    match Decimal::try_new(digits, scale.into()) {
        Ok(number) => Value::Decimal(number),
        // The server has no such number.
        Err(_) => Value::Invalid(format!("{digits}e-{scale}")),
    }
}

fn float(number: f64) -> Value {
    if number.is_finite() {
        Value::Float(number)
    } else {
        Value::Invalid(number.to_string())
    }
}

/// The server takes half a character for text; nobody else does, and what the client puts in its place is
/// not what is stored.
fn text(text: String) -> Value {
    if text.contains(BROKEN) {
        Value::Invalid(text)
    } else {
        Value::Text(text)
    }
}

fn since_year_one(days: u32) -> Option<Date> {
    let span = Span::new().try_days(days).ok()?;
    civil::date(1, 1, 1).checked_add(span).ok()
}

fn since_1900(days: i32, millis: i64) -> Option<civil::DateTime> {
    let span = Span::new().try_days(days).ok()?;
    let day = civil::date(1900, 1, 1).checked_add(span).ok()?;
    // The last third of a second rounds up to the next day, as the server writes it.
    let span = Span::new().try_milliseconds(millis).ok()?;
    day.at(0, 0, 0, 0).checked_add(span).ok()
}

fn of_day(time: tiberius::time::Time) -> Option<civil::Time> {
    let finer = 9_u32.checked_sub(time.scale().into())?;
    let nanos = time.increments().checked_mul(10_u64.checked_pow(finer)?)?;
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let part = |seconds: u64| i8::try_from(seconds).ok();
    civil::Time::new(
        part(seconds / 3_600)?,
        part(seconds / 60 % 60)?,
        part(seconds % 60)?,
        i32::try_from(rest).ok()?,
    )
    .ok()
}

fn moment(at: tiberius::time::DateTime2) -> Option<civil::DateTime> {
    Some(since_year_one(at.date().days())?.to_datetime(of_day(at.time())?))
}

/// A moment by its parts in UTC, which the server sends whatever the offset.
fn timestamp(at: civil::DateTime) -> Value {
    let moment: Result<Timestamp, _> = TimeZone::UTC.to_timestamp(at);
    match moment {
        Ok(moment) => Value::Timestamp(moment),
        // The last day of the calendar is beyond what is counted here.
        Err(_) => Value::Invalid(format!("{at}Z")),
    }
}

/// A log sequence number as people see it.
pub(crate) fn lsn_text(lsn: &[u8; 10]) -> String {
    format!("0x{}", hex(lsn).to_ascii_uppercase())
}

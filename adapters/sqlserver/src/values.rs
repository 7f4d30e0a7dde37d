//! Cells of an answer as values: the same, to the cell, whichever way a row is read.

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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;
    use tiberius::numeric::Numeric;
    use tiberius::time::{
        Date as SentDate, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time,
    };

    use super::*;

    fn decimal_kind() -> Kind {
        Kind::Decimal {
            precision: 38,
            scale: 0,
        }
    }

    fn nvarchar() -> Kind {
        Kind::NChar {
            fixed: false,
            units: Some(10),
            collation: "Latin1_General_CI_AS".to_owned(),
        }
    }

    fn string(text: &str) -> ColumnData<'static> {
        ColumnData::String(Some(Cow::Owned(text.to_owned())))
    }

    fn moment(days: u32, increments: u64, scale: u8) -> DateTime2 {
        DateTime2::new(SentDate::new(days), Time::new(increments, scale))
    }

    /// Borders of each type, as the server's own texts have them.
    #[test]
    fn cells_are_read_by_their_columns() {
        let uuid = [
            0xa0, 0xee, 0xbc, 0x99, 0x9c, 0xb, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0xa,
            0x11,
        ];
        for (kind, cell, expected) in [
            (Kind::Bit, ColumnData::Bit(Some(true)), ("bool", "true")),
            (
                Kind::Int("tinyint"),
                ColumnData::U8(Some(255)),
                ("int", "255"),
            ),
            (
                Kind::Int("smallint"),
                ColumnData::I16(Some(i16::MIN)),
                ("int", "-32768"),
            ),
            (
                Kind::Int("bigint"),
                ColumnData::I64(Some(i64::MIN)),
                ("int", "-9223372036854775808"),
            ),
            (
                decimal_kind(),
                ColumnData::Numeric(Some(Numeric::new_with_scale(-10_i128.pow(38) + 1, 38))),
                ("decimal", "-0.99999999999999999999999999999999999999"),
            ),
            // The largest amount of money, which the client's own float would round up.
            (
                Kind::Money,
                ColumnData::Numeric(Some(Numeric::new_with_scale(9_223_372_036_854_775_807, 4))),
                ("decimal", "922337203685477.5807"),
            ),
            (
                Kind::Real,
                ColumnData::F32(Some(0.1)),
                ("float", "0.10000000149011612"),
            ),
            (Kind::Float, ColumnData::F64(Some(-0.5)), ("float", "-0.5")),
            (
                Kind::Float,
                ColumnData::F64(Some(f64::INFINITY)),
                ("invalid", "inf"),
            ),
            (
                Kind::Date,
                ColumnData::Date(Some(SentDate::new(0))),
                ("date", "0001-01-01"),
            ),
            (
                Kind::Date,
                ColumnData::Date(Some(SentDate::new(3_652_058))),
                ("date", "9999-12-31"),
            ),
            (
                Kind::Time(7),
                ColumnData::Time(Some(Time::new(863_999_999_999, 7))),
                ("time", "23:59:59.9999999"),
            ),
            (
                Kind::Time(0),
                ColumnData::Time(Some(Time::new(86_399, 0))),
                ("time", "23:59:59"),
            ),
            (
                Kind::DateTime,
                ColumnData::DateTime(Some(DateTime::new(-53_690, 0))),
                ("datetime", "1753-01-01T00:00:00"),
            ),
            (
                Kind::DateTime,
                ColumnData::DateTime(Some(DateTime::new(0, 1))),
                ("datetime", "1900-01-01T00:00:00.003"),
            ),
            (
                Kind::DateTime,
                ColumnData::DateTime(Some(DateTime::new(0, 2))),
                ("datetime", "1900-01-01T00:00:00.007"),
            ),
            (
                Kind::DateTime,
                ColumnData::DateTime(Some(DateTime::new(2_958_463, 25_919_999))),
                ("datetime", "9999-12-31T23:59:59.997"),
            ),
            (
                Kind::SmallDateTime,
                ColumnData::SmallDateTime(Some(SmallDateTime::new(65_535, 1_439))),
                ("datetime", "2079-06-06T23:59:00"),
            ),
            (
                Kind::DateTime2(7),
                ColumnData::DateTime2(Some(moment(730_119, 1, 7))),
                ("datetime", "2000-01-01T00:00:00.0000001"),
            ),
            (
                Kind::DateTimeOffset(0),
                ColumnData::DateTimeOffset(Some(DateTimeOffset::new(
                    moment(730_119, 3_600, 0),
                    330,
                ))),
                ("timestamp", "2000-01-01T01:00:00Z"),
            ),
            (
                Kind::DateTimeOffset(0),
                ColumnData::DateTimeOffset(Some(DateTimeOffset::new(
                    moment(3_652_058, 86_399, 0),
                    0,
                ))),
                ("invalid", "9999-12-31T23:59:59Z"),
            ),
            (nvarchar(), string("a  "), ("text", "a  ")),
            (
                nvarchar(),
                string("half \u{fffd}"),
                ("invalid", "half \u{fffd}"),
            ),
            (Kind::Xml, string("<a/>"), ("text", "<a/>")),
            (
                Kind::Rowversion,
                ColumnData::Binary(Some(Cow::Owned(vec![0, 255]))),
                ("bytes", "00ff"),
            ),
            (
                Kind::Udt("hierarchyid"),
                ColumnData::Binary(Some(Cow::Owned(vec![0x58]))),
                ("bytes", "58"),
            ),
            (
                Kind::Uuid,
                ColumnData::Guid(Some(tiberius::Uuid::from_bytes(uuid))),
                ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ),
        ] {
            let value = value(&kind, cell).unwrap_or_else(|| panic!("{kind:?}"));
            let text = value.text().unwrap();
            assert_eq!((value.type_name(), text.as_str()), expected, "{kind:?}");
        }
    }

    #[test]
    fn nothing_is_null_and_another_type_is_none() {
        for (kind, cell) in [
            (Kind::Bit, ColumnData::Bit(None)),
            (Kind::Int("int"), ColumnData::I32(None)),
            (decimal_kind(), ColumnData::Numeric(None)),
            (Kind::Real, ColumnData::F32(None)),
            (Kind::Float, ColumnData::F64(None)),
            (Kind::Date, ColumnData::Date(None)),
            (Kind::Time(7), ColumnData::Time(None)),
            (Kind::DateTime, ColumnData::DateTime(None)),
            (Kind::SmallDateTime, ColumnData::SmallDateTime(None)),
            (Kind::DateTime2(7), ColumnData::DateTime2(None)),
            (Kind::DateTimeOffset(7), ColumnData::DateTimeOffset(None)),
            (nvarchar(), ColumnData::String(None)),
            (Kind::Rowversion, ColumnData::Binary(None)),
            (Kind::Uuid, ColumnData::Guid(None)),
        ] {
            assert_eq!(value(&kind, cell), Some(Value::Null), "{kind:?}");
        }
        for (kind, cell) in [
            // Never a binary float for money.
            (Kind::Money, ColumnData::F64(Some(1.5))),
            (Kind::Int("int"), string("1")),
            (nvarchar(), ColumnData::I32(Some(1))),
            (
                Kind::Foreign("sql_variant".to_owned()),
                ColumnData::I32(Some(1)),
            ),
            (Kind::Time(0), ColumnData::Time(Some(Time::new(86_400, 0)))),
            (
                Kind::Time(0),
                ColumnData::Time(Some(Time::new(u64::MAX, 9))),
            ),
            (
                Kind::Date,
                ColumnData::Date(Some(SentDate::new((1 << 24) - 1))),
            ),
        ] {
            assert_eq!(value(&kind, cell), None, "{kind:?}");
        }
    }

    proptest! {
        /// Trap: three-hundredths of a second, as the server writes them.
        #[test]
        fn a_datetime_is_never_off_by_half_a_millisecond(days in -53_690..2_958_463_i32, ticks in 0..25_920_000_u32) {
            let cell = ColumnData::DateTime(Some(DateTime::new(days, ticks)));
            let Some(Value::DateTime(at)) = value(&Kind::DateTime, cell) else {
                panic!("no datetime");
            };
            let start = civil::date(1900, 1, 1).checked_add(Span::new().days(days)).unwrap().at(0, 0, 0, 0);
            let millis = at.duration_since(start).as_millis();
            let thirds = i128::from(ticks) * 10;
            prop_assert!((millis * 3 - thirds).abs() <= 1, "{ticks} {millis}");
            // Read back as the server reads the text, it is the same again.
            prop_assert_eq!((millis * 3 + 5) / 10, i128::from(ticks));
        }

        #[test]
        fn no_cell_does_harm(days: i32, ticks: u32, increments: u64, scale: u8, day in 0..(1_u32 << 24)) {
            let _ = value(&Kind::DateTime, ColumnData::DateTime(Some(DateTime::new(days, ticks))));
            let at = moment(day, increments, scale);
            let _ = value(&Kind::DateTime2(7), ColumnData::DateTime2(Some(at)));
            let _ = value(&Kind::DateTimeOffset(7), ColumnData::DateTimeOffset(Some(DateTimeOffset::new(at, i16::MAX))));
        }
    }
}

//! Dates and times, in the forms of the log and as one value
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html>,
//! <https://dev.mysql.com/doc/refman/8.4/en/storage-requirements.html#data-types-storage-reqs-date-time>).
//!
//! What is no moment of any calendar keeps the text that the database shows, with as many decimal
//! places as the column has.

use contract::Value;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};

use super::input::Input;
use super::{Result, malformed};

/// A date by its parts. Zero, partly zero and impossible ones (`ALLOW_INVALID_DATES`) are invalid.
pub(crate) fn date(year: u16, month: u8, day: u8) -> Value {
    civil_date(year, month, day).map_or_else(
        || Value::Invalid(format!("{year:04}-{month:02}-{day:02}")),
        Value::Date,
    )
}

fn civil_date(year: u16, month: u8, day: u8) -> Option<Date> {
    let year = i16::try_from(year).ok().filter(|year| *year > 0)?;
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn civil_time(hour: u16, minute: u8, second: u8, micros: u32) -> Option<Time> {
    let nanos = i32::try_from(micros).ok()?.checked_mul(1000)?;
    Time::new(
        i8::try_from(hour).ok()?,
        i8::try_from(minute).ok()?,
        i8::try_from(second).ok()?,
        nanos,
    )
    .ok()
}

/// A time of day or a span of time, which MySQL does not tell apart: what is no time of a day is
/// invalid.
pub(crate) fn time(
    negative: bool,
    hour: u16,
    minute: u8,
    second: u8,
    micros: u32,
    places: u8,
) -> Value {
    let day = civil_time(hour, minute, second, micros).filter(|_| !negative);
    day.map_or_else(
        || {
            let sign = if negative { "-" } else { "" };
            let fraction = fraction(micros, places);
            Value::Invalid(format!("{sign}{hour:02}:{minute:02}:{second:02}{fraction}"))
        },
        Value::Time,
    )
}

/// A date and a time of day by their parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) year: u16,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u16,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) micros: u32,
}

/// A date with a time of day.
pub(crate) fn date_time(parts: Parts, places: u8) -> Value {
    let date = civil_date(parts.year, parts.month, parts.day);
    let time = civil_time(parts.hour, parts.minute, parts.second, parts.micros);
    match (date, time) {
        (Some(date), Some(time)) => Value::DateTime(DateTime::from_parts(date, time)),
        _ => Value::Invalid(format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{}",
            parts.year,
            parts.month,
            parts.day,
            parts.hour,
            parts.minute,
            parts.second,
            fraction(parts.micros, places)
        )),
    }
}

/// A moment; second 0 is the zero date.
pub(crate) fn timestamp(seconds: u32, micros: u32, places: u8) -> Value {
    if seconds == 0 && micros == 0 {
        let fraction = fraction(0, places);
        return Value::Invalid(format!("0000-00-00 00:00:00{fraction}"));
    }
    let nanos = i32::try_from(micros).ok().and_then(|m| m.checked_mul(1000));
    nanos
        .and_then(|nanos| Timestamp::new(i64::from(seconds), nanos).ok())
        .map_or_else(
            || Value::Invalid(format!("({seconds} s)")),
            Value::Timestamp,
        )
}

/// The decimal places as the database shows them.
fn fraction(micros: u32, places: u8) -> String {
    let places = u32::from(places.min(6));
    if places == 0 {
        return String::new();
    }
    let shown = micros / 10_u32.pow(6 - places);
    let width = usize::try_from(places).unwrap_or(6);
    format!(".{shown:0width$}")
}

/// Three bytes: day 5 bits, month 4, year 15.
pub(super) fn stored_date(input: &mut Input<'_>) -> Result<Value> {
    let bits = input.u24()?;
    Ok(date(low(bits >> 9), low(bits >> 5 & 15), low(bits & 31)))
}

/// The lowest bits of a number whose others are known to be zero.
fn low<T: TryFrom<u32> + Default>(bits: u32) -> T {
    T::try_from(bits).unwrap_or_default()
}

/// The decimal places behind a time: one byte for each two of them, most significant first.
fn micros(input: &mut Input<'_>, places: u8) -> Result<u32> {
    let (bytes, unit) = match places {
        0 => return Ok(0),
        1 | 2 => (1, 10_000),
        3 | 4 => (2, 100),
        _ => (3, 1),
    };
    let value = u32::try_from(input.big(bytes)?).unwrap_or(u32::MAX);
    value
        .checked_mul(unit)
        .filter(|micros| *micros < 1_000_000)
        .ok_or(malformed("a fraction of a second that is more than one"))
}

/// Three bytes and a fraction, as one number with an offset, so that they sort as bytes: sign, unused
/// bit, hour 10 bits, minute 6, second 6, microseconds 24.
pub(super) fn stored_time(input: &mut Input<'_>, places: u8) -> Result<Value> {
    let (bytes, unit) = match places {
        0 => (0_u32, 0),
        1 | 2 => (1, 10_000),
        3 | 4 => (2, 100),
        _ => (3, 1),
    };
    let width = 24 + 8 * bytes;
    let stored = input.big(usize::try_from(width / 8).unwrap_or(8))?;
    let signed = i64::try_from(stored).unwrap_or(0) - (1_i64 << (width - 1));
    let size = signed.unsigned_abs();
    let whole = u32::try_from(size >> (8 * bytes)).unwrap_or(u32::MAX);
    let part = u32::try_from(size & ((1 << (8 * bytes)) - 1)).unwrap_or(u32::MAX);
    let micros = part
        .checked_mul(unit)
        .filter(|micros| *micros < 1_000_000)
        .ok_or(malformed("a fraction of a second that is more than one"))?;
    let (minute, second) = (whole >> 6 & 63, whole & 63);
    if minute > 59 || second > 59 || whole >> 12 > 838 {
        return Err(malformed("a time that is none"));
    }
    Ok(time(
        signed < 0,
        low(whole >> 12),
        low(minute),
        low(second),
        micros,
        places,
    ))
}

/// Five bytes and a fraction: sign, year times 13 plus month 17 bits, day 5, hour 5, minute 6,
/// second 6.
pub(super) fn stored_date_time(input: &mut Input<'_>, places: u8) -> Result<Value> {
    const OFFSET: u64 = 1 << 39;
    let bits = input
        .big(5)?
        .checked_sub(OFFSET)
        .ok_or(malformed("a date before all others"))?;
    let micros = micros(input, places)?;
    let part = |from: u32, bits_count: u32| {
        u32::try_from(bits >> from & ((1 << bits_count) - 1)).unwrap_or(0)
    };
    let months = part(22, 17);
    Ok(date_time(
        Parts {
            year: low(months / 13),
            month: low(months % 13),
            day: low(part(17, 5)),
            hour: low(part(12, 5)),
            minute: low(part(6, 6)),
            second: low(part(0, 6)),
            micros,
        },
        places,
    ))
}

/// Four bytes, most significant first, and a fraction.
pub(super) fn stored_timestamp(input: &mut Input<'_>, places: u8) -> Result<Value> {
    let seconds = input.array().map(u32::from_be_bytes)?;
    let micros = micros(input, places)?;
    Ok(timestamp(seconds, micros, places))
}

/// Before MySQL 5.6: the digits `HHMMSS` as one number of three bytes.
pub(super) fn stored_old_time(input: &mut Input<'_>) -> Result<Value> {
    let bits = input.u24()?;
    let negative = bits & 0x80_0000 != 0;
    let size = if negative { 0x100_0000 - bits } else { bits };
    let (minute, second) = (size / 100 % 100, size % 100);
    if minute > 59 || second > 59 || size / 10_000 > 838 {
        return Err(malformed("a time that is none"));
    }
    Ok(time(
        negative,
        low(size / 10_000),
        low(minute),
        low(second),
        0,
        0,
    ))
}

/// Before MySQL 5.6: the digits `YYYYMMDDHHMMSS` as one number of eight bytes.
pub(super) fn stored_old_date_time(input: &mut Input<'_>) -> Result<Value> {
    let digits = input.u64()?;
    if digits > 99_999_999_999_999 {
        return Err(malformed("a date that is none"));
    }
    let part = |unit: u64, modulus: u64| u32::try_from(digits / unit % modulus).unwrap_or(0);
    Ok(date_time(
        Parts {
            year: low(part(10_000_000_000, 10_000)),
            month: low(part(100_000_000, 100)),
            day: low(part(1_000_000, 100)),
            hour: low(part(10_000, 100)),
            minute: low(part(100, 100)),
            second: low(part(1, 100)),
            micros: 0,
        },
        0,
    ))
}

/// Before MySQL 5.6: four bytes, least significant first.
pub(super) fn stored_old_timestamp(input: &mut Input<'_>) -> Result<Value> {
    let seconds = input.u32()?;
    Ok(timestamp(seconds, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &Value, kind: &str, text: &str) {
        assert_eq!(
            (value.type_name(), value.text().unwrap().as_str()),
            (kind, text)
        );
    }

    #[test]
    fn what_is_no_moment_keeps_the_text_that_the_database_shows() {
        check(&date(2026, 11, 26), "date", "2026-11-26");
        check(&date(0, 0, 0), "invalid", "0000-00-00");
        check(&date(0, 1, 1), "invalid", "0000-01-01");
        check(&date(2026, 2, 31), "invalid", "2026-02-31");
        check(&time(false, 23, 59, 59, 1, 6), "time", "23:59:59.000001");
        check(&time(false, 24, 0, 0, 0, 2), "invalid", "24:00:00.00");
        check(&time(true, 0, 0, 0, 10_000, 2), "invalid", "-00:00:00.01");
        check(
            &time(false, 838, 59, 59, 999_000, 3),
            "invalid",
            "838:59:59.999",
        );
        check(&timestamp(0, 0, 0), "invalid", "0000-00-00 00:00:00");
        check(&timestamp(0, 0, 2), "invalid", "0000-00-00 00:00:00.00");
        check(
            &timestamp(u32::MAX, 0, 0),
            "timestamp",
            "2106-02-07T06:28:15Z",
        );
    }

    #[test]
    fn impossible_fractions_are_refused() {
        for (places, bytes) in [
            (2, &[0x80, 0, 0, 100][..]),
            (6, &[0x80, 0, 0, 0xff, 0xff, 0xff]),
        ] {
            assert!(stored_time(&mut Input(bytes), places).is_err(), "{places}");
        }
        let bytes = [1, 2, 3, 4, 0xff, 0xff];
        assert!(stored_timestamp(&mut Input(&bytes), 4).is_err());
        assert!(stored_date_time(&mut Input(&[0; 5]), 0).is_err());
    }
}

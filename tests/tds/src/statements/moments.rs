//! Dates and times: from text, to text, between types.

use crate::wire::{DAYS_TO_1900, ServerError, Type, Value};

/// 100 nanoseconds in a day.
pub(crate) const DAY: i64 = 864_000_000_000;
const SECOND: i64 = 10_000_000;
const MINUTE: i64 = 60 * SECOND;
/// The last day that SQL Server knows, from 0001-01-01.
const LAST_DAY: i64 = 3_652_058;

/// A moment: 100 nanoseconds since 0001-01-01 on its own clock, and that clock's offset from UTC when it
/// is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) ticks: i64,
    pub(crate) offset: Option<i16>,
}

impl Moment {
    /// The moment in UTC; one without an offset is taken for UTC, as comparing does.
    pub(crate) fn utc(self) -> i64 {
        self.ticks - i64::from(self.offset.unwrap_or(0)) * MINUTE
    }
}

/// The moment that a value of a date or time type is. A time of day is on 1900-01-01.
pub(crate) fn moment(value: &Value) -> Option<Moment> {
    let (ticks, offset) = match *value {
        Value::DateTime { days, ticks } => (
            (i64::from(days) + i64::from(DAYS_TO_1900)) * DAY
                + (i64::from(ticks) * SECOND + 150) / 300,
            None,
        ),
        Value::SmallDateTime { days, minutes } => (
            (i64::from(days) + i64::from(DAYS_TO_1900)) * DAY + i64::from(minutes) * MINUTE,
            None,
        ),
        Value::Date(days) => (i64::from(days) * DAY, None),
        Value::Time(ticks) => (
            i64::from(DAYS_TO_1900) * DAY + i64::try_from(ticks).ok()?,
            None,
        ),
        Value::DateTime2 { days, ticks } => {
            (i64::from(days) * DAY + i64::try_from(ticks).ok()?, None)
        }
        Value::DateTimeOffset {
            days,
            ticks,
            offset_minutes,
        } => (
            i64::from(days) * DAY + i64::try_from(ticks).ok()? + i64::from(offset_minutes) * MINUTE,
            Some(offset_minutes),
        ),
        _ => return None,
    };
    Some(Moment { ticks, offset })
}

/// The value of a date or time type for a moment, rounded to its scale.
pub(crate) fn value(moment: Moment, to: &Type) -> Result<Value, ServerError> {
    let out = || {
        ServerError::new(
            242,
            16,
            format!(
                "The conversion to a {} data type resulted in an out-of-range value.",
                super::types::name(to)
            ),
        )
    };
    let rounded = |scale: u8| {
        let unit = 10_i64.pow(7 - u32::from(scale.min(7)));
        (moment.ticks + unit / 2).div_euclid(unit) * unit
    };
    let split = |ticks: i64| -> Result<(u32, u64), ServerError> {
        let days = ticks.div_euclid(DAY);
        if !(0..=LAST_DAY).contains(&days) {
            return Err(out());
        }
        let day = u32::try_from(days).map_err(|_| out())?;
        Ok((
            day,
            u64::try_from(ticks.rem_euclid(DAY)).map_err(|_| out())?,
        ))
    };
    Ok(match to {
        Type::Date => Value::Date(split(moment.ticks)?.0),
        Type::Time(scale) => Value::Time(split(rounded(*scale))?.1),
        Type::DateTime2(scale) => {
            let (days, ticks) = split(rounded(*scale))?;
            Value::DateTime2 { days, ticks }
        }
        Type::DateTimeOffset(scale) => {
            let offset_minutes = moment.offset.unwrap_or(0);
            let (days, ticks) = split(rounded(*scale) - i64::from(offset_minutes) * MINUTE)?;
            Value::DateTimeOffset {
                days,
                ticks,
                offset_minutes,
            }
        }
        Type::DateTime => {
            let parts = (i128::from(moment.ticks) * 300 + i128::from(SECOND) / 2)
                .div_euclid(i128::from(SECOND));
            let day = 300 * 86_400_i128;
            let days = parts.div_euclid(day) - i128::from(DAYS_TO_1900);
            if !(-53_690..=2_958_463).contains(&days) {
                return Err(out());
            }
            Value::DateTime {
                days: i32::try_from(days).map_err(|_| out())?,
                ticks: u32::try_from(parts.rem_euclid(day)).map_err(|_| out())?,
            }
        }
        Type::SmallDateTime => {
            let minutes = (moment.ticks + MINUTE / 2).div_euclid(MINUTE);
            let days = minutes.div_euclid(1440) - i64::from(DAYS_TO_1900);
            Value::SmallDateTime {
                days: u16::try_from(days).map_err(|_| out())?,
                minutes: u16::try_from(minutes.rem_euclid(1440)).map_err(|_| out())?,
            }
        }
        _ => return Err(out()),
    })
}

/// Days from 0001-01-01 of a date.
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // Days of the civil calendar, with the year beginning in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 306)
}

/// The date of days from 0001-01-01.
pub(crate) fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 306;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Reads `2026-01-31`, `20260131`, `2026-01-31T10:11:12.1234567+02:00` and parts of it.
pub(crate) fn parse(text: &str) -> Option<Moment> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let (mut rest, mut ticks);
    if bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-' {
        let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        ticks = days(part(0, 4)?, part(5, 7)?, part(8, 10)?)? * DAY;
        rest = text.get(10..)?;
    } else if bytes.len() >= 8 && bytes[..8].iter().all(u8::is_ascii_digit) {
        let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        ticks = days(part(0, 4)?, part(4, 6)?, part(6, 8)?)? * DAY;
        rest = text.get(8..)?;
    } else if text.get(2..3) == Some(":") {
        ticks = i64::from(DAYS_TO_1900) * DAY;
        rest = text;
    } else {
        return None;
    }
    rest = rest.trim_start_matches(['T', ' ']);
    if rest.is_empty() {
        return Some(Moment {
            ticks,
            offset: None,
        });
    }
    let (clock, offset) = match rest.find(['+', '-', 'Z']) {
        Some(at) => (rest.get(..at)?.trim_end(), Some(rest.get(at..)?)),
        None => (rest, None),
    };
    let mut parts = clock.split(':');
    let mut part = || parts.next()?.parse::<i64>().ok();
    let (hour, minute) = (part()?, part()?);
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) {
        return None;
    }
    ticks += (hour * 60 + minute) * MINUTE;
    if let Some(seconds) = clock.splitn(3, ':').nth(2) {
        let (whole, part) = seconds.split_once('.').unwrap_or((seconds, ""));
        if part.len() > 7 || whole.parse::<u8>().ok()? > 59 {
            return None;
        }
        ticks += whole.parse::<i64>().ok()? * SECOND + format!("{part:0<7}").parse::<i64>().ok()?;
    }
    let offset = match offset {
        None => None,
        Some("Z") => Some(0),
        Some(text) => {
            let (hours, minutes) = text.get(1..)?.split_once(':')?;
            let minutes = hours.parse::<i16>().ok()? * 60 + minutes.parse::<i16>().ok()?;
            if minutes > 840 {
                return None;
            }
            Some(if text.starts_with('-') {
                -minutes
            } else {
                minutes
            })
        }
    };
    Some(Moment { ticks, offset })
}

/// The text that CONVERT makes of a moment: ISO, for the styles 0 of the newer types and 121, 126, 127.
pub(crate) fn text(moment: Moment, of: &Type, style: i32) -> String {
    let (year, month, day) = date(moment.ticks.div_euclid(DAY));
    let clock = moment.ticks.rem_euclid(DAY);
    let seconds = clock / SECOND;
    let between = if matches!(style, 126 | 127) { 'T' } else { ' ' };
    let scale = match of {
        Type::DateTime => 3,
        Type::SmallDateTime => 0,
        Type::Time(scale) | Type::DateTime2(scale) | Type::DateTimeOffset(scale) => {
            usize::from(*scale)
        }
        _ => 0,
    };
    let part = format!("{:07}", clock % SECOND);
    let part = if scale == 0 {
        String::new()
    } else {
        format!(".{}", &part[..scale.min(7)])
    };
    let date = format!("{year:04}-{month:02}-{day:02}");
    let time = format!(
        "{:02}:{:02}:{:02}{part}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    match of {
        Type::Date => date,
        Type::Time(_) => time,
        Type::DateTimeOffset(_) => {
            let offset = moment.offset.unwrap_or(0);
            let sign = if offset < 0 { '-' } else { '+' };
            let offset = offset.abs();
            let space = if between == ' ' { " " } else { "" };
            format!(
                "{date}{between}{time}{space}{sign}{:02}:{:02}",
                offset / 60,
                offset % 60
            )
        }
        _ => format!("{date}{between}{time}"),
    }
}

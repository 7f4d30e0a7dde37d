//! What the functions of `functions` give for a row.

use std::borrow::Cow;
use std::cmp::Ordering;

use contract::{Decimal, Value};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use serde_json::Value as Json;

use super::Expr;
use super::eval::{Cells, Got, Stop, compare, number, owned, plain_text, stop};
use super::functions::Call;
use crate::convert;

pub(super) fn call_function<'r>(call: Call, arguments: &'r [Expr], cells: &Cells<'r>) -> Got<'r> {
    // These choose among their arguments and take nulls.
    match call {
        Call::Coalesce => {
            for argument in arguments {
                let value = argument.value(cells)?;
                if !matches!(*value, Value::Null) {
                    return Ok(value);
                }
            }
            return owned(Value::Null);
        }
        Call::Greatest | Call::Least => {
            let wanted = if call == Call::Greatest {
                Ordering::Greater
            } else {
                Ordering::Less
            };
            let mut best: Cow<'r, Value> = Cow::Owned(Value::Null);
            for argument in arguments {
                let value = argument.value(cells)?;
                let better = match compare(&value, &best, cells)? {
                    Some(order) => order == wanted,
                    None => matches!(*best, Value::Null),
                };
                if better {
                    best = value;
                }
            }
            return Ok(best);
        }
        Call::ConcatAll => {
            let mut text = String::new();
            for argument in arguments {
                let value = argument.value(cells)?;
                text.push_str(&plain_text(&value)?.unwrap_or_default());
            }
            return owned(Value::Text(text));
        }
        Call::Round => {
            let value = argument(arguments, 0, cells)?;
            let places = match arguments.get(1) {
                Some(places) => places.number(cells)?,
                None => Some(Decimal::ZERO),
            };
            let places = places
                .and_then(|places| u32::try_from(places.coefficient()).ok())
                .unwrap_or(0);
            // The one way a binary float becomes a number.
            let rounded = match &*value {
                Value::Float(float) => convert::float(*float, places).map_err(Stop::Wrong)?,
                other => match number(other, cells)? {
                    Some(number) => number,
                    None => return owned(Value::Null),
                },
            };
            return match rounded.try_round(places) {
                Ok(number) => owned(Value::Decimal(number)),
                Err(error) => stop(format!("round: {error}")),
            };
        }
        _ => {}
    }
    strict(call, arguments, cells)
}

fn argument<'r>(arguments: &'r [Expr], n: usize, cells: &Cells<'r>) -> Got<'r> {
    match arguments.get(n) {
        Some(expr) => expr.value(cells),
        None => owned(Value::Null),
    }
}

/// Functions that are null where an argument is.
fn strict<'r>(call: Call, arguments: &'r [Expr], cells: &Cells<'r>) -> Got<'r> {
    let first = argument(arguments, 0, cells)?;
    if matches!(*first, Value::Null) {
        return owned(Value::Null);
    }
    let text = |value: &Value| match value {
        Value::Text(text) => Ok(text.clone()),
        other => match plain_text(other)? {
            Some(text) => Ok(text.into_owned()),
            None => stop("a null text"),
        },
    };
    let count = |n: usize| -> Result<Option<usize>, Stop> {
        let Some(expr) = arguments.get(n) else {
            return Ok(None);
        };
        match expr.number(cells)? {
            None => Ok(None),
            Some(number) if number.is_integer() => Ok(Some(
                usize::try_from(number.coefficient().max(0)).unwrap_or(usize::MAX),
            )),
            Some(_) => stop("a number of characters must be whole"),
        }
    };
    Ok(Cow::Owned(match call {
        Call::Abs => match number(&first, cells)? {
            Some(number) => Value::Decimal(number.abs()),
            None => Value::Null,
        },
        Call::Ceil => number(&first, cells)?.map_or(Value::Null, |n| Value::Decimal(n.ceil())),
        Call::Floor => number(&first, cells)?.map_or(Value::Null, |n| Value::Decimal(n.floor())),
        Call::Nullif => {
            let second = argument(arguments, 1, cells)?;
            if compare(&first, &second, cells)? == Some(Ordering::Equal) {
                Value::Null
            } else {
                return Ok(first);
            }
        }
        Call::Trim => Value::Text(text(&first)?.trim().to_owned()),
        Call::Ltrim => Value::Text(text(&first)?.trim_start().to_owned()),
        Call::Rtrim => Value::Text(text(&first)?.trim_end().to_owned()),
        Call::Upper => Value::Text(text(&first)?.to_uppercase()),
        Call::Lower => Value::Text(text(&first)?.to_lowercase()),
        Call::Length => {
            let length = text(&first)?.chars().count();
            Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
        }
        Call::Left | Call::Right => {
            let Some(wanted) = count(1)? else {
                return owned(Value::Null);
            };
            let text = text(&first)?;
            let skip = if call == Call::Right {
                text.chars().count().saturating_sub(wanted)
            } else {
                0
            };
            Value::Text(text.chars().skip(skip).take(wanted).collect())
        }
        Call::Substr => {
            let Some(from) = count(1)? else {
                return owned(Value::Null);
            };
            if from == 0 {
                return stop("substr counts characters from 1");
            }
            let length = match arguments.get(2) {
                None => usize::MAX,
                Some(_) => match count(2)? {
                    Some(length) => length,
                    None => return owned(Value::Null),
                },
            };
            Value::Text(text(&first)?.chars().skip(from - 1).take(length).collect())
        }
        Call::Replace => {
            let (old, new) = (
                argument(arguments, 1, cells)?,
                argument(arguments, 2, cells)?,
            );
            match (&*old, &*new) {
                (Value::Null, _) | (_, Value::Null) => Value::Null,
                (old, new) => {
                    let (old, new) = (text(old)?, text(new)?);
                    if old.is_empty() {
                        return stop("replace: the text to look for is empty");
                    }
                    Value::Text(text(&first)?.replace(&old, &new))
                }
            }
        }
        Call::DateYmd | Call::DateCyyddd => {
            let (read, form): (fn(&str) -> Option<civil::Date>, _) = if call == Call::DateYmd {
                (convert::ymd, "YYYYMMDD")
            } else {
                (convert::cyyddd, "CYYDDD")
            };
            match &*first {
                Value::Text(_) | Value::Int(_) | Value::Decimal(_) => {}
                other => return stop(format!("a {} is no date {form}", other.type_name())),
            }
            let digits = text(&first)?;
            let digits = digits.trim();
            if digits.bytes().all(|b| b == b'0') {
                Value::Null
            } else {
                match read(digits) {
                    Some(date) if convert::is_null_date(date, cells.cleaning) => Value::Null,
                    Some(date) => Value::Date(date),
                    None => return stop(format!("its {} is no date {form}", first.type_name())),
                }
            }
        }
        Call::JsonText => {
            let key = argument(arguments, 1, cells)?;
            let Some(key) = plain_text(&key)? else {
                return owned(Value::Null);
            };
            let whole = text(&first)?;
            match serde_json::from_str(&whole) {
                Ok(Json::Object(object)) => match object.get(&*key) {
                    None | Some(Json::Null) => Value::Null,
                    Some(Json::String(text)) => Value::Text(text.clone()),
                    Some(Json::Number(number)) => Value::Text(number.to_string()),
                    Some(Json::Bool(value)) => Value::Text(value.to_string()),
                    Some(Json::Array(_) | Json::Object(_)) => {
                        return stop("json_text: under its key stands no text or number");
                    }
                },
                // A version of the table that holds the plain text.
                _ if matches!(*first, Value::Json(_)) => match serde_json::from_str(&whole) {
                    Ok(Json::String(text)) => Value::Text(text),
                    Ok(Json::Null) => Value::Null,
                    _ => return stop("json_text: is no JSON object or text"),
                },
                _ => Value::Text(whole),
            }
        }
        Call::TimeHhmm => match hhmm(text(&first)?.trim()) {
            Some(time) => Value::Time(time),
            None => return stop(format!("its {} is no time HHMM", first.type_name())),
        },
        Call::DateTime => match (&*first, &*argument(arguments, 1, cells)?) {
            (_, Value::Null) => Value::Null,
            (Value::Date(date), Value::Time(time)) => Value::DateTime(date.to_datetime(*time)),
            (date, time) => {
                return stop(format!(
                    "datetime needs a date and a time, found {} and {}",
                    date.type_name(),
                    time.type_name()
                ));
            }
        },
        Call::LocalDateTime => return local(&first, arguments, cells),
        Call::Truthy => match &*first {
            Value::Bool(value) => Value::Bool(*value),
            Value::Int(0) => Value::Bool(false),
            Value::Int(1) => Value::Bool(true),
            other => match plain_text(other)?.unwrap_or_default().trim() {
                code if !cells.cleaning.flags.is_empty() => match cells.cleaning.flags.read(code) {
                    Some(value) => Value::Bool(value),
                    None => return stop("truthy: its code is none of clean.flags"),
                },
                "1" | "Y" | "y" | "Yes" | "yes" | "YES" | "T" | "t" | "True" | "true" | "TRUE" => {
                    Value::Bool(true)
                }
                "" | "0" | "N" | "n" | "No" | "no" | "NO" | "F" | "f" | "False" | "false"
                | "FALSE" => Value::Bool(false),
                _ => return stop("truthy: its code is neither yes nor no"),
            },
        },
        Call::Coalesce | Call::Greatest | Call::Least | Call::ConcatAll | Call::Round => {
            return stop("a function that takes nulls came to the wrong place");
        }
    }))
}

/// The day of a moment in a zone.
pub(super) fn local_date<'r>(moment: &'r Expr, zone: &'r TimeZone, cells: &Cells<'r>) -> Got<'r> {
    let untyped = cells.cleaning.untyped;
    let value = moment.value(cells)?;
    let (moment, local) = match &*value {
        Value::Null => return owned(Value::Null),
        Value::Timestamp(moment) => (Some(*moment), None),
        Value::DateTime(local) => (None, Some(*local)),
        Value::Text(text) if untyped => (text.parse().ok(), text.parse().ok()),
        _ => (None, None),
    };
    let moment: Timestamp = match (moment, local, cells.zone) {
        (Some(moment), ..) => moment,
        (None, Some(local), Some(stored_in)) => {
            let moment = cells.cleaning.clock_change.moment(stored_in, local);
            moment.or_else(stop)?
        }
        (None, Some(_), None) => {
            return stop("local_date: a time without zone needs clean.dates.zone");
        }
        (None, None, _) => {
            return stop(format!(
                "local_date needs a timestamp or a datetime, found {}",
                value.type_name()
            ));
        }
    };
    owned(Value::Date(zone.to_datetime(moment).date()))
}

fn local<'r>(first: &Value, arguments: &'r [Expr], cells: &Cells<'r>) -> Got<'r> {
    let untyped = cells.cleaning.untyped;
    let local = match (first, arguments.get(1)) {
        (Value::DateTime(local), None) => *local,
        (Value::Text(text), None) if untyped && text.parse::<civil::DateTime>().is_ok() => {
            text.parse().unwrap_or_default()
        }
        (Value::Date(_) | Value::Text(_), Some(time)) => {
            let date = match first {
                Value::Date(date) => Some(*date),
                Value::Text(text) if untyped => convert::iso(text),
                _ => None,
            };
            let Some(date) = date else {
                return stop("local_datetime needs a date, found text");
            };
            match &*time.value(cells)? {
                Value::Null => return owned(Value::Null),
                Value::Time(time) => date.to_datetime(*time),
                Value::Text(text) if untyped && text.parse::<civil::Time>().is_ok() => {
                    date.to_datetime(text.parse().unwrap_or_default())
                }
                other => {
                    return stop(format!(
                        "local_datetime needs a time, found {}",
                        other.type_name()
                    ));
                }
            }
        }
        (other, _) => {
            return stop(format!(
                "local_datetime needs a datetime, or a date and a time, found {}",
                other.type_name()
            ));
        }
    };
    let Some(zone) = cells.zone else {
        return stop("a time without zone needs a zone");
    };
    match cells.cleaning.clock_change.moment(zone, local) {
        Ok(moment) => owned(Value::Timestamp(moment)),
        Err(reason) => stop(reason),
    }
}

/// `805`, `0805`, `1435`.
fn hhmm(digits: &str) -> Option<civil::Time> {
    let only = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: i8 = only
        .then(|| digits.parse::<i16>().ok())?
        .and_then(|n| (n / 100).try_into().ok())?;
    let minutes: i8 = digits
        .parse::<i16>()
        .ok()
        .and_then(|n| (n % 100).try_into().ok())?;
    civil::Time::new(number, minutes, 0, 0).ok()
}

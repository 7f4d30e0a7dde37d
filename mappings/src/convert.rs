//! One cell to one field value, or a plain reason why not. Nothing is guessed or rounded unasked.

use std::borrow::Cow;
use std::sync::Arc;

use contract::{Decimal, FieldType, FieldValue, Value};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::rule::{DateForm, Field, Trim};
use crate::sql::folded;

/// What is cut off, and what counts as null.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Cleaning {
    pub(crate) trim: Trim,
    pub(crate) blank_is_null: bool,
    /// Texts that are null.
    pub(crate) null_values: Vec<String>,
    /// Dates that are null.
    pub(crate) null_dates: Arc<[String]>,
    /// Datetimes are dates: their time of day is midnight.
    pub(crate) date_only: bool,
    /// Texts are equal whatever their case and the blanks at their end.
    pub(crate) fold: bool,
    /// The codes of truth values.
    pub(crate) flags: Flags,
    /// What a local time means that a clock change repeats or skips.
    pub(crate) clock_change: ClockChange,
    /// The values come from a test, where texts stand for values of any type.
    pub(crate) untyped: bool,
}

/// The codes that mean true and false.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    pub(crate) yes: Arc<[String]>,
    pub(crate) no: Arc<[String]>,
}

impl Flags {
    pub(crate) fn is_empty(&self) -> bool {
        self.yes.is_empty() && self.no.is_empty()
    }

    pub(crate) fn read(&self, code: &str) -> Option<bool> {
        let in_list = |list: &[String]| list.iter().any(|known| known == code);
        match (in_list(&self.yes), in_list(&self.no)) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

/// What a local time means that a clock change repeats or skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ClockChange {
    #[default]
    Hold,
    Earlier,
    Later,
}

impl ClockChange {
    /// The moment of a local time.
    pub(crate) fn moment(
        self,
        zone: &TimeZone,
        local: civil::DateTime,
    ) -> Result<Timestamp, &'static str> {
        let ambiguous = zone.to_ambiguous_timestamp(local);
        let moment = match self {
            Self::Hold => ambiguous.unambiguous(),
            Self::Earlier => ambiguous.earlier(),
            Self::Later => ambiguous.later(),
        };
        moment.map_err(|_| {
            "the local time falls into a clock change of its zone; clean.dates.clock_change says \
             which moment to take"
        })
    }
}

/// A field's value from a cell.
pub(crate) enum Converted {
    Value(FieldValue),
    /// Null, after null values and default.
    Null,
    /// The log did not carry the cell.
    Unchanged,
}

/// A cell as the mapping's cleaning rules see it.
pub(crate) enum Cleaned<'a> {
    Cell(Cow<'a, Value>),
    Null,
    Unchanged,
}

/// Trims, and finds what counts as null.
///
/// # Errors
/// When the source holds what no type here can hold, and no null value names it.
pub(crate) fn clean<'a>(cell: &'a Value, rules: &Cleaning) -> Result<Cleaned<'a>, String> {
    let is_null = |text: &String| rules.null_values.contains(text);
    Ok(match cell {
        Value::Unchanged => Cleaned::Unchanged,
        Value::Null => Cleaned::Null,
        Value::Invalid(raw) => {
            // A datetime that is none, at midnight, is no date either.
            let (day, time) = raw.split_once(' ').unwrap_or((raw, ""));
            let midnight = time.bytes().all(|byte| b"0:.".contains(&byte));
            let no_date = midnight && rules.null_dates.iter().any(|null| null == day);
            if is_null(raw) || rules.null_dates.contains(raw) || no_date {
                return Ok(Cleaned::Null);
            }
            return Err("the source holds a value that no type here can hold".to_owned());
        }
        Value::Text(text) => {
            let trimmed = match rules.trim {
                Trim::None => text,
                Trim::Left => text.trim_start(),
                Trim::Right => text.trim_end(),
                Trim::Both => text.trim(),
            };
            let blank = rules.blank_is_null && trimmed.trim().is_empty();
            let no_date = rules.untyped && rules.null_dates.iter().any(|null| null == trimmed);
            if blank || no_date || rules.null_values.iter().any(|null| null == trimmed) {
                Cleaned::Null
            } else if trimmed.len() == text.len() {
                Cleaned::Cell(Cow::Borrowed(cell))
            } else {
                Cleaned::Cell(Cow::Owned(Value::Text(trimmed.to_owned())))
            }
        }
        _ if !rules.null_values.is_empty() && cell.text().is_some_and(|text| is_null(&text)) => {
            Cleaned::Null
        }
        Value::Date(date) if is_null_date(*date, rules) => Cleaned::Null,
        // A date column that is stored as a datetime holds its "no date" at midnight.
        Value::DateTime(local)
            if local.time() == civil::Time::midnight() && is_null_date(local.date(), rules) =>
        {
            Cleaned::Null
        }
        Value::DateTime(local) if rules.date_only && local.time() == civil::Time::midnight() => {
            Cleaned::Cell(Cow::Owned(Value::Date(local.date())))
        }
        other => Cleaned::Cell(Cow::Borrowed(other)),
    })
}

/// Whether a date means that there is none.
pub(crate) fn is_null_date(date: civil::Date, rules: &Cleaning) -> bool {
    !rules.null_dates.is_empty() && rules.null_dates.contains(&date.to_string())
}

/// Converts a cell. An amount of money comes back as a decimal; its currency is another cell.
///
/// # Errors
/// The reason names types and what was expected, never the value.
pub(crate) fn convert(cell: Cow<'_, Value>, field: &Field) -> Result<Converted, String> {
    let null = || match &field.default {
        Some(default) => Converted::Value(default.clone()),
        None => Converted::Null,
    };
    let cleaned = match clean(&cell, &field.cleaning)? {
        Cleaned::Cell(Cow::Owned(cell)) => Some(cell),
        Cleaned::Cell(Cow::Borrowed(_)) => None,
        Cleaned::Null => return Ok(null()),
        Cleaned::Unchanged => return Ok(Converted::Unchanged),
    };
    let cell = cleaned.map_or(cell, Cow::Owned);
    if let Some(lookup) = &field.lookup {
        let mut code = cell.text().unwrap_or_default();
        if field.cleaning.fold {
            code = folded(&code);
        }
        let value = lookup.values.get(&code).or(lookup.otherwise.as_ref());
        return match value {
            Some(value) => Ok(Converted::Value(value.clone())),
            None => Err(format!("its code is not in dictionary `{}`", lookup.name)),
        };
    }
    let value = typed(cell, field)?;
    // A date written as text or number is known to be the "no date" only now.
    match &value {
        FieldValue::Date(date) if is_null_date(*date, &field.cleaning) => Ok(null()),
        _ => Ok(Converted::Value(value)),
    }
}

fn typed(cell: Cow<'_, Value>, field: &Field) -> Result<FieldValue, String> {
    if field.field_type == FieldType::Text
        && let Cow::Owned(Value::Text(text)) = cell
    {
        return Ok(FieldValue::Text(text));
    }
    let cell = &*cell;
    let wrong = || {
        format!(
            "a value of type {} cannot become {}",
            cell.type_name(),
            field.field_type.name()
        )
    };
    Ok(match field.field_type {
        FieldType::Text => match cell {
            Value::Bytes(_) | Value::Float(_) => return Err(wrong()),
            Value::Text(text) => FieldValue::Text(text.clone()),
            other => FieldValue::Text(other.text().ok_or_else(wrong)?),
        },
        FieldType::Word(words) => {
            let text = cell.text().ok_or_else(wrong)?;
            if !words.contains(&text.as_str()) {
                return Err(format!(
                    "its code is none of {}; a dictionary can translate it",
                    words.join(", ")
                ));
            }
            FieldValue::Text(text)
        }
        FieldType::Decimal | FieldType::Money => FieldValue::Decimal(decimal(cell, field)?),
        FieldType::Bool => FieldValue::Bool(match cell {
            Value::Bool(value) => *value,
            Value::Int(0) => false,
            Value::Int(1) => true,
            Value::Int(_) => return Err("a whole number other than 0 and 1 is no bool".to_owned()),
            Value::Decimal(value) if *value == Decimal::ZERO => false,
            Value::Decimal(value) if *value == Decimal::from(1_i64) => true,
            Value::Text(code) if field.cleaning.flags.read(code).is_some() => {
                field.cleaning.flags.read(code).unwrap_or_default()
            }
            Value::Text(code) if field.cleaning.untyped && matches!(code.as_str(), "0" | "1") => {
                code == "1"
            }
            _ => return Err(format!("{}; a dictionary to true and false can", wrong())),
        }),
        FieldType::Date => FieldValue::Date(date(cell, field.date)?),
        FieldType::Timestamp => match cell {
            Value::Timestamp(moment) => FieldValue::Timestamp(*moment),
            Value::DateTime(local) => {
                let Some(zone) = &field.zone else {
                    return Err("a time without zone needs `zone`".to_owned());
                };
                let moment = field.cleaning.clock_change.moment(zone, *local)?;
                FieldValue::Timestamp(moment)
            }
            Value::Text(text) if field.cleaning.untyped => {
                match (text.parse::<Timestamp>(), text.parse::<civil::DateTime>()) {
                    (Ok(moment), _) => FieldValue::Timestamp(moment),
                    (_, Ok(local)) => {
                        let zone = field
                            .zone
                            .as_ref()
                            .ok_or("a time without zone needs `zone`")?;
                        FieldValue::Timestamp(field.cleaning.clock_change.moment(zone, local)?)
                    }
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(wrong()),
        },
        FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map => {
            return Err(wrong());
        }
    })
}

fn decimal(cell: &Value, field: &Field) -> Result<Decimal, String> {
    let number = match cell {
        Value::Int(value) => Decimal::from(*value),
        Value::UInt(value) => Decimal::from(*value),
        Value::Decimal(value) => *value,
        Value::Text(text) => text
            .parse()
            .map_err(|error| format!("its text cannot become a decimal: {error}"))?,
        Value::Float(value) => {
            let Some(places) = field.round else {
                return Err("a binary float needs `round` to become a decimal".to_owned());
            };
            float(*value, places)?
        }
        other => {
            return Err(format!(
                "a value of type {} cannot become decimal",
                other.type_name()
            ));
        }
    };
    let number = match field.round {
        Some(places) => number
            .try_round(places)
            .map_err(|error| error.to_string())?,
        None => number,
    };
    number
        .shift_right(field.implied_decimals)
        .map_err(|error| error.to_string())
}

/// A float's shortest decimal text (what databases print for it), cut behind the digit that
/// decides the rounding: further digits cannot change it, but may be more than a decimal holds.
pub(crate) fn float(value: f64, places: u32) -> Result<Decimal, String> {
    if !value.is_finite() {
        return Err("the float is infinite or not a number".to_owned());
    }
    let text = value.to_string();
    let kept = match text.find('.') {
        Some(point) => text.get(..point + 2 + places as usize).unwrap_or(&text),
        None => &text,
    };
    kept.parse()
        .map_err(|error| format!("its float cannot become a decimal: {error}"))
}

fn date(cell: &Value, form: DateForm) -> Result<civil::Date, String> {
    let text = match cell {
        Value::Date(date) => return Ok(*date),
        Value::Text(_) | Value::Int(_) | Value::Decimal(_) => cell.text().unwrap_or_default(),
        other => {
            let found = other.type_name();
            return Err(format!("a value of type {found} cannot become date"));
        }
    };
    let (date, expected) = match form {
        DateForm::Iso => (iso(&text), "YYYY-MM-DD"),
        DateForm::Ymd => (ymd(&text), "YYYYMMDD"),
        DateForm::Cyyddd => (cyyddd(&text), "CYYDDD"),
    };
    date.ok_or_else(|| format!("its {} is no date {expected}", cell.type_name()))
}

/// A number of digits only: no sign, no blank.
fn digits(part: &str) -> Option<i16> {
    let only = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    only.then(|| part.parse().ok()).flatten()
}

/// `2026-11-20` and nothing else.
pub(crate) fn iso(text: &str) -> Option<civil::Date> {
    let mut parts = text.split('-');
    let mut part = |width: usize| parts.next().filter(|p| p.len() == width).and_then(digits);
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    if parts.next().is_some() {
        return None;
    }
    civil::Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

pub(crate) fn ymd(text: &str) -> Option<civil::Date> {
    if text.len() != 8 {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to).and_then(digits);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    civil::Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

pub(crate) fn cyyddd(text: &str) -> Option<civil::Date> {
    // 1999-12-31 is 99365: the century's leading zeros are not written.
    if !(4..=6).contains(&text.len()) {
        return None;
    }
    let (years, day) = text.split_at_checked(text.len() - 3)?;
    let first = civil::Date::new(1900 + digits(years)?, 1, 1).ok()?;
    let day = digits(day)?;
    if !(1..=first.days_in_year()).contains(&day) {
        return None;
    }
    first
        .checked_add(jiff::Span::new().days(i64::from(day) - 1))
        .ok()
}

/// Whether a text has the form of an ISO 4217 code.
pub(crate) fn is_currency(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase())
}

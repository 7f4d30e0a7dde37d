//! One cell to one field value, or a plain reason why not. Nothing is guessed or rounded unasked.

use contract::{Decimal, FieldType, FieldValue, Value};
use jiff::civil;

use crate::rule::{DateForm, Field, Trim};

/// A field's value from a cell.
pub(crate) enum Converted {
    Value(FieldValue),
    /// Null, after null values and default.
    Null,
    /// The log did not carry the cell.
    Unchanged,
}

/// Converts a cell; `currency` is the resolved currency for money fields.
///
/// The reason names types and what was expected, never the value.
pub(crate) fn convert(
    cell: &Value,
    field: &Field,
    currency: Option<String>,
) -> Result<Converted, String> {
    let cleaned;
    let cell = match cell {
        Value::Unchanged => return Ok(Converted::Unchanged),
        Value::Invalid(_) => {
            return Err("the source holds a value that no type here can hold".to_owned());
        }
        Value::Text(text) => {
            cleaned = clean_text(text, field);
            &cleaned
        }
        other => other,
    };
    let is_null = matches!(cell, Value::Null)
        || (!field.null_values.is_empty()
            && cell
                .text()
                .is_some_and(|text| field.null_values.contains(&text)));
    let default;
    let cell = if is_null {
        let Some(text) = &field.default else {
            return Ok(Converted::Null);
        };
        default = Value::Text(text.clone());
        &default
    } else {
        cell
    };
    let word;
    let cell = match &field.dictionary {
        Some(dictionary) if !is_null => {
            let code = cell.text().unwrap_or_default();
            let meaning = dictionary
                .words
                .get(&code)
                .or(dictionary.otherwise.as_ref());
            let Some(meaning) = meaning else {
                return Err(format!(
                    "its code is not in dictionary `{}`",
                    dictionary.name
                ));
            };
            word = Value::Text(meaning.clone());
            &word
        }
        _ => cell,
    };
    typed(cell, field, currency).map(Converted::Value)
}

fn clean_text(text: &str, field: &Field) -> Value {
    let trimmed = match field.trim {
        Trim::None => text,
        Trim::Left => text.trim_start(),
        Trim::Right => text.trim_end(),
        Trim::Both => text.trim(),
    };
    if field.blank_is_null && trimmed.trim().is_empty() {
        return Value::Null;
    }
    Value::Text(trimmed.to_owned())
}

fn typed(cell: &Value, field: &Field, currency: Option<String>) -> Result<FieldValue, String> {
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
        FieldType::Decimal => FieldValue::Decimal(decimal(cell, field)?),
        FieldType::Money => FieldValue::Money {
            amount: decimal(cell, field)?,
            currency: currency.ok_or("its currency is null")?,
        },
        FieldType::Bool => FieldValue::Bool(match cell {
            Value::Bool(value) => *value,
            Value::Int(0) => false,
            Value::Int(1) => true,
            Value::Text(text) if text == "true" => true,
            Value::Text(text) if text == "false" => false,
            _ => return Err(format!("{}; a dictionary to true and false can", wrong())),
        }),
        FieldType::Date => FieldValue::Date(date(cell, field.date).ok_or_else(wrong)?),
        FieldType::Timestamp => match cell {
            Value::Timestamp(moment) => FieldValue::Timestamp(*moment),
            Value::DateTime(local) => {
                let Some(zone) = &field.zone else {
                    return Err("a time without zone needs `zone`".to_owned());
                };
                // A local time that falls into a clock change is no moment or two.
                let moment = zone.to_ambiguous_timestamp(*local).unambiguous();
                FieldValue::Timestamp(moment.map_err(|_| {
                    "the local time falls into a clock change of its zone".to_owned()
                })?)
            }
            _ => return Err(wrong()),
        },
        FieldType::List(_) | FieldType::Object(_) => return Err(wrong()),
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
            let exact: Decimal = value
                .to_string()
                .parse()
                .map_err(|error| format!("its float has {error}"))?;
            round(exact, places)?
        }
        other => {
            return Err(format!(
                "a value of type {} cannot become decimal",
                other.type_name()
            ));
        }
    };
    let number = match field.round {
        Some(places) => round(number, places)?,
        None => number,
    };
    number
        .shift_right(field.implied_decimals)
        .map_err(|error| error.to_string())
}

/// Half away from zero, as invoices do.
fn round(number: Decimal, places: u32) -> Result<Decimal, String> {
    if number.scale() <= places {
        return Ok(number);
    }
    let unit = 10_i128.pow(number.scale() - places);
    let (whole, rest) = (number.coefficient() / unit, number.coefficient() % unit);
    let up = if rest.abs() * 2 >= unit {
        rest.signum()
    } else {
        0
    };
    Decimal::try_new(whole + up, places).map_err(|error| error.to_string())
}

fn date(cell: &Value, form: DateForm) -> Option<civil::Date> {
    if let Value::Date(date) = cell {
        return Some(*date);
    }
    let text = match cell {
        Value::Text(_) | Value::Int(_) | Value::Decimal(_) => cell.text()?,
        _ => return None,
    };
    let number = |part: &str| -> Option<i16> {
        part.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| part.parse().ok())
            .flatten()
    };
    match form {
        DateForm::Iso => {
            let iso = text.len() == 10 && text.is_ascii();
            iso.then(|| text.parse().ok()).flatten()
        }
        DateForm::Ymd if text.len() == 8 && text.is_ascii() => civil::Date::new(
            number(&text[..4])?,
            number(&text[4..6])?.try_into().ok()?,
            number(&text[6..])?.try_into().ok()?,
        )
        .ok(),
        DateForm::Cyyddd if (4..=6).contains(&text.len()) && text.is_ascii() => {
            let (years, day) = text.split_at(text.len() - 3);
            let first = civil::Date::new(1900 + number(years)?, 1, 1).ok()?;
            let day = number(day)?;
            (1..=first.days_in_year()).contains(&day).then_some(())?;
            first
                .checked_add(jiff::Span::new().days(i64::from(day) - 1))
                .ok()
        }
        DateForm::Ymd | DateForm::Cyyddd => None,
    }
}

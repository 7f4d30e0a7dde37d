//! Conversions between types: implicit ones and CAST.

use super::compare::{exact, float};
use super::moments::{self, moment};
use super::types::{Family, family, name, scale};
use crate::wire::{Length, ServerError, Type, Value};

type Result<T> = std::result::Result<T, ServerError>;

fn failed(from: &Type, to: &Type) -> ServerError {
    let (number, text) = match family(to) {
        Family::Moment => (
            241,
            "Conversion failed when converting date and/or time from character string.".to_owned(),
        ),
        Family::Guid => (
            8169,
            "Conversion failed when converting from a character string to uniqueidentifier."
                .to_owned(),
        ),
        _ if matches!(
            to,
            Type::Decimal(..) | Type::Numeric(..) | Type::Float | Type::Real | Type::BigInt
        ) =>
        {
            (
                8114,
                format!("Error converting data type {} to {}.", name(from), name(to)),
            )
        }
        _ => (
            245,
            format!(
                "Conversion failed when converting the {} value to data type {}.",
                name(from),
                name(to)
            ),
        ),
    };
    ServerError::new(number, 16, text)
}

fn refused(from: &Type, to: &Type) -> ServerError {
    ServerError::new(
        529,
        16,
        format!(
            "Explicit conversion from data type {} to {} is not allowed.",
            name(from),
            name(to)
        ),
    )
}

fn overflow(to: &Type) -> ServerError {
    ServerError::new(
        8115,
        16,
        format!(
            "Arithmetic overflow error converting expression to data type {}.",
            name(to)
        ),
    )
}

/// The value in another type.
pub(crate) fn convert(value: &Value, from: &Type, to: &Type, style: i32) -> Result<Value> {
    if *value == Value::Null
        || (from == to && !matches!(to, Type::Char(_) | Type::NChar(_) | Type::Binary(_)))
    {
        return Ok(value.clone());
    }
    if let Value::Variant(inner) = value {
        if *to == Type::Variant {
            return Ok(value.clone());
        }
        return convert(&inner.value, &inner.kind, to, style);
    }
    match family(to) {
        Family::Exact => to_exact(value, from, to),
        Family::Float => {
            let number = match value {
                Value::Text(text) => text.trim().parse().map_err(|_| failed(from, to))?,
                value => float(value, from).ok_or_else(|| refused(from, to))?,
            };
            #[allow(clippy::cast_possible_truncation, reason = "real is the shorter float")]
            Ok(if *to == Type::Real {
                Value::Real(number as f32)
            } else {
                Value::Float(number)
            })
        }
        Family::Text | Family::Xml => {
            Ok(Value::Text(fit_text(to_text(value, from, to, style)?, to)))
        }
        Family::Old => match (value, to) {
            (Value::Bytes(_), Type::Image) | (Value::Text(_), Type::Text | Type::NText) => {
                Ok(value.clone())
            }
            _ => Err(refused(from, to)),
        },
        Family::Bytes => to_bytes(value, from, to),
        Family::Guid => match value {
            Value::Guid(_) => Ok(value.clone()),
            Value::Text(text) => guid(text).map(Value::Guid).ok_or_else(|| failed(from, to)),
            Value::Bytes(bytes) if bytes.len() == 16 => {
                let mut raw = [0; 16];
                raw.copy_from_slice(bytes);
                raw[0..4].reverse();
                raw[4..6].reverse();
                raw[6..8].reverse();
                Ok(Value::Guid(raw))
            }
            _ => Err(refused(from, to)),
        },
        Family::Moment => {
            let moment = match value {
                Value::Text(text) => moments::parse(text).ok_or_else(|| failed(from, to))?,
                value => moment(value).ok_or_else(|| refused(from, to))?,
            };
            moments::value(moment, to)
        }
        Family::Variant => Ok(Value::variant(from.clone(), value.clone())),
        Family::Udt => match value {
            Value::Bytes(_) => Ok(value.clone()),
            _ => Err(refused(from, to)),
        },
    }
}

fn to_exact(value: &Value, from: &Type, to: &Type) -> Result<Value> {
    let (digits, has) = match value {
        Value::Text(text) => parse_exact(text).ok_or_else(|| failed(from, to))?,
        Value::Bytes(bytes) => {
            // The last eight bytes, as bigint.
            let tail = &bytes[bytes.len().saturating_sub(8)..];
            let number = tail.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
            (i128::from(number.cast_signed()), 0)
        }
        Value::Float(_) | Value::Real(_) => {
            let number = float(value, from).ok_or_else(|| refused(from, to))?;
            let text = if scale(to) == 0 {
                format!("{:.0}", number.trunc())
            } else {
                format!("{number:.*}", usize::from(scale(to)))
            };
            parse_exact(&text).ok_or_else(|| overflow(to))?
        }
        value => exact(value, from).ok_or_else(|| refused(from, to))?,
    };
    let cut = !matches!(
        to,
        Type::Decimal(..) | Type::Numeric(..) | Type::Money | Type::SmallMoney
    );
    let digits = rescale(digits, has, scale(to), cut).ok_or_else(|| overflow(to))?;
    let out = |_| overflow(to);
    Ok(match to {
        Type::Bit => Value::Bit(digits != 0),
        Type::TinyInt => Value::TinyInt(u8::try_from(digits).map_err(out)?),
        Type::SmallInt => Value::SmallInt(i16::try_from(digits).map_err(out)?),
        Type::Int => Value::Int(i32::try_from(digits).map_err(out)?),
        Type::BigInt => Value::BigInt(i64::try_from(digits).map_err(out)?),
        Type::Money => Value::Money(i64::try_from(digits).map_err(out)?),
        Type::SmallMoney => Value::SmallMoney(i32::try_from(digits).map_err(out)?),
        Type::Decimal(precision, _) | Type::Numeric(precision, _) => {
            if digits.unsigned_abs() >= 10_u128.pow(u32::from(*precision).min(38)) {
                return Err(overflow(to));
            }
            Value::Decimal(digits)
        }
        _ => return Err(refused(from, to)),
    })
}

/// Other digits after the point: rounded, or cut off for whole numbers.
fn rescale(digits: i128, has: u8, wants: u8, cut: bool) -> Option<i128> {
    if has <= wants {
        return digits.checked_mul(10_i128.checked_pow(u32::from(wants - has))?);
    }
    let by = 10_i128.checked_pow(u32::from(has - wants))?;
    let whole = digits / by;
    if !cut && (digits % by).abs() * 2 >= by {
        return Some(whole + digits.signum());
    }
    Some(whole)
}

/// Digits and scale of a text.
pub(crate) fn parse_exact(text: &str) -> Option<(i128, u8)> {
    let text = text.trim();
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1, body),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, part) = body.split_once('.').unwrap_or((body, ""));
    if whole.is_empty() && part.is_empty() {
        return (text.is_empty()).then_some((0, 0));
    }
    let all = format!("{whole}{part}");
    if !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((
        all.parse::<i128>().ok()?.checked_mul(sign)?,
        u8::try_from(part.len()).ok()?,
    ))
}

fn to_bytes(value: &Value, from: &Type, to: &Type) -> Result<Value> {
    let mut left = false;
    let mut bytes = match value {
        Value::Bytes(bytes) => bytes.clone(),
        Value::Text(text) => match from {
            Type::NChar(_) | Type::NVarChar(_) | Type::NText => {
                text.encode_utf16().flat_map(u16::to_le_bytes).collect()
            }
            _ => text.bytes().collect(),
        },
        Value::Guid(guid) => {
            let mut raw = *guid;
            raw[0..4].reverse();
            raw[4..6].reverse();
            raw[6..8].reverse();
            raw.to_vec()
        }
        Value::TinyInt(value) => vec![*value],
        Value::Bit(value) => vec![u8::from(*value)],
        Value::SmallInt(value) => value.to_be_bytes().to_vec(),
        Value::Int(value) => value.to_be_bytes().to_vec(),
        Value::BigInt(value) => value.to_be_bytes().to_vec(),
        Value::Money(value) => value.to_be_bytes().to_vec(),
        _ => return Err(refused(from, to)),
    };
    if matches!(family(from), Family::Exact) {
        left = true;
    }
    if let Type::Binary(size) | Type::VarBinary(Length::Of(size)) = to {
        let size = usize::from(*size);
        if bytes.len() > size {
            // Numbers keep their end, everything else its beginning.
            bytes = if left {
                bytes.split_off(bytes.len() - size)
            } else {
                bytes[..size].to_vec()
            };
        }
        if matches!(to, Type::Binary(_)) && bytes.len() < size {
            let missing = vec![0; size - bytes.len()];
            bytes = if left {
                [missing, bytes].concat()
            } else {
                [bytes, missing].concat()
            };
        }
    }
    Ok(Value::Bytes(bytes))
}

/// `12.3400` from digits and scale.
pub(crate) fn exact_text(digits: i128, scale: u8) -> String {
    if scale == 0 {
        return digits.to_string();
    }
    let scale = usize::from(scale);
    let all = format!("{:0>1$}", digits.unsigned_abs(), scale + 1);
    let (whole, part) = all.split_at(all.len() - scale);
    format!("{}{whole}.{part}", if digits < 0 { "-" } else { "" })
}

fn to_text(value: &Value, from: &Type, to: &Type, style: i32) -> Result<String> {
    Ok(match value {
        Value::Text(text) => text.clone(),
        Value::Guid(guid) => guid_text(guid),
        Value::Bytes(bytes) if style == 1 || style == 2 => {
            let mut text = if style == 1 {
                "0x".to_owned()
            } else {
                String::new()
            };
            for byte in bytes {
                text.push_str(&format!("{byte:02X}"));
            }
            text
        }
        Value::Bytes(bytes) => match to {
            Type::NVarChar(_) | Type::NChar(_) => {
                let units: Vec<_> = bytes
                    .chunks(2)
                    .map(|pair| u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
                    .collect();
                String::from_utf16_lossy(&units)
            }
            _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
        },
        Value::Float(value) => format!("{value}"),
        Value::Real(value) => format!("{value}"),
        value => match (moment(value), exact(value, from)) {
            (Some(moment), _) => moments::text(moment, from, style),
            // Money shows two digits after the point unless asked for four.
            (_, Some((digits, 4)))
                if matches!(from, Type::Money | Type::SmallMoney) && style != 2 =>
            {
                exact_text(rescale(digits, 4, 2, false).unwrap_or(digits), 2)
            }
            (_, Some((digits, scale))) => exact_text(digits, scale),
            _ => return Err(refused(from, to)),
        },
    })
}

/// Cut and padded to the length of its type.
pub(crate) fn fit_text(text: String, to: &Type) -> String {
    let units = |text: &str, size: usize| -> String {
        let mut left = size;
        text.chars()
            .take_while(|c| {
                let fits = c.len_utf16() <= left;
                left = left.saturating_sub(c.len_utf16());
                fits
            })
            .collect()
    };
    match to {
        Type::VarChar(Length::Of(size)) | Type::NVarChar(Length::Of(size)) => {
            units(&text, usize::from(*size))
        }
        Type::Char(size) | Type::NChar(size) => {
            let mut text = units(&text, usize::from(*size));
            let length = text.encode_utf16().count();
            text.extend(std::iter::repeat_n(
                ' ',
                usize::from(*size).saturating_sub(length),
            ));
            text
        }
        _ => text,
    }
}

/// Reads `6F9619FF-8B86-D011-B42D-00C04FC964FF`, perhaps in braces.
pub(crate) fn guid(text: &str) -> Option<[u8; 16]> {
    let text = text.trim().trim_start_matches('{').trim_end_matches('}');
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|group| group.len()).collect::<Vec<_>>() != [8, 4, 4, 4, 12] {
        return None;
    }
    let all = groups.concat();
    let mut found = [0; 16];
    for (at, byte) in found.iter_mut().enumerate() {
        *byte = u8::from_str_radix(all.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(found)
}

/// Its text, in upper case as SQL Server writes it.
pub(crate) fn guid_text(guid: &[u8; 16]) -> String {
    let hex: String = guid.iter().map(|byte| format!("{byte:02X}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

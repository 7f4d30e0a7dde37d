//! Exact decimals as they are stored: groups of nine digits in four bytes, fewer digits in fewer
//! bytes, the first bit turned and, below zero, all others too
//! (<https://dev.mysql.com/doc/refman/8.4/en/precision-math-decimal-characteristics.html>).

use contract::decimal::DIGITS_MAX;
use contract::{Decimal, Value};

use super::input::Input;
use super::{Result, malformed};

/// Bytes that so many digits take, up to nine.
const BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// Digits and whether they are of a number below zero.
struct Digits<'a> {
    bytes: &'a [u8],
    flip: u8,
}

impl<'a> Digits<'a> {
    fn read(input: &mut Input<'a>, precision: u8, scale: u8) -> Result<Self> {
        let whole = precision.saturating_sub(scale);
        let bytes = input.take(width(whole) + width(scale))?;
        let first = bytes.first().copied().unwrap_or(0x80);
        let flip = if first & 0x80 == 0 { 0xff } else { 0 };
        Ok(Self { bytes, flip })
    }

    /// Calls with each group: how many digits it has, and the number they make.
    #[inline]
    fn each(&self, precision: u8, scale: u8, mut call: impl FnMut(u8, u32)) -> Result<()> {
        let mut input = Input(self.bytes);
        let mut first = true;
        let mut group = |digits: u8, input: &mut Input<'_>| {
            let count = BYTES.get(usize::from(digits)).copied().unwrap_or(4);
            let mut number = 0_u32;
            for byte in input.take(count)? {
                let turned = if std::mem::take(&mut first) { 0x80 } else { 0 };
                number = number << 8 | u32::from(byte ^ self.flip ^ turned);
            }
            if number >= 10_u32.pow(u32::from(digits)) {
                return Err(malformed("a decimal whose digits are none"));
            }
            call(digits, number);
            Ok(())
        };
        let whole = precision.saturating_sub(scale);
        if !whole.is_multiple_of(9) {
            group(whole % 9, &mut input)?;
        }
        for _ in 0..whole / 9 + scale / 9 {
            group(9, &mut input)?;
        }
        if !scale.is_multiple_of(9) {
            group(scale % 9, &mut input)?;
        }
        Ok(())
    }
}

fn width(digits: u8) -> usize {
    let rest = BYTES.get(usize::from(digits % 9)).copied().unwrap_or(4);
    usize::from(digits / 9) * 4 + rest
}

/// A decimal; one of more digits than our own has is invalid.
pub(super) fn decimal(input: &mut Input<'_>, precision: u8, scale: u8) -> Result<Value> {
    if precision == 0 || scale > precision {
        return Err(malformed("a decimal with an impossible number of digits"));
    }
    let digits = Digits::read(input, precision, scale)?;
    if u32::from(precision) > DIGITS_MAX {
        return long(&digits, precision, scale);
    }
    let mut number = 0_i128;
    digits.each(precision, scale, |count, group| {
        // No more digits than an i128 holds.
        number = number * 10_i128.pow(u32::from(count)) + i128::from(group);
    })?;
    if digits.flip != 0 {
        number = -number;
    }
    Decimal::try_new(number, u32::from(scale))
        .map(Value::Decimal)
        .map_err(|_| malformed("a decimal with an impossible number of digits"))
}

/// A decimal of a column that may have more digits than our own: by its text.
fn long(digits: &Digits<'_>, precision: u8, scale: u8) -> Result<Value> {
    let text = text(digits, precision, scale)?;
    Ok(text
        .parse()
        .map_or_else(|_| Value::Invalid(text), Value::Decimal))
}

/// The text that the database shows.
fn text(digits: &Digits<'_>, precision: u8, scale: u8) -> Result<String> {
    let mut all = String::with_capacity(usize::from(precision) + 3);
    digits.each(precision, scale, |count, group| {
        let width = usize::from(count);
        let digits = format!("{group:0width$}");
        all.push_str(&digits);
    })?;
    let (whole, part) = all
        .split_at_checked(usize::from(precision - scale))
        .unwrap_or((&all, ""));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let sign = if digits.flip == 0 { "" } else { "-" };
    let point = if part.is_empty() { "" } else { "." };
    Ok(format!("{sign}{whole}{point}{part}"))
}

/// The text of a decimal inside a JSON document.
pub(super) fn decimal_text(input: &mut Input<'_>, precision: u8, scale: u8) -> Result<String> {
    if precision == 0 || scale > precision || precision > 65 {
        return Err(malformed("a decimal with an impossible number of digits"));
    }
    let digits = Digits::read(input, precision, scale)?;
    text(&digits, precision, scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of a decimal.
    fn stored(text: &str, precision: u8, scale: u8) -> Vec<u8> {
        let (negative, plain) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, part) = plain.split_once('.').unwrap_or((plain, ""));
        let whole = format!("{whole:0>width$}", width = usize::from(precision - scale));
        let part = format!("{part:0<width$}", width = usize::from(scale));
        let mut groups = Vec::new();
        let (first, rest) = whole.split_at(whole.len() % 9);
        groups.push(first);
        groups.extend(
            rest.as_bytes()
                .chunks(9)
                .map(|c| std::str::from_utf8(c).unwrap()),
        );
        groups.extend(
            part.as_bytes()
                .chunks(9)
                .map(|c| std::str::from_utf8(c).unwrap()),
        );
        let mut bytes: Vec<u8> = Vec::new();
        for group in groups.into_iter().filter(|group| !group.is_empty()) {
            let number: u32 = group.parse().unwrap();
            bytes.extend(&number.to_be_bytes()[4 - BYTES[group.len()]..]);
        }
        bytes[0] ^= 0x80;
        if negative {
            for byte in &mut bytes {
                *byte = !*byte;
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn every_decimal_is_exact(
            precision in 1_u8..=65,
            scale in 0_u8..=38,
            digits in "[0-9]{65}",
            negative: bool,
        ) {
            let scale = scale.min(precision);
            let whole = &digits[..usize::from(precision - scale)];
            let part = &digits[65 - usize::from(scale)..];
            let whole = match whole.trim_start_matches('0') { "" => "0", whole => whole };
            let point = if scale > 0 { "." } else { "" };
            let zero = format!("{whole}{part}").bytes().all(|b| b == b'0');
            let sign = if negative && !zero { "-" } else { "" };
            let text = format!("{sign}{whole}{point}{part}");
            let plain = if whole == "0" { text.replacen("0.", ".", 1) } else { text.clone() };
            let bytes = stored(&plain, precision, scale);
            let mut input = Input(&bytes);
            let value = decimal(&mut input, precision, scale).unwrap();
            prop_assert!(input.is_empty());
            let expected = text.parse().map_or(Value::Invalid(text.clone()), Value::Decimal);
            prop_assert_eq!(value, expected);
            prop_assert_eq!(decimal_text(&mut Input(&bytes), precision, scale), Ok(text));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>, precision: u8, scale: u8) {
            let _ = decimal(&mut Input(&bytes), precision, scale);
            let _ = decimal_text(&mut Input(&bytes), precision, scale);
        }
    }

    #[test]
    fn digits_that_are_none_are_refused() {
        // 9 digits as 1,000,000,000, and one digit as 10.
        assert!(decimal(&mut Input(&[0xbb, 0x9a, 0xca, 0x00]), 9, 0).is_err());
        assert!(decimal(&mut Input(&[0x8a]), 1, 0).is_err());
        assert_eq!(
            decimal(&mut Input(&[0x89]), 1, 0).unwrap().text(),
            Some("9".to_owned())
        );
    }
}

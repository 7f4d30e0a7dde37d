//! Exact decimal numbers: money and quantities from the wire to the API.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Significant digits a [`Decimal`] can hold.
pub const DIGITS_MAX: u32 = 38;

/// The largest coefficient: 38 nines.
const COEFFICIENT_MAX: i128 = 10_i128.pow(DIGITS_MAX) - 1;

/// An exact decimal of up to 38 significant digits and up to 38 decimal places.
///
/// There is no NaN, no infinity and no rounding: what does not fit is an error, so that the row
/// is held instead of altered. The value is kept in lowest terms, so `12.50` and `12.5` are equal,
/// hash alike and print as `12.5`. It is ours because no crate on the shelf offers 38 digits with
/// checked overflow and no NaN (rust_decimal stops at 28 digits, bigdecimal has no bound).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    coefficient: i128,
    scale: u8,
}

/// Why a text or number is not a [`Decimal`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text is no plain decimal number.
    #[error("not a decimal number")]
    NotANumber,
    /// More than 38 significant digits or decimal places.
    #[error("more than 38 digits")]
    TooManyDigits,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self {
        coefficient: 0,
        scale: 0,
    };

    /// The number `coefficient / 10^scale`.
    ///
    /// # Errors
    /// [`DecimalError::TooManyDigits`] when it needs more than 38 digits.
    pub fn try_new(coefficient: i128, scale: u32) -> Result<Self, DecimalError> {
        let mut coefficient = coefficient;
        let mut scale = scale;
        while scale > 0 && coefficient % 10 == 0 {
            coefficient /= 10;
            scale -= 1;
        }
        if coefficient.abs() > COEFFICIENT_MAX || coefficient == i128::MIN || scale > DIGITS_MAX {
            return Err(DecimalError::TooManyDigits);
        }
        let scale = u8::try_from(scale).map_err(|_| DecimalError::TooManyDigits)?;
        Ok(Self { coefficient, scale })
    }

    /// The coefficient in lowest terms.
    pub fn coefficient(self) -> i128 {
        self.coefficient
    }

    /// Decimal places in lowest terms.
    pub fn scale(self) -> u32 {
        u32::from(self.scale)
    }

    /// Below zero.
    pub fn is_negative(self) -> bool {
        self.coefficient < 0
    }

    /// Has no decimal places.
    pub fn is_integer(self) -> bool {
        self.scale == 0
    }

    /// Exact sum.
    ///
    /// # Errors
    /// [`DecimalError::TooManyDigits`] when the sum needs more than 38 digits.
    pub fn try_add(self, other: Self) -> Result<Self, DecimalError> {
        let scale = self.scale.max(other.scale);
        let left = self.rescaled(scale).ok_or(DecimalError::TooManyDigits)?;
        let right = other.rescaled(scale).ok_or(DecimalError::TooManyDigits)?;
        let sum = left.checked_add(right).ok_or(DecimalError::TooManyDigits)?;
        Self::try_new(sum, u32::from(scale))
    }

    /// Exact difference.
    ///
    /// # Errors
    /// [`DecimalError::TooManyDigits`] when the difference needs more than 38 digits.
    pub fn try_sub(self, other: Self) -> Result<Self, DecimalError> {
        self.try_add(Self {
            coefficient: -other.coefficient,
            scale: other.scale,
        })
    }

    /// The number divided by `10^places`: implied decimals such as JD Edwards' `LIPQOH`.
    ///
    /// # Errors
    /// [`DecimalError::TooManyDigits`] when the result has more than 38 decimal places.
    pub fn shift_right(self, places: u32) -> Result<Self, DecimalError> {
        Self::try_new(self.coefficient, self.scale() + places)
    }

    /// The largest integer not above the number.
    #[must_use]
    pub fn floor(self) -> Self {
        let unit = 10_i128.pow(self.scale());
        Self {
            coefficient: self.coefficient.div_euclid(unit),
            scale: 0,
        }
    }

    fn rescaled(self, scale: u8) -> Option<i128> {
        let up = u32::from(scale.checked_sub(self.scale)?);
        self.coefficient.checked_mul(10_i128.checked_pow(up)?)
    }

    fn integer_digits(self) -> (u128, u128) {
        let unit = 10_u128.pow(self.scale());
        let size = self.coefficient.unsigned_abs();
        (size / unit, size % unit)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    /// Reads plain (`-12.50`) and exponent (`2e22`, `1.5E-3`) forms, as databases print them.
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            None => (text, 0),
            Some(at) => {
                let exponent = &text[at + 1..];
                let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
                (
                    &text[..at],
                    exponent
                        .parse::<i64>()
                        .map_err(|_| DecimalError::NotANumber)?,
                )
            }
        };
        let (negative, unsigned) = match mantissa.as_bytes().first() {
            Some(b'-') => (true, &mantissa[1..]),
            Some(b'+') => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits_only = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !digits_only(whole) || !digits_only(fraction) {
            return Err(DecimalError::NotANumber);
        }
        let fraction = fraction.trim_end_matches('0');
        let mut coefficient: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            coefficient = coefficient
                .checked_mul(10)
                .and_then(|c| c.checked_add(i128::from(byte - b'0')))
                .ok_or(DecimalError::TooManyDigits)?;
        }
        if coefficient == 0 {
            return Ok(Self::ZERO);
        }
        let places = i64::try_from(fraction.len()).map_err(|_| DecimalError::TooManyDigits)?;
        let scale = places
            .checked_sub(exponent)
            .ok_or(DecimalError::TooManyDigits)?;
        let (coefficient, scale) = if scale < 0 {
            let up = u32::try_from(-scale).map_err(|_| DecimalError::TooManyDigits)?;
            let grown = 10_i128
                .checked_pow(up)
                .and_then(|unit| coefficient.checked_mul(unit));
            (grown.ok_or(DecimalError::TooManyDigits)?, 0)
        } else {
            (
                coefficient,
                u32::try_from(scale).map_err(|_| DecimalError::TooManyDigits)?,
            )
        };
        Self::try_new(if negative { -coefficient } else { coefficient }, scale)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.coefficient < 0 { "-" } else { "" };
        let (whole, fraction) = self.integer_digits();
        if self.scale == 0 {
            write!(f, "{sign}{whole}")
        } else {
            write!(
                f,
                "{sign}{whole}.{fraction:0width$}",
                width = usize::from(self.scale)
            )
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_sign = self.coefficient.signum().cmp(&other.coefficient.signum());
        if by_sign != Ordering::Equal {
            return by_sign;
        }
        let (left, left_fraction) = self.integer_digits();
        let (right, right_fraction) = other.integer_digits();
        let by_size = left.cmp(&right).then_with(|| {
            // Fractions have at most 38 digits each; compare them digit by digit as text.
            let pad = |fraction: u128, scale: u8| {
                let mut text = format!("{fraction:0width$}", width = usize::from(scale));
                if scale == 0 {
                    text.clear();
                }
                text
            };
            pad(left_fraction, self.scale).cmp(&pad(right_fraction, other.scale))
        });
        if self.coefficient < 0 {
            by_size.reverse()
        } else {
            by_size
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self {
            coefficient: i128::from(value),
            scale: 0,
        }
    }
}

impl From<u64> for Decimal {
    fn from(value: u64) -> Self {
        Self {
            coefficient: i128::from(value),
            scale: 0,
        }
    }
}

impl Serialize for Decimal {
    /// A JSON string: many JSON readers turn numbers into binary floats.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn prints_lowest_terms() {
        let cases = [
            ("12.50", "12.5"),
            ("-0.00", "0"),
            ("0.10", "0.1"),
            ("-0.05", "-0.05"),
            ("1e3", "1000"),
            ("1.5E-3", "0.0015"),
            ("2e22", "20000000000000000000000"),
            (".5", "0.5"),
            ("5.", "5"),
            ("+7", "7"),
            ("1000", "1000"),
            (
                "99999999999999999999999999999999999999",
                "99999999999999999999999999999999999999",
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(decimal(input).to_string(), expected, "{input}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_hold() {
        for text in [
            "", "-", ".", "1.2.3", "NaN", "Infinity", "1e", "0x10", "1_000", " 1", "1,5",
        ] {
            assert_eq!(
                text.parse::<Decimal>(),
                Err(DecimalError::NotANumber),
                "{text}"
            );
        }
        for text in ["1e38", "100000000000000000000000000000000000001", "1e-39"] {
            assert_eq!(
                text.parse::<Decimal>(),
                Err(DecimalError::TooManyDigits),
                "{text}"
            );
        }
    }

    #[test]
    fn floors_towards_minus_infinity() {
        for (input, expected) in [("2.9", "2"), ("-2.1", "-3"), ("-2", "-2"), ("0.4", "0")] {
            assert_eq!(decimal(input).floor(), decimal(expected), "{input}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(coefficient in -COEFFICIENT_MAX..=COEFFICIENT_MAX, scale in 0u32..=38) {
            let value = Decimal::try_new(coefficient, scale).unwrap();
            prop_assert_eq!(value.to_string().parse::<Decimal>().unwrap(), value);
        }

        #[test]
        fn order_is_that_of_numbers(a in -1_000_000i128..1_000_000, b in -1_000_000i128..1_000_000,
                                    sa in 0u32..6, sb in 0u32..6) {
            let left = Decimal::try_new(a, sa).unwrap();
            let right = Decimal::try_new(b, sb).unwrap();
            let expected = (a * 10_i128.pow(sb)).cmp(&(b * 10_i128.pow(sa)));
            prop_assert_eq!(left.cmp(&right), expected);
            let sum = left.try_add(right).unwrap();
            prop_assert_eq!(sum.try_sub(right).unwrap(), left);
        }

        #[test]
        fn never_panics(text in "[-+0-9.eE]{0,60}") {
            let _ = text.parse::<Decimal>();
        }
    }
}

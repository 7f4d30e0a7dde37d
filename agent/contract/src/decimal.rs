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
    /// A division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// The quotient has no end, such as 1 / 3.
    #[error("the quotient has endless digits")]
    Endless,
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
        let (coefficient, scale) = lowest_terms(coefficient, scale);
        if coefficient.unsigned_abs() > COEFFICIENT_MAX.unsigned_abs() || scale > DIGITS_MAX {
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

    /// Exact product.
    ///
    /// # Errors
    /// [`DecimalError::TooManyDigits`] when the product needs more than 38 digits.
    pub fn try_mul(self, other: Self) -> Result<Self, DecimalError> {
        let product = self.coefficient.checked_mul(other.coefficient);
        Self::try_new(
            product.ok_or(DecimalError::TooManyDigits)?,
            self.scale() + other.scale(),
        )
    }

    /// Exact quotient. Nothing is rounded: a quotient without end is an error.
    ///
    /// # Errors
    /// [`DecimalError::DivisionByZero`], [`DecimalError::Endless`],
    /// [`DecimalError::TooManyDigits`].
    pub fn try_div(self, other: Self) -> Result<Self, DecimalError> {
        let (numerator, divisor) = self.fraction(other)?;
        // Only a divisor of twos and fives ends.
        let (mut rest, mut twos, mut fives) = (divisor, 0_u32, 0_u32);
        while rest % 2 == 0 {
            (rest, twos) = (rest / 2, twos + 1);
        }
        while rest % 5 == 0 {
            (rest, fives) = (rest / 5, fives + 1);
        }
        if rest != 1 {
            return Err(DecimalError::Endless);
        }
        let places = twos.max(fives);
        let tens = 10_i128.checked_pow(places);
        let coefficient = tens.and_then(|tens| numerator.checked_mul(tens / divisor));
        let coefficient = coefficient.ok_or(DecimalError::TooManyDigits)?;
        Self::scaled(
            coefficient,
            i64::from(places) + i64::from(self.scale) - i64::from(other.scale),
        )
    }

    /// The quotient rounded to `places` decimal places, half away from zero.
    ///
    /// # Errors
    /// [`DecimalError::DivisionByZero`], [`DecimalError::TooManyDigits`].
    pub fn try_div_round(self, other: Self, places: u32) -> Result<Self, DecimalError> {
        let (quotient, rest, divisor) = self.divide(other, places)?;
        // `rest >= divisor / 2`, written so that it cannot leave 128 bits.
        let up = if rest.abs() >= divisor - rest.abs() {
            rest.signum()
        } else {
            0
        };
        Self::try_new(quotient + up, places)
    }

    /// The largest integer not above the quotient.
    ///
    /// # Errors
    /// [`DecimalError::DivisionByZero`], [`DecimalError::TooManyDigits`].
    pub fn try_div_floor(self, other: Self) -> Result<Self, DecimalError> {
        let (quotient, rest, _) = self.divide(other, 0)?;
        Self::try_new(quotient - i128::from(rest < 0), 0)
    }

    /// What a division to whole numbers leaves, with the sign of `self`, as SQL's `%`.
    ///
    /// # Errors
    /// [`DecimalError::DivisionByZero`], [`DecimalError::TooManyDigits`].
    pub fn try_rem(self, other: Self) -> Result<Self, DecimalError> {
        let scale = self.scale.max(other.scale);
        let left = self.rescaled(scale).ok_or(DecimalError::TooManyDigits)?;
        let right = other.rescaled(scale).ok_or(DecimalError::TooManyDigits)?;
        let rest = left.checked_rem(right);
        Self::try_new(rest.ok_or(DecimalError::DivisionByZero)?, u32::from(scale))
    }

    /// Rounded to `places` decimal places, half away from zero, as invoices do.
    ///
    /// # Errors
    /// [`DecimalError::TooManyDigits`] when rounding up needs a 39th digit.
    pub fn try_round(self, places: u32) -> Result<Self, DecimalError> {
        if self.scale() <= places {
            return Ok(self);
        }
        self.try_div_round(Self::from(1_i64), places)
    }

    /// Without its sign.
    #[must_use]
    pub fn abs(self) -> Self {
        Self {
            coefficient: self.coefficient.abs(),
            scale: self.scale,
        }
    }

    /// With the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self {
            coefficient: -self.coefficient,
            scale: self.scale,
        }
    }

    /// The smallest integer not below the number.
    #[must_use]
    pub fn ceil(self) -> Self {
        self.negated().floor().negated()
    }

    /// `self / other` as coefficients in lowest terms, the divisor above zero; the scales apart.
    fn fraction(self, other: Self) -> Result<(i128, i128), DecimalError> {
        if other.coefficient == 0 {
            return Err(DecimalError::DivisionByZero);
        }
        let (mut a, mut b) = (self.coefficient.abs(), other.coefficient.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let sign = other.coefficient.signum();
        Ok((sign * self.coefficient / a, sign * other.coefficient / a))
    }

    /// Quotient of `self * 10^places / other` without its decimal places, the rest, and what was
    /// divided by.
    fn divide(self, other: Self, places: u32) -> Result<(i128, i128, i128), DecimalError> {
        let (mut numerator, mut divisor) = self.fraction(other)?;
        let up = i64::from(other.scale) + i64::from(places) - i64::from(self.scale);
        let tens = u32::try_from(up.unsigned_abs())
            .ok()
            .and_then(|up| 10_i128.checked_pow(up));
        let tens = tens.ok_or(DecimalError::TooManyDigits)?;
        let side = if up < 0 { &mut divisor } else { &mut numerator };
        *side = side.checked_mul(tens).ok_or(DecimalError::TooManyDigits)?;
        Ok((numerator / divisor, numerator % divisor, divisor))
    }

    /// `coefficient / 10^scale`, where the scale may be below zero.
    fn scaled(coefficient: i128, scale: i64) -> Result<Self, DecimalError> {
        let places = u32::try_from(scale.unsigned_abs()).unwrap_or(u32::MAX);
        if scale >= 0 {
            return Self::try_new(coefficient, places);
        }
        let tens = 10_i128.checked_pow(places);
        let whole = tens.and_then(|tens| coefficient.checked_mul(tens));
        Self::try_new(whole.ok_or(DecimalError::TooManyDigits)?, 0)
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
        if self.scale == 0 {
            return self;
        }
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

    /// Calls `see` with the number's text, which lives on the stack.
    pub(crate) fn with_text(self, see: impl FnOnce(&str)) {
        see(self.text_in(&mut [0; TEXT_BYTES_MAX]));
    }

    /// The number's text, written from its last digit to its first.
    fn text_in(self, buffer: &mut [u8; TEXT_BYTES_MAX]) -> &str {
        let mut at = buffer.len();
        let mut put = |byte: u8| {
            at -= 1;
            buffer[at] = byte;
        };
        let scale = self.scale();
        let mut rest = self.coefficient.unsigned_abs();
        let mut places = 0;
        // One digit at least before the point.
        while places <= scale || rest != 0 {
            if places == scale && scale > 0 {
                put(b'.');
            }
            let digit;
            (rest, digit) = tenth(rest);
            put(b'0' + digit);
            places += 1;
        }
        if self.coefficient < 0 {
            put(b'-');
        }
        std::str::from_utf8(&buffer[at..]).unwrap_or_default()
    }
}

/// Sign, 39 digits (a number of 38 decimal places has a zero before the point) and the point.
const TEXT_BYTES_MAX: usize = 41;

/// A number without its last digit, and that digit. 64 bits divide many times faster than 128.
fn tenth(number: u128) -> (u128, u8) {
    let (rest, digit) = if let Ok(small) = u64::try_from(number) {
        (u128::from(small / 10), small % 10)
    } else {
        (number / 10, u64::try_from(number % 10).unwrap_or_default())
    };
    (rest, u8::try_from(digit).unwrap_or_default())
}

/// Without the zeros that a smaller scale makes superfluous.
fn lowest_terms(coefficient: i128, scale: u32) -> (i128, u32) {
    let mut scale = scale;
    // Most numbers are small.
    if let Ok(mut small) = i64::try_from(coefficient) {
        while scale > 0 && small % 10 == 0 {
            small /= 10;
            scale -= 1;
        }
        return (i128::from(small), scale);
    }
    let mut coefficient = coefficient;
    while scale > 0 && coefficient % 10 == 0 {
        coefficient /= 10;
        scale -= 1;
    }
    (coefficient, scale)
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
        f.write_str(self.text_in(&mut [0; TEXT_BYTES_MAX]))
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
        let scale = self.scale.max(other.scale);
        if let (Some(left), Some(right)) = (self.rescaled(scale), other.rescaled(scale)) {
            return left.cmp(&right);
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
        serializer.serialize_str(self.text_in(&mut [0; TEXT_BYTES_MAX]))
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
    fn the_least_number_of_the_machine_is_refused() {
        for scale in [0, 1, 38] {
            let refused = Decimal::try_new(i128::MIN, scale);
            assert_eq!(refused, Err(DecimalError::TooManyDigits));
        }
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

    #[test]
    fn divides_exactly_or_says_so() {
        for (a, b, expected) in [
            ("1", "8", "0.125"),
            ("10", "-4", "-2.5"),
            ("0", "7", "0"),
            ("6", "0.003", "2000"),
            ("21", "7", "3"),
            ("1e37", "1e-1", "1e38 is too large"),
            ("1e37", "1e36", "10"),
            ("1", "3", "endless"),
            ("2", "0", "zero"),
        ] {
            let got = match decimal(a).try_div(decimal(b)) {
                Ok(value) => value.to_string(),
                Err(DecimalError::Endless) => "endless".to_owned(),
                Err(DecimalError::DivisionByZero) => "zero".to_owned(),
                Err(_) => "1e38 is too large".to_owned(),
            };
            assert_eq!(got, expected, "{a} / {b}");
        }
        let third = decimal("1").try_div_round(decimal("3"), 4).unwrap();
        assert_eq!(third.to_string(), "0.3333");
        let half = decimal("-1").try_div_round(decimal("8"), 2).unwrap();
        assert_eq!(half.to_string(), "-0.13");
        let floor = decimal("-7").try_div_floor(decimal("2")).unwrap();
        assert_eq!(floor.to_string(), "-4");
        assert_eq!(
            decimal("-7.5").try_rem(decimal("2")).unwrap().to_string(),
            "-1.5"
        );
        assert_eq!(decimal("2.345").try_round(2).unwrap().to_string(), "2.35");
        assert_eq!(decimal("-2.345").try_round(2).unwrap().to_string(), "-2.35");
        assert_eq!(decimal("2.1").ceil().to_string(), "3");
    }

    proptest! {
        #[test]
        fn a_quotient_times_its_divisor_is_the_number(a in -1_000_000_i64..1_000_000,
                b in 1_i64..10_000, sa in 0_u32..8, sb in 0_u32..8) {
            let a = Decimal::try_new(a.into(), sa).unwrap();
            let b = Decimal::try_new(b.into(), sb).unwrap();
            let near = a.try_div_round(b, 6).unwrap();
            if let Ok(exact) = a.try_div(b) {
                prop_assert_eq!(exact.try_mul(b).unwrap(), a);
                prop_assert_eq!(exact.try_round(6).unwrap(), near);
                prop_assert_eq!(exact.floor(), a.try_div_floor(b).unwrap());
            }
            let error = near.try_mul(b).unwrap().try_sub(a).unwrap().abs();
            let half = b.try_mul(Decimal::try_new(5, 7).unwrap()).unwrap();
            prop_assert!(error <= half);
        }

        #[test]
        fn arithmetic_never_panics(a in -COEFFICIENT_MAX..=COEFFICIENT_MAX, sa in 0u32..=38,
                b in -COEFFICIENT_MAX..=COEFFICIENT_MAX, sb in 0u32..=38, places in 0u32..=38) {
            let a = Decimal::try_new(a, sa).unwrap();
            let b = Decimal::try_new(b, sb).unwrap();
            let _ = (a.try_add(b), a.try_mul(b), a.try_div(b), a.try_rem(b), a.try_div_floor(b));
            let _ = (a.try_div_round(b, places), a.try_round(places), a.ceil(), a.floor());
        }

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
        fn order_holds_for_any_scale(a in -COEFFICIENT_MAX..=COEFFICIENT_MAX, sa in 0u32..=38,
                b in -COEFFICIENT_MAX..=COEFFICIENT_MAX, sb in 0u32..=38) {
            let left = Decimal::try_new(a, sa).unwrap();
            let right = Decimal::try_new(b, sb).unwrap();
            // By their texts: sign, whole digits, then places as if endless zeros followed.
            let parts = |number: Decimal| {
                let text = number.abs().to_string();
                let (whole, places) = text.split_once('.').unwrap_or((&text, ""));
                (format!("{whole:0>39}"), format!("{places:0<38}"))
            };
            let expected = match (left.is_negative(), right.is_negative()) {
                (false, false) => parts(left).cmp(&parts(right)),
                (true, true) => parts(right).cmp(&parts(left)),
                (negative, _) => if negative { Ordering::Less } else { Ordering::Greater },
            };
            prop_assert_eq!(left.cmp(&right), expected);
        }

        #[test]
        fn never_panics(text in "[-+0-9.eE]{0,60}") {
            let _ = text.parse::<Decimal>();
        }
    }
}

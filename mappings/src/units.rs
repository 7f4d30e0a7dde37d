//! Units of measure: how much one is of another, as exact fractions.

use std::collections::BTreeMap;

use contract::{Decimal, DecimalError};

/// A fraction in lowest terms, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ratio {
    numerator: i128,
    divisor: i128,
}

fn common(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

impl Ratio {
    const ONE: Self = Self {
        numerator: 1,
        divisor: 1,
    };

    /// `12`, `0.45359237` or `1/3`; above zero.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let part = |text: &str| -> Option<Self> {
            let number: Decimal = text.trim().parse().ok()?;
            let divisor = 10_i128.checked_pow(number.scale())?;
            Self::new(number.coefficient(), divisor)
        };
        match text.split_once('/') {
            None => part(text),
            Some((above, below)) => part(above)?.over(part(below)?),
        }
    }

    fn new(numerator: i128, divisor: i128) -> Option<Self> {
        if numerator <= 0 || divisor <= 0 {
            return None;
        }
        let by = common(numerator, divisor);
        Some(Self {
            numerator: numerator / by,
            divisor: divisor / by,
        })
    }

    fn times(self, other: Self) -> Option<Self> {
        // Reduced crosswise first, so that nothing overflows that need not.
        let one = Self::new(self.numerator, other.divisor)?;
        let two = Self::new(other.numerator, self.divisor)?;
        Self::new(
            one.numerator.checked_mul(two.numerator)?,
            one.divisor.checked_mul(two.divisor)?,
        )
    }

    fn over(self, other: Self) -> Option<Self> {
        self.times(Self {
            numerator: other.divisor,
            divisor: other.numerator,
        })
    }

    /// So many times a quantity: exactly, or rounded to `places`.
    fn of(self, quantity: Decimal, places: Option<u32>) -> Result<Decimal, DecimalError> {
        let numerator = Decimal::try_new(self.numerator, 0)?;
        let divisor = Decimal::try_new(self.divisor, 0)?;
        let product = quantity.try_mul(numerator)?;
        match places {
            Some(places) => product.try_div_round(divisor, places),
            None => product.try_div(divisor),
        }
    }
}

/// The units of a file, each as so many of the one it is counted in at last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Units {
    known: BTreeMap<String, (Ratio, String)>,
}

impl Units {
    /// Units from what one of each is: so many of another.
    ///
    /// # Errors
    /// The unit that is a part of itself, or too large a multiple of what it is counted in.
    pub(crate) fn new(entries: &BTreeMap<String, (Ratio, String)>) -> Result<Self, String> {
        let mut known = BTreeMap::new();
        for name in entries.keys() {
            let (mut factor, mut at) = (Ratio::ONE, name);
            let mut steps = 0;
            while let Some((ratio, of)) = entries.get(at) {
                factor = factor.times(*ratio).ok_or_else(|| name.clone())?;
                at = of;
                steps += 1;
                if steps > entries.len() {
                    return Err(name.clone());
                }
            }
            known.insert(name.clone(), (factor, at.clone()));
        }
        for (_, of) in entries.values() {
            if !entries.contains_key(of) {
                known.insert(of.clone(), (Ratio::ONE, of.clone()));
            }
        }
        Ok(Self { known })
    }

    /// A quantity in another unit.
    ///
    /// # Errors
    /// Why it cannot be converted; no value is shown.
    pub(crate) fn convert(
        &self,
        quantity: Decimal,
        from: &str,
        to: &str,
        places: Option<u32>,
    ) -> Result<Decimal, String> {
        let factor = if from == to {
            // Also of a unit nobody listed.
            Ratio::ONE
        } else {
            let find = |unit: &str| {
                let unknown = || "its unit is not one of `units`".to_owned();
                self.known.get(unit).ok_or_else(unknown)
            };
            let ((one, base), (other, base_too)) = (find(from)?, find(to)?);
            if base != base_too {
                return Err(format!(
                    "`units` does not say how much of {base_too} is {base}"
                ));
            }
            let factor = one.over(*other);
            factor.ok_or_else(|| "the factor has too many digits".to_owned())?
        };
        factor.of(quantity, places).map_err(|error| match error {
            DecimalError::Endless => {
                "the quantity has no end in that unit; a fourth value says to how many places it is \
                 rounded"
                    .to_owned()
            }
            other => other.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(entries: &[(&str, &str, &str)]) -> Result<Units, String> {
        let entries = entries.iter().map(|(name, ratio, of)| {
            let ratio = Ratio::parse(ratio).unwrap();
            ((*name).to_owned(), (ratio, (*of).to_owned()))
        });
        Units::new(&entries.collect())
    }

    #[test]
    fn fractions_are_exact_and_ways_are_found() {
        let units = units(&[
            ("CS", "12", "EA"),
            ("PAL", "40", "CS"),
            ("THIRD", "1/3", "EA"),
            ("LB", "0.45359237", "KG"),
        ])
        .unwrap();
        let convert = |quantity: &str, from, to, places| {
            let converted = units.convert(quantity.parse().unwrap(), from, to, places);
            converted.map(|number| number.to_string())
        };
        for (quantity, from, to, expected) in [
            ("2", "PAL", "EA", "960"),
            ("30", "EA", "CS", "2.5"),
            ("1", "PAL", "CS", "40"),
            ("6", "THIRD", "EA", "2"),
            ("1", "CS", "THIRD", "36"),
            ("-2.5", "LB", "KG", "-1.133980925"),
            ("1.133980925", "KG", "LB", "2.5"),
            ("7", "NEVER HEARD", "NEVER HEARD", "7"),
        ] {
            assert_eq!(convert(quantity, from, to, None).as_deref(), Ok(expected));
        }
        assert!(
            convert("1", "EA", "CS", None)
                .unwrap_err()
                .contains("fourth value")
        );
        assert_eq!(convert("1", "EA", "CS", Some(3)).as_deref(), Ok("0.083"));
        assert!(
            convert("1", "EA", "KG", None)
                .unwrap_err()
                .contains("KG is EA")
        );
        assert!(
            convert("1", "EA", "OZ", None)
                .unwrap_err()
                .contains("not one of")
        );
    }

    #[test]
    fn a_unit_is_no_part_of_itself() {
        assert_eq!(
            units(&[("A", "2", "B"), ("B", "3", "A")]),
            Err("A".to_owned())
        );
        assert_eq!(units(&[("A", "2", "A")]), Err("A".to_owned()));
        for wrong in ["0", "-1", "1/0", "", "x", "1/-3"] {
            assert_eq!(Ratio::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        /// There and back is where it was, whenever both ways end.
        #[test]
        fn there_and_back(quantity in -1_000_000_i64..1_000_000, above in 1_i64..5_000, below in 1_i64..5_000) {
            let ratio = format!("{above}/{below}");
            let units = units(&[("U", &ratio, "EA")]).unwrap();
            let quantity = Decimal::from(quantity);
            if let Ok(there) = units.convert(quantity, "U", "EA", None) {
                prop_assert_eq!(units.convert(there, "EA", "U", None), Ok(quantity));
            }
        }
    }
}

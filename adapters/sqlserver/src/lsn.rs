//! A place in the transaction log, as change data capture tells it: ten bytes that sort as they stand.

use std::fmt;

/// A log sequence number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lsn(pub(crate) [u8; 10]);

impl Lsn {
    /// What the server answers where there is none, or where it does not want to say. Never a place.
    pub(crate) const ZERO: Self = Self([0; 10]);

    /// From a cell of the server's.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// From its 20 digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::of(&contract::value::unhex(text)?)
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The lowest one behind it, as `sys.fn_cdc_increment_lsn` has it; the highest stays.
    pub(crate) fn next(self) -> Self {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let (more, over) = byte.overflowing_add(1);
            *byte = more;
            if !over {
                return Self(bytes);
            }
        }
        self
    }

    /// The highest one before it; zero stays.
    pub(crate) fn before(self) -> Self {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let (less, under) = byte.overflowing_sub(1);
            *byte = less;
            if !under {
                return Self(bytes);
            }
        }
        self
    }

    /// A number for the transaction that committed here. Its first two bytes count log files by the
    /// billion, and are left out.
    pub(crate) fn transaction(self) -> u64 {
        let [_, _, rest @ ..] = self.0;
        u64::from_be_bytes(rest)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&contract::value::hex(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lsn(text: &str) -> Lsn {
        Lsn::parse(text).unwrap()
    }

    #[test]
    fn neighbours_carry_over_bytes() {
        let at = lsn("0000002d00000a68ffff");
        assert_eq!(at.next(), lsn("0000002d00000a690000"));
        assert_eq!(at.next().before(), at);
        assert_eq!(Lsn::ZERO.before(), Lsn::ZERO);
        let last = Lsn([0xff; 10]);
        assert_eq!(last.next(), last);
        assert_eq!(
            lsn("0000002d00000a680003").transaction(),
            0x2d_0000_0a68_0003
        );
    }

    #[test]
    fn what_has_another_length_is_none() {
        for text in [
            "",
            "00",
            "0000002d00000a68000",
            "0000002d00000a6800030",
            "0000002d00000a68000g",
        ] {
            assert_eq!(Lsn::parse(text), None, "{text}");
        }
        assert_eq!(Lsn::of(&[0; 9]), None);
    }

    proptest! {
        #[test]
        fn text_round_trips_and_sorts(a: [u8; 10], b: [u8; 10]) {
            let (a, b) = (Lsn(a), Lsn(b));
            prop_assert_eq!(Lsn::parse(&a.to_string()), Some(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn nothing_lies_between_neighbours(a: [u8; 10], b: [u8; 10]) {
            let (a, b) = (Lsn(a), Lsn(b));
            prop_assume!(a < b);
            prop_assert!(a.next() <= b && b.before() >= a);
            prop_assert_eq!(a.next().before(), a);
        }
    }
}

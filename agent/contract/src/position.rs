//! A place in a source's log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest text a [`LogPos`] may have, in bytes.
pub const LOG_POS_BYTES_MAX: usize = 512;

/// The source's own position text, written so that text order is log order: fixed width,
/// zero-padded. Each adapter converts its unit (LSN, GTID, sequence) in one tested place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPos(Box<str>);

/// Why a text is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a position: {0}")]
pub struct PositionError(pub &'static str);

impl LogPos {
    /// Takes the adapter's text.
    ///
    /// # Errors
    /// When it is empty, longer than [`LOG_POS_BYTES_MAX`] or has characters other than ASCII
    /// letters, digits, `-`, `_`, `:` and `,`.
    pub fn try_new(text: impl Into<Box<str>>) -> Result<Self, PositionError> {
        let text = text.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b',');
        if text.is_empty() || text.len() > LOG_POS_BYTES_MAX {
            return Err(PositionError("log position is empty or too long"));
        }
        if !text.bytes().all(allowed) {
            return Err(PositionError(
                "log position has a character outside [A-Za-z0-9:,_-]",
            ));
        }
        Ok(Self(text))
    }

    /// A number as 16 hexadecimal digits, whose text order is the number's order.
    pub fn from_number(number: u64) -> Self {
        Self(format!("{number:016x}").into_boxed_str())
    }

    /// The number written by [`LogPos::from_number`]. Another text of the same number would sort elsewhere, and is none.
    pub fn number(&self) -> Option<u64> {
        let plain = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        (self.0.len() == 16 && self.0.bytes().all(plain))
            .then(|| u64::from_str_radix(&self.0, 16).ok())
            .flatten()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A place in a source's log: totally ordered within an epoch, and by epoch before that.
///
/// `seq` is the ordinal inside the transaction at `pos`, from 1; 0 stands before all of them. A
/// checkpoint with `seq > 0` is inside a transaction, so a transaction larger than memory can be
/// stored in pieces and resumed in the middle. `epoch` rises at each re-initialisation of the
/// source (restore, new slot, re-snapshot). The text form `epoch/pos/seq` sorts like the position.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Life of the source's numbering.
    pub epoch: u32,
    /// The source's own position.
    pub pos: LogPos,
    /// Ordinal of the change within its transaction, from 1; 0 = at the transaction border.
    pub seq: u32,
}

impl Position {
    /// The position at a transaction border.
    pub fn border(epoch: u32, pos: LogPos) -> Self {
        Self { epoch, pos, seq: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:010}/{}/{:010}",
            self.epoch,
            self.pos.as_str(),
            self.seq
        )
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut parts = text.split('/');
        let (Some(epoch), Some(pos), Some(seq), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PositionError("expected epoch/pos/seq"));
        };
        let number = |part: &str| {
            let ten_digits = part.len() == 10 && part.bytes().all(|b| b.is_ascii_digit());
            ten_digits.then(|| part.parse::<u32>().ok()).flatten()
        };
        Ok(Self {
            epoch: number(epoch).ok_or(PositionError("epoch is not 10 digits"))?,
            pos: LogPos::try_new(pos)?,
            seq: number(seq).ok_or(PositionError("seq is not 10 digits"))?,
        })
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_position() -> impl Strategy<Value = Position> {
        (any::<u32>(), any::<u64>(), any::<u32>()).prop_map(|(epoch, pos, seq)| Position {
            epoch,
            pos: LogPos::from_number(pos),
            seq,
        })
    }

    proptest! {
        #[test]
        fn text_round_trips(position in any_position()) {
            prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position.clone());
            prop_assert_eq!(LogPos::from_number(position.pos.number().unwrap()), position.pos);
        }

        #[test]
        fn text_order_is_position_order(a in any_position(), b in any_position()) {
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn order_is_epoch_then_log_then_ordinal(a in any_position(), b in any_position()) {
            let tuple = |p: &Position| (p.epoch, p.pos.number(), p.seq);
            prop_assert_eq!(a.cmp(&b), tuple(&a).cmp(&tuple(&b)));
        }

        #[test]
        fn never_panics(text: String) {
            let _ = text.parse::<Position>();
        }
    }

    /// One number has one text, for texts sort as their numbers.
    #[test]
    fn another_text_of_a_number_is_no_number() {
        for text in ["00000000000000AB", "00000000000000a", "000000000000000ab"] {
            assert_eq!(LogPos::try_new(text).unwrap().number(), None, "{text}");
        }
        assert_eq!(
            LogPos::try_new("00000000000000ab").unwrap().number(),
            Some(0xab)
        );
    }
}

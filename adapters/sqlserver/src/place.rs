//! Where the stream stands, as a position that sorts.
//!
//! `cycles:phase:lsn:version:rowversion`: how many cycles have been told to their end; what is told of
//! the next one; up to where change data capture, change tracking and rowversions are told. Fixed width,
//! so text order is the order of the stream. A trailing `:e` says that all of the place's transaction is
//! told. An end of a cycle is `{cycles}:0:..`, before all that comes of the next one.

use contract::{LogPos, Position, SourceError};

use crate::lsn::Lsn;

/// What of a cycle is told, in the order in which it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nothing: the border between two cycles.
    #[default]
    Border,
    Cdc,
    Tracking,
    Rowversion,
}

/// A place in the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Cycles that are told to their end.
    pub(crate) cycles: u64,
    pub(crate) phase: Phase,
    /// Told up to here, this one with it.
    pub(crate) lsn: Lsn,
    pub(crate) version: u64,
    pub(crate) rowversion: u64,
    /// All of the transaction at this place is told.
    pub(crate) ended: bool,
}

/// Letters of a place's text.
const LENGTH: usize = 16 + 1 + 1 + 1 + 20 + 1 + 16 + 1 + 16;

impl Place {
    /// As a position; one that is at a border has no `seq`.
    pub(crate) fn at(&self, epoch: u32, seq: u32) -> Position {
        Position {
            epoch,
            pos: self.log_pos(),
            seq: if self.is_border() { 0 } else { seq },
        }
    }

    /// Whether nothing of a transaction is on its way here.
    pub(crate) fn is_border(&self) -> bool {
        self.ended || self.phase == Phase::Border
    }

    /// Whether all of a captured transaction is told here, of the cycle that this place is in.
    pub(crate) fn has_told(&self, lsn: Lsn) -> bool {
        self.lsn > lsn || (self.lsn == lsn && (self.ended || self.phase != Phase::Cdc))
    }

    #[expect(
        clippy::expect_used,
        reason = "the text is made of digits, letters and `:` only"
    )]
    fn log_pos(&self) -> LogPos {
        let phase = match self.phase {
            Phase::Border => 0,
            Phase::Cdc => 1,
            Phase::Tracking => 2,
            Phase::Rowversion => 3,
        };
        let ended = if self.ended { ":e" } else { "" };
        let text = format!(
            "{:016x}:{phase}:{}:{:016x}:{:016x}{ended}",
            self.cycles, self.lsn, self.version, self.rowversion
        );
        LogPos::try_new(text).expect("a place is a valid position")
    }

    /// From a stored position.
    ///
    /// # Errors
    /// [`SourceError::Malformed`] when it is none of this kind of source.
    pub(crate) fn parse(position: &Position) -> Result<Self, SourceError> {
        let place = Self::read(position.pos.as_str());
        let place = place.filter(|place| place.is_border() == (position.seq == 0));
        place.ok_or_else(|| {
            SourceError::Malformed(format!(
                "checkpoint {position} is not one of a SQL Server source"
            ))
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (text, ended) = match text.strip_suffix(":e") {
            Some(text) => (text, true),
            None => (text, false),
        };
        if text.len() != LENGTH {
            return None;
        }
        let mut parts = text.split(':');
        let number = |part: &str| {
            let plain = part.len() == 16 && part.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        let cycles = number(parts.next()?)?;
        let phase = match parts.next()? {
            "0" => Phase::Border,
            "1" => Phase::Cdc,
            "2" => Phase::Tracking,
            "3" => Phase::Rowversion,
            _ => return None,
        };
        let lsn = Lsn::parse(parts.next()?)?;
        let version = number(parts.next()?)?;
        let rowversion = number(parts.next()?)?;
        let whole = parts.next().is_none() && !(ended && phase == Phase::Border);
        whole.then_some(Self {
            cycles,
            phase,
            lsn,
            version,
            rowversion,
            ended,
        })
    }
}

/// The border at which all cycles up to this number are told, whatever they came to: it sorts before the
/// end of that cycle, and behind all that is told before it.
#[expect(clippy::expect_used, reason = "the text is digits only")]
pub(crate) fn end_of_cycle(epoch: u32, cycles: u64) -> Position {
    let pos = LogPos::try_new(format!("{cycles:016x}")).expect("digits are a valid position");
    Position::border(epoch, pos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_place() -> impl Strategy<Value = Place> {
        let phases = prop_oneof![
            Just(Phase::Border),
            Just(Phase::Cdc),
            Just(Phase::Tracking),
            Just(Phase::Rowversion)
        ];
        let all = (
            0..4_u64,
            phases,
            0..3_u8,
            0..3_u64,
            any::<u64>(),
            any::<bool>(),
        );
        all.prop_map(|(cycles, phase, lsn, version, rowversion, ended)| Place {
            cycles,
            phase,
            lsn: Lsn([lsn; 10]),
            version,
            rowversion,
            ended: ended && phase != Phase::Border,
        })
    }

    #[test]
    fn a_transaction_is_told_where_it_ended() {
        let place = |phase, lsn, ended| Place {
            phase,
            lsn: Lsn([lsn; 10]),
            ended,
            ..Place::default()
        };
        for (at, told) in [
            (place(Phase::Cdc, 4, true), false),
            (place(Phase::Cdc, 5, false), false),
            (place(Phase::Cdc, 5, true), true),
            (place(Phase::Cdc, 6, false), true),
            (place(Phase::Tracking, 5, false), true),
            (place(Phase::Border, 5, false), true),
        ] {
            assert_eq!(at.has_told(Lsn([5; 10])), told, "{at:?}");
        }
    }

    #[test]
    fn a_place_reads_as_it_always_did() {
        let place = Place {
            cycles: 26,
            phase: Phase::Cdc,
            lsn: Lsn::parse("0000002d00000a680003").unwrap(),
            version: 7,
            rowversion: 2_001,
            ended: false,
        };
        let text = "0000000003/000000000000001a:1:0000002d00000a680003:0000000000000007:00000000000007d1/0000000004";
        assert_eq!(place.at(3, 4).to_string(), text);
        let ended = Place {
            ended: true,
            ..place
        };
        assert_eq!(
            ended.at(3, 4).to_string(),
            text.replace("/0000000004", ":e/0000000000")
        );
    }

    proptest! {
        #[test]
        fn a_place_survives_its_text(place in any_place(), epoch: u32, seq in 1_u32..) {
            let position: Position = place.at(epoch, seq).to_string().parse().unwrap();
            prop_assert_eq!(Place::parse(&position), Ok(place));
        }

        #[test]
        fn text_order_is_the_order_of_places(a in any_place(), b in any_place()) {
            prop_assert_eq!(a.at(1, 1).pos.cmp(&b.at(1, 1).pos), a.cmp(&b));
        }

        #[test]
        fn a_mark_lies_between_what_a_cycle_tells_and_its_end(place in any_place(), cycles in 0..5_u64) {
            let told = place.at(1, 9);
            prop_assert_eq!(end_of_cycle(1, cycles) > told, cycles > place.cycles);
        }

        #[test]
        fn never_panics(text: String, seq: u32) {
            if let Ok(pos) = LogPos::try_new(text) {
                let _ = Place::parse(&Position { epoch: 1, pos, seq });
            }
        }
    }

    #[test]
    fn a_position_of_another_kind_of_source_is_refused() {
        for text in [
            "0000000000000001",
            "0000000000000001:4:00000000000000000000:0000000000000000:0000000000000000",
        ] {
            let position = Position::border(1, LogPos::try_new(text).unwrap());
            let refused = Place::parse(&position);
            assert!(matches!(refused, Err(SourceError::Malformed(_))), "{text}");
        }
    }
}

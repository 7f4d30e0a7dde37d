//! Where something stands in the binary log, as a position that sorts.
//!
//! `life:file:offset,,gtid,,set,,born`: the number of the file and a place in it; the id of the
//! transaction there, empty at a border; all transactions before it; and when and by which server the
//! file was begun, and when the newest of those transactions was made. The middle two are missing where the server has no GTIDs, and where the set is
//! longer than a position may be: such a position means something at this server only. Another
//! server, or another life of the same one's files, numbers its files as it likes: `life` then rises,
//! so that what comes later always sorts later.
//!
//! A transaction's changes stand where its first event ends, and the border behind it where its
//! last event ends: both are new places, so a border never has the place of the transaction after it.

use std::fmt::Write as _;

use contract::position::LOG_POS_BYTES_MAX;
use contract::{LogPos, Position, SourceError};

use crate::gtid::{Gtid, GtidSet};

/// What [`Place::born`] and [`Place::last`] take in a position.
const BORN_BYTES: usize = 26;

/// A place in a binary log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Rises when the files are no longer those of before.
    pub(crate) life: u32,
    /// The number at the end of the file's name.
    pub(crate) file: u64,
    /// Bytes from the file's start. Events themselves have it modulo 2^32.
    pub(crate) offset: u64,
    /// The transaction at this place; `None` at a border.
    pub(crate) gtid: Option<Gtid>,
    /// All before it.
    pub(crate) before: Option<GtidSet>,
    /// What tells the file from another one of the same name; `None` = its head was not read.
    pub(crate) born: Option<Born>,
    /// When the newest transaction of `before` was made, in seconds since 1970, where that is the same
    /// at every server that has it; `None` = not known. Stored beside [`Self::born`] only.
    pub(crate) last: Option<u32>,
}

/// When a log file was begun, and by which server: one that is deleted and begun anew
/// (`RESET MASTER`) has the same name, and may have the same numbers of transactions at the same
/// places. A copy of a file has them, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Born {
    /// Seconds since 1970.
    pub(crate) second: u32,
    pub(crate) server: u32,
}

/// Both as a position has them: three numbers, or two.
fn born_and_last(text: &str) -> Option<(Option<Born>, Option<u32>)> {
    let number = |from: usize| u32::from_str_radix(text.get(from..from + 8)?, 16).ok();
    let born = Born {
        second: number(0)?,
        server: number(8)?,
    };
    match text.len() {
        16 => Some((Some(born), None)),
        24 => Some((Some(born), Some(number(16)?))),
        _ => None,
    }
}

impl Place {
    /// As a position.
    pub(crate) fn at(&self, epoch: u32, seq: u32) -> Position {
        Position {
            epoch,
            pos: self.log_pos(),
            seq,
        }
    }

    /// As a log position.
    #[expect(
        clippy::expect_used,
        reason = "the text is made of digits, letters, `-`, `:`, `,` and `_` only, and cut where it is \
                  too long"
    )]
    pub(crate) fn log_pos(&self) -> LogPos {
        let mut text = String::with_capacity(96);
        let _ = write!(
            text,
            "{:08x}:{:010}:{:016x}",
            self.life, self.file, self.offset
        );
        let bare = text.len();
        if let Some(before) = &self.before {
            text.push_str(",,");
            if let Some(gtid) = &self.gtid {
                let _ = write!(text, "{gtid}");
            }
            let _ = write!(text, ",,{before}");
        }
        // Room for what comes last.
        if text.len() > LOG_POS_BYTES_MAX - BORN_BYTES {
            text.truncate(bare);
        }
        if let Some(Born { second, server }) = self.born {
            let _ = write!(text, ",,{second:08x}{server:08x}");
            if let Some(last) = self.last {
                let _ = write!(text, "{last:08x}");
            }
        }
        LogPos::try_new(text).expect("a place is a valid position")
    }

    /// Whether this is the border that a position is, whatever else the two know of it.
    pub(crate) fn is_at(&self, position: &Position) -> bool {
        let border = position.seq == 0;
        border
            && Self::parse(position).is_ok_and(|at| {
                (at.life, at.file, at.offset) == (self.life, self.file, self.offset)
            })
    }

    /// From a stored position.
    ///
    /// # Errors
    /// [`SourceError::Malformed`] when it is none of this kind of source.
    pub(crate) fn parse(position: &Position) -> Result<Self, SourceError> {
        Self::read(position.pos.as_str()).ok_or_else(|| {
            SourceError::Malformed(format!(
                "checkpoint {position} is not one of a MySQL or MariaDB source"
            ))
        })
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(",,");
        let mut parts = words.next()?.split(':');
        let mut part = |length: usize| parts.next().filter(|part| part.len() == length);
        let life = u32::from_str_radix(part(8)?, 16).ok()?;
        let file = part(10)?.parse().ok()?;
        let offset = u64::from_str_radix(part(16)?, 16).ok()?;
        let (gtid, before, (born, last)) = match (words.next(), words.next(), words.next()) {
            (None, _, _) => (None, None, (None, None)),
            (Some(born), None, _) => (None, None, born_and_last(born)?),
            (Some(gtid), Some(set), born) => {
                let gtid = match gtid {
                    "" => None,
                    gtid => Some(Gtid::parse(gtid)?),
                };
                let born = match born {
                    None => (None, None),
                    Some(born) => born_and_last(born)?,
                };
                (gtid, Some(GtidSet::parse(set)?), born)
            }
        };
        (parts.next().is_none() && words.next().is_none()).then_some(Self {
            life,
            file,
            offset,
            gtid,
            before,
            born,
            last,
        })
    }
}

/// A binary log file's name in its two parts: `mysql-bin.000012` is `mysql-bin` and 12. `None` when it
/// is not a file's name.
pub(crate) fn file_number(name: &str) -> Option<(&str, u64)> {
    let (base, number) = name.rsplit_once('.')?;
    let all =
        !number.is_empty() && number.len() <= 10 && number.bytes().all(|b| b.is_ascii_digit());
    Some((base, all.then(|| number.parse().ok()).flatten()?))
}

/// The full offset of an event that says where it ends modulo 2^32, after one that ended at
/// `before` in the same file.
pub(crate) fn full_offset(before: u64, low: u32) -> u64 {
    const ROUND: u64 = 1 << 32;
    let here = (before & !(ROUND - 1)) | u64::from(low);
    if here < before { here + ROUND } else { here }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_place() -> impl Strategy<Value = Place> {
        let maria = (any::<u32>(), any::<u32>(), any::<u64>());
        let maria = maria.prop_map(|(domain, server, sequence)| Gtid::Maria {
            domain,
            server,
            sequence,
        });
        let mysql = (any::<[u8; 16]>(), 1_u64.., "[a-z_][a-z_0-9]{0,31}|");
        let mysql = mysql.prop_map(|(uuid, number, tag)| Gtid::Mysql {
            source: crate::gtid::MysqlSource { uuid, tag },
            number,
        });
        let sets = prop_oneof![
            Just((None, None)),
            (
                proptest::option::of(maria.clone()),
                proptest::collection::vec(maria, 0..9)
            )
                .prop_map(|(gtid, all)| (gtid, Some((GtidSet::maria(), all)))),
            (
                proptest::option::of(mysql.clone()),
                proptest::collection::vec(mysql, 0..5)
            )
                .prop_map(|(gtid, all)| (gtid, Some((GtidSet::mysql(), all)))),
        ];
        let born = proptest::option::of((any::<u32>(), any::<u32>()));
        let born = born.prop_map(|born| born.map(|(second, server)| Born { second, server }));
        let all = (
            any::<u32>(),
            0..10_000_000_000_u64,
            any::<u64>(),
            sets,
            born,
            any::<Option<u32>>(),
        );
        all.prop_map(|(life, file, offset, (gtid, before), born, last)| Place {
            life,
            file,
            offset,
            gtid,
            before: before.map(|(mut set, all)| {
                assert!(all.iter().all(|one| set.insert(one)));
                set
            }),
            born,
            last: born.and(last),
        })
    }

    proptest! {
        #[test]
        fn a_place_survives_its_text(place in any_place(), epoch: u32, seq: u32) {
            let position = place.at(epoch, seq);
            let again: Position = position.to_string().parse().unwrap();
            let read = Place::parse(&again).unwrap();
            // A set of nothing does not say whose it is.
            let length = place.before.as_ref().map(|set| set.to_string().len());
            if length.is_some_and(|length| length == 0 || length > 300) {
                let here = (place.life, place.file, place.offset, place.born);
                prop_assert_eq!((read.life, read.file, read.offset, read.born), here);
            } else {
                prop_assert_eq!(read, place);
            }
        }

        #[test]
        fn places_sort_by_life_file_and_offset(a in any_place(), b in any_place()) {
            let order = |p: &Place| (p.life, p.file, p.offset);
            if order(&a) != order(&b) {
                prop_assert_eq!(a.at(1, 0).cmp(&b.at(1, 0)), order(&a).cmp(&order(&b)));
            }
        }

        #[test]
        fn offsets_go_on_beyond_four_gib(before in 0_u64..1 << 40, step in 0_u64..1 << 32) {
            let after = before + step;
            let low = u32::try_from(after & 0xffff_ffff).unwrap();
            prop_assert_eq!(full_offset(before, low), after);
        }
    }

    #[test]
    fn names_of_files_end_in_a_number() {
        assert_eq!(file_number("mysql-bin.000012"), Some(("mysql-bin", 12)));
        assert_eq!(file_number("a.b.1000000"), Some(("a.b", 1_000_000)));
        for none in ["", "mysql-bin", "x.", "x.12a", "x.12345678901"] {
            assert_eq!(file_number(none), None, "{none}");
        }
    }
}

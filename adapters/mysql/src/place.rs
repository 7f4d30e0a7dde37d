//! Where something stands in the binary log, as a position that sorts.
//!
//! `life:file:offset,gtid`: the number of the file, a place in it, and the id of the transaction
//! there, or of the last one before a border; no id where the server gives none. Another server,
//! or another life of the same one's files, numbers its files as it likes: `life` then rises, so
//! that what comes later always sorts later.
//!
//! A transaction's changes stand where its first event ends, and the border behind it where its
//! last event ends: both are new places, so a border never has the place of the transaction after it.

use contract::{LogPos, Position, SourceError};

use crate::gtid::Gtid;

/// A place in a binary log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Rises when the files are no longer those of before.
    pub(crate) life: u32,
    /// The number at the end of the file's name.
    pub(crate) file: u64,
    /// Bytes from the file's start. Events themselves have it modulo 2^32.
    pub(crate) offset: u64,
    /// The transaction at this place, or the last one before it.
    pub(crate) gtid: Option<Gtid>,
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
    pub(crate) fn log_pos(&self) -> LogPos {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(80);
        let _ = write!(
            text,
            "{:08x}:{:010}:{:016x}",
            self.life, self.file, self.offset
        );
        if let Some(gtid) = &self.gtid {
            let _ = write!(text, ",{gtid}");
        }
        // Digits, letters, `-`, `:`, `,` and, in a tag, `_`; far shorter than what is allowed.
        LogPos::try_new(text).unwrap_or_else(|_| LogPos::from_number(0))
    }

    /// From a stored position.
    ///
    /// # Errors
    /// [`SourceError::Malformed`] when it is none of this kind of source.
    pub(crate) fn parse(position: &Position) -> Result<Self, SourceError> {
        let malformed = || {
            SourceError::Malformed(format!(
                "checkpoint {position} is not one of a MySQL or MariaDB source"
            ))
        };
        let text = position.pos.as_str();
        let (place, gtid) = match text.split_once(',') {
            Some((place, gtid)) => (place, Some(Gtid::parse(gtid).ok_or_else(malformed)?)),
            None => (text, None),
        };
        let parts: Vec<&str> = place.split(':').collect();
        let [life, file, offset] = parts[..] else {
            return Err(malformed());
        };
        if (life.len(), file.len(), offset.len()) != (8, 10, 16) {
            return Err(malformed());
        }
        let wrong = |_| malformed();
        Ok(Self {
            life: u32::from_str_radix(life, 16).map_err(wrong)?,
            file: file.parse().map_err(wrong)?,
            offset: u64::from_str_radix(offset, 16).map_err(wrong)?,
            gtid,
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
        let gtid = prop_oneof![
            Just(None),
            (any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(domain, server, sequence)| Some(
                Gtid::Maria {
                    domain,
                    server,
                    sequence
                }
            )),
            (any::<[u8; 16]>(), 1_u64.., "[a-z_0-9]{0,32}").prop_map(|(uuid, number, tag)| Some(
                Gtid::Mysql {
                    source: crate::gtid::MysqlSource { uuid, tag },
                    number
                }
            )),
        ];
        (any::<u32>(), 0..10_000_000_000_u64, any::<u64>(), gtid).prop_map(
            |(life, file, offset, gtid)| Place {
                life,
                file,
                offset,
                gtid,
            },
        )
    }

    proptest! {
        #[test]
        fn a_place_survives_its_text(place in any_place(), epoch: u32, seq: u32) {
            let position = place.at(epoch, seq);
            let again: Position = position.to_string().parse().unwrap();
            prop_assert_eq!(Place::parse(&again), Ok(place));
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

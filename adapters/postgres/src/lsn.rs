//! Log sequence numbers: PostgreSQL's `X/Y` text, and our positions.

use contract::{LogPos, Position, SourceError};

/// Reads `16/B374D848`.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        plain
            .then(|| u32::from_str_radix(digits, 16).ok())
            .flatten()
    };
    Some(u64::from(part(high)?) << 32 | u64::from(part(low)?))
}

/// Writes `16/B374D848`.
pub(crate) fn text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF)
}

/// The position at a transaction border.
pub(crate) fn border(epoch: u32, lsn: u64) -> Position {
    Position::border(epoch, LogPos::from_number(lsn))
}

/// The position of a change: the start of its transaction's commit record, and its ordinal.
pub(crate) fn inside(epoch: u32, commit: u64, seq: u32) -> Position {
    Position {
        epoch,
        pos: LogPos::from_number(commit),
        seq,
    }
}

/// The log sequence number of a position.
pub(crate) fn of(position: &Position) -> Result<u64, SourceError> {
    position.pos.number().ok_or_else(|| {
        SourceError::Malformed(format!("read position {position}: not one of this source"))
    })
}

/// Where the record that ends at the insert position `lsn` really ends.
///
/// The server reports its insert position as the place of the next record's first byte: at a page
/// start that is behind the page's header (24 bytes, or 40 at the start of a segment), where no
/// record can end. A replication stream says "page start" instead, and on a quiet server never
/// more; a mark behind it would be waited for in vain.
pub(crate) fn record_end(lsn: u64, block: u64, segment: u64) -> u64 {
    const SHORT_HEADER: u64 = 24;
    const LONG_HEADER: u64 = 40;
    if segment > 0 && lsn % segment == LONG_HEADER {
        lsn - LONG_HEADER
    } else if block > 0 && lsn % block == SHORT_HEADER {
        lsn - SHORT_HEADER
    } else {
        lsn
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_round_trips(lsn: u64) {
            prop_assert_eq!(parse(&text(lsn)), Some(lsn));
            prop_assert_eq!(of(&border(1, lsn)), Ok(lsn));
        }

        #[test]
        fn parse_never_panics(text: String) {
            let _ = parse(&text);
        }

        /// A transaction's border stands before the next one's first change, also when the two
        /// records touch.
        #[test]
        fn a_border_stands_before_the_next_change(lsn: u64, seq in 1u32..) {
            prop_assert!(border(1, lsn) < inside(1, lsn, seq));
            prop_assert!(inside(1, lsn, seq) < border(1, lsn.saturating_add(1)) || lsn == u64::MAX);
        }
    }

    #[test]
    fn refuses_what_is_no_lsn() {
        for text in [
            "",
            "/",
            "1/",
            "/1",
            "1",
            "+1/2",
            "1/2/3",
            "1/100000000",
            "x/1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_insert_position_behind_a_page_header_is_the_page_start() {
        let (block, segment) = (8192, 16 << 20);
        for (lsn, end) in [
            (5 * 8192 + 24, 5 * 8192),
            (5 * 8192 + 32, 5 * 8192 + 32),
            (2 * segment + 40, 2 * segment),
            (5 * 8192 + 40, 5 * 8192 + 40),
            (5 * 8192, 5 * 8192),
        ] {
            assert_eq!(record_end(lsn, block, segment), end);
        }
    }
}

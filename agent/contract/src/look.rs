//! What a look beside the stream finds: how much log the database keeps for us and for how long
//! it can, whether a heartbeat came round, and what is wrong although the stream is silent.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::behind::Behind;
use crate::source::SourceError;

/// One look at a source beside its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// The log that is kept for us; `None` when the source keeps none for anybody in particular.
    pub kept: Option<LogKept>,
    /// How far behind we are, where the database counts what it keeps in time.
    pub behind: Option<Behind>,
    /// The newest heartbeat, where heartbeats are switched on and the stream is open.
    pub heartbeat: Option<Heartbeat>,
    /// What ends the stream: something is missing that the log does not tell of.
    pub trouble: Option<SourceError>,
}

/// The log that the database keeps because of us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogKept {
    /// What the database calls it: `reserved`, `extended`, `unreserved`.
    pub state: String,
    /// The database has passed its own limit: the log may be dropped at any moment.
    pub at_risk: bool,
    /// How much it is.
    pub kept_bytes: u64,
    /// How much may still be written before the database drops what we have not read; `None` = it
    /// never does.
    pub left_bytes: Option<u64>,
    /// The free room on the log's disk; `None` = it cannot be known from here.
    pub room_bytes: Option<u64>,
    /// More than this is said.
    pub warn_bytes: u64,
    /// What a person can do about too much of it.
    pub hint: String,
}

/// A mark that was written to the database to be met again in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// When it was written.
    pub sent_at: Timestamp,
    /// How long it took to come round; `None` = it has not been met yet.
    pub took: Option<Duration>,
}

/// What the kept log comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptEnd {
    /// The database drops what we have not read.
    Dropped,
    /// The disk is full.
    DiskFull,
}

impl LogKept {
    /// What comes first when the log grows by so many bytes in an hour, and when. `None` = neither,
    /// as far as can be known.
    pub fn end(&self, growth_per_hour: i64) -> Option<(KeptEnd, Duration)> {
        let rate = u64::try_from(growth_per_hour)
            .ok()
            .filter(|rate| *rate > 0)?;
        let time = |bytes: u64| {
            let seconds = u128::from(bytes) * 3_600 / u128::from(rate);
            Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
        };
        let dropped = self.left_bytes.map(|left| (KeptEnd::Dropped, time(left)));
        let full = self.room_bytes.map(|room| (KeptEnd::DiskFull, time(room)));
        [dropped, full]
            .into_iter()
            .flatten()
            .min_by_key(|(_, time)| *time)
    }

    /// It in one plain sentence. `growth_per_hour` is in bytes; `None` = not measured yet.
    pub fn sentence(&self, growth_per_hour: Option<i64>) -> String {
        let mut text = format!("The server keeps {} of log for us", bytes(self.kept_bytes));
        if self.at_risk {
            text.push_str(", more than its limit: it may drop it at any moment.");
            return text;
        }
        match growth_per_hour {
            None => {}
            Some(..=0) => text.push_str(", and it does not grow"),
            Some(growth) => match self.end(growth) {
                Some((KeptEnd::Dropped, time)) => {
                    let _ = write!(text, "; at this rate it drops it in {}", span(time));
                }
                Some((KeptEnd::DiskFull, time)) => {
                    let _ = write!(text, "; at this rate its disk is full in {}", span(time));
                }
                None => {
                    let growth = bytes(growth.unsigned_abs());
                    let _ = write!(text, ", {growth} more in an hour");
                }
            },
        }
        if self.left_bytes.is_none() {
            text.push_str("; it never drops it");
        }
        match self.room_bytes {
            Some(room) => {
                let _ = write!(text, "; its disk has {} free.", bytes(room));
            }
            None => text.push_str("; the free room on its disk is unknown from here."),
        }
        text
    }
}

/// An amount of data for people.
pub fn bytes(amount: u64) -> String {
    match amount {
        0..0x0010_0000 => format!("{} KiB", amount.div_ceil(1 << 10)),
        0x0010_0000..0x0002_8000_0000 => format!("{} MiB", amount >> 20),
        _ => format!("{} GiB", amount >> 30),
    }
}

/// A span of time for people.
pub fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn kept() -> LogKept {
        LogKept {
            state: "reserved".to_owned(),
            kept_bytes: 310 * MIB,
            left_bytes: Some(500 * MIB),
            ..LogKept::default()
        }
    }

    #[test]
    fn a_sentence_says_how_much_and_for_how_long() {
        let rate = i64::try_from(100 * MIB).unwrap();
        for (kept, growth, words) in [
            (
                kept(),
                Some(rate),
                "The server keeps 310 MiB of log for us; at this rate it drops it in 5 h; the free \
                 room on its disk is unknown from here.",
            ),
            (
                LogKept {
                    room_bytes: Some(200 * MIB),
                    ..kept()
                },
                Some(rate),
                "The server keeps 310 MiB of log for us; at this rate its disk is full in 2 h; its \
                 disk has 200 MiB free.",
            ),
            (
                LogKept {
                    left_bytes: None,
                    ..kept()
                },
                Some(rate),
                "The server keeps 310 MiB of log for us, 100 MiB more in an hour; it never drops \
                 it; the free room on its disk is unknown from here.",
            ),
            (
                kept(),
                Some(0),
                "The server keeps 310 MiB of log for us, and it does not grow; the free room on \
                 its disk is unknown from here.",
            ),
            (
                LogKept {
                    at_risk: true,
                    ..kept()
                },
                None,
                "The server keeps 310 MiB of log for us, more than its limit: it may drop it at \
                 any moment.",
            ),
        ] {
            assert_eq!(kept.sentence(growth), words);
        }
    }

    #[test]
    fn what_shrinks_never_ends() {
        assert_eq!(kept().end(-5), None);
        assert_eq!(kept().end(0), None);
        let least = kept().end(i64::MAX).unwrap();
        assert_eq!(least, (KeptEnd::Dropped, Duration::ZERO));
    }
}

//! How far behind we are, where the database counts what it keeps in time and not in bytes.

use std::time::Duration;

use crate::finding::Level;
use crate::look::span;

/// For how long the database keeps changes, read or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptFor {
    /// Whatever is older is removed.
    Time(Duration),
    /// Nothing is removed.
    Ever,
    /// Our user may not know.
    Unknown,
}

/// How far behind the changes that the database keeps we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The age of the oldest change that we have not read; zero = all is read; `None` = it cannot be known.
    pub by: Option<Duration>,
    /// For how long it is kept.
    pub kept_for: KeptFor,
    /// What a person can do about too little time.
    pub hint: String,
}

impl Behind {
    /// How long the oldest change that we have not read is still kept; the whole time where all is read.
    /// `None` = for ever, or it cannot be known.
    pub fn left(&self) -> Option<Duration> {
        match (self.by, self.kept_for) {
            (Some(by), KeptFor::Time(time)) => Some(time.saturating_sub(by)),
            _ => None,
        }
    }

    /// How bad it is, by thresholds of which `percent` count: three quarters of the time that a
    /// change is kept are gone.
    pub fn level(&self, percent: u32) -> Level {
        match (self.left(), self.kept_for) {
            (Some(left), KeptFor::Time(time))
                if left.as_secs() * 400 <= time.as_secs() * u64::from(percent) =>
            {
                Level::Fail
            }
            _ => Level::Pass,
        }
    }

    /// It in one plain sentence.
    pub fn sentence(&self) -> String {
        let by = match self.by {
            None => "How far behind we are is not known".to_owned(),
            Some(Duration::ZERO) => "We have read all that the server keeps".to_owned(),
            Some(by) => format!("We are {} behind what the server keeps", span(by)),
        };
        let keeps = match self.kept_for {
            KeptFor::Time(time) => format!("it keeps changes for {}", span(time)),
            KeptFor::Ever => "it never removes changes".to_owned(),
            KeptFor::Unknown => "for how long it keeps changes is not known".to_owned(),
        };
        match self.left().filter(|_| self.by != Some(Duration::ZERO)) {
            None => format!("{by}; {keeps}."),
            Some(Duration::ZERO) => {
                format!("{by}; {keeps}: what we have not read may be gone already.")
            }
            Some(left) => format!(
                "{by}; {keeps}, and removes what we have not read in {}.",
                span(left)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn behind(by: Option<Duration>, kept_for: KeptFor) -> Behind {
        Behind {
            by,
            kept_for,
            hint: String::new(),
        }
    }

    #[test]
    fn a_sentence_says_how_far_behind_and_how_long_it_is_kept() {
        let days = |days| KeptFor::Time(DAY * days);
        let hours = |hours| Some(Duration::from_hours(hours));
        for (by, kept_for, words, level) in [
            (
                hours(0),
                days(3),
                "We have read all that the server keeps; it keeps changes for 3 days.",
                Level::Pass,
            ),
            (
                hours(5),
                days(3),
                "We are 5 h behind what the server keeps; it keeps changes for 3 days, and removes what we \
                 have not read in 2 days.",
                Level::Pass,
            ),
            (
                hours(54),
                days(3),
                "We are 2 days behind what the server keeps; it keeps changes for 3 days, and removes what we \
                 have not read in 18 h.",
                Level::Fail,
            ),
            (
                hours(80),
                days(3),
                "We are 3 days behind what the server keeps; it keeps changes for 3 days: what we have not \
                 read may be gone already.",
                Level::Fail,
            ),
            (
                hours(80),
                KeptFor::Ever,
                "We are 3 days behind what the server keeps; it never removes changes.",
                Level::Pass,
            ),
            (
                None,
                KeptFor::Unknown,
                "How far behind we are is not known; for how long it keeps changes is not known.",
                Level::Pass,
            ),
        ] {
            let behind = behind(by, kept_for);
            assert_eq!(
                (behind.sentence().as_str(), behind.level(100)),
                (words, level)
            );
        }
    }

    #[test]
    fn three_quarters_of_the_time_are_too_much() {
        let at = |minutes| {
            let by = Some(Duration::from_mins(minutes));
            behind(by, KeptFor::Time(Duration::from_mins(400)))
        };
        assert_eq!(at(299).level(100), Level::Pass);
        assert_eq!(at(300).level(100), Level::Fail);
        // It is good again by a margin only.
        assert_eq!(at(276).level(125), Level::Fail);
        assert_eq!(at(274).level(125), Level::Pass);
    }
}

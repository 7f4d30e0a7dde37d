//! How fast tables are read, and when they are not.

use std::time::Duration;

use contract::clock::{after, until};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The longest rest between two chunks where no rate is set.
const REST_MAX: Duration = Duration::from_secs(1);

/// A time of each day in which no table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// From this time of day on.
    pub from: Time,
    /// Until this one; on the next day where it is not later.
    pub to: Time,
}

/// How a source's tables are read.
#[derive(Debug, Clone)]
pub struct Pace {
    /// At most so many rows in a second; `None` = after each chunk a rest for as long as it took.
    pub rows_per_second: Option<u32>,
    /// How many tables are read at once.
    pub parallel: usize,
    /// When none is read.
    pub pauses: Vec<Pause>,
    /// The zone of those times.
    pub zone: TimeZone,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rows_per_second: None,
            parallel: 1,
            pauses: Vec::new(),
            zone: TimeZone::UTC,
        }
    }
}

/// When the pause ends that `now` lies in; `None` outside of every pause.
pub(crate) fn paused_until(pauses: &[Pause], zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let local = zone.to_datetime(now);
    let ends = pauses.iter().filter_map(|pause| {
        let time = local.time();
        let over_midnight = pause.to <= pause.from;
        let inside = if over_midnight {
            time >= pause.from || time < pause.to
        } else {
            time >= pause.from && time < pause.to
        };
        let tomorrow = over_midnight && time >= pause.from;
        let date = if tomorrow {
            local.date().checked_add(1.day()).ok()?
        } else {
            local.date()
        };
        let end = zone.to_ambiguous_timestamp(date.to_datetime(pause.to));
        let end = end.compatible().ok()?;
        // A clock that is put back may show the end's time twice.
        (inside && end > now).then_some(end)
    });
    ends.max()
}

impl Pace {
    /// When the pause ends that `now` lies in; `None` outside of every pause.
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        paused_until(&self.pauses, &self.zone, now)
    }

    /// Rows of one chunk, of at most `rows_max`: no more than a second's.
    pub(crate) fn chunk_rows(&self, rows_max: usize) -> usize {
        let rate = self.rows_per_second.map(|rate| rate.max(1) as usize);
        rate.map_or(rows_max, |rate| rate.min(rows_max))
    }

    /// How long to rest after a chunk of `rows` rows that took from `began` to `now`, while
    /// `readers` read.
    pub(crate) fn rest(
        &self,
        rows: usize,
        readers: usize,
        began: Timestamp,
        now: Timestamp,
    ) -> Duration {
        match self.rows_per_second {
            None => until(began, now).min(REST_MAX),
            Some(rate) => {
                let micros = (rows as u64)
                    .saturating_mul(readers as u64)
                    .saturating_mul(1_000_000)
                    / u64::from(rate.max(1));
                until(now, after(began, Duration::from_micros(micros)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(zone: &str, pauses: &[(&str, &str)]) -> Pace {
        let time = |text: &str| text.parse().unwrap();
        Pace {
            zone: TimeZone::get(zone).unwrap(),
            pauses: pauses
                .iter()
                .map(|(from, to)| Pause {
                    from: time(from),
                    to: time(to),
                })
                .collect(),
            ..Pace::default()
        }
    }

    fn check(pace: &Pace, now: &str, end: Option<&str>) {
        let found = pace.paused_until(now.parse().unwrap());
        assert_eq!(found.map(|end| end.to_string()).as_deref(), end, "{now}");
    }

    #[test]
    fn a_pause_ends_at_its_time_in_its_zone() {
        let day = pace("Europe/Zurich", &[("08:00", "18:00")]);
        check(&day, "2026-07-01T05:59:59Z", None);
        check(&day, "2026-07-01T06:00:00Z", Some("2026-07-01T16:00:00Z"));
        check(&day, "2026-07-01T16:00:00Z", None);
        let night = pace("UTC", &[("22:00", "06:00"), ("05:00", "07:00")]);
        check(&night, "2026-07-01T21:59:00Z", None);
        check(&night, "2026-07-01T22:00:00Z", Some("2026-07-02T06:00:00Z"));
        check(&night, "2026-07-02T05:30:00Z", Some("2026-07-02T07:00:00Z"));
        check(&night, "2026-07-02T07:00:00Z", None);
        // Summer time ends: 02:30 comes twice, and both are in the pause.
        let early = pace("Europe/Zurich", &[("02:00", "04:00")]);
        check(&early, "2026-10-25T00:30:00Z", Some("2026-10-25T03:00:00Z"));
        check(&early, "2026-10-25T01:30:00Z", Some("2026-10-25T03:00:00Z"));
        let all = pace("UTC", &[("00:00", "00:00")]);
        check(&all, "2026-07-01T12:00:00Z", Some("2026-07-02T00:00:00Z"));
    }

    #[test]
    fn a_rate_is_kept_whatever_a_chunk_takes() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let slow = Pace {
            rows_per_second: Some(500),
            ..Pace::default()
        };
        assert_eq!(slow.chunk_rows(2_000), 500);
        let rest = |rows, readers, took| slow.rest(rows, readers, at(0), at(took));
        assert_eq!(rest(500, 1, 100), Duration::from_millis(900));
        assert_eq!(rest(500, 2, 100), Duration::from_millis(1_900));
        assert_eq!(rest(500, 1, 2_000), Duration::ZERO);
        let free = Pace::default();
        assert_eq!(free.chunk_rows(2_000), 2_000);
        assert_eq!(
            free.rest(2_000, 1, at(0), at(300)),
            Duration::from_millis(300)
        );
        assert_eq!(free.rest(2_000, 1, at(0), at(5_000)), REST_MAX);
    }
}

//! When the agent compares by itself: `reconcile = { .. }` in a destination's block.

use std::time::Duration;

use contract::{Section, clock};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Keys that are compared, unless the settings or a person say otherwise.
pub(crate) const SAMPLE: u32 = 1_000;
/// Most of them; all of them is another word.
pub(crate) const SAMPLE_MAX: u32 = 1_000_000;

const EVERY_MIN: Duration = Duration::from_mins(10);
const EVERY_MAX: Duration = Duration::from_hours(24 * 90);
const DAY: Duration = Duration::from_hours(24);
/// A day may have an hour less.
const DAY_SLACK: Duration = Duration::from_hours(2);

/// When, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(super) every: Duration,
    /// At this time of day, in the destination's zone.
    pub(super) at: Option<Time>,
    /// So many keys; `None` = every one.
    pub(super) sample: Option<u32>,
    /// Whether a destination is asked for all that it has, where every key is compared.
    pub(super) list: bool,
}

/// Whose settings they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Destination,
    Source,
}

/// Reads it. `zone`: its block says in which zone its times are.
pub(crate) fn read(mut section: Section<'_>, of: Of, zone: bool) -> Schedule {
    let mut schedule = Schedule {
        every: DAY,
        at: None,
        sample: Some(SAMPLE),
        list: true,
    };
    if let (Some(text), Some(node)) = (section.text("every"), section.get("every")) {
        match every(text) {
            Some(every) => schedule.every = every,
            None => section.wrong(
                "every",
                node,
                format!("`{text}` is no time from 10 min to 90 d"),
                Some("such as \"24h\", \"30m\" or \"7d\"".to_owned()),
            ),
        }
    }
    if let (Some(text), Some(node)) = (section.text("at"), section.get("at")) {
        match text.parse() {
            Ok(at) => schedule.at = Some(at),
            Err(_) => section.wrong(
                "at",
                node,
                format!("`{text}` is no time of day"),
                Some("such as \"02:30\"".to_owned()),
            ),
        }
        if !schedule.every.as_secs().is_multiple_of(DAY.as_secs()) {
            let found = "a time of day is kept only every so many whole days".to_owned();
            let fix = Some("every = \"24h\" or \"7d\"; or leave `at` out".to_owned());
            section.wrong("at", node, found, fix);
        }
        if !zone {
            // The time is a person's, and nobody knows in which zone this machine's clock is.
            let (found, fix) = match of {
                Of::Destination => (
                    "the destination's block does not say in which zone",
                    "zone = \"Europe/Berlin\" in the destination's block",
                ),
                Of::Source => (
                    "the source's block does not say in which zone",
                    "snapshot = { zone = \"Europe/Berlin\" } in the source's block",
                ),
            };
            section.wrong("at", node, found.to_owned(), Some(fix.to_owned()));
        }
    }
    let full = section.flag("full");
    let full = section.or("full", full, false);
    let sample = section.number("sample", 1, u64::from(SAMPLE_MAX));
    let sample = sample.and_then(|sample| u32::try_from(sample).ok());
    match (full, sample) {
        (true, Some(_)) => {
            if let Some(node) = section.get("sample") {
                let found = "is all keys already".to_owned();
                let fix = Some("leave `full` or `sample` out".to_owned());
                section.wrong("sample", node, format!("`full` {found}"), fix);
            }
        }
        (true, None) => schedule.sample = None,
        (false, sample) => schedule.sample = Some(section.or("sample", sample, SAMPLE)),
    }
    if of == Of::Destination {
        let list = section.flag("list");
        if let (Some(_), false, Some(node)) = (list, full, section.get("list")) {
            let found = "is only asked where all keys are compared".to_owned();
            let fix = Some("full = true, or leave `list` out".to_owned());
            section.wrong("list", node, found, fix);
        }
        schedule.list = section.or("list", list, true);
    }
    section.finish();
    schedule
}

fn every(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let every = Duration::from_secs(number.checked_mul(seconds)?);
    (EVERY_MIN..=EVERY_MAX).contains(&every).then_some(every)
}

impl Schedule {
    /// Whether a comparison is due. `last`: when it last was; `since`: since when the agent has run: where there
    /// was none yet, its time of day must come first. One that was missed is made up.
    pub(super) fn is_due(
        &self,
        zone: &TimeZone,
        last: Option<Timestamp>,
        since: Timestamp,
        now: Timestamp,
    ) -> bool {
        let Some(at) = self.at else {
            return last.is_none_or(|last| clock::after(last, self.every) <= now);
        };
        let Some(newest) = newest(at, zone, now) else {
            return false;
        };
        match last.map(|last| newest_or(at, zone, last)) {
            None => newest > since,
            Some(then) => {
                let apart = self.every.saturating_sub(DAY_SLACK);
                clock::after(then, apart) <= newest
            }
        }
    }
}

/// The newest moment at that time of day, up to `now`.
fn newest(at: Time, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let today = zone.to_datetime(now).date();
    let days = [Some(today), today.checked_sub(1.day()).ok()];
    days.into_iter().flatten().find_map(|day| {
        let moment = zone.to_ambiguous_timestamp(day.to_datetime(at));
        moment.compatible().ok().filter(|moment| *moment <= now)
    })
}

fn newest_or(at: Time, zone: &TimeZone, then: Timestamp) -> Timestamp {
    newest(at, zone, then).unwrap_or_else(|| clock::minus(then, SignedDuration::from_hours(24)))
}

#[cfg(test)]
mod tests {
    use contract::Problems;

    use super::*;

    fn check(text: &str, zone: bool) -> (Schedule, Vec<String>) {
        let problems = Problems::new("lighterman.toml");
        let root = crate::toml_node::parse(text, &problems).unwrap();
        let schedule = read(
            Section::new(&root, "destination.reconcile", &problems),
            Of::Destination,
            zone,
        );
        let found = problems.take().iter().map(ToString::to_string).collect();
        (schedule, found)
    }

    #[test]
    fn settings_are_read_and_what_is_wrong_is_said() {
        let (schedule, found) = check("every = \"7d\"\nat = \"02:30\"\nsample = 50", true);
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(schedule.every, DAY * 7);
        assert_eq!(schedule.at, Some("02:30".parse().unwrap()));
        assert_eq!(schedule.sample, Some(50));
        let (schedule, found) = check("full = true", false);
        assert_eq!((schedule.sample, found.len()), (None, 0));
        let (schedule, found) = check("full = true\nlist = false", false);
        assert_eq!((schedule.list, found.len()), (false, 0));
        for (text, zone, wanted) in [
            ("every = \"often\"", true, "no time from 10 min"),
            ("every = \"1m\"", true, "no time from 10 min"),
            ("at = \"noon\"", true, "no time of day"),
            ("at = \"02:30\"", false, "in which zone"),
            ("at = \"02:30\"\nevery = \"6h\"", true, "whole days"),
            ("full = true\nsample = 5", true, "all keys already"),
            ("sample = 0", true, "from 1 to"),
            ("list = true", true, "only asked where all keys"),
            ("smaple = 5", true, "unknown key `smaple`"),
        ] {
            let (_, found) = check(text, zone);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(wanted), "{text}: {found:?}");
        }
    }

    fn due(schedule: &Schedule, last: Option<&str>, since: &str, now: &str) -> bool {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let moment = |text: &str| text.parse().unwrap();
        schedule.is_due(&zone, last.map(moment), moment(since), moment(now))
    }

    #[test]
    fn a_time_of_day_is_kept_and_one_that_was_missed_is_made_up() {
        let mut nightly = Schedule {
            every: DAY,
            at: Some("02:30".parse().unwrap()),
            sample: None,
            list: true,
        };
        let began = "2026-11-20T09:00:00Z";
        // The first one waits for its time.
        assert!(!due(&nightly, None, began, "2026-11-20T09:00:01Z"));
        assert!(!due(&nightly, None, began, "2026-11-21T01:29:59Z"));
        assert!(due(&nightly, None, began, "2026-11-21T01:30:00Z"));
        let last = Some("2026-11-21T01:30:00Z");
        assert!(!due(&nightly, last, began, "2026-11-21T20:00:00Z"));
        assert!(!due(&nightly, last, began, "2026-11-22T01:29:59Z"));
        assert!(due(&nightly, last, began, "2026-11-22T01:30:01Z"));
        // The agent was off that night; the next one is kept all the same.
        assert!(due(&nightly, last, began, "2026-11-22T07:00:00Z"));
        let late = Some("2026-11-22T07:00:00Z");
        assert!(!due(&nightly, late, began, "2026-11-22T20:00:00Z"));
        assert!(due(&nightly, late, began, "2026-11-23T01:30:00Z"));
        nightly.every = DAY * 7;
        assert!(!due(&nightly, last, began, "2026-11-27T09:00:00Z"));
        assert!(due(&nightly, last, began, "2026-11-28T01:30:00Z"));
        let often = Schedule {
            every: Duration::from_mins(30),
            at: None,
            sample: None,
            list: true,
        };
        assert!(due(&often, None, began, began));
        assert!(!due(&often, last, began, "2026-11-21T01:59:59Z"));
        assert!(due(&often, last, began, "2026-11-21T02:00:00Z"));
    }
}

//! A day of a series as a line, with the same in words and as a table.

use std::fmt::Write as _;
use std::time::Duration;

use contract::look::span;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::view::{drawn, time};

const HOURS: i64 = 24;
/// A point is the largest value of so many minutes.
const MINUTES: i64 = 5;
const POINTS: usize = 288;

/// The drawing's own units; it is stretched to where it stands.
const WIDTH: u64 = 2 * (POINTS as u64 - 1);
const HEIGHT: u64 = 100;

/// What the top of a chart may be, in seconds: times that people count in.
const TOPS: [u64; 15] = [
    1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400,
];

/// The values of a day, in milliseconds: a point each five minutes, `None` where nothing was measured.
struct Day {
    from: Timestamp,
    points: Vec<Option<u64>>,
}

impl Day {
    fn of(samples: &[(Timestamp, u64)], now: Timestamp) -> Self {
        let five = SignedDuration::from_mins(MINUTES);
        // The newest point is the one that is being measured.
        let length = five.as_secs() * i64::try_from(POINTS).unwrap_or(0);
        let upto = (now.as_second().div_euclid(five.as_secs()) + 1) * five.as_secs();
        let from = Timestamp::from_second(upto - length).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut points = vec![None; POINTS];
        for (at, value) in samples {
            let seconds = at.duration_since(from).as_secs();
            let place = usize::try_from(seconds.div_euclid(five.as_secs()));
            if let Some(point) = place.ok().and_then(|place| points.get_mut(place)) {
                *point = (*point).max(Some(*value));
            }
        }
        Self { from, points }
    }

    fn largest(&self) -> Option<u64> {
        self.points.iter().copied().flatten().max()
    }

    fn newest(&self) -> Option<u64> {
        self.points.iter().rev().copied().flatten().next()
    }

    /// The top of the chart, in milliseconds.
    fn top(&self) -> u64 {
        let largest = self.largest().unwrap_or(0);
        let mut tops = TOPS.iter().map(|seconds| seconds * 1_000);
        tops.find(|top| *top >= largest)
            .unwrap_or_else(|| largest.max(1))
    }

    /// Lines where something was measured, and what is below them.
    fn drawing(&self) -> String {
        let top = self.top();
        let (mut line, mut below) = (String::new(), String::new());
        let mut begun: Option<u64> = None;
        for (n, point) in (0_u64..).zip(&self.points) {
            let x = n * 2;
            match point {
                Some(value) => {
                    let y = HEIGHT
                        - value
                            .saturating_mul(HEIGHT)
                            .checked_div(top)
                            .unwrap_or(0)
                            .min(HEIGHT);
                    // Writing to a text does not fail.
                    if begun.is_none() {
                        begun = Some(x);
                        let _ = write!(line, "M{x} {y}h1");
                        let _ = write!(below, "M{x} {HEIGHT}V{y}h1");
                    } else {
                        let _ = write!(line, "L{x} {y}");
                        let _ = write!(below, "L{x} {y}");
                    }
                }
                None => {
                    if begun.take().is_some() {
                        let _ = write!(below, "V{HEIGHT}Z");
                    }
                }
            }
        }
        if begun.is_some() {
            let _ = write!(below, "V{HEIGHT}Z");
        }
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\">\
             <path class=\"grid\" d=\"M0 0H{WIDTH}M0 {half}H{WIDTH}M0 {HEIGHT}H{WIDTH}\"/>\
             <path class=\"below\" d=\"{below}\"/><path class=\"line\" d=\"{line}\"/></svg>",
            half = HEIGHT / 2
        )
    }

    /// The largest value of each hour that has one, oldest first.
    fn hours(&self) -> Vec<(Timestamp, u64)> {
        let in_hour = usize::try_from(60 / MINUTES).unwrap_or(1);
        let hours = (0_i64..).zip(self.points.chunks(in_hour));
        hours
            .filter_map(|(n, points)| {
                let largest = points.iter().copied().flatten().max()?;
                let at = self.from.checked_add(SignedDuration::from_hours(n)).ok()?;
                Some((at, largest))
            })
            .collect()
    }
}

/// A span of time for people, where less than a second is something.
fn short(millis: u64) -> String {
    match millis {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{millis} ms"),
        1_000..10_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => span(Duration::from_millis(millis)),
    }
}

/// The chart of a series of times, in milliseconds.
pub(super) fn chart(id: &str, title: &str, samples: &[(Timestamp, u64)], now: Timestamp) -> Markup {
    let day = Day::of(samples, now);
    let (Some(largest), Some(newest)) = (day.largest(), day.newest()) else {
        return html! {
            figure .chart {
                figcaption { strong { (title) } " Nothing was measured in the last day." }
            }
        };
    };
    let top = day.top();
    html! {
        figure .chart {
            figcaption {
                strong { (title) } " " (short(newest)) " now, " (short(largest)) " at most in the last day."
            }
            div .plot aria-hidden="true" {
                div .up { span { (short(top)) } span { (short(top / 2)) } span { "0" } }
                (drawn(day.drawing()))
                div .along {
                    span { (HOURS) " h ago" } span { "18 h" } span { "12 h" } span { "6 h" } span { "now" }
                }
            }
            details #(id) {
                summary { "Hour by hour" span .unseen { ": " (title) } }
                table {
                    caption { (title) " The largest value of each hour" }
                    thead { tr { th scope="col" { "From" } th scope="col" .number { "At most" } } }
                    tbody {
                        @for (at, value) in day.hours() {
                            tr { td { (time(at)) } td .number { (short(value)) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_day_has_its_peaks_and_its_gaps() {
        let now = at(86_400 + 290);
        // At its beginning, twice in one point, and now; what is older is left out.
        let samples = [
            (at(0), 9_000_000),
            (at(300), 400),
            (at(43_200), 1_500),
            (at(43_260), 4_000),
            (at(86_400 + 240), 20),
        ];
        let day = Day::of(&samples, now);
        assert_eq!(day.from, at(300));
        assert_eq!(day.points.iter().flatten().count(), 3);
        assert_eq!((day.largest(), day.newest()), (Some(4_000), Some(20)));
        assert_eq!(day.top(), 5_000);
        let hours = day.hours();
        assert_eq!(hours.len(), 3);
        assert_eq!(hours[0], (at(300), 400));
        let drawing = day.drawing();
        assert_eq!(drawing.matches('Z').count(), 3, "{drawing}");
        assert!(drawing.contains("M574 100h1"), "{drawing}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing_and_too_much_stays_inside() {
        let now = at(100_000);
        let text = chart("lag", "Lag.", &[], now).into_string();
        assert!(text.contains("Nothing was measured") && !text.contains("<svg"));
        let huge = Day::of(&[(at(99_990), u64::MAX)], now);
        assert_eq!(huge.top(), u64::MAX);
        assert!(huge.drawing().contains("M574"));
        let shown = [0, 999, 2_500, 150_000].map(short);
        assert_eq!(shown, ["0 s", "999 ms", "2.5 s", "2 min"]);
    }
}

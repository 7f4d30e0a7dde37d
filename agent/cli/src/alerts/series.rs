//! The numbers that rules are about: those of `/metrics`, as they are written there, and a short memory of them for
//! rules about rates and quantiles.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use engine::observe::Kind;

use super::rule::{Of, Rule};

/// A series' labels, as they are written.
pub(crate) type Labels = Vec<(String, String)>;

/// A series is remembered at no more moments than this, however long the window.
const POINTS_MAX: u32 = 60;
/// And no rule remembers more series: their number comes from the settings and closed lists.
const SERIES_MAX: usize = 500;

/// All series by their names.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<String, Vec<(Labels, f64)>>);

impl Samples {
    /// Reads Prometheus' text form, as we write it; what is no sample is passed by.
    pub(super) fn read(text: &str) -> Self {
        let mut all = Self::default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (name, labels, value) in lines.filter_map(sample) {
            all.0.entry(name).or_default().push((labels, value));
        }
        all
    }

    /// The value of a metric without labels.
    pub(super) fn single(&self, name: &str) -> Option<f64> {
        self.of(name).first().map(|(_, value)| *value)
    }

    fn of(&self, name: &str) -> &[(Labels, f64)] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let mut labels = Labels::new();
    let rest = match rest.strip_prefix('{') {
        None => rest,
        Some(mut rest) => loop {
            rest = rest.trim_start_matches(',');
            if let Some(rest) = rest.strip_prefix('}') {
                break rest;
            }
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label.to_owned(), value));
            rest = after;
        },
    };
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    value.is_finite().then(|| (name.to_owned(), labels, value))
}

/// A label's value up to its closing quote, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// Labels as they stand behind a metric's name; nothing where there are none.
pub(super) fn written(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs = labels.iter().map(|(name, value)| {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    });
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

/// Labels that were [`written`].
pub(super) fn read(written: &str) -> Labels {
    sample(&format!("series{written} 0")).map_or_else(Labels::new, |(_, labels, _)| labels)
}

/// What a counter or histogram had counted at a moment.
#[derive(Debug, Clone, PartialEq)]
struct Point {
    at: Duration,
    count: f64,
    sum: f64,
    /// Of a histogram: how many were no more than each bound, and the bounds.
    buckets: Vec<(f64, f64)>,
}

/// What a rule remembers of its series, where it needs a window.
#[derive(Debug, Default)]
pub(super) struct Memory {
    series: BTreeMap<Labels, VecDeque<Point>>,
    looked: bool,
}

impl Memory {
    /// What a rule compares with its bounds now; series that say nothing yet are left out. `now` only grows.
    pub(super) fn measure(
        &mut self,
        rule: &Rule,
        samples: &Samples,
        now: Duration,
    ) -> Vec<(Labels, f64)> {
        if rule.of == Of::Value {
            let found = samples.of(rule.metric.name).iter();
            return found
                .filter(|(labels, _)| rule.takes(labels))
                .cloned()
                .collect();
        }
        let mut measured = Vec::new();
        for (labels, point) in points(rule, samples, now) {
            if self.series.len() >= SERIES_MAX && !self.series.contains_key(&labels) {
                continue;
            }
            // One that is not there at the first look but later begins with zero.
            let begins = self.looked && !self.series.contains_key(&labels);
            let kept = self.series.entry(labels.clone()).or_default();
            if begins {
                kept.push_back(zero(&point));
            }
            remember(kept, point, rule.window);
            if let Some(value) = compared(kept, rule.of, rule.window) {
                measured.push((labels, value));
            }
        }
        self.looked = true;
        measured
    }
}

fn zero(point: &Point) -> Point {
    let buckets = point.buckets.iter().map(|(bound, _)| (*bound, 0.0));
    Point {
        at: point.at,
        count: 0.0,
        sum: 0.0,
        buckets: buckets.collect(),
    }
}

fn points(rule: &Rule, samples: &Samples, now: Duration) -> Vec<(Labels, Point)> {
    let name = rule.metric.name;
    let own = |name: &str| {
        let found = samples.of(name).iter();
        found
            .filter(|(labels, _)| rule.takes(labels))
            .cloned()
            .collect::<Vec<_>>()
    };
    if rule.metric.kind != Kind::Histogram {
        let counted = own(name).into_iter().map(|(labels, count)| {
            let point = Point {
                at: now,
                count,
                sum: 0.0,
                buckets: Vec::new(),
            };
            (labels, point)
        });
        return counted.collect();
    }
    let (sums, buckets) = (own(&format!("{name}_sum")), own(&format!("{name}_bucket")));
    let counted = own(&format!("{name}_count"))
        .into_iter()
        .map(|(labels, count)| {
            let sum = sums.iter().find(|(known, _)| *known == labels);
            let mut found = Vec::new();
            for (known, below) in &buckets {
                let (bounds, others): (Labels, Labels) =
                    known.iter().cloned().partition(|(name, _)| name == "le");
                let bound = bounds.first().and_then(|(_, text)| text.parse().ok());
                if let Some(bound) = bound.filter(|_| others == labels) {
                    found.push((bound, *below));
                }
            }
            let point = Point {
                at: now,
                count,
                sum: sum.map_or(0.0, |(_, sum)| *sum),
                buckets: found,
            };
            (labels, point)
        });
    counted.collect()
}

/// Keeps the newest, what is about as old as the window, and some between the two.
fn remember(kept: &mut VecDeque<Point>, point: Point, window: Duration) {
    // What counts from zero again says nothing about what was before.
    if kept.back().is_some_and(|last| point.count < last.count) {
        kept.clear();
        kept.push_back(zero(&point));
    }
    let step = window / POINTS_MAX;
    let mut older = kept.iter().rev().skip(1);
    let near = older.next().zip(kept.back());
    if near.is_some_and(|(before, last)| last.at.saturating_sub(before.at) < step) {
        kept.pop_back();
    }
    let now = point.at;
    kept.push_back(point);
    while kept
        .get(1)
        .is_some_and(|second| now.saturating_sub(second.at) >= window)
    {
        kept.pop_front();
    }
}

fn compared(kept: &VecDeque<Point>, of: Of, window: Duration) -> Option<f64> {
    let (first, last) = (kept.front()?, kept.back()?);
    let time = last.at.saturating_sub(first.at);
    let count = last.count - first.count;
    match of {
        Of::Value => None,
        Of::Increase => Some(count),
        // What is measured over a moment is chance.
        Of::Rate => (time >= window / 2).then(|| count / time.as_secs_f64()),
        Of::Mean => (count > 0.0).then(|| (last.sum - first.sum) / count),
        Of::Quantile(part) => quantile(first, last, part),
    }
}

/// Between the bounds of the bucket that it lies in, as if that was filled evenly.
fn quantile(first: &Point, last: &Point, part: f64) -> Option<f64> {
    let before = |bound: f64| {
        let same = |(known, _): &&(f64, f64)| known.total_cmp(&bound).is_eq();
        first.buckets.iter().find(same).map_or(0.0, |(_, n)| *n)
    };
    let total = last.count - first.count;
    if total <= 0.0 {
        return None;
    }
    let wanted = part * total;
    let (mut lower, mut under) = (0.0, 0.0);
    for (bound, count) in &last.buckets {
        let count = count - before(*bound);
        if count >= wanted {
            if bound.is_infinite() {
                return Some(lower);
            }
            let inside = count - under;
            let share = if inside > 0.0 {
                (wanted - under) / inside
            } else {
                1.0
            };
            return Some(lower + (bound - lower) * share);
        }
        (lower, under) = (*bound, count);
    }
    Some(lower)
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;

//! A rule: which metric, which bounds for how long, and what is said when they are crossed.

use std::time::Duration;

use contract::look::{bytes, span};
use engine::observe::Metric;

use super::series::Labels;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Somebody should look at it today.
    Warn,
    /// Somebody should look at it now.
    Page,
}

/// Their words in the settings.
pub(super) const URGENCIES: [&str; 2] = ["warn", "page"];

impl Urgency {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Page => "page",
        }
    }

    pub(super) fn of(name: &str) -> Self {
        if name == "page" {
            Self::Page
        } else {
            Self::Warn
        }
    }
}

/// What of a metric is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Of {
    /// A gauge as it is.
    Value,
    /// By how much a counter, or how many a histogram counted, grew within the window.
    Increase,
    /// The same in a second.
    Rate,
    /// The mean of what a histogram counted within the window.
    Mean,
    /// What so many of them, of one, were no more than.
    Quantile(f64),
}

/// Their words in the settings.
pub(super) const FORMS: [(&str, Of); 8] = [
    ("value", Of::Value),
    ("increase", Of::Increase),
    ("rate", Of::Rate),
    ("mean", Of::Mean),
    ("p50", Of::Quantile(0.5)),
    ("p90", Of::Quantile(0.9)),
    ("p95", Of::Quantile(0.95)),
    ("p99", Of::Quantile(0.99)),
];

impl Of {
    pub(super) fn name(self) -> &'static str {
        let known = FORMS.iter().find(|(_, form)| *form == self);
        known.map_or("value", |(name, _)| name)
    }
}

/// Which side of the bound is trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Above,
    Below,
}

/// A rule of the settings, or one that is built in.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(super) name: String,
    pub(super) built_in: bool,
    pub(super) on: bool,
    pub(super) metric: Metric,
    pub(super) of: Of,
    pub(super) window: Duration,
    /// Only series whose labels have one of these values.
    pub(super) labels: Vec<(String, Vec<String>)>,
    pub(super) side: Side,
    /// `None` = twice what is kept free of the state folder's disk.
    pub(super) bound: Option<f64>,
    /// It is over on the other side of this.
    pub(super) clear: Option<f64>,
    /// So long it must be crossed until it counts,
    pub(super) hold: Duration,
    /// and so long it must be well until it is over.
    pub(super) clear_hold: Duration,
    pub(super) urgency: Urgency,
    pub(super) say: String,
    pub(super) look: String,
}

impl Rule {
    /// Whether it is about a series.
    pub(super) fn takes(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(name, wanted)| {
            let found = labels.iter().find(|(known, _)| known == name);
            found.is_some_and(|(_, value)| wanted.contains(value))
        })
    }

    /// Whether a value is trouble.
    pub(super) fn is_crossed(&self, value: f64) -> bool {
        self.bound.is_some_and(|bound| match self.side {
            Side::Above => value > bound,
            Side::Below => value < bound,
        })
    }

    /// Whether a value is well again: not before it is on the other side of `clear`.
    pub(super) fn is_clear(&self, value: f64) -> bool {
        let Some(clear) = self.clear.or(self.bound) else {
            return true;
        };
        match self.side {
            Side::Above => value <= clear,
            Side::Below => value >= clear,
        }
    }

    /// What is wrong, in its words.
    pub(super) fn sentence(&self, labels: &Labels, value: f64) -> String {
        let mut text = self.say.replace("{value}", &self.figure(value));
        for (name, value) in labels {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    /// A value for people: a span, an amount of data, or a number.
    pub(super) fn figure(&self, value: f64) -> String {
        let name = self.metric.name.trim_end_matches("_total");
        let counts = matches!(self.of, Of::Increase | Of::Rate);
        if !counts && name.ends_with("_seconds") && value >= 0.0 {
            Duration::try_from_secs_f64(value).map_or_else(|_| number(value), span)
        } else if !counts && name.ends_with("_bytes") && value >= 0.0 {
            // Shown in KiB at the least: what stands behind the point is nobody's matter.
            format!("{value:.0}")
                .parse()
                .map_or_else(|_| number(value), bytes)
        } else {
            number(value)
        }
    }

    /// The rule in one line, for lists.
    pub(super) fn condition(&self) -> String {
        let side = match self.side {
            Side::Above => "above",
            Side::Below => "below",
        };
        let bound = self.bound.map_or_else(
            || "twice the disk's reserve".to_owned(),
            |bound| self.figure(bound),
        );
        let mut text = match self.of {
            Of::Value => format!("{} {side} {bound}", self.metric.name),
            of => format!(
                "{} of {} in {} {side} {bound}",
                of.name(),
                self.metric.name,
                span(self.window)
            ),
        };
        if self.hold > Duration::ZERO {
            text.push_str(" for ");
            text.push_str(&span(self.hold));
        }
        text
    }
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

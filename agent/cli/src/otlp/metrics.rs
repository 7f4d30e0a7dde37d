//! What `/metrics` says, in the JSON form of OTLP: made of its text, so that the two cannot differ.

use std::collections::BTreeMap;

use engine::observe::Lives;
use serde_json::{Value as Json, json};

/// What a metric's series are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug, Default)]
struct Metric {
    kind: Option<Kind>,
    help: String,
    /// By their labels.
    points: BTreeMap<String, Point>,
}

#[derive(Debug, Default)]
struct Point {
    labels: Vec<(String, String)>,
    value: f64,
    /// Bounds and how many were within them.
    within: Vec<(f64, u64)>,
    count: u64,
    sum: f64,
}

/// Numbers are added up from here.
const CUMULATIVE: u8 = 2;

/// The metrics of a text.
pub(super) fn of(text: &str, began: &str, now: &str) -> Vec<Json> {
    let mut all: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            if let Some((name, help)) = rest.split_once(' ') {
                help.clone_into(&mut all.entry(name.to_owned()).or_default().help);
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = rest.split_once(' ') {
                all.entry(name.to_owned()).or_default().kind = match kind {
                    "counter" => Some(Kind::Counter),
                    "gauge" => Some(Kind::Gauge),
                    "histogram" => Some(Kind::Histogram),
                    _ => None,
                };
            }
        } else if !line.starts_with('#') {
            sample(&mut all, line);
        }
    }
    all.into_iter()
        .filter_map(|(name, metric)| metric.json(&name, began, now))
        .collect()
}

fn sample(all: &mut BTreeMap<String, Metric>, line: &str) {
    let Some((series, value)) = line.rsplit_once(' ') else {
        return;
    };
    let Ok(value) = value.parse::<f64>() else {
        return;
    };
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, labels(rest.trim_end_matches('}'))),
        None => (series, Vec::new()),
    };
    // A counter's series end with what its name does not; a histogram has three kinds of series.
    let ends = ["_total", "_bucket", "_sum", "_count", ""];
    let found = ends.iter().find_map(|end| {
        let base = name.strip_suffix(*end)?;
        let kind = all.get(base)?.kind?;
        let fits = match *end {
            "_total" => kind == Kind::Counter,
            "" => kind != Kind::Histogram,
            _ => kind == Kind::Histogram,
        };
        fits.then_some((base.to_owned(), *end))
    });
    let Some((base, end)) = found else {
        return;
    };
    let own: Vec<(String, String)> = labels
        .iter()
        .filter(|(key, _)| key != "le")
        .cloned()
        .collect();
    let Some(metric) = all.get_mut(&base) else {
        return;
    };
    let point = metric.points.entry(format!("{own:?}")).or_default();
    point.labels = own;
    match end {
        "_bucket" => {
            let bound = labels
                .iter()
                .find(|(key, _)| key == "le")
                .map(|(_, le)| le.as_str());
            if let Some(Ok(bound)) = bound.filter(|le| *le != "+Inf").map(str::parse::<f64>) {
                point.within.push((bound, whole(value)));
            }
        }
        "_sum" => point.sum = value,
        "_count" => point.count = whole(value),
        _ => point.value = value,
    }
}

/// A count: the text has it as a number without a fraction.
fn whole(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap_or_default()
}

/// `name="value",..`, with the escapes of Prometheus' text form.
fn labels(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let mut end = after.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c)) => value.push(c),
                    None => {}
                },
                c => value.push(c),
            }
        }
        found.push((name.trim_start_matches(',').to_owned(), value));
        rest = after.get(end + 1..).unwrap_or_default();
    }
    found
}

impl Metric {
    fn json(&self, name: &str, began: &str, now: &str) -> Option<Json> {
        let kind = self.kind?;
        // What lives in the state file began before this process, nobody knows when (0 = unknown).
        let lives = engine::observe::METRICS.iter();
        let mut lives = lives.filter(|one| one.lives == Lives::State);
        let is_kept = lives.any(|one| one.name.trim_end_matches("_total") == name);
        let began = if is_kept { "0" } else { began };
        let points: Vec<Json> = self
            .points
            .values()
            .map(|one| one.json(kind, began, now))
            .collect();
        if points.is_empty() {
            return None;
        }
        let what = match kind {
            Kind::Counter => (
                "sum",
                json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true }),
            ),
            Kind::Gauge => ("gauge", json!({ "dataPoints": points })),
            Kind::Histogram => (
                "histogram",
                json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE }),
            ),
        };
        // As Prometheus calls it: a counter's name ends with what its kind says.
        let name = match kind {
            Kind::Counter => format!("{name}_total"),
            Kind::Gauge | Kind::Histogram => name.to_owned(),
        };
        Some(json!({ "name": name, "description": self.help, what.0: what.1 }))
    }
}

impl Point {
    fn json(&self, kind: Kind, began: &str, now: &str) -> Json {
        let attributes: Vec<Json> = self
            .labels
            .iter()
            .map(|(key, value)| super::attribute(key, &json!(value)))
            .collect();
        match kind {
            Kind::Gauge => {
                json!({ "attributes": attributes, "timeUnixNano": now, "asDouble": self.value })
            }
            Kind::Counter => json!({
                "attributes": attributes, "startTimeUnixNano": began, "timeUnixNano": now,
                "asDouble": self.value,
            }),
            Kind::Histogram => {
                // Prometheus counts up to each bound, OTLP between two.
                let mut before = 0;
                let mut counts = Vec::new();
                for (_, within) in &self.within {
                    counts.push(within.saturating_sub(before).to_string());
                    before = *within;
                }
                counts.push(self.count.saturating_sub(before).to_string());
                let bounds: Vec<f64> = self.within.iter().map(|(bound, _)| *bound).collect();
                json!({
                    "attributes": attributes, "startTimeUnixNano": began, "timeUnixNano": now,
                    "count": self.count.to_string(), "sum": self.sum, "bucketCounts": counts,
                    "explicitBounds": bounds,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_gauges_and_histograms_are_taken_over() {
        let text = "# HELP a_thing A thing.\n# TYPE a_thing counter\na_thing_total{x=\"p \\\"q\\\", r\",y=\"s\"} 3\n\
                    # TYPE b gauge\nb 1.5\n# TYPE c_seconds histogram\nc_seconds_sum{d=\"e\"} 2.5\n\
                    c_seconds_count{d=\"e\"} 4\nc_seconds_bucket{le=\"1.0\",d=\"e\"} 1\n\
                    c_seconds_bucket{le=\"2.0\",d=\"e\"} 3\nc_seconds_bucket{le=\"+Inf\",d=\"e\"} 4\n# EOF\n";
        let all = of(text, "1", "2");
        assert_eq!(all.len(), 3);
        assert_eq!(all[0]["name"], "a_thing_total");
        let point = &all[0]["sum"]["dataPoints"][0];
        assert_eq!(point["attributes"][0]["value"]["stringValue"], "p \"q\", r");
        assert_eq!(point["attributes"][1]["key"], "y");
        assert_eq!(all[1]["gauge"]["dataPoints"][0]["asDouble"], json!(1.5));
        let point = &all[2]["histogram"]["dataPoints"][0];
        assert_eq!(point["bucketCounts"], json!(["1", "2", "1"]));
        assert_eq!(point["explicitBounds"], json!([1.0, 2.0]));
        assert_eq!((&point["count"], &point["sum"]), (&json!("4"), &json!(2.5)));
    }
}

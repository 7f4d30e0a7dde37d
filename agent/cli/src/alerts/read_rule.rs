//! `[[alert]]` in the settings file: a rule, or what is different of one that is built in.

use std::time::Duration;

use contract::finding::nearest;
use contract::{NodeKind, Section};
use engine::observe::{Kind as MetricKind, METRICS, Metric};

use super::rule::{FORMS, Of, Rule, Side, URGENCIES, Urgency};
use super::settings::{CLEAR_HOLD, WINDOW};

const WINDOW_SECONDS: (u64, u64) = (60, 3_600);

/// A rule, or what is different of one that is built in.
pub(super) fn read(mut section: Section<'_>, rules: &mut Vec<Rule>, named: &mut Vec<String>) {
    let name = section.required_text("name", "`name = \"orders-late\"`");
    let metric = metric_of(&mut section);
    let on = section.flag("on").unwrap_or(true);
    let side = bound(&mut section);
    let clear = decimal(&mut section, "clear");
    let hold = section.number("for_seconds", 0, 7 * 86_400);
    let clear_hold = section.number("clear_for_seconds", 0, 86_400);
    let window = section.number("window_seconds", WINDOW_SECONDS.0, WINDOW_SECONDS.1);
    let words: Vec<&'static str> = FORMS.iter().map(|(word, _)| *word).collect();
    let of = section.word("of", &words);
    let urgency = section.word("level", &URGENCIES).map(Urgency::of);
    let say = section.text("say").map(str::to_owned);
    let look = section.text("look").map(str::to_owned);
    let labels = labels_of(&mut section);
    let (line, column) = section.place();
    let (problems, path) = (section.problems().clone(), section.path().to_owned());
    let wrong = |found: String, fix: Option<String>| problems.add(line, column, &path, found, fix);
    let Some(name) = name.map(str::to_owned) else {
        section.finish();
        return;
    };
    if named.contains(&name) {
        wrong(format!("two have the name `{name}`"), None);
    }
    named.push(name.clone());
    let known = rules
        .iter()
        .position(|rule| rule.built_in && rule.name == name);
    let seconds = |found: Option<u64>, usual: Duration| found.map_or(usual, Duration::from_secs);
    let mut rule = if let Some(known) = known.and_then(|at| rules.get(at)) {
        known.clone()
    } else {
        let Some(metric) = metric else {
            if section.get("metric").is_none() {
                let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
                let fix = nearest(&name, names.iter().copied()).map_or_else(
                    || "add metric = \"..\": docs/operating/metrics.md has them".to_owned(),
                    |near| format!("add metric = \"..\"; or did you mean the built-in `{near}`?"),
                );
                wrong("required key `metric` is missing".to_owned(), Some(fix));
            }
            section.finish();
            return;
        };
        if section.get("above").is_none() && section.get("below").is_none() {
            let fix = "above = 900, or below = 1".to_owned();
            wrong("has no bound".to_owned(), Some(fix));
        }
        Rule {
            name: name.clone(),
            built_in: false,
            on,
            metric,
            of: usual_form(metric),
            window: WINDOW,
            labels: Vec::new(),
            side: Side::Above,
            bound: None,
            clear: None,
            hold: Duration::ZERO,
            clear_hold: CLEAR_HOLD,
            urgency: Urgency::Warn,
            say: String::new(),
            look: "lighterman alert list; lighterman status".to_owned(),
        }
    };
    if let Some(metric) = metric {
        rule.metric = metric;
    }
    rule.on = on;
    if let Some((side, bound)) = side {
        // Whoever moves a bound means the other one to move with it.
        (rule.side, rule.bound, rule.clear) = (side, Some(bound), None);
    }
    rule.clear = clear.or(rule.clear);
    rule.hold = seconds(hold, rule.hold);
    rule.clear_hold = seconds(clear_hold, rule.clear_hold);
    rule.window = seconds(window, rule.window);
    rule.urgency = urgency.unwrap_or(rule.urgency);
    if let Some((_, of)) = of.and_then(|of| FORMS.iter().find(|(word, _)| *word == of)) {
        rule.of = *of;
    }
    rule.look = look.unwrap_or(rule.look);
    rule.say = say.unwrap_or(rule.say);
    if !labels.is_empty() {
        rule.labels = labels;
    }
    if rule.say.is_empty() {
        rule.say = said_by_itself(&rule);
    }
    for (found, fix) in misfits(&rule) {
        wrong(found, Some(fix));
    }
    section.finish();
    match known {
        Some(at) => {
            if let Some(place) = rules.get_mut(at) {
                *place = rule;
            }
        }
        None => rules.push(rule),
    }
}

fn usual_form(metric: Metric) -> Of {
    match metric.kind {
        MetricKind::Gauge => Of::Value,
        MetricKind::Counter => Of::Increase,
        MetricKind::Histogram => Of::Quantile(0.95),
    }
}

fn said_by_itself(rule: &Rule) -> String {
    let labels = rule.metric.labels.iter();
    let labels: Vec<String> = labels.map(|label| format!("{label} {{{label}}}")).collect();
    let of = match rule.of {
        Of::Value => String::new(),
        of => format!("{} of ", of.name()),
    };
    let about = if labels.is_empty() {
        String::new()
    } else {
        format!(" ({})", labels.join(", "))
    };
    format!(
        "{}: {of}{} is {{value}}{about}.",
        rule.name, rule.metric.name
    )
}

/// What of a rule does not fit together, and how it would.
fn misfits(rule: &Rule) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let metric = &rule.metric;
    let forms: &[&str] = match metric.kind {
        MetricKind::Gauge => &["value"],
        MetricKind::Counter => &["increase", "rate"],
        MetricKind::Histogram => &["p50", "p90", "p95", "p99", "mean", "increase", "rate"],
    };
    if !forms.contains(&rule.of.name()) {
        found.push((
            format!(
                "{} is a {}, which has no `{}`",
                metric.name,
                metric.kind.name(),
                rule.of.name()
            ),
            format!("of = one of {}", forms.join(", ")),
        ));
    }
    let swapped = rule
        .bound
        .zip(rule.clear)
        .is_some_and(|(bound, clear)| match rule.side {
            Side::Above => clear > bound,
            Side::Below => clear < bound,
        });
    if swapped {
        found.push((
            "clear is on the wrong side of the bound: it would begin and end at once".to_owned(),
            "what begins above 900 is over below a smaller number, such as clear = 300".to_owned(),
        ));
    }
    for (label, _) in &rule.labels {
        if !metric.labels.contains(&label.as_str()) {
            found.push((
                format!("{} has no label `{label}`", metric.name),
                format!("its labels are: {}", metric.labels.join(", ")),
            ));
        }
    }
    for text in [&rule.say, &rule.look] {
        for part in text.split('{').skip(1) {
            let name = part.split('}').next().unwrap_or_default();
            if name != "value" && !metric.labels.contains(&name) {
                let mut known = vec!["{value}".to_owned()];
                known.extend(metric.labels.iter().map(|label| format!("{{{label}}}")));
                found.push((
                    format!("there is no `{{{name}}}` to be said"),
                    format!("what can be said: {}", known.join(", ")),
                ));
            }
        }
    }
    found
}

fn metric_of(section: &mut Section<'_>) -> Option<Metric> {
    let text = section.text("metric")?;
    let found = METRICS.iter().find(|metric| metric.name == text);
    if found.is_none()
        && let Some(node) = section.get("metric")
    {
        let fix = nearest(text, METRICS.iter().map(|metric| metric.name)).map_or_else(
            || "docs/operating/metrics.md has them".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        section.wrong(
            "metric",
            node,
            format!("there is no metric `{text}`"),
            Some(fix),
        );
    }
    found.copied()
}

/// `above = ..` or `below = ..`.
fn bound(section: &mut Section<'_>) -> Option<(Side, f64)> {
    let (above, below) = (decimal(section, "above"), decimal(section, "below"));
    if above.is_some()
        && below.is_some()
        && let Some(node) = section.get("below")
    {
        let found = "a rule has one bound".to_owned();
        let fix = Some("make two rules of it".to_owned());
        section.wrong("below", node, found, fix);
    }
    let above = above.map(|bound| (Side::Above, bound));
    above.or(below.map(|bound| (Side::Below, bound)))
}

fn decimal(section: &mut Section<'_>, key: &'static str) -> Option<f64> {
    let node = section.get(key)?;
    let number = match &node.kind {
        NodeKind::Number(text) => text.replace('_', "").parse::<f64>().ok(),
        _ => None,
    };
    let number = number.filter(|number| number.is_finite());
    if number.is_none() {
        let found = format!("expected a number, found {}", node.type_name());
        section.wrong(key, node, found, None);
    }
    number
}

/// `labels = { source = "erp", cause = ["rejected", "guard"] }`.
fn labels_of(section: &mut Section<'_>) -> Vec<(String, Vec<String>)> {
    let Some(mut labels) = section.section("labels") else {
        return Vec::new();
    };
    let (problems, path) = (labels.problems().clone(), labels.path().to_owned());
    let entries = labels.free_entries();
    let read = entries.iter().filter_map(|(key, node)| {
        let text = |node: &contract::Node| match &node.kind {
            NodeKind::Text(text) => Some(text.clone()),
            _ => None,
        };
        let values = match &node.kind {
            NodeKind::List(items) => items.iter().map(text).collect::<Option<Vec<_>>>(),
            _ => text(node).map(|text| vec![text]),
        };
        if values.is_none() {
            let what = format!("{path}.{}", key.name);
            let found = format!(
                "expected text or a list of texts, found {}",
                node.type_name()
            );
            problems.add(node.line, node.column, &what, found, None);
        }
        Some((key.name.clone(), values?))
    });
    read.collect()
}

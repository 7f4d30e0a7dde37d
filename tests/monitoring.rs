//! What is shipped for Prometheus and Grafana names only what there is, and fires when it should.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use engine::observe::{Kind, METRICS};
use serde_json::Value;

/// Labels that are nobody's of ours.
const OTHER_LABELS: [&str; 5] = ["instance", "job", "le", "severity", "alertname"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The words of an expression, those in quotes left out.
fn words(expression: &str) -> BTreeSet<String> {
    let outside = expression
        .split('"')
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" ");
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let words = outside.split(word).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// What an expression names that does not exist.
fn unknown(expression: &str) -> Vec<String> {
    let known = |word: &String| {
        METRICS.iter().any(|metric| {
            let parts = ["_bucket", "_sum", "_count"].map(|part| word.strip_suffix(part));
            metric.name == *word
                || metric.kind == Kind::Histogram && parts.contains(&Some(metric.name))
        })
    };
    let ours = |word: &String| word.starts_with("lighterman_") || word.starts_with("process_");
    let mut wrong: Vec<String> = words(expression)
        .into_iter()
        .filter(|word| ours(word) && !known(word))
        .collect();
    // Labels: before an operator of a matcher, and within by (..) and on (..).
    let mut labels = BTreeSet::new();
    for part in expression.split('{').skip(1) {
        let inside = part.split('}').next().unwrap();
        let names = inside.split('"').step_by(2);
        labels.extend(names.flat_map(|text| words(text.trim_matches(['=', '!', '~', ',', ' ']))));
    }
    for start in ["by (", "on ("] {
        for part in expression.split(start).skip(1) {
            labels.extend(words(part.split(')').next().unwrap()));
        }
    }
    let all = METRICS.iter().flat_map(|metric| metric.labels);
    let all: BTreeSet<&str> = all.copied().chain(OTHER_LABELS).collect();
    wrong.extend(
        labels
            .into_iter()
            .filter(|label| !all.contains(label.as_str())),
    );
    wrong
}

/// The expressions of the rules: what stands behind `expr:`, over several lines where it says so.
fn expressions(rules: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut lines = rules.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(text) = line.trim_start().strip_prefix("expr: ") else {
            continue;
        };
        let mut text = text.trim_start_matches('|').to_owned();
        while let Some(more) =
            lines.next_if(|next| next.starts_with("            ") || text.is_empty())
        {
            text.push_str(more);
        }
        all.push(text);
    }
    all
}

#[test]
fn the_table_of_the_page_is_what_there_is() {
    let mut table = String::from(
        "| metric | kind | labels | after a restart | what it is |\n|---|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, kind, lives) = (metric.name, metric.kind.name(), metric.lives.name());
        writeln!(
            table,
            "| `{name}` | {kind} | {} | {lives} | {} |",
            labels.join(", "),
            metric.help
        )
        .unwrap();
    }
    let page = "docs/operating/metrics.md";
    let text = read(page);
    let (head, rest) = text.split_once("<!-- table -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- end of table -->").unwrap();
    let wanted = format!("{head}<!-- table -->\n{table}<!-- end of table -->{tail}");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(root().join(page), &wanted).unwrap();
    }
    assert_eq!(
        read(page),
        wanted,
        "BLESS=1 writes the table of {page} anew"
    );
}

#[test]
fn names_are_as_prometheus_wants_them() {
    let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "one name twice");
    for metric in METRICS {
        assert_eq!(
            metric.kind == Kind::Counter,
            metric.name.ends_with("_total"),
            "{}",
            metric.name
        );
        assert!(!metric.help.ends_with('.'), "{}", metric.name);
    }
}

#[test]
fn rules_and_dashboard_name_only_what_there_is() {
    let rules = read("packaging/monitoring/lighterman.rules.yaml");
    let expressions = expressions(&rules);
    assert_eq!(expressions.len(), rules.matches("- alert:").count());
    let mut wrong = Vec::new();
    for expression in &expressions {
        assert!(expression.len() > 5, "{expression}");
        wrong.extend(unknown(expression));
    }
    let board: Value =
        serde_json::from_str(&read("packaging/monitoring/lighterman.dashboard.json")).unwrap();
    let mut shown = 0;
    let mut named = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            wrong.extend(unknown(expression));
            named.extend(words(expression));
            shown += 1;
        }
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            wrong.extend(unknown(query));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(shown > 20, "{shown}");
    // And it shows whatever there is to show.
    let parts = |name: &str| ["_bucket", "_sum", "_count", ""].map(|part| format!("{name}{part}"));
    let missing: Vec<_> = METRICS
        .iter()
        .map(|metric| metric.name)
        .filter(|name| !parts(name).iter().any(|part| named.contains(part)))
        .filter(|name| {
            // Said by alerts, or of no use in a picture.
            !["lighterman_state_readable", "process_start_time_seconds"].contains(name)
        })
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "not in the dashboard");
}

/// `promtool`, of the package `prometheus`; where it is not there, that is said.
fn promtool(arguments: &[&str], input: Option<&str>) -> Option<(bool, String)> {
    let mut child = match Command::new("promtool")
        .args(arguments)
        .current_dir(root().join("packaging/monitoring"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            // Not by a print macro: those are captured, and a skipped test must be seen.
            let line = format!("skipped: promtool (package prometheus): {error}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
    };
    if let Some(input) = input {
        let stdin = child.stdin.as_mut().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
    }
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    Some((output.status.success(), said.concat()))
}

#[test]
fn rules_are_valid_and_fire_when_they_should() {
    for arguments in [
        ["check", "rules", "lighterman.rules.yaml"],
        ["test", "rules", "lighterman.rules_test.yaml"],
        ["check", "config", "prometheus.yaml"],
    ] {
        let Some((fine, said)) = promtool(&arguments, None) else {
            return;
        };
        assert!(fine, "{arguments:?}: {said}");
    }
}

#[test]
fn the_dashboards_expressions_are_valid() {
    let board = read("packaging/monitoring/lighterman.dashboard.json");
    let board: Value = serde_json::from_str(&board).unwrap();
    let panels = board["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let rules: Vec<Value> = targets
        .enumerate()
        .map(|(n, target)| {
            let expression = target["expr"].as_str().unwrap();
            // What Grafana puts in where all are chosen.
            let expression = ["$instance", "$source", "$destination"]
                .iter()
                .fold(expression.to_owned(), |text, name| text.replace(name, ".*"));
            assert!(!expression.contains('$'), "{expression}");
            serde_json::json!({ "record": format!("panel:{n}"), "expr": expression })
        })
        .collect();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let form = serde_json::json!({ "groups": [{ "name": "board", "rules": rules }] });
    std::fs::write(file.path(), form.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    if let Some((fine, said)) = promtool(&["check", "rules", path], None) {
        assert!(fine && said.contains("SUCCESS"), "{said}");
    }
}

/// What `promtool check metrics` says of an agent's answer; nothing where it is not there.
pub(crate) fn lint(metrics: &str) {
    if let Some((fine, said)) = promtool(&["check", "metrics"], Some(metrics)) {
        assert!(fine && said.trim().is_empty(), "{said}");
    }
}

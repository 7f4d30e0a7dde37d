//! Every line of the agent's log has a code, and every code its entry for people.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::root;

const CODES: &str = "docs/operating/log-codes.md";
const LOGS: &str = "docs/operating/logs.md";

/// Levels whose lines must have a code; the others may.
const WITH_CODE: [&str; 3] = ["info", "warn", "error"];

/// A call of one of tracing's macros.
struct Call {
    place: String,
    level: &'static str,
    /// Its fields, and what they are given.
    fields: Vec<(String, String)>,
}

#[test]
fn every_line_has_a_code_and_every_code_an_entry() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for call in calls() {
        let code = call.fields.iter().find(|(name, _)| name == "code");
        match code.and_then(|(_, value)| value.strip_prefix('"')?.strip_suffix('"')) {
            Some(code) => {
                let parts: Vec<&str> = code.split('.').collect();
                let word = |part: &&str| {
                    !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                };
                if parts.len() != 2 || !parts.iter().all(word) {
                    wrong.push(format!("{}: `{code}` is not `area.what`", call.place));
                }
                used.insert(code.to_owned());
            }
            None if WITH_CODE.contains(&call.level) => {
                wrong.push(format!("{}: {}! has no code", call.place, call.level));
            }
            None => {}
        }
    }
    let entries = entries();
    let known: BTreeSet<String> = entries.keys().cloned().collect();
    for code in used.difference(&known) {
        wrong.push(format!("{CODES}: nothing of `{code}`"));
    }
    // What libraries say has a code of its own, which no call names.
    for code in known
        .difference(&used)
        .filter(|code| *code != "library.says")
    {
        wrong.push(format!("{CODES}: no line has `{code}`"));
    }
    for (code, entry) in &entries {
        for part in ["- Why: ", "- Do: "] {
            if entry.lines().filter(|line| line.starts_with(part)).count() != 1 {
                wrong.push(format!("{CODES}: `{code}` needs one `{part}`"));
            }
        }
        let what = entry.trim_start();
        if what.is_empty() || what.starts_with('-') {
            wrong.push(format!("{CODES}: `{code}` does not say what happened"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn fields_have_the_names_that_are_documented() {
    let text = std::fs::read_to_string(root().join(LOGS)).unwrap();
    let table = text.split("## Fields").nth(1).unwrap_or_default();
    let table = table.split("\n## ").next().unwrap_or_default();
    let documented: BTreeSet<&str> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|names| names.split('`').skip(1).step_by(2))
        .collect();
    let mut wrong = Vec::new();
    // Those of every line, and that of a sum, which says again what another line said.
    let every = ["timestamp", "level", "message", "target", "folded"];
    let mut used = BTreeSet::from(every.map(str::to_owned));
    for call in calls() {
        for (name, _) in call.fields {
            if !documented.contains(name.as_str()) {
                wrong.push(format!("{}: {LOGS} does not have `{name}`", call.place));
            }
            used.insert(name);
        }
    }
    for name in documented.iter().filter(|name| !used.contains(**name)) {
        wrong.push(format!("{LOGS}: no line has `{name}`"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn calls_are_found_in_the_sources_as_they_are_written() {
    let text = r#"
        fn f() {
            // tracing::warn!("not this one");
            tracing::warn!(code = "a.b", table = %one.table, rows, "it's {x}, said \"so\"");
            warn!(error = %error, hint = format!("a, {}", b(1, 2)),
                "no code");
            let text = "tracing::info!(code = \"c.d\", \"nor this\")";
        }
        #[cfg(test)]
        mod tests { fn g() { tracing::info!("nor in tests"); } }
    "#;
    let found: Vec<_> = calls_in("x.rs", text)
        .into_iter()
        .map(|call| (call.place, call.level, call.fields))
        .collect();
    let fields = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        all.iter().map(own).collect()
    };
    let expected = vec![
        (
            "x.rs:4".to_owned(),
            "warn",
            fields(&[("code", "\"a.b\""), ("table", "%one.table"), ("rows", "")]),
        ),
        (
            "x.rs:5".to_owned(),
            "warn",
            fields(&[("error", "%error"), ("hint", "format!(\"a, {}\", b(1, 2))")]),
        ),
    ];
    assert_eq!(found, expected);
}

/// The entries of the page of codes: what stands below each heading.
fn entries() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join(CODES)).unwrap();
    let mut entries = BTreeMap::new();
    for part in text.split("\n### `").skip(1) {
        let (code, rest) = part.split_once("`\n").unwrap();
        let entry = rest.split("\n## ").next().unwrap_or_default();
        let before = entries.insert(code.to_owned(), entry.to_owned());
        assert!(before.is_none(), "{CODES} has `{code}` twice");
    }
    entries
}

/// Every call in the product's own code.
fn calls() -> Vec<Call> {
    let root = root().canonicalize().unwrap();
    let mut files = Vec::new();
    for folder in ["agent", "adapters", "mappings", "state"] {
        sources(&root.join(folder), &mut files);
    }
    files.sort();
    let mut calls = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let shown = file.strip_prefix(&root).unwrap().display().to_string();
        calls.extend(calls_in(&shown, &text));
    }
    assert!(calls.len() > 80, "found only {} calls", calls.len());
    calls
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["tests", "benches", "target"].contains(&name.as_str()) {
                sources(&path, files);
            }
        } else if path.extension().is_some_and(|end| end == "rs") && !name.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

fn calls_in(file: &str, text: &str) -> Vec<Call> {
    // Tests within a file stand at its end.
    let tests = text
        .match_indices("#[cfg(test)]")
        .find(|(at, mark)| text[at + mark.len()..].trim_start().starts_with("mod "));
    let text = tests.map_or(text, |(at, _)| &text[..at]);
    let mut calls = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if let Some(length) = literal(rest) {
            at += length;
        } else if let Some((level, begin)) = opening(text, at) {
            let (fields, length) = arguments(&text[begin..]);
            let line = text[..at].matches('\n').count() + 1;
            calls.push(Call {
                place: format!("{file}:{line}"),
                level,
                fields,
            });
            at = begin + length;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    calls
}

/// The length of a text or character that begins here.
fn literal(text: &str) -> Option<usize> {
    if let Some(raw) = text.strip_prefix("r#\"") {
        return Some(raw.find("\"#").map_or(text.len(), |end| end + 5));
    }
    if text.starts_with('"') {
        let mut escaped = false;
        for (place, byte) in text.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Some(place + 1),
                _ => {}
            }
        }
        return Some(text.len());
    }
    // A character, not a lifetime.
    let mut chars = text.strip_prefix('\'')?.char_indices();
    let (_, first) = chars.next()?;
    let (end, _) = if first == '\\' {
        chars.find(|(place, c)| *place > 1 && *c == '\'')?
    } else {
        chars.next().filter(|(_, c)| *c == '\'')?
    };
    Some(end + 2)
}

/// Whether one of tracing's macros is called here: its level, and where its arguments begin.
fn opening(text: &str, at: usize) -> Option<(&'static str, usize)> {
    let before = text[..at].bytes().next_back();
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    ["info", "warn", "error", "debug", "trace"]
        .into_iter()
        .find_map(|level| {
            let rest = text[at..].strip_prefix(level)?.strip_prefix("!(")?;
            Some((level, text.len() - rest.len()))
        })
}

/// The fields that stand before the message, and the length of all arguments.
fn arguments(text: &str) -> (Vec<(String, String)>, usize) {
    let mut parts = vec![String::new()];
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        let length = literal(rest)
            .or_else(|| {
                rest.starts_with("//")
                    .then(|| rest.find('\n').unwrap_or(rest.len()))
            })
            .unwrap_or_else(|| rest.chars().next().map_or(1, char::len_utf8));
        let piece = &rest[..length];
        match piece {
            "(" | "[" | "{" => depth += 1,
            ")" if depth == 0 => break,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if piece == "," && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push_str(piece);
        }
        at += length;
    }
    let is_name = |text: &str| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        !text.is_empty() && text.bytes().all(word)
    };
    let fields = parts
        .iter()
        .map(|part| part.trim())
        .take_while(|part| !part.starts_with('"'))
        .filter_map(|part| {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim()),
                None => (part.trim_start_matches(['%', '?']), ""),
            };
            is_name(name).then(|| (name.to_owned(), value.to_owned()))
        })
        .collect();
    (fields, at)
}

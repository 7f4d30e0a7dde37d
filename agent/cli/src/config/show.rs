//! `lighterman config show`: what the settings are, and where each value comes from.

use std::path::Path;

use contract::section::{Asked, Wanted};
use contract::{Finding, Level, Problems, Section};
use serde_json::json;

use super::{Flat, open, read, read_destinations};
use crate::{Exit, out, say};

/// Shows them; `effective` adds what holds where nothing is said.
pub(crate) fn show(file: &Path, effective: bool, as_json: bool) -> Exit {
    let (root, problems) = match open(file, Problems::watched) {
        Ok(opened) => opened,
        Err(findings) => return crate::refuse(&findings, as_json),
    };
    let mut top = Section::new(&root, "", &problems);
    let _ = read(&mut top, read_destinations, true);
    top.finish();
    let mut lines: Vec<Line> = Flat::of(&root, &problems)
        .iter()
        .map(|said| Line {
            path: said.path.clone(),
            value: said.value.clone(),
            origin: said.origin.clone(),
        })
        .collect();
    if effective {
        let named = |place: &str| named(&root, place);
        let defaults = defaults(&problems.asked(), named);
        let unsaid = |line: &Line| !lines.iter().any(|said| is_in(&said.path, &line.path));
        let defaults: Vec<Line> = defaults.into_iter().filter(unsaid).collect();
        lines.extend(defaults);
    }
    lines.sort_by(|a, b| block(&a.path).cmp(block(&b.path)));
    let findings = problems.take();
    let wrong: Vec<&Finding> = findings
        .iter()
        .filter(|one| one.level == Level::Fail)
        .collect();
    if as_json {
        let all: Vec<_> = lines
            .iter()
            .map(|line| json!({ "path": line.path, "value": line.value, "origin": line.origin }))
            .collect();
        out(&json!({ "settings": all, "findings": findings }).to_string());
    } else {
        let left: Vec<String> = lines
            .iter()
            .map(|line| format!("{} = {}", line.path, line.value))
            .collect();
        let width = left
            .iter()
            .map(|text| text.chars().count())
            .max()
            .unwrap_or(0)
            .min(72);
        let mut before = None;
        for (line, left) in lines.iter().zip(&left) {
            if before.is_some_and(|before| before != block(&line.path)) {
                out("");
            }
            before = Some(block(&line.path));
            out(&format!("{left:width$}  # {}", line.origin));
        }
        say(&findings);
    }
    if wrong.is_empty() {
        Exit::Ok
    } else {
        Exit::Settings
    }
}

struct Line {
    path: String,
    value: String,
    origin: String,
}

/// Said itself, or a part of it.
fn is_in(said: &str, path: &str) -> bool {
    said == path
        || said
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
}

/// The block a path stands in: `source.erp` of `source.erp.port`.
fn block(path: &str) -> &str {
    let blocks = ["source.", "destination."];
    if !blocks.iter().any(|block| path.starts_with(block)) {
        return "";
    }
    match path.match_indices('.').nth(1) {
        Some((at, _)) => path.get(..at).unwrap_or(path),
        None => path,
    }
}

/// What holds where nothing is said, as the readers said.
fn defaults(asked: &Asked, named: impl Fn(&str) -> String) -> Vec<Line> {
    let mut lines = Vec::new();
    for ((place, key), wanted) in asked {
        let default = wanted.iter().find_map(|one| match one {
            Wanted::Default(value) | Wanted::Here(value) => Some(value.clone()),
            _ => None,
        });
        let place = named(place);
        let path = if place.is_empty() {
            key.clone()
        } else {
            format!("{place}.{key}")
        };
        if let Some(value) = default {
            lines.push(Line {
                path,
                value,
                origin: "default".to_owned(),
            });
        }
    }
    lines
}

/// A section's path with the names of blocks in place of their numbers.
fn named(root: &contract::Node, place: &str) -> String {
    let mut found = String::new();
    let mut at = Some(root);
    for part in place.split('.').filter(|part| !part.is_empty()) {
        let (key, number) = match part.split_once('[') {
            Some((key, number)) => (key, number.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        at = at.and_then(|node| entry(node, key));
        if !found.is_empty() {
            found.push('.');
        }
        found.push_str(key);
        if let Some(number) = number {
            at = match at.map(|node| &node.kind) {
                Some(contract::NodeKind::List(items)) => items.get(number.saturating_sub(1)),
                _ => None,
            };
            let name = at.and_then(super::overrides::name);
            found.push('.');
            found.push_str(&name.unwrap_or_else(|| number.to_string()));
        }
    }
    found
}

fn entry<'n>(node: &'n contract::Node, key: &str) -> Option<&'n contract::Node> {
    let contract::NodeKind::Map(entries) = &node.kind else {
        return None;
    };
    entries
        .iter()
        .find(|(known, _)| known.name == key)
        .map(|(_, node)| node)
}

//! Site files: a pack with a site's own answers and changes laid over it.
//!
//! Packs are read-only. A site file says which pack it `extends` and repeats only what differs:
//! answers to the pack's settings, companies, tables, codes of dictionaries, and parts of events
//! by their `id`. Later versions of the pack then bring their improvements without a merge.

use contract::finding::Finding;
use contract::section::{Key, Problems, TRUTH};
use contract::{Node, NodeKind};

use super::FindPack;
use super::words::did_you_mean;
use crate::yaml::parse_yaml;

/// Site files may extend site files, this deep.
const DEPTH_MAX: usize = 4;
/// Parts of an event that are laid over each other name by name.
const MERGED_PARTS: &[&str] = &["key", "fields", "join", "add", "lines", "also_in"];

/// The file with everything it extends; their texts go to `texts`.
pub(super) fn extended(
    own: Node,
    problems: &Problems,
    packs: FindPack<'_>,
    texts: &mut Vec<String>,
) -> Result<Node, Vec<Finding>> {
    let mut layers = vec![own];
    while let Some((node, name)) = layers.last().and_then(extends) {
        let refuse = |found: String, fix: Option<String>| {
            let usual = || {
                "extends: pack.yaml, a file beside this one, or the name of a shipped pack"
                    .to_owned()
            };
            let fix = Some(fix.unwrap_or_else(usual));
            problems.add(node.line, node.column, "extends", found, fix);
            Err(problems.take())
        };
        let Some(name) = name else {
            return refuse(format!("expected text, found {}", node.type_name()), None);
        };
        if layers.len() > DEPTH_MAX {
            return refuse("files extend each other more than 4 deep".to_owned(), None);
        }
        let (file, text) = match packs(name) {
            Ok(found) => found,
            Err(found) => return refuse(found, None),
        };
        let mut below = parse_yaml(&file, &text)?;
        let first = problems.further_file(&file);
        shift(&mut below, first);
        texts.push(text);
        layers.push(below);
    }
    let Some(mut merged) = layers.pop() else {
        return Err(problems.take());
    };
    while let Some(over) = layers.pop() {
        merged = lay_over(merged, over, problems);
    }
    // What is wrong so far does not hide what is wrong in the whole.
    if matches!(merged.kind, NodeKind::Map(_)) {
        return Ok(merged);
    }
    let findings = problems.take();
    if !findings.is_empty() {
        return Err(findings);
    }
    // Without a word it would be taken for a file that tells nothing.
    let found = format!("expected keys and values, found {}", merged.type_name());
    let fix = "a file begins with `mapping: 1`; a blank stands behind each colon";
    problems.add(
        merged.line,
        merged.column,
        "file",
        found,
        Some(fix.to_owned()),
    );
    Err(problems.take())
}

fn extends(node: &Node) -> Option<(Node, Option<&str>)> {
    let NodeKind::Map(entries) = &node.kind else {
        return None;
    };
    let (_, node) = entries.iter().find(|(key, _)| key.name == "extends")?;
    Some((
        node.clone(),
        match &node.kind {
            NodeKind::Text(name) => Some(name),
            _ => None,
        },
    ))
}

/// Moves a file's lines behind those of the files before it.
fn shift(node: &mut Node, first: usize) {
    node.line += first;
    match &mut node.kind {
        NodeKind::List(items) => items.iter_mut().for_each(|item| shift(item, first)),
        NodeKind::Map(entries) => {
            for (key, node) in entries {
                key.line += first;
                shift(node, first);
            }
        }
        NodeKind::Null | NodeKind::Bool(_) | NodeKind::Number(_) | NodeKind::Text(_) => {}
    }
}

fn lay_over(base: Node, over: Node, problems: &Problems) -> Node {
    let place = (over.line, over.column);
    let (NodeKind::Map(mut entries), NodeKind::Map(changes)) = (base.kind, over.kind) else {
        problems.add(
            place.0,
            place.1,
            "file",
            "expected a table".to_owned(),
            None,
        );
        return Node {
            line: place.0,
            column: place.1,
            kind: NodeKind::Null,
        };
    };
    // A site's tests are its own; the pack's hold for the pack's own answers.
    entries.retain(|(key, _)| key.name != "tests" && key.name != "extends");
    for (key, node) in changes {
        match key.name.as_str() {
            "extends" => {}
            "mapping" | "pack" | "pack_version" | "source" => {
                let found = format!("`{}` is the pack's to say", key.name);
                let fix = Some("leave it out of the site file".to_owned());
                if key.name != "mapping" {
                    problems.add(key.line, key.column, &key.name, found, fix);
                } else if !matches!(&node.kind, NodeKind::Number(one) | NodeKind::Text(one) if one == "1")
                {
                    let found = "expected 1, the version of the mapping language".to_owned();
                    let fix = Some("mapping: 1".to_owned());
                    problems.add(node.line, node.column, "mapping", found, fix);
                }
            }
            "settings" => answers(&mut entries, &node, problems),
            "events" => events(&mut entries, node, problems),
            "tables" | "dictionaries" | "clean" => merge(&mut entries, key, node, 2),
            // Another way to say it.
            "company" | "companies" => {
                entries.retain(|(known, _)| known.name != "company" && known.name != "companies");
                entries.push((key, node));
            }
            _ => merge(&mut entries, key, node, 0),
        }
    }
    Node {
        line: place.0,
        column: place.1,
        kind: NodeKind::Map(entries),
    }
}

/// Sets a key; tables within `depth` levels are laid over each other, everything else replaced.
fn merge(entries: &mut Vec<(Key, Node)>, key: Key, node: Node, depth: usize) {
    let Some((_, known)) = entries.iter_mut().find(|(known, _)| known.name == key.name) else {
        entries.push((key, node));
        return;
    };
    match (&mut known.kind, node.kind) {
        (NodeKind::Map(below), NodeKind::Map(above)) if depth > 0 => {
            for (key, node) in above {
                merge(below, key, node, depth - 1);
            }
        }
        (_, kind) => {
            *known = Node {
                line: node.line,
                column: node.column,
                kind,
            };
        }
    }
}

/// `settings: {time_zone: Europe/Berlin}` answers what the pack asks.
fn answers(entries: &mut [(Key, Node)], answers: &Node, problems: &Problems) {
    let NodeKind::Map(given) = &answers.kind else {
        let found = format!("expected a table, found {}", answers.type_name());
        problems.add(answers.line, answers.column, "settings", found, None);
        return;
    };
    answer(entries, given, problems);
}

/// Puts answers where the file asks.
pub(super) fn answer(entries: &mut [(Key, Node)], given: &[(Key, Node)], problems: &Problems) {
    let asked = entries.iter_mut().find(|(key, _)| key.name == "settings");
    let asked = match asked.map(|(_, node)| &mut node.kind) {
        Some(NodeKind::Map(asked)) => asked.as_mut_slice(),
        _ => &mut [],
    };
    for (key, node) in given {
        let place = asked.iter().position(|(known, _)| known.name == key.name);
        let Some((_, question)) = place.and_then(|at| asked.get_mut(at)) else {
            let names = asked.iter().map(|(known, _)| known.name.as_str());
            let fix = did_you_mean(&key.name, names);
            let found = format!("the pack asks for no setting `{}`", key.name);
            problems.add(key.line, key.column, "settings", found, fix);
            continue;
        };
        if let NodeKind::Map(parts) = &mut question.kind {
            parts.retain(|(part, _)| part.name != "answer");
            let answer = Key {
                name: "answer".to_owned(),
                ..key.clone()
            };
            parts.push((answer, node.clone()));
        }
    }
}

fn text<'n>(node: &'n Node, name: &str) -> Option<&'n str> {
    let NodeKind::Map(entries) = &node.kind else {
        return None;
    };
    let found = entries.iter().find(|(key, _)| key.name == name);
    match found.map(|(_, node)| &node.kind) {
        Some(NodeKind::Text(text)) => Some(text),
        _ => None,
    }
}

/// Events of the site: changes of the pack's by id, and new ones.
fn events(entries: &mut Vec<(Key, Node)>, node: Node, problems: &Problems) {
    let place = (node.line, node.column);
    let NodeKind::List(changes) = node.kind else {
        let found = format!("expected a list of tables, found {}", node.type_name());
        problems.add(place.0, place.1, "events", found, None);
        return;
    };
    if !entries.iter().any(|(key, _)| key.name == "events") {
        let key = Key {
            name: "events".to_owned(),
            line: place.0,
            column: place.1,
        };
        let empty = Node {
            line: place.0,
            column: place.1,
            kind: NodeKind::List(Vec::new()),
        };
        entries.push((key, empty));
    }
    let known = entries.iter_mut().find(|(key, _)| key.name == "events");
    let Some(NodeKind::List(known)) = known.map(|(_, node)| &mut node.kind) else {
        return;
    };
    for mut change in changes {
        let id = text(&change, "id").map(str::to_owned);
        let same = known
            .iter()
            .position(|event| id.is_some() && text(event, "id") == id.as_deref());
        let off = taken_off(&mut change, problems);
        match (same, off) {
            (Some(at), true) => {
                known.remove(at);
            }
            (None, true) => {
                let found = "switches off an event that the pack does not have".to_owned();
                let ids: Vec<&str> = known.iter().filter_map(|event| text(event, "id")).collect();
                let fix = did_you_mean(id.as_deref().unwrap_or_default(), ids);
                problems.add(change.line, change.column, "events", found, fix);
            }
            (Some(at), false) => {
                let Some(event) = known.get_mut(at) else {
                    continue;
                };
                if let (NodeKind::Map(below), NodeKind::Map(above)) = (&mut event.kind, change.kind)
                {
                    for (key, node) in above {
                        let depth = match key.name.as_str() {
                            "lines" => 2,
                            part if MERGED_PARTS.contains(&part) => 1,
                            _ => 0,
                        };
                        merge(below, key, node, depth);
                    }
                }
            }
            (None, false) => known.push(change),
        }
    }
}

/// Takes `off` out of an event, and says whether the event is switched off.
fn taken_off(event: &mut Node, problems: &Problems) -> bool {
    let NodeKind::Map(entries) = &mut event.kind else {
        return false;
    };
    let Some(at) = entries.iter().position(|(key, _)| key.name == "off") else {
        return false;
    };
    let (_, node) = entries.remove(at);
    if let NodeKind::Bool(off) = node.kind {
        return off;
    }
    let found = format!("expected true or false, found {}", node.type_name());
    let fix = Some(TRUTH.to_owned());
    problems.add(node.line, node.column, "events.off", found, fix);
    false
}

//! A JSON Schema of the settings file for editors, made of what its readers ask for.

use contract::section::{Asked, Wanted};
use contract::{Key, Node, NodeKind, Problems, Section};
use serde_json::{Value as Json, json};

use super::{read, read_destinations};
use crate::{alerts, toml_node};

/// Sections within sections are looked into so deep.
const DEPTH: usize = 4;

/// The schema: a block's keys are those of its type.
pub(crate) fn schema() -> Json {
    let sources = registry::SOURCES
        .iter()
        .map(|kind| ("source", kind.name, kind.example));
    let destinations = registry::DESTINATIONS
        .iter()
        .map(|kind| ("destination", kind.name, kind.example));
    let mut whole = Vec::new();
    let mut blocks = [Vec::new(), Vec::new()];
    for (block, kind, example) in sources.chain(destinations) {
        let asked = asked(&format!("{example}{}", alerts::EXAMPLE));
        let one = mappings::editor::plain(std::slice::from_ref(&asked));
        if let Some(items) = one.pointer(&format!("/properties/{block}/items")) {
            let mut items = items.clone();
            if let Some(place) = items.pointer_mut("/properties/type") {
                *place = json!({ "const": kind });
            }
            blocks[usize::from(block == "destination")].push(items);
        }
        whole.push(asked);
    }
    let mut root = mappings::editor::plain(&whole);
    for (block, kinds) in ["source", "destination"].into_iter().zip(blocks) {
        if let Some(items) = root.pointer_mut(&format!("/properties/{block}/items")) {
            *items = json!({ "oneOf": kinds });
        }
    }
    if let Some(object) = root.as_object_mut() {
        object.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        object.insert("title".to_owned(), json!("Lighterman settings"));
        object.insert("required".to_owned(), json!(["source", "destination"]));
    }
    root
}

/// What is asked of a file with this block. What may be a table is given as an empty one, until nothing more is asked.
fn asked(example: &str) -> Asked {
    let mut root = toml_node::parse(example, &Problems::new("")).unwrap_or(Node {
        line: 1,
        column: 1,
        kind: NodeKind::Map(Vec::new()),
    });
    let mut asked = Asked::new();
    for _ in 0..DEPTH {
        let problems = Problems::watched("");
        let mut top = Section::new(&root, "", &problems);
        let _ = read(&mut top, read_destinations, true);
        for (place, wanted) in problems.asked() {
            asked.entry(place).or_default().extend(wanted);
        }
        let sections = asked.iter().filter(|(_, wanted)| {
            wanted.contains(&Wanted::Section) && !wanted.contains(&Wanted::Secret)
        });
        for ((place, key), _) in sections {
            add(&mut root, place, key, NodeKind::Map(Vec::new()));
        }
        // Blocks within a block; those of the file itself are asked for with an example of each kind.
        let blocks = asked
            .iter()
            .filter(|((place, _), wanted)| !place.is_empty() && wanted.contains(&Wanted::Sections));
        for ((place, key), _) in blocks {
            let one = Node {
                line: 1,
                column: 1,
                kind: NodeKind::Map(Vec::new()),
            };
            add(&mut root, place, key, NodeKind::List(vec![one]));
        }
    }
    asked
}

/// An empty table, or a list of one, where there is nothing.
fn add(root: &mut Node, place: &str, key: &str, kind: NodeKind) {
    let mut at = root;
    for part in place.split('.').filter(|part| !part.is_empty()) {
        let (key, number) = match part.split_once('[') {
            Some((key, number)) => (key, number.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let NodeKind::Map(entries) = &mut at.kind else {
            return;
        };
        let Some((_, below)) = entries.iter_mut().find(|(known, _)| known.name == key) else {
            return;
        };
        at = below;
        if let Some(number) = number {
            let NodeKind::List(items) = &mut at.kind else {
                return;
            };
            let Some(item) = items.get_mut(number.saturating_sub(1)) else {
                return;
            };
            at = item;
        }
    }
    if let NodeKind::Map(entries) = &mut at.kind
        && !entries.iter().any(|(known, _)| known.name == key)
    {
        let name = key.to_owned();
        let empty = Node {
            line: 1,
            column: 1,
            kind,
        };
        let key = Key {
            name,
            line: 1,
            column: 1,
        };
        entries.push((key, empty));
    }
}

//! What a rule is made of, as one digest: another one means that its events may be others, so that
//! the rows that are there must be told again. A comment, a test or another event changes nothing
//! of it, and neither does the agent's own version.

use std::collections::BTreeMap;

use contract::event::digest;
use contract::{CapturedTable, Node, NodeKind};
use serde_json::{Value, json};

use super::blocks::Company;
use super::event::Loaded;

/// Parts of an event that say when and how it is told, not what.
const NOT_TOLD: &[&str] = &["id", "emit_when", "fact", "together", "on_delete"];

/// The digest of the event `id` of a file, with the parts of the shared blocks that it uses.
pub(super) fn made_of(
    root: &Node,
    id: &str,
    loaded: &Loaded,
    tables: &BTreeMap<String, CapturedTable>,
    company: Option<&Company>,
) -> String {
    let NodeKind::List(events) = &get(root, "events").kind else {
        return String::new();
    };
    let named =
        |event: &&Node| matches!(&get(event, "id").kind, NodeKind::Text(text) if text == id);
    let event = events.iter().find(named).unwrap_or(root);
    let mut event = plain(event);
    if let Value::Object(parts) = &mut event {
        parts.retain(|name, _| !NOT_TOLD.contains(&name.as_str()));
    }
    let company = company
        .map(|company| json!([company.code, company.currency, company.part, company.column]));
    let clean = plain(get(root, "clean"));
    // Where these names can stand; a word too many only makes the digest change too often.
    let words = format!("{event} {clean} {}", json!(company)).to_lowercase();
    let used = |names: &[String], block: &str| -> Value {
        let block = get(root, block);
        let named = names.iter().map(|name| (name, plain(get(block, name))));
        json!(named.collect::<BTreeMap<_, _>>())
    };
    let own = loaded.used_tables.iter().filter_map(|alias| {
        let table = tables.get(alias)?;
        let stands = json!([table.table.schema, table.table.name, table.key]);
        Some((alias, stands))
    });
    let settings = entries(get(root, "settings")).filter(|(name, _)| {
        let simple = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        !simple || words.contains(&name.to_lowercase())
    });
    let settings = settings.map(|(name, asked)| {
        let answer = get(asked, "answer");
        let given = match answer.kind {
            NodeKind::Null => get(asked, "default"),
            _ => answer,
        };
        (name, plain(given))
    });
    let units = words.contains("in_unit").then(|| plain(get(root, "units")));
    let all = json!({
        "event": event,
        "clean": clean,
        "company": company,
        "dictionaries": used(&loaded.used_dictionaries, "dictionaries"),
        "tables": own.collect::<BTreeMap<_, _>>(),
        "settings": settings.collect::<BTreeMap<_, _>>(),
        "units": units,
    });
    digest(&[&all.to_string()])
}

fn entries(node: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match &node.kind {
        NodeKind::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, node)| (key.name.as_str(), node))
}

fn get<'n>(node: &'n Node, name: &str) -> &'n Node {
    const NOTHING: &Node = &Node {
        line: 0,
        column: 0,
        kind: NodeKind::Null,
    };
    let found = entries(node).find(|(known, _)| *known == name);
    found.map_or(NOTHING, |(_, node)| node)
}

/// A node without its place, its keys in one order.
fn plain(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(value) => Value::Bool(*value),
        // As it is written: 1.0 is no other number than 1, but may be another text.
        NodeKind::Number(text) => json!({ "number": text }),
        NodeKind::Text(text) => Value::String(text.clone()),
        NodeKind::List(items) => items.iter().map(plain).collect(),
        NodeKind::Map(_) => {
            let sorted: BTreeMap<&str, Value> = entries(node)
                .map(|(name, node)| (name, plain(node)))
                .collect();
            json!(sorted)
        }
    }
}

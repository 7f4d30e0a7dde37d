//! The packs inside the binary.

use contract::finding::nearest;
use contract::{Node, NodeKind};

use crate::yaml::parse_yaml;

/// Every shipped file: its place under `packs/`, and its text.
pub static SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/packs.rs"));

/// The file and text of a shipped pack, by `name` or `name@version`.
///
/// # Errors
/// Why there is none, and the nearest name.
pub fn shipped(wanted: &str) -> Result<(String, String), String> {
    let (name, version) = match wanted.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (wanted, None),
    };
    let packs: Vec<(String, String, &str, &str)> = SHIPPED
        .iter()
        .filter_map(|(file, text)| {
            let root = parse_yaml(file, text).ok()?;
            let (pack, version) = (top(&root, "pack")?, top(&root, "pack_version")?);
            Some((pack, version, *file, *text))
        })
        .collect();
    let Some((_, found, file, text)) = packs.iter().find(|(pack, ..)| pack == name) else {
        let names = packs.iter().map(|(pack, ..)| pack.as_str());
        let near = nearest(name, names.clone()).map_or_else(
            || format!("; there are {}", names.collect::<Vec<_>>().join(", ")),
            |name| format!("; did you mean `{name}`?"),
        );
        return Err(format!("no pack `{name}` is shipped{near}"));
    };
    match version {
        Some(version) if version != found => Err(format!(
            "pack `{name}` is shipped as version {found}, not {version}: read what changed, then \
             write {name}@{found}"
        )),
        _ => Ok((format!("packs/{file}"), (*text).to_owned())),
    }
}

fn top(root: &Node, name: &str) -> Option<String> {
    let NodeKind::Map(entries) = &root.kind else {
        return None;
    };
    match &entries.iter().find(|(key, _)| key.name == name)?.1.kind {
        NodeKind::Text(text) => Some(text.clone()),
        _ => None,
    }
}

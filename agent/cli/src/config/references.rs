//! Where the secrets of a settings file stand, whether they are there or not.

use std::path::Path;

use contract::{Finding, Node, NodeKind, Problems, SecretPlace};

/// A setting's path, and where its secret stands.
pub(crate) type Reference = (String, SecretPlace);

/// Whatever the file and the environment say that names the place of a secret.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn references(file: &Path) -> Result<Vec<Reference>, Vec<Finding>> {
    let (root, _) = super::open(file, Problems::new)?;
    let mut found = Vec::new();
    walk("", &root, &mut found);
    Ok(found)
}

fn walk(path: &str, node: &Node, found: &mut Vec<Reference>) {
    if let Some(place) = place(node) {
        found.push((path.to_owned(), place));
        return;
    }
    let below = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match &node.kind {
        NodeKind::Map(entries) => {
            for (key, node) in entries {
                walk(&below(&key.name), node, found);
            }
        }
        NodeKind::List(items) => {
            for (n, item) in items.iter().enumerate() {
                let name = super::overrides::name(item).unwrap_or_else(|| (n + 1).to_string());
                walk(&below(&name), item, found);
            }
        }
        _ => {}
    }
}

/// A table that says one thing: where a secret stands.
fn place(node: &Node) -> Option<SecretPlace> {
    let NodeKind::Map(entries) = &node.kind else {
        return None;
    };
    let [(key, value)] = entries.as_slice() else {
        return None;
    };
    match &value.kind {
        NodeKind::Text(text) => SecretPlace::of(&key.name, text),
        _ => None,
    }
}

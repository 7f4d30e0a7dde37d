//! All that the settings say, a line each, with where it is said; secrets masked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::section::{Asked, Wanted};
use contract::{Node, NodeKind, Problems};

/// In place of a secret.
const MASKED: &str = "********";

/// Values by their paths, in file order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Flat(Vec<Said>, Vec<PathBuf>);

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    /// As in `source.erp.port`.
    pub(crate) path: String,
    /// As TOML writes it.
    pub(crate) value: String,
    /// Where.
    pub(crate) origin: String,
    /// What tells one secret from another, where it is masked.
    secret: Option<u64>,
}

impl Flat {
    /// What a tree says, as it was read with these problems (which know what was asked for as a secret).
    pub(crate) fn of(root: &Node, problems: &Problems) -> Self {
        let mut reader = Reader {
            asked: problems.asked(),
            problems,
            found: Vec::new(),
            secret_files: Vec::new(),
        };
        reader.node("", "", root);
        Self(reader.found, reader.secret_files)
    }

    /// The files that secrets stand in.
    pub(crate) fn secret_files(&self) -> impl Iterator<Item = &Path> {
        self.1.iter().map(PathBuf::as_path)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Said> {
        self.0.iter()
    }

    /// What is said otherwise now: path, before and after; nothing where it was or is not said.
    pub(crate) fn changes<'a>(
        &'a self,
        now: &'a Self,
    ) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
        let by_path = |all: &'a Self| -> BTreeMap<&'a str, &'a Said> {
            all.0
                .iter()
                .map(|said| (said.path.as_str(), said))
                .collect()
        };
        let (old, new) = (by_path(self), by_path(now));
        let mut changes = Vec::new();
        for (path, was) in &old {
            match new.get(path) {
                Some(is) if is.value == was.value && is.secret == was.secret => {}
                is => changes.push((
                    *path,
                    Some(was.value.as_str()),
                    is.map(|is| is.value.as_str()),
                )),
            }
        }
        let added = new.iter().filter(|(path, _)| !old.contains_key(*path));
        changes.extend(added.map(|(path, is)| (*path, None, Some(is.value.as_str()))));
        changes
    }
}

struct Reader<'a> {
    asked: Asked,
    problems: &'a Problems,
    found: Vec<Said>,
    secret_files: Vec<PathBuf>,
}

impl Reader<'_> {
    /// `path` is for people, `place` as sections name it.
    fn node(&mut self, path: &str, place: &str, node: &Node) {
        match &node.kind {
            NodeKind::Map(entries) => {
                for (key, below) in entries {
                    let path = joined(path, &key.name);
                    let secret = self.is_secret(place, &key.name);
                    if secret && !is_reference(below) {
                        self.secret(path, below);
                    } else {
                        if secret && let Some(file) = file_of(below) {
                            self.secret_files.push(PathBuf::from(file));
                        }
                        self.node(&path, &joined(place, &key.name), below);
                    }
                }
            }
            NodeKind::List(items)
                if items
                    .iter()
                    .any(|item| matches!(item.kind, NodeKind::Map(_))) =>
            {
                for (n, item) in items.iter().enumerate() {
                    let name = super::overrides::name(item).unwrap_or_else(|| (n + 1).to_string());
                    let path = joined(path, &name);
                    self.node(&path, &format!("{place}[{}]", n + 1), item);
                }
            }
            _ => self.say(path.to_owned(), toml(&node.kind), node, None),
        }
    }

    fn secret(&mut self, path: String, node: &Node) {
        // Only compared within this process, and told to nobody.
        let digest = digest(&toml(&node.kind));
        self.say(path, format!("\"{MASKED}\""), node, Some(digest));
    }

    fn say(&mut self, path: String, value: String, node: &Node, secret: Option<u64>) {
        let place = self.problems.place(node.line, node.column);
        let origin = if place.file.starts_with("environment") {
            place.file
        } else {
            format!("{}:{}", place.file, place.line)
        };
        self.found.push(Said {
            path,
            value,
            origin,
            secret,
        });
    }

    /// Whether whoever read the settings took a key for a secret. A channel's own are read under another path.
    fn is_secret(&self, place: &str, key: &str) -> bool {
        let asked = |place: &str, key: &str| {
            let place = (place.to_owned(), key.to_owned());
            self.asked
                .get(&place)
                .is_some_and(|wanted| wanted.contains(&Wanted::Secret))
        };
        asked(place, key)
            || place == "otlp.headers" && asked(&format!("{place}.{key}"), "secret")
            || place.ends_with(".settings") && asked(&format!("settings.{key}"), "secret")
    }
}

/// Says where a secret stands, and not the secret.
fn is_reference(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Map(_))
}

/// The file that a secret stands in.
fn file_of(node: &Node) -> Option<&str> {
    let NodeKind::Map(entries) = &node.kind else {
        return None;
    };
    let (_, file) = entries.iter().find(|(key, _)| key.name == "file")?;
    match &file.kind {
        NodeKind::Text(file) => Some(file),
        _ => None,
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn digest(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A value as TOML writes it.
fn toml(kind: &NodeKind) -> String {
    match kind {
        NodeKind::Null => "\"\"".to_owned(),
        NodeKind::Bool(value) => value.to_string(),
        NodeKind::Number(text) => text.clone(),
        // JSON's escapes are among TOML's.
        NodeKind::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        NodeKind::List(items) => {
            let items: Vec<String> = items.iter().map(|item| toml(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        NodeKind::Map(entries) => {
            let one = |(key, node): &(contract::Key, Node)| {
                format!("{} = {}", key.name, toml(&node.kind))
            };
            let entries: Vec<String> = entries.iter().map(one).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

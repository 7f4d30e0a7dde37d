//! Settings from the environment, above the file: `LIGHTERMAN__SOURCE__ERP__HOST=db2` takes the place of `host` in the
//! source `erp`.

use contract::finding::nearest;
use contract::{Key, Node, NodeKind, Problems};

use crate::toml_node;

/// What names of such variables begin with. Parts of the path stand between two underscores.
const PREFIX: &str = "LIGHTERMAN__";

/// Puts what variables say into the settings, in the order of their names. What fits nowhere goes to `problems`.
pub(crate) fn apply(
    root: &mut Node,
    variables: impl IntoIterator<Item = (String, String)>,
    problems: &Problems,
) {
    let mut ours: Vec<(String, String)> = variables
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    for (name, text) in ours {
        // A variable is a file of one line: problems with its value name it.
        let line = problems.further_file(&format!("environment variable {name}")) + 1;
        let parts: Vec<&str> = name
            .strip_prefix(PREFIX)
            .unwrap_or_default()
            .split("__")
            .collect();
        let place = Place { line, problems };
        if parts.iter().any(|part| part.is_empty()) {
            place.wrong(
                "the name has an empty part".to_owned(),
                "as in LIGHTERMAN__DESTINATION__SHOP__URL".to_owned(),
            );
            continue;
        }
        place.put(root, &parts, &text);
    }
}

struct Place<'a> {
    line: usize,
    problems: &'a Problems,
}

impl Place<'_> {
    fn wrong(&self, found: String, fix: String) {
        self.problems
            .add(self.line, 1, "environment", found, Some(fix));
    }

    fn put(&self, node: &mut Node, parts: &[&str], text: &str) {
        let [part, rest @ ..] = parts else {
            *node = self.value(text, node);
            return;
        };
        match &mut node.kind {
            NodeKind::List(items) => match Self::item(items, part) {
                Ok(item) => self.put(item, rest, text),
                Err(fix) => self.wrong(format!("there is no `{}` in the list", lower(part)), fix),
            },
            NodeKind::Map(entries) => {
                let at = entries
                    .iter()
                    .position(|(key, _)| lower(&key.name) == lower(part));
                if let Some((_, below)) = at.and_then(|at| entries.get_mut(at)) {
                    self.put(below, rest, text);
                    return;
                }
                let mut below = self.node(NodeKind::Map(Vec::new()));
                if rest.is_empty() {
                    below.kind = NodeKind::Null;
                }
                self.put(&mut below, rest, text);
                let key = Key {
                    name: lower(part),
                    line: self.line,
                    column: 1,
                };
                entries.push((key, below));
            }
            _ => self.wrong(
                format!("what stands before `{}` is no table", lower(part)),
                "name a value of the settings file".to_owned(),
            ),
        }
    }

    fn node(&self, kind: NodeKind) -> Node {
        Node {
            line: self.line,
            column: 1,
            kind,
        }
    }

    /// Text stays text where text stands; elsewhere it is read as the file's values are, and is text where it is none
    /// of them.
    fn value(&self, text: &str, old: &Node) -> Node {
        if matches!(old.kind, NodeKind::Text(_)) {
            return self.node(NodeKind::Text(text.to_owned()));
        }
        let quiet = Problems::new("");
        let read = toml_node::parse(&format!("value = {text}"), &quiet);
        let value = match read.map(|root| root.kind) {
            Some(NodeKind::Map(mut entries)) if entries.len() == 1 => {
                entries.pop().map(|(_, value)| value)
            }
            _ => None,
        };
        match value {
            Some(mut value) => {
                self.settle(&mut value);
                value
            }
            None => self.node(NodeKind::Text(text.to_owned())),
        }
    }

    /// All of it stands in this variable.
    fn settle(&self, node: &mut Node) {
        node.line = self.line;
        match &mut node.kind {
            NodeKind::Map(entries) => {
                for (key, below) in entries {
                    key.line = self.line;
                    self.settle(below);
                }
            }
            NodeKind::List(items) => items.iter_mut().for_each(|item| self.settle(item)),
            _ => {}
        }
    }

    /// A block by its name, or by its place from 1.
    fn item<'n>(items: &'n mut [Node], part: &str) -> Result<&'n mut Node, String> {
        let names: Vec<Option<String>> = items.iter().map(name).collect();
        let by_name = names.iter().position(|name| {
            name.as_deref()
                .is_some_and(|name| lower(name) == lower(part))
        });
        let by_place = || part.parse::<usize>().ok()?.checked_sub(1);
        let known = names.iter().flatten().map(String::as_str);
        let fix = nearest(&lower(part), known.clone()).map_or_else(
            || format!("one of {}", known.collect::<Vec<_>>().join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        by_name
            .or_else(by_place)
            .and_then(|at| items.get_mut(at))
            .ok_or(fix)
    }
}

/// The name of a `[[source]]` or `[[destination]]` block.
pub(super) fn name(node: &Node) -> Option<String> {
    let NodeKind::Map(entries) = &node.kind else {
        return None;
    };
    let found = entries.iter().find(|(key, _)| key.name == "name");
    match found.map(|(_, value)| &value.kind) {
        Some(NodeKind::Text(name)) => Some(name.clone()),
        _ => None,
    }
}

/// Names of variables know neither small letters nor hyphens.
fn lower(part: &str) -> String {
    part.to_lowercase().replace(['-', ' ', '.'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "tenant = \"t\"\n[[source]]\nname = \"my-erp\"\nport = 1\n[[source]]\nname = \"b\"\n";

    fn applied(variables: &[(&str, &str)]) -> (String, Vec<String>) {
        let problems = Problems::new("f.toml");
        let mut root = toml_node::parse(FILE, &problems).unwrap();
        let variables = variables
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        apply(&mut root, variables, &problems);
        let found = problems.take().iter().map(ToString::to_string).collect();
        (shown(&root), found)
    }

    fn shown(node: &Node) -> String {
        match &node.kind {
            NodeKind::Map(entries) => {
                let one = |(key, node): &(Key, Node)| format!("{}={}", key.name, shown(node));
                format!(
                    "{{{}}}",
                    entries.iter().map(one).collect::<Vec<_>>().join(",")
                )
            }
            NodeKind::List(items) => {
                format!(
                    "[{}]",
                    items.iter().map(shown).collect::<Vec<_>>().join(",")
                )
            }
            NodeKind::Text(text) => format!("'{text}'"),
            NodeKind::Number(text) => text.clone(),
            NodeKind::Bool(value) => value.to_string(),
            NodeKind::Null => "null".to_owned(),
        }
    }

    #[test]
    fn variables_take_the_place_of_what_the_file_says() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (
                &[("LIGHTERMAN__TENANT", "42"), ("OTHER", "x")],
                "{source=[{name='my-erp',port=1},{name='b'}],tenant='42'}",
            ),
            (
                &[
                    ("LIGHTERMAN__SOURCE__MY_ERP__PORT", "2"),
                    ("LIGHTERMAN__SOURCE__2__HOST", "db"),
                ],
                "{source=[{name='my-erp',port=2},{name='b',host='db'}],tenant='t'}",
            ),
            (
                &[
                    ("LIGHTERMAN__RETENTION__KEEP_HOURS", "48"),
                    ("LIGHTERMAN__SOURCE__B__MAPPINGS", "['a.yaml']"),
                ],
                "{source=[{name='my-erp',port=1},{name='b',mappings=['a.yaml']}],tenant='t',retention={keep_hours=48}}",
            ),
            (
                &[
                    ("LIGHTERMAN__SOURCE__B__TLS", "true"),
                    ("LIGHTERMAN__SOURCE__B__PASSWORD", "{env='P'}"),
                ],
                "{source=[{name='my-erp',port=1},{name='b',password={env='P'},tls=true}],tenant='t'}",
            ),
        ];
        for (variables, wanted) in cases {
            let (shown, found) = applied(variables);
            assert_eq!((shown.as_str(), found), (*wanted, Vec::new()));
        }
    }

    #[test]
    fn what_fits_nowhere_is_said_with_the_variables_name() {
        let (_, found) = applied(&[
            ("LIGHTERMAN__SOURCE__MY_ERB__PORT", "2"),
            ("LIGHTERMAN__TENANT__X", "2"),
            ("LIGHTERMAN__SOURCE____PORT", "2"),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found
                .iter()
                .all(|one| one.contains("environment variable LIGHTERMAN__")),
            "{found:?}"
        );
        assert!(
            found
                .iter()
                .any(|one| one.contains("did you mean `my-erp`?")),
            "{found:?}"
        );
    }
}

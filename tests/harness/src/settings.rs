//! A destination from settings, as the agent builds it from its file.

use std::sync::Arc;

use contract::section::Problems;
use contract::{
    BuildDestination, Destination, Finding, Key, Level, Node, NodeKind, Secret, SecretPlace,
    Secrets, Section,
};
use serde_json::Value;

/// Secrets that are what they are called: `{"env": "pass"}` is `pass`.
#[derive(Debug, Clone, Copy)]
pub struct Named;

impl Secrets for Named {
    fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
        match place {
            SecretPlace::Environment(name) => Ok(Secret::new(name)),
            other => Err(format!("{} is not there", other.parts().1)),
        }
    }
}

/// An adapter's `read`.
pub type Read = fn(&mut Section<'_>, &dyn Secrets) -> Option<BuildDestination>;

fn node(value: &Value) -> Node {
    let kind = match value {
        Value::Null => NodeKind::Null,
        Value::Bool(value) => NodeKind::Bool(*value),
        Value::Number(number) => NodeKind::Number(number.to_string()),
        Value::String(text) => NodeKind::Text(text.clone()),
        Value::Array(items) => NodeKind::List(items.iter().map(node).collect()),
        Value::Object(entries) => NodeKind::Map(
            entries
                .iter()
                .map(|(name, value)| {
                    let key = Key {
                        name: name.clone(),
                        line: 1,
                        column: 1,
                    };
                    (key, node(value))
                })
                .collect(),
        ),
    };
    Node {
        line: 1,
        column: 1,
        kind,
    }
}

/// What an adapter says about settings, and the destination they make, if they do.
pub fn read(read: Read, settings: &Value) -> (Vec<Finding>, Option<BuildDestination>) {
    let node = node(settings);
    let problems = Problems::new("settings");
    let mut section = Section::new(&node, "destination", &problems);
    let built = read(&mut section, &Named);
    section.finish();
    (problems.take(), built)
}

/// The destination that settings make.
///
/// # Panics
/// When they are wrong.
pub fn destination(adapter: Read, settings: &Value) -> Arc<dyn Destination> {
    let (findings, built) = read(adapter, settings);
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    assert!(!failed, "{findings:?}");
    built.unwrap()("shop").unwrap()
}

/// What is wrong with settings, as one text.
pub fn problems(adapter: Read, settings: &Value) -> String {
    let (findings, _) = read(adapter, settings);
    let texts: Vec<_> = findings.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

//! Loading `settings`: what a person is asked, and what was answered.

use std::collections::BTreeMap;

use contract::section::Problems;
use contract::{Node, NodeKind, Section, Value};

use super::blocks::{Entries, entries, scalar};
use super::words::did_you_mean;
use crate::sql::Setting;

/// What a person was asked, and answered.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) values: BTreeMap<String, Setting>,
    /// The only texts that may answer, where the question lists them.
    pub(crate) one_of: BTreeMap<String, Vec<String>>,
}

/// Reads `settings`.
pub(crate) fn settings(top: &mut Section<'_>, problems: &Problems) -> Settings {
    let mut settings = Settings::default();
    for (name, node) in entries(top.section("settings")) {
        let path = format!("settings.{}", name.name);
        let mut section = Section::new(node, path.clone(), problems);
        section.required_text("ask", "`ask: \"what a person is asked\"`");
        let one_of = section.texts("one_of");
        let answer = section.get("answer");
        let default = section.get("default");
        section.finish();
        let Some(node) = answer.or(default) else {
            let found = "has no answer and no default".to_owned();
            let fix = Some(format!("settings: {{{}: ..}} in the site file", name.name));
            problems.add(node.line, node.column, &path, found, fix);
            // A stand-in, so that what uses it does not complain again.
            settings
                .values
                .insert(name.name.clone(), Setting::One(Value::Null));
            continue;
        };
        let one_of = one_of.map(|words| words.into_iter().map(str::to_owned).collect());
        let setting = answer_of(node, one_of.as_ref(), &path, problems);
        settings.values.insert(name.name.clone(), setting);
        settings
            .one_of
            .extend(one_of.map(|words| (name.name.clone(), words)));
    }
    settings
}

/// An answer, with what is wrong with it.
fn answer_of(
    node: &Node,
    one_of: Option<&Vec<String>>,
    path: &str,
    problems: &Problems,
) -> Setting {
    let problem = |node: &Node, found: String, fix: Option<String>| {
        problems.add(node.line, node.column, path, found, fix);
    };
    let setting = match &node.kind {
        NodeKind::List(items) => {
            let mut list = Vec::new();
            for item in items {
                match &item.kind {
                    NodeKind::Text(text) | NodeKind::Number(text) => list.push(text.clone()),
                    _ => {
                        let found = format!("expected text, found {}", item.type_name());
                        problem(item, found, None);
                    }
                }
            }
            Setting::List(list)
        }
        kind => {
            let value = scalar(kind);
            if value.is_none() {
                let found = format!("expected a value or a list, found {}", node.type_name());
                problem(node, found, None);
            }
            Setting::One(value.unwrap_or(Value::Null))
        }
    };
    if let (Some(allowed), Setting::One(Value::Text(text))) = (one_of, &setting)
        && !allowed.contains(text)
    {
        let found = format!("`{text}` is not one of {}", allowed.join(", "));
        let fix = did_you_mean(text, allowed.iter().map(String::as_str));
        problem(node, found, fix);
    }
    setting
}

impl Settings {
    /// Says what is wrong with the answers of a test.
    pub(crate) fn check(&self, answers: Entries<'_>, path: &str, problems: &Problems) {
        for (key, node) in answers {
            if !self.values.contains_key(&key.name) {
                let fix = did_you_mean(&key.name, self.values.keys().map(String::as_str));
                let found = format!("there is no setting `{}`", key.name);
                problems.add(key.line, key.column, path, found, fix);
                continue;
            }
            let path = format!("{path}.{}", key.name);
            answer_of(node, self.one_of.get(&key.name), &path, problems);
        }
    }
}

//! A commented block of settings in which answers take the place of its examples.

use contract::{NodeKind, Problems};

use crate::toml_node;

/// The lines of a block. What is not answered stays as it is, byte for byte.
#[derive(Debug, Clone)]
pub(super) struct Block {
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
struct Line {
    text: String,
    key: Option<Key>,
}

/// A line that says a value, or would say it without its `#`.
#[derive(Debug, Clone)]
struct Key {
    name: String,
    value: String,
    /// With its `#`.
    note: String,
    said: bool,
}

impl Block {
    pub(super) fn of(text: &str) -> Self {
        let line = |text: &str| Line {
            text: text.to_owned(),
            key: Key::of(text),
        };
        Self {
            lines: text.lines().map(line).collect(),
        }
    }

    /// What stands under a key, commented out or not.
    pub(super) fn example(&self, name: &str) -> Option<&str> {
        Some(self.key(name)?.value.as_str())
    }

    /// What is said under a key.
    pub(super) fn said(&self, name: &str) -> Option<&str> {
        self.key(name)
            .filter(|key| key.said)
            .map(|key| key.value.as_str())
    }

    fn key(&self, name: &str) -> Option<&Key> {
        self.lines
            .iter()
            .filter_map(|line| line.key.as_ref())
            .find(|key| key.name == name)
    }

    /// Says a value, as TOML writes it. A key without a line gets one, before that of the mappings or at the end.
    pub(super) fn say(&mut self, name: &str, value: &str) {
        if self.said(name) == Some(value) {
            return;
        }
        let found = self
            .lines
            .iter_mut()
            .find(|line| line.key.as_ref().is_some_and(|key| key.name == name));
        if let Some(line) = found {
            if let Some(key) = &mut line.key {
                value.clone_into(&mut key.value);
                key.said = true;
                line.text = key.text();
            }
            return;
        }
        let last = |line: &Line| line.key.as_ref().is_some_and(|key| key.name == "mappings");
        let at = self.lines.iter().position(last).unwrap_or(self.lines.len());
        self.add(at, name, value, "", true);
    }

    /// A further line at the end, with a note; commented out unless `said`.
    pub(super) fn push(&mut self, name: &str, value: &str, note: &str, said: bool) {
        let note = if note.is_empty() {
            String::new()
        } else {
            format!("# {note}")
        };
        self.add(self.lines.len(), name, value, &note, said);
    }

    fn add(&mut self, at: usize, name: &str, value: &str, note: &str, said: bool) {
        let key = Key {
            name: name.to_owned(),
            value: value.to_owned(),
            note: note.to_owned(),
            said,
        };
        let text = key.text();
        self.lines.insert(
            at,
            Line {
                text,
                key: Some(key),
            },
        );
    }

    /// Says nothing under a key: its line becomes a comment.
    pub(super) fn leave_out(&mut self, name: &str) {
        for line in &mut self.lines {
            if let Some(key) = &mut line.key
                && key.name == name
                && key.said
            {
                key.said = false;
                line.text = key.text();
            }
        }
    }

    /// Takes the lines of keys away that begin so.
    pub(super) fn drop_keys(&mut self, beginning: &str) {
        let stays = |key: &Key| !key.name.starts_with(beginning);
        self.lines
            .retain(|line| line.key.as_ref().is_none_or(stays));
    }

    /// Takes the `#` off a heading, such as `[log]`.
    pub(super) fn open(&mut self, heading: &str) {
        let closed = format!("# {heading}");
        for line in &mut self.lines {
            if let Some(rest) = line.text.strip_prefix(&closed) {
                line.text = format!("{heading}  {rest}");
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&line.text);
            text.push('\n');
        }
        text
    }
}

impl Key {
    fn of(line: &str) -> Option<Self> {
        let (said, rest) = match line.strip_prefix("# ") {
            Some(rest) => (false, rest),
            None => (true, line),
        };
        let (name, rest) = rest.split_once(" = ")?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if name.is_empty() || !name.bytes().all(fits) {
            return None;
        }
        let end = note_at(rest);
        Some(Self {
            name: name.to_owned(),
            value: rest.get(..end)?.trim_end().to_owned(),
            note: rest.get(end..)?.to_owned(),
            said,
        })
    }

    fn text(&self) -> String {
        let sign = if self.said { "" } else { "# " };
        let left = format!("{sign}{} = {}", self.name, self.value);
        if self.note.is_empty() {
            return left;
        }
        format!("{left:<32} {}", self.note)
    }
}

/// Where a line's note begins: at a `#` outside of texts.
fn note_at(text: &str) -> usize {
    let mut within = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (within, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(quote), _) if quote == c => within = None,
            (None, '"' | '\'') => within = Some(c),
            (None, '#') => return at,
            _ => {}
        }
    }
    text.len()
}

/// What kind of value a person is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    Texts,
    /// `ours=theirs` pairs.
    Map,
    Secret,
}

impl Kind {
    /// By an example.
    pub(super) fn of(example: &str) -> Self {
        match example.chars().next() {
            Some('[') => Self::Texts,
            Some('{')
                if contract::SecretPlace::KEYS
                    .iter()
                    .any(|one| example.contains(&format!("{{ {one} ="))) =>
            {
                Self::Secret
            }
            Some('{') => Self::Map,
            Some('t' | 'f') => Self::Flag,
            Some(c) if c.is_ascii_digit() => Self::Number,
            _ => Self::Text,
        }
    }

    /// An answer as TOML writes it. What is no number stays a text: whoever reads the settings says what is wrong.
    pub(super) fn toml(self, answer: &str) -> String {
        match self {
            Self::Number if is_value(answer) => answer.to_owned(),
            Self::Flag if is_yes(answer) => "true".to_owned(),
            Self::Flag if is_no(answer) => "false".to_owned(),
            Self::Texts => {
                let texts: Vec<String> = parts(answer).map(quoted).collect();
                format!("[{}]", texts.join(", "))
            }
            Self::Map => {
                let pairs: Vec<String> = parts(answer)
                    .map(|part| {
                        let (ours, theirs) = part.split_once('=').unwrap_or((part, ""));
                        format!("{} = {}", quoted(ours.trim()), quoted(theirs.trim()))
                    })
                    .collect();
                format!("{{ {} }}", pairs.join(", "))
            }
            Self::Text | Self::Number | Self::Flag | Self::Secret => quoted(answer),
        }
    }
}

/// A value of the settings as a person answers it.
pub(super) fn spoken(value: &str) -> String {
    let Some(kind) = parsed(value) else {
        return value.to_owned();
    };
    match kind {
        NodeKind::Text(text) | NodeKind::Number(text) => text,
        NodeKind::Bool(flag) => if flag { "yes" } else { "no" }.to_owned(),
        NodeKind::List(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(&item.kind)).collect();
            items.join(", ")
        }
        NodeKind::Map(entries) => {
            let one = |(key, node): &(contract::Key, contract::Node)| {
                format!("{}={}", key.name, shown(&node.kind))
            };
            let entries: Vec<String> = entries.iter().map(one).collect();
            entries.join(", ")
        }
        NodeKind::Null => String::new(),
    }
}

fn shown(kind: &NodeKind) -> String {
    match kind {
        NodeKind::Text(text) | NodeKind::Number(text) => text.clone(),
        NodeKind::Bool(value) => value.to_string(),
        NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => String::new(),
    }
}

fn parts(answer: &str) -> impl Iterator<Item = &str> {
    answer
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

pub(super) fn is_yes(answer: &str) -> bool {
    ["y", "yes", "true"].contains(&answer.to_lowercase().as_str())
}

pub(super) fn is_no(answer: &str) -> bool {
    ["n", "no", "false"].contains(&answer.to_lowercase().as_str())
}

/// A text as TOML and YAML write it: JSON's escapes are among those of both.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether a text is a value of TOML as it stands.
pub(super) fn is_value(text: &str) -> bool {
    parsed(text).is_some()
}

fn parsed(text: &str) -> Option<NodeKind> {
    let root = toml_node::parse(&format!("value = {text}"), &Problems::new(""))?;
    match root.kind {
        NodeKind::Map(mut entries) if entries.len() == 1 => Some(entries.pop()?.1.kind),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "[[source]]\nname = \"erp\"\nport = 3306\nhost = \"a # b\"               # where\n\
                           # tls = \"verify-full\"            # how\nmappings = [\"mapping.yaml\"]\n";

    #[test]
    fn what_is_not_answered_stays_as_it_is() {
        let mut block = Block::of(EXAMPLE);
        assert_eq!(block.text(), EXAMPLE);
        block.say("port", "3306");
        assert_eq!(block.text(), EXAMPLE);
        assert_eq!(block.said("host"), Some("\"a # b\""));
        assert_eq!(
            (block.said("tls"), block.example("tls")),
            (None, Some("\"verify-full\""))
        );
        block.say("tls", "\"require\"");
        block.say("start", "\"x\"");
        block.leave_out("port");
        let text = block.text();
        assert!(
            text.contains("\ntls = \"require\"                  # how\n"),
            "{text}"
        );
        assert!(text.contains("\n# port = 3306\n"), "{text}");
        assert!(text.contains("\nstart = \"x\"\nmappings"), "{text}");
    }

    #[test]
    fn answers_become_values_and_values_answers() {
        for (kind, answer, value) in [
            (Kind::Text, "a \"b\"", r#""a \"b\"""#),
            (Kind::Number, "12", "12"),
            (Kind::Number, "x y", "\"x y\""),
            (Kind::Flag, "yes", "true"),
            (Kind::Texts, "a, b,", r#"["a", "b"]"#),
            (
                Kind::Map,
                "MAIN=1, A B = x",
                r#"{ "MAIN" = "1", "A B" = "x" }"#,
            ),
        ] {
            assert_eq!(kind.toml(answer), value);
        }
        assert_eq!(spoken(r#"["a", "b"]"#), "a, b");
        assert_eq!(spoken("{ MAIN = \"1\" }"), "MAIN=1");
        assert_eq!(Kind::of("{ env = \"X\" }"), Kind::Secret);
        assert_eq!(Kind::of("{ MAIN = \"1\" }"), Kind::Map);
    }

    #[test]
    fn every_question_of_an_adapter_has_its_line_in_the_example() {
        let sources = registry::SOURCES
            .iter()
            .map(|kind| (kind.name, kind.example, kind.questions));
        let destinations = registry::DESTINATIONS
            .iter()
            .map(|kind| (kind.name, kind.example, kind.questions));
        for (kind, example, questions) in sources.chain(destinations) {
            let block = Block::of(example);
            assert_eq!(block.text(), example, "{kind}");
            for question in questions {
                assert!(
                    block.example(question.key).is_some(),
                    "{kind}: {}",
                    question.key
                );
            }
        }
    }
}

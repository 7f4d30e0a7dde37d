//! A read settings or mapping file as a tree with places, and a checked way to read it.
//!
//! The reader collects every problem instead of stopping at the first: unknown keys with the
//! nearest allowed name, wrong types, missing values. It knows no file syntax; whoever parses
//! TOML or YAML builds the [`Node`]s.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::finding::{Finding, Place, nearest};
use crate::secret::{Secret, SecretPlace, Secrets};

/// A value in a file, with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// The value.
    pub kind: NodeKind,
}

/// The value of a [`Node`].
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A table: keys with their own places, in file order.
    Map(Vec<(Key, Node)>),
}

/// A key of a table, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl Node {
    /// The plain name of its type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Bool(_) => "true or false",
            NodeKind::Number(_) => "a number",
            NodeKind::Text(_) => "text",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a table",
        }
    }
}

/// What readers of other versions of YAML may not expect.
pub const TRUTH: &str = "only true and false are truth values, without quotes";

/// Longest value that is shown again in a hint.
const SHOWN_MAX: usize = 60;

/// Lines of the first file that several are read as one; the next file begins at twice as many.
pub const FILE_LINES: usize = 1 << 21;

/// Problems of one file, shared by all sections read from it. Where a file is read on top of
/// another, the lines of the n-th further one count from n times [`FILE_LINES`].
#[derive(Debug, Clone)]
pub struct Problems {
    files: Rc<RefCell<Vec<String>>>,
    findings: Rc<RefCell<Vec<Finding>>>,
    /// What sections are asked for, where someone wants to know.
    asked: Option<Rc<RefCell<Asked>>>,
}

/// What a section is asked for under a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Something, told apart by more than its type.
    Some,
    /// Text.
    Text,
    /// Text, and it must be there.
    RequiredText,
    /// One of these words.
    Word(Vec<&'static str>),
    /// True or false.
    Flag,
    /// A whole number within a range.
    Number(u64, u64),
    /// A list of texts.
    Texts,
    /// A table.
    Section,
    /// A list of tables.
    Sections,
    /// Any key: the table's keys are free.
    Free,
    /// A secret: text, or where it stands.
    Secret,
    /// What holds where nothing is said, as the file would say it.
    Default(String),
    /// What holds here where nothing is said, which hangs on what else is said.
    Here(String),
}

/// Everything sections were asked for, by the path of the section and the key: what a reader
/// understands, as it says itself. A free key is `*`, a place in a list `[]`.
pub type Asked = std::collections::BTreeMap<(String, String), BTreeSet<Wanted>>;

impl Problems {
    /// No problems yet.
    pub fn new(file: &str) -> Self {
        Self {
            files: Rc::new(RefCell::new(vec![file.to_owned()])),
            findings: Rc::default(),
            asked: None,
        }
    }

    /// No problems yet, and a watch over what sections are asked for.
    #[must_use]
    pub fn watched(file: &str) -> Self {
        Self {
            asked: Some(Rc::default()),
            ..Self::new(file)
        }
    }

    /// What sections were asked for so far.
    pub fn asked(&self) -> Asked {
        let asked = self.asked.as_ref();
        asked.map_or_else(Asked::new, |asked| asked.borrow().clone())
    }

    fn ask(&self, path: &str, key: &str, wanted: Wanted) {
        if let Some(asked) = &self.asked {
            let place = (path.to_owned(), key.to_owned());
            asked.borrow_mut().entry(place).or_default().insert(wanted);
        }
    }

    /// A further file; gives the number its lines count from.
    pub fn further_file(&self, file: &str) -> usize {
        let mut files = self.files.borrow_mut();
        files.push(file.to_owned());
        (files.len() - 1) * FILE_LINES
    }

    /// The place in the file that a line belongs to.
    pub fn place(&self, line: usize, column: usize) -> Place {
        let files = self.files.borrow();
        let file = files.get(line / FILE_LINES).or_else(|| files.first());
        Place {
            file: file.cloned().unwrap_or_default(),
            line: line % FILE_LINES,
            column,
        }
    }

    /// Adds a failure at a place.
    pub fn add(&self, line: usize, column: usize, what: &str, found: String, fix: Option<String>) {
        let mut finding = Finding::fail(what, found);
        finding.place = Some(Box::new(self.place(line, column)));
        finding.fix = fix;
        self.findings.borrow_mut().push(finding);
    }

    /// Adds any finding about a place.
    pub fn push(&self, mut finding: Finding, line: usize, column: usize) {
        finding.place = Some(Box::new(self.place(line, column)));
        self.findings.borrow_mut().push(finding);
    }

    /// All of them, in file order.
    pub fn take(&self) -> Vec<Finding> {
        let mut all = std::mem::take(&mut *self.findings.borrow_mut());
        let files = self.files.borrow();
        let at = |place: &Place| {
            let file = files.iter().position(|file| *file == place.file);
            (file, place.line, place.column)
        };
        all.sort_by_key(|finding| finding.place.as_deref().map(at));
        all
    }
}

/// A table being read. Every key asked for is an allowed key; [`Section::finish`] reports the
/// others.
#[derive(Debug)]
pub struct Section<'a> {
    node: Option<&'a Node>,
    path: String,
    problems: Problems,
    asked: BTreeSet<&'static str>,
}

impl<'a> Section<'a> {
    /// Reads `node`, which should be a table, under a dotted path for messages.
    pub fn new(node: &'a Node, path: impl Into<String>, problems: &Problems) -> Self {
        let path = path.into();
        let mut section = Self {
            node: Some(node),
            path,
            problems: problems.clone(),
            asked: BTreeSet::new(),
        };
        if !matches!(node.kind, NodeKind::Map(_)) {
            let found = format!("expected a table, found {}", node.type_name());
            let key = section
                .path
                .rsplit('.')
                .next()
                .unwrap_or_default()
                .to_owned();
            let fix = section.as_expected(&key, node, "a table");
            let what = if section.path.is_empty() {
                "file"
            } else {
                &section.path
            };
            problems.add(node.line, node.column, what, found, fix);
            section.node = None;
        }
        section
    }

    /// The dotted path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where problems go.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// The section's own place.
    pub fn place(&self) -> (usize, usize) {
        self.node.map_or((1, 1), |node| (node.line, node.column))
    }

    fn entries(&self) -> &'a [(Key, Node)] {
        match self.node.map(|node| &node.kind) {
            Some(NodeKind::Map(entries)) => entries,
            _ => &[],
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// A value, if it is there. Allows the key.
    pub fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.insert(key);
        self.problems.ask(&self.path, key, Wanted::Some);
        self.entries()
            .iter()
            .find(|(k, _)| k.name == key)
            .map(|(_, node)| node)
    }

    /// All entries of a table with free keys (aliases, field names, dictionary entries).
    pub fn free_entries(&mut self) -> &'a [(Key, Node)] {
        let entries = self.entries();
        self.problems.ask(&self.path, "*", Wanted::Free);
        self.node = None;
        entries
    }

    /// Reports a problem with a key's value.
    pub fn wrong(&self, key: &str, node: &Node, found: String, fix: Option<String>) {
        self.problems
            .add(node.line, node.column, &self.path_of(key), found, fix);
    }

    fn wrong_type(&self, key: &str, node: &Node, expected: &str) {
        let found = format!("expected {expected}, found {}", node.type_name());
        self.wrong(key, node, found, self.as_expected(key, node, expected));
    }

    /// How a value of another type would be written, as the file's syntax has it.
    fn as_expected(&self, key: &str, node: &Node, expected: &str) -> Option<String> {
        let place = self.problems.place(node.line, node.column);
        let extension = std::path::Path::new(&*place.file).extension();
        let toml = !extension.is_some_and(|is| is == "yaml" || is == "yml");
        let set = if toml { " =" } else { ":" };
        let value = match &node.kind {
            NodeKind::Text(text) | NodeKind::Number(text) if text.len() <= SHOWN_MAX => {
                text.clone()
            }
            NodeKind::Bool(value) => value.to_string(),
            _ => String::new(),
        };
        let one = |value: &str| {
            if value.is_empty() {
                "..".to_owned()
            } else {
                value.to_owned()
            }
        };
        Some(match (expected, &node.kind) {
            ("text", NodeKind::Number(_) | NodeKind::Bool(_)) => {
                format!("in quotes: {key}{set} \"{}\"", one(&value))
            }
            ("text", NodeKind::List(_)) => format!("one text, without brackets: {key}{set} \"..\""),
            ("text", NodeKind::Null) => {
                format!("give it one, or leave the key out: {key}{set} \"..\"")
            }
            ("a whole number", NodeKind::Text(text)) => {
                if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
                    format!("without quotes: {key}{set} {text}")
                } else {
                    format!("digits alone, without quotes: {key}{set} 10")
                }
            }
            ("a list of texts", NodeKind::Text(_)) => {
                format!("in brackets: {key}{set} [\"{}\"]", one(&masked(&value)))
            }
            ("a list of tables", NodeKind::Map(_)) if toml => {
                let name = self.path_of(key);
                format!("in two brackets, for there may be several: [[{name}]]")
            }
            ("a list of tables", NodeKind::Map(_)) => {
                "a `- ` before each, for there may be several".to_owned()
            }
            ("a table", _) if toml => format!("as in {key}{set} {{ name = .. }}"),
            ("a table", _) => format!("as in {key}{set} {{name: ..}}"),
            _ => return None,
        })
    }

    /// Reports a missing key, unless the section itself was no table.
    pub fn missing(&self, key: &str, example: &str) {
        if let Some(node) = self.node {
            let found = format!("required key `{key}` is missing");
            let what = if self.path.is_empty() {
                "file"
            } else {
                &self.path
            };
            let fix = Some(format!("add {example}"));
            self.problems.add(node.line, node.column, what, found, fix);
        }
    }

    /// Text.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.problems.ask(&self.path, key, Wanted::Text);
        let node = self.get(key)?;
        if let NodeKind::Text(text) = &node.kind {
            return Some(text);
        }
        self.wrong_type(key, node, "text");
        None
    }

    /// Text, or what holds where there is none.
    pub fn text_or(&mut self, key: &'static str, value: &'static str) -> &'a str {
        let default = Wanted::Default(format!("\"{value}\""));
        self.problems.ask(&self.path, key, default);
        self.text(key).unwrap_or(value)
    }

    /// Text that must be there.
    pub fn required_text(&mut self, key: &'static str, example: &str) -> Option<&'a str> {
        self.problems.ask(&self.path, key, Wanted::RequiredText);
        if self.get(key).is_none() {
            self.missing(key, example);
            return None;
        }
        self.text(key)
    }

    /// One of a list of words.
    pub fn word(&mut self, key: &'static str, allowed: &[&'static str]) -> Option<&'static str> {
        self.problems
            .ask(&self.path, key, Wanted::Word(allowed.to_vec()));
        let node = self.get(key)?;
        let NodeKind::Text(text) = &node.kind else {
            self.wrong_type(key, node, "text");
            return None;
        };
        if let Some(word) = allowed.iter().find(|word| *word == text) {
            return Some(word);
        }
        let fix = nearest(text, allowed.iter().copied()).map(|n| format!("did you mean `{n}`?"));
        self.wrong(
            key,
            node,
            format!("`{text}` is not one of {}", allowed.join(", ")),
            fix,
        );
        None
    }

    /// A truth value.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.problems.ask(&self.path, key, Wanted::Flag);
        let node = self.get(key)?;
        if let NodeKind::Bool(value) = node.kind {
            return Some(value);
        }
        let found = format!("expected true or false, found {}", node.type_name());
        self.wrong(key, node, found, Some(TRUTH.to_owned()));
        None
    }

    /// A whole number within a range.
    pub fn number(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        self.problems.ask(&self.path, key, Wanted::Number(min, max));
        let node = self.get(key)?;
        let NodeKind::Number(text) = &node.kind else {
            self.wrong_type(key, node, "a whole number");
            return None;
        };
        match text.replace('_', "").parse::<u64>() {
            Ok(value) if (min..=max).contains(&value) => Some(value),
            _ => {
                let found = format!("expected a whole number from {min} to {max}, found {text}");
                self.wrong(key, node, found, None);
                None
            }
        }
    }

    /// What holds for a key that is not there, as the file would say it: for people and editors. Says it, and gives
    /// `value` back.
    pub fn or<T: std::fmt::Display>(&self, key: &str, found: Option<T>, value: T) -> T {
        let default = Wanted::Default(value.to_string());
        self.problems.ask(&self.path, key, default);
        found.unwrap_or(value)
    }

    /// Says what holds here for a key that is not there, as the file would say it, where that hangs on what else is
    /// said: for people, and not for editors.
    pub fn here(&self, key: &str, value: impl std::fmt::Display) {
        self.problems
            .ask(&self.path, key, Wanted::Here(value.to_string()));
    }

    /// One of a list of words, or what holds where there is none.
    pub fn word_or(
        &mut self,
        key: &'static str,
        allowed: &[&'static str],
        value: &'static str,
    ) -> &'static str {
        let default = Wanted::Default(format!("\"{value}\""));
        self.problems.ask(&self.path, key, default);
        self.word(key, allowed).unwrap_or(value)
    }

    /// A truth value, or what holds where there is none.
    pub fn flag_or(&mut self, key: &'static str, value: bool) -> bool {
        let found = self.flag(key);
        self.or(key, found, value)
    }

    /// A whole number within a range, or what holds where there is none.
    pub fn number_or(&mut self, key: &'static str, min: u64, max: u64, value: u64) -> u64 {
        let found = self.number(key, min, max);
        self.or(key, found, value)
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<&'a str>> {
        self.problems.ask(&self.path, key, Wanted::Texts);
        let node = self.get(key)?;
        let NodeKind::List(items) = &node.kind else {
            self.wrong_type(key, node, "a list of texts");
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match &item.kind {
                NodeKind::Text(text) => texts.push(text.as_str()),
                _ => self.wrong_type(key, item, "text"),
            }
        }
        Some(texts)
    }

    /// A secret: where it stands (`{ env = "NAME" }`, and the other [`SecretPlace`]s), or inline text with a warning.
    pub fn secret(&mut self, key: &'static str, secrets: &dyn Secrets) -> Option<Secret> {
        self.problems.ask(&self.path, key, Wanted::Secret);
        let node = self.get(key)?;
        if let NodeKind::Text(text) = &node.kind {
            let finding = Finding::warn(self.path_of(key), "a secret stands in the file itself")
                .fix(format!(
                    "{key} = {{ env = \"NAME\" }} or {key} = {{ file = \"path\" }}"
                ));
            self.problems.push(finding, node.line, node.column);
            return Some(Secret::new(text));
        }
        if !matches!(node.kind, NodeKind::Map(_)) {
            let found = format!(
                "expected where the secret stands, found {}",
                node.type_name()
            );
            let fix = format!("{key} = {{ env = \"NAME\" }} or {key} = {{ file = \"path\" }}");
            self.wrong(key, node, found, Some(fix));
            return None;
        }
        let mut section = self.section(key)?;
        let mut places = SecretPlace::KEYS
            .into_iter()
            .filter_map(|key| SecretPlace::of(key, section.text(key)?));
        let place = (places.next(), places.next());
        let (Some(place), None) = place else {
            let found = "expected exactly one of `env`, `file`, `credential`, `windows_credential` \
                         and `protected_file`";
            let fix = format!("{key} = {{ env = \"NAME\" }} or {key} = {{ file = \"path\" }}");
            self.wrong(key, node, found.to_owned(), Some(fix));
            return None;
        };
        section.finish();
        match secrets.read(&place) {
            Ok(secret) => Some(secret),
            Err(found) => {
                let fix = secret_fix(&place);
                self.wrong(key, node, found, Some(fix));
                None
            }
        }
    }

    /// The name or address of a machine that must be there: a port, a scheme or a user do not stand in it.
    pub fn required_host(&mut self, key: &'static str, example: &str) -> Option<&'a str> {
        let text = self.required_text(key, example)?;
        let node = self.get(key)?;
        // A path is a folder with a Unix socket; of an instance and of brackets others say more.
        let is_path = text.starts_with('/');
        let address = text.parse::<std::net::Ipv6Addr>().is_ok();
        let port = text
            .rsplit_once([':', ','])
            .filter(|_| !address && !text.starts_with('['));
        let (found, fix) = if text.trim().is_empty() {
            ("is empty".to_owned(), example.to_owned())
        } else if is_path {
            return Some(text);
        } else if text.contains("://") || text.contains('@') || text.contains('/') {
            let found = format!(
                "expected the name or address of a machine alone, found `{}`",
                masked(text)
            );
            let fix = "no scheme, user, path or database: they are settings of their own";
            (found, fix.to_owned())
        } else if text.contains(char::is_whitespace) {
            (
                "has a blank in it, expected the name or address of a machine".to_owned(),
                example.to_owned(),
            )
        } else if let Some((host, port)) = port
            && !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
        {
            let fix = format!("{key} = \"{host}\" and port = {port}");
            ("the port is a setting of its own".to_owned(), fix)
        } else {
            return Some(text);
        };
        self.wrong(key, node, found, Some(fix));
        None
    }

    /// A name that a person gave, for commands, messages and files: not blank, on one line, and short enough to be read.
    pub fn required_name(&mut self, key: &'static str, example: &str) -> Option<&'a str> {
        let text = self.required_text(key, example)?;
        let node = self.get(key)?;
        match misnamed(text) {
            None => Some(text),
            Some(found) => {
                self.wrong(key, node, found, Some(example.trim_matches('`').to_owned()));
                None
            }
        }
    }

    /// A nested table.
    pub fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.problems.ask(&self.path, key, Wanted::Section);
        let node = self.get(key)?;
        Some(Section::new(node, self.path_of(key), &self.problems))
    }

    /// A nested table; an empty one where there is none, so that all that may stand in it is asked for, and what holds
    /// where nothing is said has one place.
    #[must_use]
    pub fn section_or_empty(&mut self, key: &'static str) -> Section<'a> {
        let empty = Section {
            node: None,
            path: self.path_of(key),
            problems: self.problems.clone(),
            asked: BTreeSet::new(),
        };
        self.section(key).unwrap_or(empty)
    }

    /// A list of tables.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        self.problems.ask(&self.path, key, Wanted::Sections);
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        let NodeKind::List(items) = &node.kind else {
            self.wrong_type(key, node, "a list of tables");
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(n, item)| {
                Section::new(
                    item,
                    format!("{}[{}]", self.path_of(key), n + 1),
                    &self.problems,
                )
            })
            .collect()
    }

    /// Reports every key nobody asked for. Call last.
    pub fn finish(self) {
        for (key, _) in self.entries() {
            if self.asked.contains(key.name.as_str()) {
                continue;
            }
            let allowed: Vec<_> = self.asked.iter().copied().collect();
            let fix = match nearest(&key.name, allowed.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("allowed here: {}", allowed.join(", ")),
            };
            let found = format!("unknown key `{}`", key.name);
            let what = self.path_of(&key.name);
            self.problems
                .add(key.line, key.column, &what, found, Some(fix));
        }
    }
}

/// Longest name of a thing in the settings, in signs.
const NAME_MAX: usize = 100;

/// Why a text is no name; nothing where it is one.
pub fn misnamed(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        Some("is blank, expected a name".to_owned())
    } else if text.trim() != text {
        Some("has blanks around it, expected a name".to_owned())
    } else if text.chars().any(char::is_control) {
        Some("expected a name on one line, without control characters".to_owned())
    } else {
        let signs = text.chars().count();
        (signs > NAME_MAX).then(|| format!("has {signs} signs, expected at most {NAME_MAX}"))
    }
}

/// What to do about a secret that cannot be read.
fn secret_fix(place: &SecretPlace) -> String {
    match place {
        SecretPlace::Environment(name) => format!(
            "set {name} for the agent (a service has an environment of its own), or keep the secret in a file: \
             lighterman secret set"
        ),
        SecretPlace::Credential(_) => {
            "name it in the service's unit (LoadCredential=), or keep the secret in a file: lighterman secret set"
                .to_owned()
        }
        SecretPlace::File(_) | SecretPlace::ProtectedFile(_) | SecretPlace::WindowsCredential(_) => {
            "lighterman secret set keeps one, lighterman secret list shows which can be read".to_owned()
        }
    }
}

/// An address, unless it may have a password in it: this is printed and logged.
fn masked(text: &str) -> String {
    if text.contains(['@', ';', '=', '?']) || text.len() > SHOWN_MAX {
        "..".to_owned()
    } else {
        text.to_owned()
    }
}

//! What a channel's file asks of whoever sets it up.

use std::collections::BTreeMap;

use contract::{Decimal, EventType, Node, NodeKind, Section, Value};

use crate::sql::{Codes, Setting};

/// The type of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Text.
    Text,
    /// An address.
    Url,
    /// A password, key or token.
    Secret,
    /// A number.
    Number,
    /// True or false.
    Flag,
    /// Our codes to the API's.
    Map,
    /// Texts, asked with `site_allowed`.
    List,
}

impl SettingKind {
    const WORDS: &[&'static str] = &["text", "url", "secret", "number", "flag", "map", "list"];

    fn of(word: &str) -> Self {
        match word {
            "url" => Self::Url,
            "secret" => Self::Secret,
            "number" => Self::Number,
            "flag" => Self::Flag,
            "map" => Self::Map,
            "list" => Self::List,
            _ => Self::Text,
        }
    }
}

/// One setting as its file declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: SettingKind,
    /// The question.
    pub ask: String,
    /// What stands for it unless somebody says otherwise.
    pub default: Option<Given>,
    /// Must be answered.
    pub required: bool,
}

/// A setting's answer.
#[derive(Clone, PartialEq)]
pub enum Given {
    /// Text, address or secret.
    Text(String),
    /// Number.
    Number(Decimal),
    /// Truth value.
    Flag(bool),
    /// A map.
    Map(BTreeMap<String, String>),
    /// A list.
    List(Vec<String>),
}

/// Shows no content: an answer may be a secret.
impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

impl Given {
    /// What a file says, if it fits the type.
    pub fn of(node: &Node, kind: SettingKind) -> Option<Self> {
        Some(match (kind, &node.kind) {
            (SettingKind::Text | SettingKind::Url | SettingKind::Secret, NodeKind::Text(text)) => {
                Self::Text(text.clone())
            }
            // An id made of digits is a text all the same.
            (SettingKind::Text, NodeKind::Number(text)) => Self::Text(text.clone()),
            (SettingKind::Number, NodeKind::Number(text)) => {
                Self::Number(text.replace('_', "").parse().ok()?)
            }
            (SettingKind::Flag, NodeKind::Bool(value)) => Self::Flag(*value),
            (SettingKind::Map, NodeKind::Map(entries)) => {
                let entry =
                    |(key, node): &(contract::Key, Node)| Some((key.name.clone(), text_of(node)?));
                Self::Map(entries.iter().map(entry).collect::<Option<_>>()?)
            }
            (SettingKind::List, NodeKind::List(items)) => {
                Self::List(items.iter().map(text_of).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

fn text_of(node: &Node) -> Option<String> {
    match &node.kind {
        NodeKind::Text(text) | NodeKind::Number(text) => Some(text.clone()),
        _ => None,
    }
}

/// Settings with their answers.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    declared: Vec<Declared>,
    given: BTreeMap<String, Given>,
    /// Nobody answers: a check of the file alone.
    open: bool,
}

impl Answers {
    /// What was declared, with what was answered.
    pub fn new(declared: Vec<Declared>, given: BTreeMap<String, Given>) -> Self {
        Self {
            declared,
            given,
            open: false,
        }
    }

    /// Some answers; the rest stands for itself.
    pub(super) fn partly(declared: Vec<Declared>, given: BTreeMap<String, Given>) -> Self {
        Self {
            declared,
            given,
            open: true,
        }
    }

    /// For a check of the file alone: what has no default stands for itself.
    pub fn open(declared: Vec<Declared>) -> Self {
        Self {
            declared,
            given: BTreeMap::new(),
            open: true,
        }
    }

    pub(super) fn kind(&self, name: &str) -> Option<SettingKind> {
        self.one(name).map(|declared| declared.kind)
    }

    fn one(&self, name: &str) -> Option<&Declared> {
        self.declared.iter().find(|declared| declared.name == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(|declared| declared.name.as_str())
    }

    pub(super) fn maps(&self) -> impl Iterator<Item = &str> {
        let maps = self
            .declared
            .iter()
            .filter(|declared| declared.kind == SettingKind::Map);
        maps.map(|declared| declared.name.as_str())
    }

    /// The answer, or what stands for it.
    pub(super) fn given(&self, name: &str) -> Option<Given> {
        let declared = self.one(name)?;
        let given = self.given.get(name).or(declared.default.as_ref());
        given.cloned().or_else(|| {
            self.open.then(|| match declared.kind {
                SettingKind::Url => Given::Text("https://channel.example".to_owned()),
                SettingKind::Number => Given::Number(Decimal::ZERO),
                SettingKind::Flag => Given::Flag(false),
                SettingKind::Map => Given::Map(BTreeMap::new()),
                SettingKind::List => Given::List(Vec::new()),
                SettingKind::Text | SettingKind::Secret => Given::Text(name.to_owned()),
            })
        })
    }

    pub(super) fn value(&self, name: &str) -> Setting {
        match self.given(name) {
            Some(Given::Text(text)) => Setting::One(Value::Text(text)),
            Some(Given::Number(number)) => Setting::One(Value::Decimal(number)),
            Some(Given::Flag(flag)) => Setting::One(Value::Bool(flag)),
            Some(Given::List(list)) => Setting::List(list),
            Some(Given::Map(_)) | None => Setting::One(Value::Null),
        }
    }

    pub(super) fn codes(&self, name: &str) -> Option<Codes> {
        self.one(name)
            .filter(|declared| declared.kind == SettingKind::Map)?;
        let values = match self.given(name) {
            Some(Given::Map(map)) => map,
            _ => BTreeMap::new(),
        };
        Some(Codes {
            name: name.to_owned(),
            of: " of the destination's settings",
            values,
            otherwise: None,
        })
    }

    /// The texts that are secrets, to be kept out of whatever is kept.
    pub fn secrets(&self) -> Vec<String> {
        let secret = self
            .declared
            .iter()
            .filter(|declared| declared.kind == SettingKind::Secret);
        let texts = secret.filter_map(|declared| match self.given(&declared.name) {
            Some(Given::Text(text)) if text.len() > 3 => Some(text),
            _ => None,
        });
        texts.collect()
    }
}

/// Reads `settings:`.
pub(super) fn read(top: &mut Section<'_>) -> Vec<Declared> {
    let Some(mut section) = top.section("settings") else {
        return Vec::new();
    };
    let path = section.path().to_owned();
    let problems = section.problems().clone();
    let mut all = Vec::new();
    for (key, node) in section.free_entries() {
        let well = !key.name.is_empty()
            && key
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !well || EventType::ALL.iter().any(|kind| kind.name() == key.name) {
            let fix = Some("lower-case letters, digits and _".to_owned());
            problems.add(
                key.line,
                key.column,
                &format!("{path}.{}", key.name),
                "is no name for a setting".to_owned(),
                fix,
            );
        }
        let mut one = Section::new(node, format!("{path}.{}", key.name), &problems);
        let kind = one
            .word("type", SettingKind::WORDS)
            .map_or(SettingKind::Text, SettingKind::of);
        if one.get("type").is_none() {
            one.missing("type", "`type: text`");
        }
        let ask = one
            .required_text("ask", "`ask: what is the address of the shop?`")
            .unwrap_or_default()
            .to_owned();
        let default = one.get("default");
        let given = default.and_then(|node| {
            let given = Given::of(node, kind);
            if given.is_none() {
                one.wrong(
                    "default",
                    node,
                    format!(
                        "does not fit the setting's type, but is {}",
                        node.type_name()
                    ),
                    None,
                );
            }
            if kind == SettingKind::Secret {
                one.wrong(
                    "default",
                    node,
                    "a secret has no default".to_owned(),
                    Some("leave it out".to_owned()),
                );
            }
            given
        });
        let optional = one.flag("optional").unwrap_or(false);
        one.finish();
        all.push(Declared {
            name: key.name.clone(),
            kind,
            ask,
            required: given.is_none() && !optional,
            default: given,
        });
    }
    all
}

//! The block of a source or destination, key by key.

use contract::{Finding, Level, Question};
use mappings::channel::{Declared, SettingKind};

use super::Stop;
use super::block::{Block, Kind, is_value, quoted, spoken};
use super::channels::{stand_in, toml};
use super::options::Given;
use super::person::{Ask, Person};
use super::secrets::{self, Known, Wanted};
use crate::config;

/// What is said of a secret that stands in the settings.
const INLINE: &str = "a secret stands in the file itself";

/// A block that is being filled in.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// `source` or `destination`.
    pub(super) what: &'static str,
    /// Its type.
    pub(super) kind: &'static str,
    pub(super) block: Block,
    questions: &'static [Question],
    /// What a destination file asks.
    declared: Vec<Declared>,
    /// Keys whose value is made up, and must be changed.
    pub(super) made_up: Vec<String>,
}

impl Side {
    pub(super) fn source(kind: &'static registry::SourceKind) -> Self {
        Self::new("source", kind.name, kind.example, kind.questions)
    }

    pub(super) fn destination(kind: &'static registry::DestinationKind) -> Self {
        Self::new("destination", kind.name, kind.example, kind.questions)
    }

    fn new(
        what: &'static str,
        kind: &'static str,
        example: &str,
        questions: &'static [Question],
    ) -> Self {
        Self {
            what,
            kind,
            block: Block::of(example),
            questions,
            declared: Vec::new(),
            made_up: Vec::new(),
        }
    }

    /// A destination that a shipped file describes.
    pub(super) fn channel(
        kind: &'static registry::DestinationKind,
        name: &str,
        declared: Vec<Declared>,
    ) -> Self {
        let mut side = Self::destination(kind);
        side.block.drop_keys("settings.");
        side.block.say("name", &quoted(name));
        side.block.say("channel", &quoted(name));
        for one in &declared {
            let key = format!("settings.{}", one.name);
            let (value, said) = match &one.default {
                Some(default) => (toml(default), false),
                None => (stand_in(name, one), one.required),
            };
            let note = match (one.required, one.kind) {
                (true, SettingKind::Secret) => one.ask.clone(),
                (true, _) => {
                    side.made_up.push(key.clone());
                    format!("CHANGE THIS: {}", one.ask)
                }
                (false, _) => one.ask.clone(),
            };
            side.block.push(&key, &value, &note, said);
        }
        side.declared = declared;
        side
    }

    /// The block's own name.
    pub(super) fn name(&self) -> String {
        spoken(self.block.said("name").unwrap_or_default())
    }

    /// Asks for all of it.
    ///
    /// # Errors
    /// The person has gone.
    pub(super) fn ask(
        &mut self,
        person: &mut Person,
        given: &mut Given,
        known: &mut Known,
    ) -> Result<(), Stop> {
        for question in self.questions {
            self.question(person, given, known, question)?;
        }
        let (must, may): (Vec<Declared>, Vec<Declared>) = self
            .declared
            .clone()
            .into_iter()
            .partition(|one| one.required);
        for one in must {
            self.setting(person, given, known, &one)?;
        }
        let asked_too = may
            .iter()
            .any(|one| given.has(&format!("settings.{}", one.name)));
        let more = Ask {
            flag: format!("--{}-set settings...", self.what),
            ask: format!("Go through its {} further settings as well?", may.len()),
            help: "no = their defaults hold; they stand in the file as comments".to_owned(),
            default: Some("no".to_owned()),
            ..Ask::default()
        };
        let all = !may.is_empty() && person.there && person.is_sure(&more)?;
        for one in may {
            let key = format!("settings.{}", one.name);
            if all || !person.there || asked_too && given.has(&key) {
                self.setting(person, given, known, &one)?;
            }
        }
        for (key, text) in given.rest() {
            let flag = format!("--{}-set {key}", self.what);
            let place = secrets::place(&text);
            let value = match place {
                Some(place) if self.is_secret(&key, known) => place,
                _ if is_value(&text) => text,
                _ => quoted(&text),
            };
            let found = if self.is_inline(&key, &value, known) {
                Err(format!(
                    "is a secret: {} says where it stands",
                    secrets::PLACES
                ))
            } else {
                self.fits(&key, &value, known)
            };
            match found {
                Ok(()) => self.take(&key, &value),
                Err(found) => person.wrong(&flag, &found),
            }
        }
        Ok(())
    }

    fn question(
        &mut self,
        person: &mut Person,
        given: &mut Given,
        known: &mut Known,
        question: &Question,
    ) -> Result<(), Stop> {
        let there = |key: Option<&str>| key.map(|key| self.block.said(key).is_some());
        if there(question.with) == Some(false) || there(question.without) == Some(true) {
            self.block.leave_out(question.key);
            return Ok(());
        }
        let key = question.key;
        let example = self.block.example(key).unwrap_or_default().to_owned();
        let kind = Kind::of(&example);
        let ask = Ask {
            flag: format!("--{}-set {key}", self.what),
            ask: question.ask.to_owned(),
            help: question.help.to_owned(),
            given: given.take(key),
            default: self.block.said(key).map(spoken),
            optional: question.optional,
            choices: Vec::new(),
        };
        let value = self.value(person, known, ask, key, kind, question.made)?;
        match value {
            Some(value) => self.take(key, &value),
            None => self.block.leave_out(key),
        }
        Ok(())
    }

    /// What a destination file asks.
    fn setting(
        &mut self,
        person: &mut Person,
        given: &mut Given,
        known: &mut Known,
        one: &Declared,
    ) -> Result<(), Stop> {
        let key = format!("settings.{}", one.name);
        let kind = match one.kind {
            SettingKind::Text | SettingKind::Url => Kind::Text,
            SettingKind::Secret => Kind::Secret,
            SettingKind::Number => Kind::Number,
            SettingKind::Flag => Kind::Flag,
            SettingKind::Map => Kind::Map,
            SettingKind::List => Kind::Texts,
        };
        let made_up = self.made_up.contains(&key);
        let default = match &one.default {
            Some(_) => self.block.example(&key).map(spoken),
            // What is made up is no default for a person.
            None if person.there && made_up => None,
            None => self.block.said(&key).map(spoken),
        };
        let help = match kind {
            Kind::Map => "pairs with commas, as in MAIN=1, EAST=2",
            Kind::Texts => "several with commas",
            Kind::Flag => "yes or no",
            _ => "",
        };
        let before = given.has(&key);
        let ask = Ask {
            flag: format!("--{}-set {key}", self.what),
            ask: capital(&one.ask),
            help: help.to_owned(),
            given: given.take(&key),
            default,
            optional: !one.required && one.default.is_none(),
            choices: Vec::new(),
        };
        if let Some(value) = self.value(person, known, ask, &key, kind, false)? {
            let as_usual = self.block.example(&key) == Some(value.as_str());
            if made_up && (person.there || before) {
                self.made_up.retain(|one| *one != key);
                self.block.drop_keys(&key);
                self.block.push(&key, &value, &one.ask, true);
            } else if one.required || !as_usual {
                self.take(&key, &value);
            }
        }
        Ok(())
    }

    fn value(
        &self,
        person: &mut Person,
        known: &mut Known,
        ask: Ask,
        key: &str,
        kind: Kind,
        made: bool,
    ) -> Result<Option<String>, Stop> {
        if kind != Kind::Secret {
            let answer = person.answer(&ask, |answer| self.fits(key, &kind.toml(answer), known))?;
            return Ok(answer.map(|answer| kind.toml(&answer)));
        }
        let short = key.strip_prefix("settings.").unwrap_or(key);
        let example = self.block.example(key).unwrap_or_default();
        let wanted = Wanted {
            ask,
            variable: secrets::variable(example).unwrap_or_else(|| variable(&self.name(), short)),
            file: known.free(&format!("{}-{short}", plain(&self.name()))),
            made,
            fits: &|value, known| self.fits(key, value, known),
        };
        secrets::ask(person, &wanted, known)
    }

    /// Takes an answer, and leaves out what means nothing beside it.
    fn take(&mut self, key: &str, value: &str) {
        self.block.say(key, value);
        for question in self.questions {
            if question.without == Some(key) {
                self.block.leave_out(question.key);
            }
        }
    }

    /// Whether the settings' own checks find nothing in it that they did not find without it.
    pub(super) fn fits(&self, key: &str, value: &str, known: &Known) -> Result<(), String> {
        let mut with = self.clone();
        with.take(key, value);
        new(&self.findings(known), &with.findings(known))
    }

    /// Whether a key is one of a secret, as whoever reads the settings says.
    fn is_secret(&self, key: &str, known: &Known) -> bool {
        self.is_inline(key, "\"x\"", known)
    }

    /// Whether a value is a secret itself, and not where it stands.
    fn is_inline(&self, key: &str, value: &str, known: &Known) -> bool {
        let mut with = self.clone();
        with.take(key, value);
        let place = format!("{}[1].{key}", self.what);
        with.findings(known)
            .iter()
            .any(|one| one.level == Level::Warn && one.what == place && one.found == INLINE)
    }

    /// What is wrong with the block.
    pub(super) fn findings(&self, known: &Known) -> Vec<Finding> {
        config::blocks(&self.block.text(), known)
    }
}

/// What is wrong only now.
pub(super) fn new(before: &[Finding], now: &[Finding]) -> Result<(), String> {
    let known = |one: &Finding| {
        before
            .iter()
            .any(|b| b.what == one.what && b.found == one.found)
    };
    let found = now
        .iter()
        .find(|one| one.level == Level::Fail && !known(one));
    match found {
        None => Ok(()),
        Some(one) => Err(match &one.fix {
            Some(fix) => format!("{} (hint: {fix})", one.found),
            None => one.found.clone(),
        }),
    }
}

/// A variable's name for a secret.
pub(super) fn variable(name: &str, key: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    format!("{name}_{key}").chars().map(letter).collect()
}

/// A name as a part of a file's name.
fn plain(name: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(letter).collect()
}

/// With a capital letter.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

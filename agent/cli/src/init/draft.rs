//! All that is asked, in turn, and the files it comes to.

use contract::Finding;
use contract::finding::Level;
use jiff::tz::TimeZone;
use mappings::channel;

use super::Stop;
use super::block::{Block, Kind, quoted, spoken};
use super::channels;
use super::files::File;
use super::options::{Given, Options, Sets};
use super::person::{Ask, Person};
use super::secrets::Known;
use super::sides::{Side, new};
use super::site;
use crate::config;

/// Settings that are being made.
pub(super) struct Draft {
    head: Block,
    source: Side,
    /// Mapping and site files.
    rows: Vec<(String, String)>,
    destination: Side,
    /// The channel's file, where it is to be the site's own.
    copy: Option<(String, &'static str)>,
    known: Known,
}

impl Draft {
    /// Asks for everything.
    ///
    /// # Errors
    /// The person has gone.
    pub(super) fn ask(
        person: &mut Person,
        options: &Options,
        sets: &mut Sets,
        head: &str,
    ) -> Result<Option<Self>, Stop> {
        let mut known = Known {
            folder: options.folder.clone(),
            ..Known::default()
        };
        let mut head = Block::of(head);
        tenant(person, options, &mut head)?;
        person.heading("The source: the database whose changes are told.");
        let Some(kind) = source_kind(person, options)? else {
            return Ok(None);
        };
        let mut source = Side::source(kind);
        source.ask(person, &mut sets.source, &mut known)?;
        pauses(person, options, &mut source, &known)?;
        person.heading("The mapping: what its rows mean.");
        let rows = site::ask(person, options, &mut sets.pack, &source, kind.mapping)?;
        let names: Vec<String> = rows.iter().map(|(name, _)| quoted(name)).collect();
        source
            .block
            .say("mappings", &format!("[{}]", names.join(", ")));
        person.heading("The destination: who is told.");
        let Some(mut destination) = destination(person, options)? else {
            return Ok(None);
        };
        destination.ask(person, &mut sets.destination, &mut known)?;
        let copy = copy(person, options, &destination)?;
        shadow(person, options, &mut destination)?;
        keep_days(person, options, &mut head)?;
        Ok(Some(Self {
            head,
            source,
            rows,
            destination,
            copy,
            known,
        }))
    }

    /// Asks for the source's settings once more.
    ///
    /// # Errors
    /// The person has gone.
    pub(super) fn ask_source(&mut self, person: &mut Person) -> Result<(), Stop> {
        self.source
            .ask(person, &mut Given::default(), &mut self.known)
    }

    /// What is wrong with the settings as a whole, as far as files go.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = self.source.findings(&self.known);
        findings.extend(self.destination.findings(&self.known));
        findings.extend(self.rows.iter().flat_map(|(_, text)| site::findings(text)));
        findings.retain(|finding| finding.level == Level::Fail);
        findings
    }

    /// Whose rows they are, where the mapping is one to begin with.
    pub(super) fn own_company(&self) -> Option<&str> {
        let [(name, text)] = self.rows.as_slice() else {
            return None;
        };
        let own = name == site::OWN_FILE;
        let said = text.lines().find_map(|line| line.strip_prefix("company: "));
        let company = said?.split(" #").next().unwrap_or_default().trim();
        own.then_some(company)
    }

    /// What must be changed before it can be used.
    pub(super) fn made_up(&self) -> Vec<String> {
        let name = self.destination.name();
        let keys = self.destination.made_up.iter();
        keys.map(|key| format!("destination.{name}.{key}"))
            .collect()
    }

    /// The variables that secrets are expected in.
    pub(super) fn variables(&self) -> Vec<String> {
        let text = self.settings();
        let mut found: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let rest = line.split_once("{ env = \"").map(|(_, rest)| rest);
            let name = rest
                .and_then(|rest| rest.split_once('"'))
                .map(|(name, _)| name);
            if let Some(name) = name
                && !found.iter().any(|known| known == name)
            {
                found.push(name.to_owned());
            }
        }
        found
    }

    fn settings(&self) -> String {
        let mut destination = self.destination.block.clone();
        if let Some((file, _)) = &self.copy {
            destination.leave_out("channel");
            destination.say("file", &quoted(file));
        }
        format!(
            "{}\n{}\n{}",
            self.head.text(),
            self.source.block.text(),
            destination.text()
        )
    }

    /// All files.
    pub(super) fn files(&self) -> Vec<File> {
        let file = |name: &str, text: &str, private: bool| File {
            name: name.to_owned(),
            text: text.to_owned(),
            private,
        };
        let mut files = vec![file("lighterman.toml", &self.settings(), false)];
        let rows = self.rows.iter();
        files.extend(rows.map(|(name, text)| file(name, text, false)));
        files.extend(self.copy.iter().map(|(name, text)| file(name, text, false)));
        let kept = self.known.kept.iter();
        files.extend(kept.map(|(name, secret)| file(name, secret.expose(), true)));
        files
    }
}

fn tenant(person: &mut Person, options: &Options, head: &mut Block) -> Result<(), Stop> {
    let ask = Ask {
        flag: "--tenant".to_owned(),
        ask: "What is the company called here?".to_owned(),
        help: "a short name of your own; it stands in the events".to_owned(),
        given: options.tenant.clone(),
        default: head.said("tenant").map(spoken),
        ..Ask::default()
    };
    say(person, &ask, head, "tenant", Kind::Text)
}

fn keep_days(person: &mut Person, options: &Options, head: &mut Block) -> Result<(), Stop> {
    let ask = Ask {
        flag: "--keep-days".to_owned(),
        ask: "For how many days are log files kept?".to_owned(),
        help: "256 MiB in all, however many days".to_owned(),
        given: options.keep_days.clone(),
        default: head.example("keep_days").map(str::to_owned),
        ..Ask::default()
    };
    let mut with = head.clone();
    with.open("[log]");
    let usual = with.example("keep_days").map(str::to_owned);
    say(person, &ask, &mut with, "keep_days", Kind::Number)?;
    if with
        .said("keep_days")
        .is_some_and(|days| Some(days) != usual.as_deref())
    {
        *head = with;
    }
    Ok(())
}

/// Asks for a key outside of the blocks.
fn say(
    person: &mut Person,
    ask: &Ask,
    head: &mut Block,
    key: &str,
    kind: Kind,
) -> Result<(), Stop> {
    let answer = person.answer(ask, |answer| {
        let mut with = head.clone();
        with.say(key, &kind.toml(answer));
        new(&config::head(&head.text()), &config::head(&with.text()))
    })?;
    if let Some(answer) = answer {
        head.say(key, &kind.toml(&answer));
    }
    Ok(())
}

fn source_kind(
    person: &mut Person,
    options: &Options,
) -> Result<Option<&'static registry::SourceKind>, Stop> {
    let kinds = registry::SOURCES.iter();
    let ask = Ask {
        flag: "--source".to_owned(),
        ask: "Which database does the ERP use?".to_owned(),
        given: options.source.clone(),
        default: Some("postgres".to_owned()),
        choices: kinds
            .map(|kind| (kind.name.to_owned(), kind.title.to_owned()))
            .collect(),
        ..Ask::default()
    };
    let name = person.answer(&ask, one_only)?.unwrap_or_default();
    Ok(registry::SOURCES.iter().find(|kind| kind.name == name))
}

fn one_only(answer: &str) -> Result<(), String> {
    let several = answer.contains(',');
    (!several)
        .then_some(())
        .ok_or_else(|| "one of them".to_owned())
}

/// The type whose settings name a destination file.
const CHANNEL: &str = "channel";

fn destination(person: &mut Person, options: &Options) -> Result<Option<Side>, Stop> {
    let kinds = registry::DESTINATIONS
        .iter()
        .filter(|kind| kind.name != CHANNEL);
    let mut choices: Vec<(String, String)> = kinds
        .map(|kind| (kind.name.to_owned(), kind.title.to_owned()))
        .collect();
    choices.extend(channels::shipped());
    let ask = Ask {
        flag: "--destination".to_owned(),
        ask: "Where do the events go?".to_owned(),
        help: "docs/channels and docs/destinations have a page for each".to_owned(),
        given: options.destination.clone(),
        default: Some("webhook".to_owned()),
        choices,
        ..Ask::default()
    };
    let name = person.answer(&ask, one_only)?.unwrap_or_default();
    let kind = |name: &str| registry::DESTINATIONS.iter().find(|kind| kind.name == name);
    if let Some(kind) = kind(&name) {
        return Ok(Some(Side::destination(kind)));
    }
    let declared = channel::shipped(&name)
        .ok()
        .and_then(|(file, text)| channel::declared(&file, text).ok());
    Ok(declared.and_then(|declared| Some(Side::channel(kind(CHANNEL)?, &name, declared))))
}

/// Whether the channel's file is to be the site's own.
fn copy(
    person: &mut Person,
    options: &Options,
    destination: &Side,
) -> Result<Option<(String, &'static str)>, Stop> {
    let shipped = destination.block.said("channel").map(spoken);
    let Some(name) = shipped.filter(|_| destination.kind == CHANNEL) else {
        if options.own_channel {
            person.wrong(
                "--own-channel",
                "only means something with a shipped channel",
            );
        }
        return Ok(None);
    };
    let file = format!("channels/{name}.yaml");
    let ask = Ask {
        flag: "--own-channel".to_owned(),
        ask: format!("With a copy of the channel's file, {file}, to be changed?"),
        help: "no = the shipped one, and what later versions make of it".to_owned(),
        given: options.own_channel.then(|| "yes".to_owned()),
        default: Some("no".to_owned()),
        ..Ask::default()
    };
    let own = person.is_sure(&ask)?;
    let text = channel::shipped(&name).ok().map(|(_, text)| text);
    Ok(text.filter(|_| own).map(|text| (file, text)))
}

fn shadow(person: &mut Person, options: &Options, destination: &mut Side) -> Result<(), Stop> {
    let ask = Ask {
        flag: "--shadow".to_owned(),
        ask: "Begin in shadow mode?".to_owned(),
        help: "yes = nothing is really sent, only what would be is compared and counted".to_owned(),
        given: options.shadow.then(|| "yes".to_owned()),
        default: Some("no".to_owned()),
        ..Ask::default()
    };
    if person.is_sure(&ask)? {
        destination.block.say("shadow", "true");
    }
    Ok(())
}

/// When tables are not read for the first time.
fn pauses(
    person: &mut Person,
    options: &Options,
    source: &mut Side,
    known: &Known,
) -> Result<(), Stop> {
    let value = |times: &str, zone: &str| {
        format!(
            "{{ pause = {}, zone = {} }}",
            Kind::Texts.toml(times),
            quoted(zone)
        )
    };
    let ask = Ask {
        flag: "--pause".to_owned(),
        ask: "At which times of day may tables not be read for the first time?".to_owned(),
        help: "such as 08:00-18:00, several with commas; - = never: changes always flow".to_owned(),
        given: (!options.pause.is_empty()).then(|| options.pause.join(",")),
        optional: true,
        ..Ask::default()
    };
    let check = |answer: &str| source.fits("snapshot", &value(answer, "UTC"), known);
    let Some(times) = person.answer(&ask, check)? else {
        return Ok(());
    };
    let here = TimeZone::system().iana_name().unwrap_or("UTC").to_owned();
    let ask = Ask {
        flag: "--zone".to_owned(),
        ask: "In which time zone are these times?".to_owned(),
        help: "such as Europe/Berlin or America/Chicago".to_owned(),
        given: options.zone.clone(),
        default: Some(here),
        ..Ask::default()
    };
    let check = |answer: &str| source.fits("snapshot", &value(&times, answer), known);
    let zone = person.answer(&ask, check)?.unwrap_or_default();
    source.block.say("snapshot", &value(&times, &zone));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    /// What `init` wrote before it asked anything is what it writes where nobody answers.
    #[test]
    fn without_answers_the_examples_stand_as_they_are() {
        for kind in registry::SOURCES {
            let line = ["init", "--source", kind.name];
            let options = Line::parse_from(line).options;
            let mut person = Person::new(false);
            let mut sets = options.sets().unwrap();
            let Ok(Some(draft)) = Draft::ask(&mut person, &options, &mut sets, crate::init::HEAD)
            else {
                panic!("{}", kind.name);
            };
            let webhook = registry::DESTINATIONS
                .iter()
                .find(|one| one.name == "webhook")
                .unwrap();
            let expected = format!(
                "{}\n{}\n{}",
                crate::init::HEAD,
                kind.example,
                webhook.example
            );
            assert_eq!(draft.settings(), expected);
            assert_eq!(person.problems, Vec::new());
            let names: Vec<String> = draft.files().into_iter().map(|file| file.name).collect();
            assert_eq!(names, ["lighterman.toml", "mapping.yaml"]);
        }
    }
}

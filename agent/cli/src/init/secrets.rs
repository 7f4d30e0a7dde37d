//! Where secrets stand that the settings name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use contract::{Secret, SecretPlace, Secrets};

use super::Stop;
use super::block::quoted;
use super::person::{Ask, Person};
use crate::secret::{self, KEY, file_of};

/// Bytes of a secret that is made here: as many as its signatures have.
const MADE_BYTES: usize = 32;

/// Secrets as far as they are known while nothing is written yet. Those that are not have a stand-in: whether they are
/// there is for `check` to say.
#[derive(Debug, Default, Clone)]
pub(super) struct Known {
    /// Where paths of the settings begin.
    pub(super) folder: PathBuf,
    /// By the file that each will be kept in.
    pub(super) kept: BTreeMap<String, Secret>,
}

impl Known {
    /// A file for a secret of this name: one that is not there yet.
    pub(super) fn free(&self, name: &str) -> String {
        let further = (2..100).map(|n| file_of(&format!("{name}-{n}")));
        std::iter::once(file_of(name))
            .chain(further)
            .find(|file| !self.folder.join(file).exists())
            .unwrap_or_else(|| file_of(name))
    }

    fn stand_in() -> Secret {
        Secret::new(format!("whsec_{}", BASE64.encode([7; MADE_BYTES])))
    }
}

impl Secrets for Known {
    fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
        let known = match place {
            SecretPlace::Environment(name) => std::env::var(name).ok().map(Secret::new),
            SecretPlace::File(path) => self.kept.get(path).cloned().or_else(|| {
                let text = std::fs::read_to_string(self.folder.join(path)).ok()?;
                Some(Secret::new(text.trim_end_matches(['\n', '\r'])))
            }),
            SecretPlace::ProtectedFile(path) => self.kept.get(path).cloned().or_else(|| {
                let path = self.folder.join(path).display().to_string();
                secret::Local.read(&SecretPlace::ProtectedFile(path)).ok()
            }),
            SecretPlace::WindowsCredential(_) => secret::Local.read(place).ok(),
            SecretPlace::Credential(_) => None,
        };
        Ok(known.unwrap_or_else(Self::stand_in))
    }
}

/// Which secret is meant.
pub(super) struct Wanted<'a> {
    /// The question.
    pub(super) ask: Ask,
    /// The variable that is usual, and the file and credential made of it.
    pub(super) variable: String,
    pub(super) file: String,
    /// Both sides only need to agree on it.
    pub(super) made: bool,
    /// Whether it fits.
    pub(super) fits: &'a dyn Fn(&str, &Known) -> Result<(), String>,
}

/// Where a secret stands, as the settings say it; it is added to `known` where it was typed or made.
///
/// # Errors
/// The person has gone.
pub(super) fn ask(
    person: &mut Person,
    wanted: &Wanted<'_>,
    known: &mut Known,
) -> Result<Option<String>, Stop> {
    let mut ask = wanted.ask.clone();
    if let Some(given) = ask.given.take() {
        match of_command_line(&given, wanted, known) {
            Ok(value) => {
                person.asked.push(wanted.ask.clone());
                return Ok(Some(value));
            }
            Err(found) => person.wrong(&ask.flag, &found),
        }
    }
    let choice = |name: &str, what: String| (name.to_owned(), what);
    if wanted.made {
        let what = format!(
            "made now and kept in {}, for you to give to the receiver",
            wanted.file
        );
        ask.choices.push(choice("made", what));
    }
    let whose = if cfg!(windows) {
        "protected by Windows for this machine"
    } else {
        "which only you may read"
    };
    let what = format!("typed now and kept in {}, {whose}", wanted.file);
    ask.choices.push(choice("typed", what));
    let variable = &wanted.variable;
    ask.choices.extend([
        choice(
            "env",
            format!("in an environment variable, such as {variable}"),
        ),
        choice("file", "in a file that is there already".to_owned()),
    ]);
    ask.choices.push(if cfg!(windows) {
        let what = "in Credential Manager of the user as whom the agent runs";
        choice("windows_credential", what.to_owned())
    } else {
        let what = "among systemd's credentials of the service";
        choice("credential", what.to_owned())
    });
    ask.optional = false;
    ask.default = if person.there {
        ask.choices.first().map(|(name, _)| name.clone())
    } else {
        Some("env".to_owned())
    };
    loop {
        let only_one = |answer: &str| {
            let several = answer.contains(',');
            (!several)
                .then_some(())
                .ok_or_else(|| "one of them".to_owned())
        };
        let place = person.answer(&ask, only_one)?.unwrap_or_default();
        let named = |help: &str, default: &str| Ask {
            flag: ask.flag.clone(),
            ask: help.to_owned(),
            default: (!default.is_empty()).then(|| default.to_owned()),
            ..Ask::default()
        };
        let part = |person: &mut Person, key: &str, named: &Ask| -> Result<String, Stop> {
            let check = |answer: &str| (wanted.fits)(&reference(key, answer), known);
            let answer = person.answer(named, check)?.unwrap_or_default();
            Ok(reference(key, &answer))
        };
        return Ok(Some(match place.as_str() {
            "env" => part(person, "env", &named("  Which variable?", variable))?,
            "file" => part(person, "file", &named("  Which file?", ""))?,
            "credential" | "windows_credential" => {
                part(person, &place, &named("  Which credential?", ""))?
            }
            place => {
                let secret = if place == "made" {
                    made()
                } else {
                    super::person::secret()?
                };
                let value = reference(KEY, &wanted.file);
                let mut with = known.clone();
                with.kept.insert(wanted.file.clone(), secret);
                if let Err(found) = (wanted.fits)(&value, &with) {
                    super::terminal::say(&format!("  {found}"));
                    continue;
                }
                *known = with;
                value
            }
        }));
    }
}

/// `env:NAME`, `file:PATH` and the like, or `made`.
fn of_command_line(given: &str, wanted: &Wanted<'_>, known: &mut Known) -> Result<String, String> {
    if given == "made" && wanted.made {
        known.kept.insert(wanted.file.clone(), made());
        return Ok(reference(KEY, &wanted.file));
    }
    match place(given) {
        Some(value) => (wanted.fits)(&value, known).map(|()| value),
        // It is not repeated: it may be the secret itself.
        None => Err(format!(
            "is not taken from the command line: {PLACES} says where it stands{}",
            if wanted.made {
                ", and made makes one"
            } else {
                ""
            }
        )),
    }
}

/// How a place is told on the command line.
pub(super) const PLACES: &str = if cfg!(windows) {
    "env:NAME, file:PATH, protected_file:PATH or windows_credential:NAME"
} else {
    "env:NAME, file:PATH or credential:NAME"
};

/// `env:NAME`, `file:PATH` and the like, as the settings say it.
pub(super) fn place(text: &str) -> Option<String> {
    let (key, name) = text.split_once(':')?;
    let known = SecretPlace::KEYS.contains(&key) && !name.is_empty();
    known.then(|| reference(key, name))
}

fn reference(key: &str, name: &str) -> String {
    format!("{{ {key} = {} }}", quoted(name))
}

/// A secret of random bytes, in the form of Standard Webhooks.
fn made() -> Secret {
    let bytes: [u8; MADE_BYTES] = rand::random();
    Secret::new(format!("whsec_{}", BASE64.encode(bytes)))
}

/// The variable that a value of the settings names.
pub(super) fn variable(value: &str) -> Option<String> {
    let rest = value.strip_prefix("{ env = \"")?;
    rest.strip_suffix("\" }").map(str::to_owned)
}

//! `lighterman secret`: keeps secrets where the settings can name them, lists and removes them. None is ever taken from
//! the command line, and none is ever shown.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use contract::{Finding, Secret, SecretPlace, Secrets as _};
use serde_json::json;

use super::{BYTES_MAX, FOLDER, KEY, Local, file_of, keep, system};
use crate::config::{self, Reference};
use crate::{Common, Exit, audit, beside_settings, init, out, refuse};

/// No name is longer.
const NAME_MAX: usize = 64;

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Asks for a secret without showing it, or takes it from a pipe, and keeps it beside the settings. One of
    /// that name is replaced. It cannot be given on the command line, where others see it.
    Set {
        #[command(flatten)]
        common: Common,
        /// A name of your own for it, such as erp.
        name: String,
        /// Where it is kept; else protected_file on Windows, and file elsewhere.
        #[arg(long = "in", value_enum)]
        place: Option<Kept>,
    },
    /// Lists the secrets that the settings name, and whether they can be read by whoever runs this; never what
    /// they are.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Removes a secret that no setting names any more.
    Remove {
        #[command(flatten)]
        common: Common,
        /// Its name.
        name: String,
        /// Where it is kept; else protected_file on Windows, and file elsewhere.
        #[arg(long = "in", value_enum)]
        place: Option<Kept>,
    },
}

/// Where a secret is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kept {
    /// A file that only its owner may read, or root and the service's group.
    #[value(name = "file")]
    File,
    /// Windows: a file that only this machine can read, for any account that may read the folder.
    #[value(name = "protected_file")]
    ProtectedFile,
    /// Windows: Credential Manager of the user who runs this, and of no other.
    #[value(name = "windows_credential")]
    WindowsCredential,
}

impl Kept {
    fn usual() -> Self {
        if cfg!(windows) {
            Self::ProtectedFile
        } else {
            Self::File
        }
    }

    /// As the settings name it.
    fn of(self, name: &str) -> Result<SecretPlace, Finding> {
        let place = match self {
            Self::WindowsCredential if cfg!(windows) => {
                SecretPlace::WindowsCredential(credential_of(name))
            }
            Self::File | Self::ProtectedFile if self == Self::usual() => {
                let path = file_of(name);
                SecretPlace::of(KEY, &path).unwrap_or(SecretPlace::File(path))
            }
            Self::File => {
                let found = "on Windows a file would show the secret to whoever may read it";
                return Err(Finding::fail("--in file", found)
                    .fix("leave --in out: the file is protected by Windows then"));
            }
            Self::ProtectedFile | Self::WindowsCredential => {
                let found = "only Windows has it";
                return Err(Finding::fail("--in", found).fix(
                    "leave --in out: the secret is kept in a file that only its owner may read",
                ));
            }
        };
        Ok(place)
    }
}

/// A credential's whole name, as Credential Manager shows it.
fn credential_of(name: &str) -> String {
    format!("lighterman/{name}")
}

/// `lighterman secret`.
pub(crate) async fn secret(command: SecretCommand) -> Exit {
    let (SecretCommand::Set { common, .. }
    | SecretCommand::List { common }
    | SecretCommand::Remove { common, .. }) = &command;
    let json = common.json;
    let file = match beside_settings(common) {
        Ok(file) => file,
        Err(findings) => return refuse(&findings, json),
    };
    let done = match command {
        SecretCommand::Set { name, place, .. } => set(&file, &name, place, json).await,
        SecretCommand::List { .. } => list(&file, json),
        SecretCommand::Remove { name, place, .. } => remove(&file, &name, place, json),
    };
    done.unwrap_or_else(|(exit, findings)| {
        refuse(&findings, json);
        exit
    })
}

/// How a command ends that does nothing.
type Refused = (Exit, Vec<Finding>);

fn refused(exit: Exit, finding: Finding) -> Refused {
    (exit, vec![finding])
}

/// Where a secret of this name is.
fn place_of(name: &str, place: Option<Kept>) -> Result<SecretPlace, Refused> {
    let kept = place.unwrap_or_else(Kept::usual);
    named(name)
        .and_then(|()| kept.of(name))
        .map_err(|finding| refused(Exit::Settings, finding))
}

/// A name that is a file's on any system.
fn named(name: &str) -> Result<(), Finding> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    // What Windows takes for a device, whatever stands behind the dot.
    let device = name.split('.').next().unwrap_or_default().to_lowercase();
    let fine = !name.is_empty()
        && name.len() <= NAME_MAX
        && !name.starts_with(['.', '-'])
        && !name.ends_with('.')
        && name.chars().all(plain)
        && !["con", "prn", "aux", "nul"].contains(&device.as_str());
    if fine {
        return Ok(());
    }
    let found = format!(
        "a name of letters, digits, - _ and . is expected, {NAME_MAX} at most; the secret itself is asked for"
    );
    // What was given is not repeated: it may be the secret.
    Err(Finding::fail("the secret's name", found).fix("lighterman secret set erp"))
}

async fn set(file: &Path, name: &str, place: Option<Kept>, json: bool) -> Result<Exit, Refused> {
    let place = place_of(name, place)?;
    let secret = given().await?;
    let replaced = kept(name, &place, &secret).map_err(|error| {
        let finding = Finding::fail(format!("keep {}", shown(&place)), error).fix(
            "run it as a user who may write the settings' folder, or name another place with --in",
        );
        refused(Exit::Trouble, finding)
    })?;
    note(file, "secret.set", &place, json!({ "replaced": replaced }));
    let reference = reference(&place);
    if json {
        out(&json!({ "name": name, "reference": reference, "replaced": replaced }).to_string());
        return Ok(Exit::Ok);
    }
    out(&format!(
        "{} {}.",
        if replaced { "Replaced" } else { "Kept" },
        whose(&place)
    ));
    out(&format!("In the settings: password = {reference}"));
    if replaced {
        out("A running agent takes the new one when it is started again.");
    }
    Ok(Exit::Ok)
}

/// The secret, from a person or a pipe.
async fn given() -> Result<Secret, Refused> {
    if std::io::stdin().is_terminal() {
        // A person is waited for on a thread of its own: nothing of the process may hang on when they type.
        let typing = tokio::task::spawn_blocking(init::typed);
        let typed = tokio::select! {
            typed = typing => typed.ok().flatten(),
            Ok(()) = tokio::signal::ctrl_c() => {
                init::show_typing();
                None
            }
        };
        return typed.ok_or_else(|| {
            let finding = Finding::fail("secret set", "stopped: nothing was kept");
            refused(Exit::Trouble, finding)
        });
    }
    piped().map_err(|found| {
        let finding = Finding::fail("the secret from standard input", found)
            .fix("run it at a terminal, where it is asked for, or give the secret alone, in UTF-8");
        refused(Exit::Settings, finding)
    })
}

fn piped() -> Result<Secret, String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("it is longer than {BYTES_MAX} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    // What PowerShell may write before a text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(Secret::new(text))
}

fn kept(name: &str, place: &SecretPlace, secret: &Secret) -> Result<bool, String> {
    match place {
        SecretPlace::WindowsCredential(credential) => system::keep_credential(credential, secret),
        _ => keep::keep(name, secret).map_err(|error| error.to_string()),
    }
}

fn remove(file: &Path, name: &str, place: Option<Kept>, json: bool) -> Result<Exit, Refused> {
    let place = place_of(name, place)?;
    let what = || format!("remove {}", shown(&place));
    // Without settings nobody needs it.
    let references = if file.exists() {
        config::references(file).map_err(|findings| (Exit::Settings, findings))?
    } else {
        Vec::new()
    };
    if let Some((path, _)) = references.iter().find(|(_, known)| is_same(known, &place)) {
        let finding = Finding::fail(what(), format!("{path} of the settings names it")).fix(
            "change the setting first; lighterman secret set puts another secret in its place",
        );
        return Err(refused(Exit::Trouble, finding));
    }
    let gone = match &place {
        SecretPlace::WindowsCredential(credential) => system::remove_credential(credential),
        _ => keep::remove(name).map_err(|error| error.to_string()),
    };
    match gone {
        Ok(true) => {}
        Ok(false) => {
            let finding = Finding::fail(what(), "there is none")
                .fix("lighterman secret list shows what there is");
            return Err(refused(Exit::Trouble, finding));
        }
        Err(error) => {
            let finding = Finding::fail(what(), error)
                .fix("run it as the user who kept it, or as an administrator");
            return Err(refused(Exit::Trouble, finding));
        }
    }
    note(file, "secret.remove", &place, json!({}));
    if json {
        out(&json!({ "name": name, "removed": reference(&place) }).to_string());
    } else {
        out(&format!("Removed {}.", shown(&place)));
    }
    Ok(Exit::Ok)
}

fn list(file: &Path, json: bool) -> Result<Exit, Refused> {
    let references = config::references(file).map_err(|findings| (Exit::Settings, findings))?;
    let read: Vec<(Reference, Option<String>)> = references
        .into_iter()
        .map(|reference| {
            let error = Local.read(&reference.1).err();
            (reference, error)
        })
        .collect();
    let unnamed = unnamed(read.iter().map(|((_, place), _)| place));
    let missing = read.iter().any(|(_, error)| error.is_some());
    if json {
        let secrets: Vec<_> = read
            .iter()
            .map(|((path, place), error)| {
                json!({ "setting": path, "reference": reference(place), "error": error })
            })
            .collect();
        out(&json!({ "secrets": secrets, "named_by_no_setting": unnamed }).to_string());
    } else {
        for ((path, place), error) in &read {
            match error {
                None => out(&format!("ok   {path}: {}", shown(place))),
                Some(error) => out(&format!("FAIL {path}: {error}")),
            }
        }
        for path in &unnamed {
            out(&format!("     {path}: no setting names it"));
        }
        if read.is_empty() && unnamed.is_empty() {
            out("The settings name no secret. lighterman secret set NAME keeps one.");
        }
    }
    Ok(if missing { Exit::Trouble } else { Exit::Ok })
}

/// Files among the kept secrets that no setting names.
fn unnamed<'a>(known: impl Iterator<Item = &'a SecretPlace>) -> Vec<String> {
    let known: Vec<&SecretPlace> = known.collect();
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let mut unnamed: Vec<String> = names
        .filter(|name| !name.starts_with('.'))
        .map(|name| format!("{FOLDER}/{name}"))
        .filter(|path| !known.iter().any(|place| same_path(place.parts().1, path)))
        .collect();
    unnamed.sort();
    unnamed
}

fn is_same(one: &SecretPlace, other: &SecretPlace) -> bool {
    let ((key, name), (other_key, other_name)) = (one.parts(), other.parts());
    key == other_key && (name == other_name || same_path(name, other_name))
}

/// Whether two paths are of one file: as they are written, or as they lead there.
fn same_path(one: &str, other: &str) -> bool {
    let whole = |path: &str| std::fs::canonicalize(PathBuf::from(path)).ok();
    one == other || whole(one).is_some_and(|path| whole(other) == Some(path))
}

/// As the settings say it.
fn reference(place: &SecretPlace) -> String {
    let (key, name) = place.parts();
    format!("{{ {key} = {} }}", serde_json::Value::from(name))
}

fn shown(place: &SecretPlace) -> String {
    let (key, name) = place.parts();
    format!("{key} {name}")
}

/// Where it is, and who can read it.
fn whose(place: &SecretPlace) -> String {
    match place {
        SecretPlace::ProtectedFile(path) => {
            format!("in {path}: only this machine can read it, for whoever may read the file")
        }
        SecretPlace::WindowsCredential(name) => format!(
            "in Credential Manager as {name}: only {} can read it, on this machine",
            audit::person()
        ),
        other => format!("in {}, for its owner's eyes alone", other.parts().1),
    }
}

/// Notes it in the audit record, where there is one.
fn note(file: &Path, what: &str, place: &SecretPlace, details: serde_json::Value) {
    if let Ok(folder) = config::load_state_folder(file) {
        audit::did(&folder, what, &shown(place), details);
    }
}

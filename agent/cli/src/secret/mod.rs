//! Secrets: read from where the settings say, and kept where the settings can name them (`lighterman secret`).
//!
//! What a system has of its own for secrets stands in `windows.rs`; `elsewhere.rs` says what to use instead.

mod command;
mod keep;

#[cfg(not(windows))]
#[path = "elsewhere.rs"]
mod system;
#[cfg(windows)]
#[path = "windows.rs"]
mod system;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use contract::{Secret, SecretPlace, Secrets};

pub(crate) use command::{SecretCommand, secret};
pub(crate) use keep::{FOLDER, KEY, file_of, sealed};

/// No secret is longer: a private key with all its certificates has room.
const BYTES_MAX: u64 = 64 * 1024;

/// The secrets of this machine.
pub(crate) struct Local;

impl Secrets for Local {
    fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
        let secret = there(place)?;
        let (key, name) = place.parts();
        // It would be taken for a wrong password, far from here and much later.
        if secret.expose().is_empty() {
            return Err(match key {
                "env" => format!("environment variable {name} is empty"),
                _ => format!("{key} {name} is empty"),
            });
        }
        Ok(secret)
    }
}

/// What stands there, whatever it is.
fn there(place: &SecretPlace) -> Result<Secret, String> {
    match place {
        SecretPlace::Environment(name) => std::env::var(name)
            .map(Secret::new)
            .map_err(|_| format!("environment variable {name} is not set")),
        SecretPlace::File(path) => file(Path::new(path)),
        SecretPlace::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            None => Err(format!(
                "credential {name}: no service manager gave any (CREDENTIALS_DIRECTORY is not set)"
            )),
            Some(_) if name.is_empty() || name.contains(['/', '\\']) => Err(format!(
                "credential {name}: a name without a folder is expected"
            )),
            Some(folder) => file(&Path::new(&folder).join(name)),
        },
        SecretPlace::WindowsCredential(name) => {
            system::credential(name).map_err(|error| format!("windows_credential {name}: {error}"))
        }
        SecretPlace::ProtectedFile(path) => keep::unsealed(Path::new(path)),
    }
}

fn file(path: &Path) -> Result<Secret, String> {
    let text = text(path).map_err(|error| format!("read secret file {error}"))?;
    if keep::is_sealed(&text) {
        return Err(format!(
            "read secret file {0}: it is protected: name it as {{ protected_file = \"{0}\" }}",
            path.display()
        ));
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
}

/// What stands in a file.
fn text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > BYTES_MAX => Err(format!(
            "{}: it is longer than any secret ({BYTES_MAX} bytes)",
            path.display()
        )),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(format!("{}: it is not UTF-8 text", path.display()))
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

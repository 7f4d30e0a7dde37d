//! A refresh token that the API gave in place of the one in the settings. Some APIs know only the newest:
//! it goes into the file that the old one came from, so that the next start knows it, too.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Most of a token that is read.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// Where a new refresh token goes.
pub(crate) struct Refreshed {
    /// The one in the settings, and the file it came from.
    given: Option<(String, Option<PathBuf>)>,
    /// What stood in the file when we last read or wrote it.
    known: Mutex<String>,
    name: String,
}

impl Refreshed {
    /// `given` = the token in the settings, if there is one; `files` = the secrets that came from files.
    pub(crate) fn new(name: &str, given: Option<String>, files: &[(String, PathBuf)]) -> Self {
        let given = given.map(|token| {
            let file = files.iter().find(|(secret, _)| *secret == token);
            let file = file.map(|(_, file)| file.clone());
            (token, file)
        });
        let known = given.as_ref().map(|(token, _)| token.clone());
        Self {
            given,
            known: Mutex::new(known.unwrap_or_default()),
            name: name.to_owned(),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that another process, or a person, has put into the file since we last read or wrote it. One
    /// that cannot be read changes nothing: we go on with the one we have.
    pub(crate) async fn newest(&self) -> Option<String> {
        let (_, Some(file)) = self.given.as_ref()? else {
            return None;
        };
        let path = file.clone();
        let found = tokio::task::spawn_blocking(move || read(&path)).await;
        let found = found.ok()?.ok()?;
        let mut known = self.known();
        if found.is_empty() || found == *known {
            return None;
        }
        known.clone_from(&found);
        Some(found)
    }

    /// Keeps a token that a login gave. What hinders that is said: this run goes on with the token.
    pub(crate) async fn keep(&self, token: &str) {
        let Some((_, file)) = &self.given else {
            return;
        };
        if *self.known() == token {
            return;
        }
        let Some(file) = file else {
            tracing::warn!(
                code = "destination.token_has_no_file",
                destination = self.name,
                hint = "name it as { file = \"..\" }: the agent writes the new one there",
                "the API gave a new refresh token, and the one in the settings is no file: \
                 a login after the next start may fail"
            );
            return;
        };
        let (path, new) = (file.clone(), token.to_owned());
        let written = tokio::task::spawn_blocking(move || replace(&path, &new)).await;
        let error = match written {
            Ok(Ok(())) => {
                token.clone_into(&mut self.known());
                return;
            }
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        };
        tracing::warn!(
            code = "destination.token_not_written",
            destination = self.name,
            file = %file.display(),
            %error,
            hint = "let the agent's user write the file and its folder",
            "the API gave a new refresh token that could not be written: \
             a login after the next start may fail"
        );
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    // As secrets are read from files: without the end of the line, and nothing else.
    let token = text.strip_suffix('\n').unwrap_or(&text);
    Ok(token.strip_suffix('\r').unwrap_or(token).to_owned())
}

/// The old token or the new one, whenever the machine stops.
fn replace(path: &Path, token: &str) -> io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = std::fs::canonicalize(path)?;
    let rights = std::fs::metadata(&path)?.permissions();
    let mut beside = path.clone().into_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // One that an earlier stop left may have other rights.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    file.set_permissions(rights)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&beside, &path)?;
    // A folder can be synced where it can be opened.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

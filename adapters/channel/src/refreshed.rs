//! A refresh token that the API gave in place of the one in the settings. Some APIs know only the newest:
//! it goes into the file that the old one came from, so that the next start knows it, too.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where a new refresh token goes.
#[derive(Clone)]
pub(crate) struct Refreshed {
    /// The one in the settings, and the file it came from.
    given: Option<(String, Option<PathBuf>)>,
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
        Self {
            given,
            name: name.to_owned(),
        }
    }

    /// Keeps a token that a login gave. What hinders that is said: this run goes on with the token.
    pub(crate) async fn keep(&self, token: &str) {
        let Some((given, file)) = &self.given else {
            return;
        };
        if given == token {
            return;
        }
        let Some(file) = file else {
            tracing::warn!(
                destination = self.name,
                hint = "name it as { file = \"..\" }: the agent writes the new one there",
                "the API gave a new refresh token, and the one in the settings is no file: \
                 a login after the next start may fail"
            );
            return;
        };
        let (path, token) = (file.clone(), token.to_owned());
        let written = tokio::task::spawn_blocking(move || replace(&path, &token)).await;
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        };
        tracing::warn!(
            destination = self.name,
            file = %file.display(),
            %error,
            hint = "let the agent's user write the file and its folder",
            "the API gave a new refresh token that could not be written: \
             a login after the next start may fail"
        );
    }
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

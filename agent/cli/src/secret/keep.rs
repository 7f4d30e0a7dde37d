//! Secrets kept in files of a folder beside the settings: on Windows protected for this machine, elsewhere for their
//! owner's eyes alone.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use contract::Secret;
use tempfile::NamedTempFile;

use super::system;

/// The folder, beside the settings.
pub(crate) const FOLDER: &str = "secrets";
/// How the settings name a file in it.
pub(crate) const KEY: &str = if cfg!(windows) {
    "protected_file"
} else {
    "file"
};
/// How the names of its files end.
const END: &str = if cfg!(windows) { ".protected" } else { "" };
/// The first line of a protected file.
const MARK: &str = "lighterman protected file 1";

/// The file of a secret, as the settings name it.
pub(crate) fn file_of(name: &str) -> String {
    format!("{FOLDER}/{name}{END}")
}

/// What is written into a file for a secret.
///
/// # Errors
/// The system cannot protect it.
pub(crate) fn sealed(secret: &str) -> io::Result<String> {
    Ok(match system::protect(secret.as_bytes())? {
        Some(bytes) => format!("{MARK}\n{}\n", BASE64.encode(bytes)),
        None => format!("{secret}\n"),
    })
}

/// Whether a file's text is a protected secret.
pub(super) fn is_sealed(text: &str) -> bool {
    text.starts_with(MARK)
}

/// The secret in a protected file.
pub(super) fn unsealed(path: &Path) -> Result<Secret, String> {
    let said = |found: &str| format!("read protected file {}: {found}", path.display());
    let text = super::text(path).map_err(|error| format!("read protected file {error}"))?;
    let rest = text.strip_prefix(MARK).map(str::trim);
    let bytes = rest.and_then(|rest| BASE64.decode(rest).ok());
    let bytes = bytes.ok_or_else(|| {
        said("it is none that lighterman secret set wrote; a file with the secret itself is named as file")
    })?;
    let bytes = system::unprotect(&bytes).map_err(|error| said(&error))?;
    let secret = String::from_utf8(bytes).map_err(|_| said("it holds no text"))?;
    Ok(Secret::new(secret))
}

/// Keeps a secret in its file: whether it took another's place. Whenever the machine stops, the file holds the old one
/// or the new one.
pub(super) fn keep(name: &str, secret: &Secret) -> io::Result<bool> {
    let path = PathBuf::from(file_of(name));
    let replaced = path.exists();
    let folder = Path::new(FOLDER);
    rights::make(folder)?;
    let mut whole = NamedTempFile::new_in(folder)?;
    whole.write_all(sealed(secret.expose())?.as_bytes())?;
    rights::give(whole.path(), &path)?;
    whole.as_file().sync_all()?;
    whole.persist(&path).map_err(|error| error.error)?;
    Ok(replaced)
}

/// Removes a secret's file: whether it was there.
pub(super) fn remove(name: &str) -> io::Result<bool> {
    match std::fs::remove_file(file_of(name)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who may read what is kept: whoever runs this, and where root does, whom the settings' folder is for.
#[cfg(unix)]
mod rights {
    use std::fs::{self, DirBuilder, Metadata, Permissions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
    use std::path::Path;

    pub(super) fn make(folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        DirBuilder::new().mode(0o700).create(folder)?;
        let of = fs::metadata(".")?;
        belong(folder, &of, if is_shared(&of) { 0o2750 } else { 0o700 })
    }

    /// A file that takes another's place is for the same readers.
    pub(super) fn give(file: &Path, replaced: &Path) -> io::Result<()> {
        if let Ok(of) = fs::metadata(replaced) {
            return belong(file, &of, of.mode() & 0o770);
        }
        let of = fs::metadata(".")?;
        belong(file, &of, if is_shared(&of) { 0o640 } else { 0o600 })
    }

    /// Root's folder with a group of its own: that of the service.
    fn is_shared(folder: &Metadata) -> bool {
        folder.uid() == 0 && folder.gid() != 0
    }

    fn belong(path: &Path, of: &Metadata, mode: u32) -> io::Result<()> {
        let found = fs::metadata(path)?;
        // Only root gives files away.
        let differs = (found.uid(), found.gid()) != (of.uid(), of.gid());
        if found.uid() == 0 && differs {
            chown(path, Some(of.uid()), Some(of.gid()))?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    }
}

/// Files have the rights of the folder they are in.
#[cfg(not(unix))]
mod rights {
    use std::io;
    use std::path::Path;

    pub(super) fn make(folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)
    }

    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(super) fn give(_file: &Path, _replaced: &Path) -> io::Result<()> {
        Ok(())
    }
}

//! Files that get their names when they are whole, and never take another's place.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use contract::Finding;
use tempfile::NamedTempFile;

/// A file to be written.
#[derive(Debug)]
pub(super) struct File {
    /// In the folder.
    pub(super) name: String,
    pub(super) text: String,
    /// The text is a secret: protected where the system can do that, elsewhere only its owner may read the file.
    pub(super) private: bool,
}

/// What became of files.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) written: Vec<PathBuf>,
    /// Were there before.
    pub(super) kept: Vec<PathBuf>,
}

impl Written {
    /// Takes away what was written.
    pub(super) fn undo(&self) {
        for path in &self.written {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Writes all of them, or none.
///
/// # Errors
/// What could not be written, and why.
pub(super) fn write(folder: &Path, files: &[File]) -> Result<Written, Finding> {
    let mut done = Written::default();
    for file in files {
        let path = folder.join(&file.name);
        if path.exists() {
            done.kept.push(path);
            continue;
        }
        if let Err(error) = one(&path, file) {
            done.undo();
            let finding = Finding::fail(format!("write {}", path.display()), error.to_string());
            return Err(finding.fix("nothing was written: name another folder with --folder"));
        }
        done.written.push(path);
    }
    Ok(done)
}

fn one(path: &Path, file: &File) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make(folder, file.private)?;
    let mut whole = begin(folder, file.private)?;
    if file.private {
        whole.write_all(crate::secret::sealed(&file.text)?.as_bytes())?;
    } else {
        whole.write_all(file.text.as_bytes())?;
    }
    let_group_read(folder, whole.as_file())?;
    whole.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(unix)]
fn make(folder: &Path, private: bool) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    if folder.exists() {
        return Ok(());
    }
    let mode = if private { 0o700 } else { 0o777 };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(folder)?;
    if is_of_group(folder) {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o2750))?;
    }
    Ok(())
}

/// Whether a folder is root's, hands its group to what is made in it and is closed to others, as a service's is: the
/// group may read that, secrets included, whatever this user's umask says.
#[cfg(unix)]
fn is_of_group(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(folder)
        .is_ok_and(|found| found.uid() == 0 && found.gid() != 0 && found.mode() & 0o2007 == 0o2000)
}

#[cfg(unix)]
fn let_group_read(folder: &Path, file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if is_of_group(folder) {
        file.set_permissions(std::fs::Permissions::from_mode(0o640))?;
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn let_group_read(_: &Path, _: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn make(folder: &Path, _: bool) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// A file without a name, or under one that nobody looks for.
#[cfg(unix)]
fn begin(folder: &Path, private: bool) -> std::io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    // What the user's umask allows, as any other file.
    let mode = if private { 0o600 } else { 0o666 };
    tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder)
}

#[cfg(not(unix))]
fn begin(folder: &Path, _: bool) -> std::io::Result<NamedTempFile> {
    NamedTempFile::new_in(folder)
}

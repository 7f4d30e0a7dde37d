//! One binary in the place of another: what a crash leaves is one or the other, whole.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use contract::Finding;
use tempfile::TempPath;

use super::release::Release;

/// How a staged file's name begins and ends.
const STAGED: (&str, &str) = (".lighterman-", ".staged");

/// What the binary that stood there before is called, beside the one in its place.
const PREVIOUS: &str = "lighterman.previous";

/// This binary, as it lies on disk.
///
/// # Errors
/// Why that is not known.
pub(super) fn own() -> Result<PathBuf, Finding> {
    let found = std::env::current_exe().and_then(|path| path.canonicalize());
    found.map_err(|error| Finding::fail("binary", format!("where it lies is not known: {error}")))
}

/// A release's binary as a file that can be run and is gone when it is dropped: beside this one where it is
/// to take its place, else in a folder for such files.
///
/// # Errors
/// Why it cannot be written.
pub(super) fn staged(release: &Release, beside: bool) -> Result<TempPath, Finding> {
    let folder = if beside {
        folder_of(&own()?).to_owned()
    } else {
        std::env::temp_dir()
    };
    if beside {
        left_behind(&folder);
    }
    let write = || -> std::io::Result<TempPath> {
        let mut file = tempfile::Builder::new()
            .prefix(STAGED.0)
            .suffix(STAGED.1)
            .tempfile_in(&folder)?;
        file.write_all(&release.binary)?;
        runnable(file.path())?;
        file.as_file().sync_all()?;
        // Nothing can be run that is open for writing.
        Ok(file.into_temp_path())
    };
    write().map_err(|error| not_written(&folder, &error))
}

/// Removes what earlier commands staged in a folder and were killed with: each is as large as the program.
fn left_behind(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(STAGED.0) && name.ends_with(STAGED.1) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What is to be said where a folder of binaries cannot be written to.
fn not_written(folder: &Path, error: &std::io::Error) -> Finding {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let what = format!("write into {}", folder.display());
    let fix = match error.kind() {
        PermissionDenied | ReadOnlyFilesystem => {
            "run this command as who may write there, such as root"
        }
        StorageFull | QuotaExceeded => "free disk space, then the same command once more",
        _ => "mend that, then the same command once more",
    };
    Finding::fail(what, error.to_string()).fix(fix)
}

/// Puts a staged binary in the place of another, which is kept: where it lies now.
///
/// # Errors
/// Why it was not done.
pub(super) fn replace(binary: &Path, staged: TempPath) -> Result<PathBuf, Finding> {
    let previous = previous(binary);
    let done = || -> std::io::Result<()> {
        belongs(binary, &staged)?;
        keep(binary, &previous)?;
        failpoint::at!("upgrade.kept")?;
        if let Err(error) = staged.persist(binary) {
            // Where it was moved away for this, it comes back.
            if !binary.exists() {
                fs::rename(&previous, binary)?;
            }
            return Err(error.error);
        }
        failpoint::at!("upgrade.replaced")?;
        sync(folder_of(binary))
    };
    match done() {
        Ok(()) => Ok(previous),
        Err(error) => Err(not_written(folder_of(binary), &error)),
    }
}

/// Puts the binary that was kept in its place again; the one that stood there is gone then.
///
/// # Errors
/// Why it was not done.
pub(super) fn back(binary: &Path, previous: &Path) -> Result<(), Finding> {
    let done = || -> std::io::Result<()> {
        away(binary)?;
        if let Err(error) = fs::rename(previous, binary) {
            returned(binary)?;
            return Err(error);
        }
        failpoint::at!("rollback.replaced")?;
        sync(folder_of(binary))
    };
    done().map_err(|error| not_written(folder_of(binary), &error))
}

/// Where the binary is kept that another takes the place of.
pub(super) fn previous(binary: &Path) -> PathBuf {
    let end = if cfg!(windows) { ".exe" } else { "" };
    binary.with_file_name(format!("{PREVIOUS}{end}"))
}

/// Keeps a binary under another name. There is no moment without the one or the other.
#[cfg(unix)]
fn keep(binary: &Path, previous: &Path) -> std::io::Result<()> {
    let folder = folder_of(binary);
    let copy = tempfile::Builder::new()
        .prefix(STAGED.0)
        .suffix(STAGED.1)
        .tempfile_in(folder)?;
    fs::copy(binary, copy.path())?;
    belongs(binary, copy.path())?;
    copy.as_file().sync_all()?;
    copy.persist(previous).map_err(|error| error.error)?;
    Ok(())
}

/// A file that runs can be given another name, and not be replaced.
#[cfg(not(unix))]
fn keep(binary: &Path, previous: &Path) -> std::io::Result<()> {
    if previous.exists() {
        fs::remove_file(previous)?;
    }
    fs::rename(binary, previous)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn away(_binary: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Puts it back where [`away`] took it from.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn returned(_binary: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn returned(binary: &Path) -> std::io::Result<()> {
    fs::rename(binary.with_file_name(ROLLED_BACK), binary)
}

#[cfg(not(unix))]
const ROLLED_BACK: &str = "lighterman.rolled-back.exe";

#[cfg(not(unix))]
fn away(binary: &Path) -> std::io::Result<()> {
    let aside = binary.with_file_name(ROLLED_BACK);
    if aside.exists() {
        fs::remove_file(&aside)?;
    }
    fs::rename(binary, aside)
}

/// Gives a file the rights of another, and its owner.
#[cfg(unix)]
fn belongs(of: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let (of, own) = (fs::metadata(of)?, fs::metadata(to)?);
    if (of.uid(), of.gid()) != (own.uid(), own.gid()) {
        chown(to, Some(of.uid()), Some(of.gid()))?;
    }
    fs::set_permissions(to, of.permissions())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn belongs(_of: &Path, _to: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn runnable(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn runnable(_file: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("."))
}

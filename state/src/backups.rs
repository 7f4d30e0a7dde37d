//! Backups that were made before an upgrade: their names, which there are, and how many are kept.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::backup::{BACKUPS, stamp};
use crate::folder::APPLICATION_ID;

/// Copies that were made before migrations, and before upgrades: so many are kept.
const KEPT: usize = 5;
/// How their names begin.
const BEFORE: &str = "before-";

/// A backup in a state folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FoundBackup {
    /// The file.
    pub file: PathBuf,
    /// Its format.
    pub format: i64,
    /// Its size.
    pub bytes: u64,
    /// When it was made.
    pub made_at: Option<Timestamp>,
    /// It was made because of an upgrade, and not by a person.
    pub before_upgrade: bool,
}

/// Made by root, the folder of backups is the agent's all the same, which writes there before a migration.
pub(crate) fn given(folder: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, lchown};
        if let Ok(of) = fs::metadata(folder) {
            // Not what a link leads to: the agent's user may put one there.
            let _ = lchown(folder.join(BACKUPS), Some(of.uid()), Some(of.gid()));
        }
    }
    #[cfg(not(unix))]
    let _ = folder;
}

/// The backups in a state folder, the newest first. What is no state file is left out; whether one is
/// whole is not looked at.
pub fn backups(folder: &Path) -> Vec<FoundBackup> {
    let Ok(entries) = fs::read_dir(folder.join(BACKUPS)) else {
        return Vec::new();
    };
    let mut all: Vec<FoundBackup> = entries
        .flatten()
        .filter_map(|entry| found(entry.path()))
        .collect();
    all.sort_by(|a, b| (b.made_at, &b.file).cmp(&(a.made_at, &a.file)));
    all
}

fn found(file: PathBuf) -> Option<FoundBackup> {
    let name = file.file_name()?.to_string_lossy().into_owned();
    let is_copy = Path::new(&name)
        .extension()
        .is_some_and(|extension| extension == "db");
    if !is_copy || name.starts_with('.') {
        return None;
    }
    let metadata = fs::metadata(&file).ok().filter(fs::Metadata::is_file)?;
    let format = format_of(&file)?;
    let made_at = metadata.modified().ok();
    Some(FoundBackup {
        format,
        bytes: metadata.len(),
        made_at: made_at.and_then(|at| Timestamp::try_from(at).ok()),
        before_upgrade: name.starts_with(BEFORE),
        file,
    })
}

/// A state file's format as its first page says it, without opening it as a database: one of a newer
/// version can be looked at, too.
fn format_of(file: &Path) -> Option<i64> {
    let mut head = [0; 100];
    File::open(file).ok()?.read_exact(&mut head).ok()?;
    let number = |at: usize| {
        let four = head.get(at..at + 4)?;
        Some(i64::from(u32::from_be_bytes(four.try_into().ok()?)))
    };
    let ours = head.starts_with(b"SQLite format 3\0") && number(68)? == APPLICATION_ID;
    ours.then(|| number(60)).flatten()
}

/// The newest backup of a state folder that a version which knows `known` can read.
pub(crate) fn fitting(folder: &Path, known: i64) -> Option<FoundBackup> {
    let all = backups(folder).into_iter();
    let mut fitting = all.filter(|one| one.format <= known);
    fitting.next()
}

/// Where a backup goes that is made before an upgrade to a version.
pub fn before_upgrade(folder: &Path, version: &str, format: i64, now: Timestamp) -> PathBuf {
    let name = format!("{BEFORE}{version}-of-format-{format}-{}.db", stamp(now));
    folder.join(BACKUPS).join(name)
}

/// What the `n`th copy before this version's migration of a format is called.
pub(crate) fn before_migration(folder: &Path, format: i64, n: u32) -> PathBuf {
    let version = env!("CARGO_PKG_VERSION");
    let again = if n > 1 {
        format!("-{n}")
    } else {
        String::new()
    };
    let name = format!("{BEFORE}{version}-of-format-{format}{again}.db");
    folder.join(BACKUPS).join(name)
}

/// Removes the oldest copies that upgrades made, beyond those that are kept; what persons made stays.
pub fn prune_backups(folder: &Path) {
    let all = backups(folder).into_iter();
    for old in all.filter(|one| one.before_upgrade).skip(KEPT) {
        let _ = fs::remove_file(old.file);
    }
}

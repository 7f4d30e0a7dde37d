//! A backup of the state file, also while an agent runs on it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::copy::{self, Pace};
use crate::error::StoreError;
use crate::{backups, folder, migrate};

/// The folder for backups in the state folder, where no other is named.
pub const BACKUPS: &str = "backups";

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BackedUp {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its format.
    pub format: i64,
    /// An agent ran meanwhile.
    pub running: bool,
}

/// Backs up the state file of `folder` to a file, or to a name of its own in a folder; without
/// `to`, in the state folder. The agent may run: it is not held up, and what it commits meanwhile
/// is not in the backup.
///
/// # Errors
/// See [`StoreError`]. Nothing is left under the backup's name then.
pub fn backup(folder: &Path, to: Option<&Path>, now: Timestamp) -> Result<BackedUp, StoreError> {
    let file = crate::file_path(folder);
    if !file.exists() {
        return Err(StoreError::Missing { file });
    }
    let to = match to {
        Some(to) if to.is_dir() => to.join(name(now)),
        Some(to) => to.to_owned(),
        None => folder.join(BACKUPS).join(name(now)),
    };
    // Looked at once more when it gets its name; said before the work here.
    if to.exists() {
        return Err(copy::exists(&to));
    }
    let running = folder::owner(folder).is_some_and(|(_, owned)| owned);
    let db = folder::read_only(&file)?;
    let format = migrate::between(&db, &file)?.from;
    let pace = if running { Pace::Beside } else { Pace::Alone };
    let bytes = copy::copy(&db, &to, pace)?;
    if to.parent() == Some(folder.join(BACKUPS).as_path()) {
        backups::given(folder);
    }
    Ok(BackedUp {
        file: to,
        bytes,
        format,
        running,
    })
}

/// `lighterman-20261127T143000Z.db`: names sort by time.
fn name(now: Timestamp) -> String {
    format!("lighterman-{}.db", stamp(now))
}

/// A moment as part of a file's name.
pub(crate) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

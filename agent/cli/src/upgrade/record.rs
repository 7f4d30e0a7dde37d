//! What the last upgrade replaced: what `lighterman rollback` goes back to. A small file in the state folder.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use contract::Finding;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Build;

const NAME: &str = "upgrade.json";

/// An upgrade that was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) at: Timestamp,
    /// The binary that was replaced.
    pub(super) binary: PathBuf,
    /// Where the one lies that stood there.
    pub(super) previous: PathBuf,
    pub(super) from: Known,
    pub(super) to: Known,
    /// The backup of the state; `None` = there was no state.
    pub(super) backup: Option<PathBuf>,
}

/// A binary, by its content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Known {
    #[serde(flatten)]
    pub(super) build: Build,
    pub(super) sha256: String,
}

impl Record {
    /// The last upgrade of a state folder; nothing where there was none, or nobody knows of it any more.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let mut file = fs::File::open(folder.join(NAME)).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let record: Self = serde_json::from_str(&text).ok()?;
        if record.previous != super::swap::previous(&record.binary) {
            return None;
        }
        // The agent's user may write in this folder, and must not choose what root puts where.
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let by = file.metadata().ok()?.uid();
            if by != 0 && by != fs::symlink_metadata(&record.binary).ok()?.uid() {
                return None;
            }
        }
        Some(record)
    }

    /// Writes it down, durably.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Finding> {
        let done = || -> std::io::Result<()> {
            let text = serde_json::to_string_pretty(self)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(folder.join(NAME))
                .map_err(|error| error.error)?;
            Ok(())
        };
        let what = format!("write {}", folder.join(NAME).display());
        done().map_err(|error| Finding::fail(what, error.to_string()))
    }

    /// It is undone.
    pub(super) fn remove(folder: &Path) {
        let _ = fs::remove_file(folder.join(NAME));
    }
}

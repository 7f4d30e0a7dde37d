//! Why the store cannot do what it was asked, by what the caller can do about it.

use std::path::PathBuf;

/// A store error. Everything but [`StoreError::Busy`] and a full disk stops the agent: a store in doubt
/// is never written again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another agent owns the state folder.
    #[error("open state folder {folder}: another agent (process {pid}) is using it")]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// The other agent's process id, or `?` when it cannot be read.
        pid: String,
    },
    /// The file is damaged.
    #[error("check state file {file}: {detail}")]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// The file was written by a newer version.
    #[error("open state file {file}: it has format {found}, this agent knows up to {known}")]
    TooNew {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// There is no state file.
    #[error("open state file {file}: there is none")]
    Missing {
        /// Where it would be.
        file: PathBuf,
    },
    /// What was asked is not done, and the state file is as it was.
    #[error("{what}: {why}")]
    Refused {
        /// What was asked.
        what: String,
        /// Why not.
        why: String,
        /// What a person can do.
        hint: String,
    },
    /// The disk is full.
    #[error("write state file: the disk is full")]
    Full,
    /// The folder or file cannot be read or written.
    #[error("{what}: {detail}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        detail: String,
    },
    /// SQLite refused a statement.
    #[error("state file: {0}")]
    Sqlite(String),
    /// Something that cannot happen happened: a bug. The invariant's name stands in the text.
    #[error("state file: {0}")]
    Invariant(String),
    /// The writer has stopped after an earlier error.
    #[error("the store has stopped after an earlier error")]
    Stopped,
}

/// What a person can do about a damaged file.
const DAMAGED: &str = "lighterman state verify says more; lighterman state restore <backup>, or without one move the \
                       state folder away and let the agent snapshot again";

impl StoreError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { pid, .. } => Some(format!(
                "stop the other agent (process {pid}) or use another state_folder"
            )),
            // SQLite says so in these words when it comes to a damaged page while the agent runs.
            Self::Sqlite(text) if text.contains("malformed") => Some(DAMAGED.to_owned()),
            Self::Corrupt { .. } => Some(DAMAGED.to_owned()),
            Self::TooNew { file, known, .. } => {
                let folder = crate::copy::folder_of(file);
                let back = crate::backups::fitting(folder, *known).map_or_else(
                    || "no backup of an older format is in the state folder's `backups`".to_owned(),
                    |backup| {
                        format!(
                            "lighterman rollback goes back to what was before the upgrade: {}, format {}",
                            backup.file.display(),
                            backup.format
                        )
                    },
                );
                Some(format!("run the newer agent; or {back}"))
            }
            Self::Missing { .. } => Some(
                "check state_folder in the settings; lighterman run makes it, and lighterman state \
                 restore <backup> brings one back"
                    .to_owned(),
            ),
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Full => Some("free disk space; the agent goes on by itself".to_owned()),
            Self::Io { .. } | Self::Sqlite(_) | Self::Invariant(_) | Self::Stopped => None,
        }
    }
}

impl From<failpoint::Failed> for StoreError {
    fn from(failed: failpoint::Failed) -> Self {
        match failed {
            failpoint::Failed::Full => Self::Full,
            failpoint::Failed::Error => Self::Io {
                what: "write state file".to_owned(),
                detail: failed.to_string(),
            },
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            Some(rusqlite::ErrorCode::SystemIoFailure) => Self::Io {
                what: "write state file".to_owned(),
                detail: error.to_string(),
            },
            _ => Self::Sqlite(error.to_string()),
        }
    }
}

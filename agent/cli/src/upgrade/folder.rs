//! How the folder stands that is to be upgraded: its state file, and who runs on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use state::{FoundBackup, KnownRule, Room, StateReader, StoreError};
use tokio::process::Command;

/// How long a running agent's binary may take to say which it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How a state folder stands.
pub(super) struct Stands {
    pub(super) folder: PathBuf,
    /// Its state file's format; `None` = there is none yet.
    pub(super) format: Option<i64>,
    pub(super) bytes: u64,
    /// `None` = the system does not say.
    pub(super) room: Option<Room>,
    /// The rules that were last in force.
    pub(super) rules: Vec<KnownRule>,
    pub(super) running: Option<Running>,
    pub(super) backups: Vec<FoundBackup>,
}

/// The agent that runs.
pub(super) struct Running {
    pub(super) pid: u32,
    /// What its binary says of itself, where that can be asked.
    pub(super) version: Option<String>,
}

impl Stands {
    /// # Errors
    /// See [`StoreError`].
    pub(super) async fn of(folder: &Path) -> Result<Self, StoreError> {
        let reader = StateReader::open(folder)?;
        let format = reader.format()?.map(|(found, _)| found);
        let running = match reader.running() {
            Some(pid) => Some(Running {
                pid,
                version: version_of(pid).await,
            }),
            None => None,
        };
        let file = state::file_path(folder);
        Ok(Self {
            folder: folder.to_owned(),
            format,
            bytes: std::fs::metadata(file).map_or(0, |found| found.len()),
            room: state::room(folder),
            rules: reader.rules_in_force()?,
            running,
            backups: state::backups(folder),
        })
    }
}

/// What a process' binary says of itself: also where another one has taken its name since.
async fn version_of(pid: u32) -> Option<String> {
    let binary = format!("/proc/{pid}/exe");
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        // The number stands in the agent's folder, and its user must not choose what root runs.
        let of = std::fs::metadata(&binary).ok()?.uid();
        let own = std::fs::metadata("/proc/self").ok()?.uid();
        if of != 0 && of != own {
            return None;
        }
    }
    let asked = Command::new(binary)
        .arg("--version")
        .kill_on_drop(true)
        .output();
    let asked = tokio::time::timeout(ANSWER_WITHIN, asked)
        .await
        .ok()?
        .ok()?;
    let text = String::from_utf8(asked.stdout).ok()?;
    let version = text.trim().strip_prefix("lighterman ")?;
    Some(version.to_owned())
}

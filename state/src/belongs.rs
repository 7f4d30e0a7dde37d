//! Whom a file belongs to: one that takes a state file's place must still be the agent's, whoever put it
//! there.

use std::path::Path;

#[cfg(unix)]
use crate::copy::io;
use crate::error::StoreError;

/// Owner and rights of a file, as far as the system has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Belongs {
    #[cfg(unix)]
    owner: (u32, u32),
    #[cfg(unix)]
    mode: u32,
}

#[cfg(unix)]
impl Belongs {
    /// As a state file, or where there is none, as the folder it will be in.
    pub(crate) fn of(file: &Path, folder: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::MetadataExt;
        // For its owner alone: it holds what customers and orders say.
        const OWN: u32 = 0o600;
        let what = || format!("look whom {} belongs to", file.display());
        let (found, mode) = if file.exists() {
            let found = std::fs::metadata(file).map_err(io(what()))?;
            let mode = found.mode() & 0o777;
            (found, mode)
        } else {
            (std::fs::metadata(folder).map_err(io(what()))?, OWN)
        };
        Ok(Self {
            owner: (found.uid(), found.gid()),
            mode,
        })
    }

    /// Gives a file to the same owner, with the same rights.
    pub(crate) fn give(self, file: &Path) -> Result<(), StoreError> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let refused = |error: std::io::Error| StoreError::Refused {
            what: "give the new state file to the owner of the old one".to_owned(),
            why: error.to_string(),
            hint: format!(
                "run this command as the user with the number {}, as whom the agent runs, or as root",
                self.owner.0
            ),
        };
        let found = std::fs::metadata(file).map_err(refused)?;
        if (found.uid(), found.gid()) != self.owner {
            chown(file, Some(self.owner.0), Some(self.owner.1)).map_err(refused)?;
        }
        let rights = std::fs::Permissions::from_mode(self.mode);
        std::fs::set_permissions(file, rights).map_err(refused)
    }
}

#[cfg(not(unix))]
#[expect(
    clippy::unnecessary_wraps,
    clippy::unused_self,
    reason = "elsewhere it can fail"
)]
impl Belongs {
    /// The folder's rights count.
    pub(crate) fn of(_file: &Path, _folder: &Path) -> Result<Self, StoreError> {
        Ok(Self {})
    }

    pub(crate) fn give(self, _file: &Path) -> Result<(), StoreError> {
        Ok(())
    }
}

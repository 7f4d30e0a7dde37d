//! A disk that fails as told, under a program that does not know of it; and what a power loss may leave on one.
//!
//! The shim is a small library of C that Linux loads before the program ([`Shim`]); what it noted of the disk is read by
//! [`Recorded`], which makes folders as they may look after the power was lost, and by [`faults`].

mod notes;
mod recorded;

use std::path::{Path, PathBuf};

use crate::preload;

pub use notes::faults;
pub use recorded::{Loss, Recorded};

/// A disk under a folder.
#[derive(Debug, Clone)]
pub struct Shim {
    under: PathBuf,
    watch: Option<PathBuf>,
    log: Option<PathBuf>,
    faults: Vec<String>,
}

impl Shim {
    /// Files below this folder are on it.
    pub fn under(folder: &Path) -> Self {
        Self {
            under: real(folder),
            watch: None,
            log: None,
            faults: Vec::new(),
        }
    }

    /// Notes what is done to files below `watched` in `log`, which goes on where an earlier program left it.
    #[must_use]
    pub fn noted(mut self, watched: &Path, log: &Path) -> Self {
        self.watch = Some(real(watched));
        self.log = Some(log.to_owned());
        self
    }

    /// Adds a fault, as in `write:17:ENOSPC`, `sync:3+:EIO`, `sync:1+:sleep=50`, `op:40:kill`: of what kind, at which
    /// one (`+`: and at all after it), and what.
    #[must_use]
    pub fn fault(mut self, fault: &str) -> Self {
        self.faults.push(fault.to_owned());
        self
    }

    /// What a program's environment must have.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut all = vec![
            (
                "LD_PRELOAD",
                text(&preload::library("disk", include_str!("shim.c"))),
            ),
            ("LIGHTERMAN_DISK_UNDER", text(&self.under)),
        ];
        if let Some(watch) = &self.watch {
            all.push(("LIGHTERMAN_DISK_WATCH", text(watch)));
        }
        if let Some(log) = &self.log {
            all.push(("LIGHTERMAN_DISK_LOG", text(log)));
        }
        if !self.faults.is_empty() {
            all.push(("LIGHTERMAN_DISK_FAULTS", self.faults.join(";")));
        }
        all
    }
}

/// A folder by its real name, also where it does not exist yet.
fn real(folder: &Path) -> PathBuf {
    if let Ok(found) = folder.canonicalize() {
        return found;
    }
    let parent = folder.parent().unwrap().canonicalize().unwrap();
    parent.join(folder.file_name().unwrap())
}

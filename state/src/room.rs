//! The room on a folder's disk.

use std::path::Path;

/// How much room a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Room {
    /// What we may still write.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// The room on the disk that a folder is on, or will be; `None` = the system does not say.
pub fn room(folder: &Path) -> Option<Room> {
    let absolute = std::path::absolute(folder).ok()?;
    absolute
        .ancestors()
        .find(|there| there.exists())
        .and_then(at)
}

#[cfg(unix)]
fn at(folder: &Path) -> Option<Room> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    // What is kept back for the administrator is not ours, whoever we run as.
    Some(Room {
        free_bytes: disk.f_bavail.checked_mul(disk.f_frsize)?,
        total_bytes: disk.f_blocks.checked_mul(disk.f_frsize)?,
    })
}

#[cfg(windows)]
fn at(folder: &Path) -> Option<Room> {
    let disk = fs4::statvfs(folder).ok()?;
    Some(Room {
        free_bytes: disk.available_space(),
        total_bytes: disk.total_space(),
    })
}

#[cfg(not(any(unix, windows)))]
fn at(_folder: &Path) -> Option<Room> {
    None
}

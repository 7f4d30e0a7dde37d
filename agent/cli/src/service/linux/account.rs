//! The user that the agent runs as, and what it may read.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use contract::Finding;

use super::super::Refused;
use super::systemctl::run;

/// Whoever made a folder with so many files did not mean it for settings.
const FILES_MAX: usize = 10_000;
/// What is made in the settings' folder belongs to its group, which may read it; nobody else may.
const FOLDER_MODE: u32 = 0o2750;

/// Whether this process is root.
pub(super) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// What makes the user, for systemd-sysusers.
pub(super) fn sysusers(name: &str) -> String {
    format!("u {name} - \"Lighterman agent\" /var/lib/{name}\n")
}

/// Where that stands.
pub(super) fn sysusers_path(name: &str) -> PathBuf {
    PathBuf::from(format!("/etc/sysusers.d/{name}.conf"))
}

/// The number of a user's group; nothing where there is no such user.
pub(super) fn group(name: &str) -> Option<u32> {
    run("id", &["-g", name]).ok()?.parse().ok()
}

/// Whether a file that is there belongs to another user.
pub(super) fn is_others(file: &Path, name: &str) -> bool {
    let Ok(found) = std::fs::metadata(file) else {
        return false;
    };
    let user = run("id", &["-u", name]).ok();
    user.and_then(|user| user.parse::<u32>().ok())
        .is_some_and(|user| user != found.uid())
}

/// Makes the settings' folder as the service needs it: whether it was made or changed.
///
/// # Errors
/// Why that cannot be.
pub(super) fn folder(folder: &Path, group: u32) -> Result<bool, Refused> {
    let failed = |error: std::io::Error| {
        Refused::trouble(Finding::fail(
            format!("make folder {}", folder.display()),
            error.to_string(),
        ))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let found = std::fs::metadata(folder).map_err(failed)?;
    if found.gid() == group && found.mode() & 0o7777 == FOLDER_MODE {
        return Ok(false);
    }
    std::os::unix::fs::chown(folder, None, Some(group)).map_err(failed)?;
    std::fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).map_err(failed)?;
    Ok(true)
}

/// The first file or folder of the settings that the group may not read.
pub(super) fn unreadable(folder: &Path, group: u32) -> Option<PathBuf> {
    let mut open = vec![folder.to_owned()];
    let mut looked_at = 0;
    while let Some(path) = open.pop() {
        looked_at += 1;
        // A link's file is elsewhere, and is said by whoever reads it.
        let found = std::fs::symlink_metadata(&path).ok()?;
        if found.is_symlink() || looked_at > FILES_MAX {
            continue;
        }
        let mode = found.mode();
        let need = if found.is_dir() { 0o5 } else { 0o4 };
        let may = (found.gid() == group && mode >> 3 & need == need) || mode & need == need;
        if !may {
            return Some(path);
        }
        if found.is_dir() {
            let entries = std::fs::read_dir(&path).ok()?;
            open.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_group_may_not_read_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(folder.path()).unwrap().gid();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        set(folder.path(), 0o750);
        let secrets = folder.path().join("secrets");
        std::fs::create_dir(&secrets).unwrap();
        set(&secrets, 0o750);
        let secret = secrets.join("erp");
        std::fs::write(&secret, "x").unwrap();
        set(&secret, 0o600);
        assert_eq!(unreadable(folder.path(), own), Some(secret.clone()));
        set(&secret, 0o640);
        assert_eq!(unreadable(folder.path(), own), None);
        // Of another group.
        assert_eq!(
            unreadable(folder.path(), own + 1),
            Some(folder.path().to_owned())
        );
        set(&secrets, 0o700);
        assert_eq!(unreadable(folder.path(), own), Some(secrets));
    }
}

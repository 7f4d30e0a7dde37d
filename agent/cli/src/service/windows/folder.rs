//! The service's folders: settings that it reads, and a state that it writes, for nobody else but
//! administrators and the system.

use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use contract::Finding;

use super::SETTINGS;
use crate::config;

/// Administrators and the system, as Windows calls them in every language.
const ADMINISTRATORS: &str = "*S-1-5-32-544";
const SYSTEM: &str = "*S-1-5-18";
/// What is said by a program of Windows, as far as it is passed on.
const SAID_MAX: usize = 400;

/// Where settings stand if nobody says otherwise.
pub(in super::super) fn usual(name: &str) -> PathBuf {
    let data = std::env::var_os("ProgramData").map(PathBuf::from);
    let data = data.filter(|data| data.is_absolute());
    data.unwrap_or_else(|| PathBuf::from(r"C:\ProgramData"))
        .join(name)
}

/// Makes the folder, and says whether it was there.
///
/// # Errors
/// What is no folder, or cannot be made.
pub(super) fn made(folder: &Path) -> Result<bool, Finding> {
    let what = || format!("folder {}", folder.display());
    match std::fs::symlink_metadata(folder) {
        // Somebody else may turn a link elsewhere, where our rights would be given.
        Ok(about) if about.is_symlink() => Err(Finding::fail(what(), "it is a link")
            .fix("name the folder that it leads to: --folder DIR")),
        Ok(about) if about.is_dir() => Ok(true),
        Ok(_) => Err(Finding::fail(what(), "it is a file").fix("name another one: --folder DIR")),
        Err(_) => std::fs::create_dir_all(folder)
            .map(|()| false)
            .map_err(|error| {
                Finding::fail(what(), error.to_string()).fix("name another one: --folder DIR")
            }),
    }
}

/// Where the state is to stand: as the settings say, once there are some.
pub(super) fn state_of(folder: &Path) -> PathBuf {
    let said = config::load_state_folder(&folder.join(SETTINGS));
    folder.join(said.unwrap_or_else(|_| PathBuf::from("state")))
}

/// Whether a state stands in its settings' folder, whatever `..` and links say.
pub(super) fn is_within(state: &Path, folder: &Path) -> bool {
    let plain = state.strip_prefix(folder).is_ok_and(|rest| {
        let mut parts = rest.components();
        parts.all(|part| matches!(part, Component::Normal(_)))
    });
    let is_link =
        |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink());
    let mut between = state.ancestors().take_while(|path| *path != folder);
    plain && !between.any(is_link)
}

/// Lets administrators and the system do all, the service read its settings and write its state, and nobody else
/// anything. In a folder that was no service's yet, rights that somebody gave before are taken back.
///
/// # Errors
/// What Windows said.
pub(super) fn close(folder: &Path, state: &Path, name: &str, anew: bool) -> Result<(), Finding> {
    let service = format!("NT SERVICE\\{name}");
    let all = |who: &str| format!("{who}:(OI)(CI)F");
    if anew {
        // Who made it could give rights again.
        icacls(folder, &["/setowner", ADMINISTRATORS, "/T", "/L", "/Q"])?;
        icacls(folder, &["/reset", "/T", "/L", "/Q"])?;
    }
    let (administrators, system) = (all(ADMINISTRATORS), all(SYSTEM));
    let reads = format!("{service}:(OI)(CI)RX");
    let closed = [
        "/inheritance:r",
        "/grant:r",
        &administrators,
        &system,
        &reads,
        "/Q",
    ];
    icacls(folder, &closed)?;
    let writes = format!("{service}:(OI)(CI)M");
    if state.starts_with(folder) {
        icacls(state, &["/grant:r", &writes, "/Q"])
    } else {
        icacls(
            state,
            &[
                "/inheritance:r",
                "/grant:r",
                &administrators,
                &system,
                &writes,
                "/Q",
            ],
        )
    }
}

/// Runs Windows' own program for rights, by its full path: the search path may be anybody's.
fn icacls(folder: &Path, options: &[&str]) -> Result<(), Finding> {
    let windows =
        std::env::var_os("SystemRoot").map_or_else(|| PathBuf::from(r"C:\Windows"), PathBuf::from);
    let program = windows.join("System32").join("icacls.exe");
    let what = || format!("rights of {}", folder.display());
    let fix = "rights need a disk with NTFS; name a folder on one: --folder DIR";
    let ran = Command::new(&program)
        .arg(folder)
        .args(options)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Finding::fail(what(), format!("{}: {error}", program.display())))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let words: Vec<&str> = said.split_whitespace().collect();
    let said: String = words.join(" ").chars().take(SAID_MAX).collect();
    Err(Finding::fail(what(), format!("icacls: {} {said}", ran.status)).fix(fix))
}

//! What stands on this machine: the agent, its state folder, its log, its secrets, the zone.

use std::path::Path;

use contract::Finding;
use jiff::tz::TimeZone;
use state::StateReader;

use crate::config::Config;
use crate::disk;

/// All of it. Nothing is written.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = vec![
        Finding::pass("agent", format!("version {}", crate::version::SAID)),
        zone(),
    ];
    findings.push(state(&config.state_folder));
    if config.state_folder.exists() {
        findings.extend(folder("state folder", &config.state_folder));
    }
    let disk = disk::Stands::of(&config.state_folder, config.reserve);
    findings.extend(disk.map(|disk| disk.finding(&config.state_folder)));
    let logs = &config.log;
    if logs.files && logs.folder.exists() && !logs.folder.starts_with(&config.state_folder) {
        findings.extend(folder("log folder", &logs.folder));
    }
    for file in config.said.secret_files() {
        findings.extend(secret(file));
    }
    findings
}

/// Times that a person or the settings write without a zone are of this one.
fn zone() -> Finding {
    let zone = TimeZone::system();
    match zone.iana_name() {
        Some(name) => Finding::pass("zone", format!("this machine's is {name}")),
        None => Finding::pass(
            "zone",
            "this machine's has no name; the agent counts in UTC",
        ),
    }
}

/// The state file: whether this version reads it, and whether an agent runs on it.
fn state(folder: &Path) -> Finding {
    const WHAT: &str = "state file";
    let looked = StateReader::open(folder).and_then(|reader| {
        let format = reader.format()?;
        Ok((format, reader.running()))
    });
    match looked {
        Err(error) => {
            let finding = Finding::fail(WHAT, error.to_string());
            match error.hint() {
                Some(hint) => finding.fix(hint),
                None => finding,
            }
        }
        Ok((None, _)) => Finding::pass(WHAT, "is not there yet: the first lighterman run makes it"),
        Ok((Some((found, known)), running)) => {
            let runs = running.map_or_else(
                || "no agent runs on it".to_owned(),
                |pid| format!("process {pid} runs on it"),
            );
            let text = format!("is of format {found}; {runs}");
            if found == known {
                Finding::pass(WHAT, text)
            } else {
                let text = format!(
                    "{text}; the next start brings it to format {known}, with a copy kept, and an older \
                     version does not read it then"
                );
                Finding::warn(WHAT, text)
                    .fix("lighterman state migrate --dry-run says what changes")
                    .undo("lighterman rollback, and the older version")
            }
        }
    }
}

#[cfg(unix)]
fn folder(what: &str, path: &Path) -> Vec<Finding> {
    use rustix::fs::{Access, access};
    let mut findings = Vec::new();
    let shown = path.display();
    if access(path, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let found = format!("{shown} may not be written by this user");
        let fix = format!(
            "run this command and the agent as the same user, or give it the folder: chown -R USER {shown}"
        );
        findings.push(Finding::fail(what, found).fix(fix));
    }
    match mode(path) {
        Some(mode) if is_open(mode) => {
            let found = format!(
                "{shown} can be looked into by every user of this machine; what the agent keeps there \
                 names customers and orders"
            );
            findings.push(
                Finding::warn(format!("{what}: permissions"), found)
                    .fix(format!("chmod o-rwx {shown}"))
                    .undo(format!("chmod {mode:o} {shown}")),
            );
        }
        _ => findings.push(Finding::pass(
            format!("{what}: permissions"),
            format!("{shown} is closed to other users"),
        )),
    }
    findings
}

#[cfg(unix)]
fn secret(path: &Path) -> Option<Finding> {
    let what = format!("secret file {}", path.display());
    let mode = mode(path)?;
    Some(if is_open(mode) {
        Finding::warn(what, "can be read or changed by every user of this machine")
            .fix(format!("chmod o-rwx {}", path.display()))
            .undo(format!("chmod {mode:o} {}", path.display()))
    } else {
        Finding::pass(what, "is closed to other users")
    })
}

/// Whether others than the owner and the group may do anything with it.
#[cfg(unix)]
fn is_open(mode: u32) -> bool {
    mode & 0o007 != 0
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let found = std::fs::metadata(path).ok()?;
    Some(found.permissions().mode() & 0o777)
}

/// Who may do what is not written in modes here.
#[cfg(not(unix))]
fn folder(_what: &str, _path: &Path) -> Vec<Finding> {
    Vec::new()
}

#[cfg(not(unix))]
fn secret(_path: &Path) -> Option<Finding> {
    None
}

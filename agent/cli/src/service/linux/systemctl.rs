//! Asking systemd.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use contract::Finding;

use super::super::Refused;

/// Whether systemd runs this machine.
pub(super) fn is_there() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Runs a program to its end.
///
/// # Errors
/// What it said.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String, Refused> {
    let what = format!("{program} {}", arguments.join(" "));
    let ended = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let ended = ended.map_err(|error| {
        let finding = Finding::fail(what.clone(), error.to_string());
        Refused::trouble(finding.fix(format!("is {program} installed, and on the path?")))
    })?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ended.status.success() {
        return Ok(said(&ended.stdout));
    }
    let found = [said(&ended.stderr), said(&ended.stdout)].join("\n");
    let found = match found.trim() {
        "" => ended.status.to_string(),
        found => found.to_owned(),
    };
    Err(Refused::trouble(Finding::fail(what, found)))
}

/// How a unit stands.
#[derive(Debug, Default)]
pub(super) struct Standing(BTreeMap<String, String>);

impl Standing {
    /// Asks.
    ///
    /// # Errors
    /// What systemd said.
    pub(super) fn of(unit: &str) -> Result<Self, Refused> {
        let properties = "--property=LoadState,ActiveState,SubState,Result,MainPID,NRestarts,StatusText,\
                          ActiveEnterTimestamp,InactiveEnterTimestamp,UnitFileState,FragmentPath,\
                          ConditionResult,ExecMainStatus";
        Ok(Self::read(&run("systemctl", &["show", unit, properties])?))
    }

    fn read(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(
            pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// A property; empty where systemd does not say it.
    pub(super) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(super) fn is_installed(&self) -> bool {
        self.get("LoadState") == "loaded"
    }

    /// Whether the agent runs and has said so.
    pub(super) fn is_active(&self) -> bool {
        ["active", "reloading"].contains(&self.get("ActiveState"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_is_read_line_by_line() {
        let standing = Standing::read(
            "LoadState=loaded\nActiveState=reloading\nStatusText=Stock = 4 s behind\nMainPID=12\n",
        );
        assert!(standing.is_installed() && standing.is_active());
        assert_eq!(standing.get("StatusText"), "Stock = 4 s behind");
        assert_eq!(standing.get("NRestarts"), "");
        assert!(!Standing::read("ActiveState=activating\n").is_active());
    }
}

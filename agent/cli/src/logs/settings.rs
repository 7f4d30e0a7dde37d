//! `[log]` of the settings file.

use std::path::{Path, PathBuf};

use contract::Section;

use super::files::Limits;
use super::level::LEVELS;

/// What the settings say of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// Whether files are written at all.
    pub(crate) files: bool,
    /// Where.
    pub(crate) folder: PathBuf,
    /// Whether warnings and errors go to the Windows Event Log, too.
    pub(crate) event_log: bool,
    /// Lines below it are left out.
    pub(crate) level: &'static str,
    /// How much is kept.
    pub(crate) limits: Limits,
}

impl LogSettings {
    /// What holds where nothing is said. The folder stands in the state folder, which the agent's user may write
    /// and no other agent uses.
    pub(crate) fn usual(state_folder: &Path) -> Self {
        Self {
            files: true,
            folder: state_folder.join("logs"),
            event_log: is_known_to_event_log(),
            level: "info",
            limits: Limits::default(),
        }
    }
}

/// Smallest file: a few hundred lines.
const FILE_BYTES_MIN: u64 = 64 << 10;
const TOTAL_BYTES_MAX: u64 = 1 << 40;

/// Reads the block; what it leaves out is as usual.
pub(crate) fn read(top: &mut Section<'_>, state_folder: &Path) -> LogSettings {
    let mut settings = LogSettings::usual(state_folder);
    let mut section = top.section_or_empty("log");
    settings.files = section.flag_or("files", settings.files);
    section.here("folder", format_args!("\"{}\"", settings.folder.display()));
    if let Some(folder) = section.text("folder") {
        settings.folder = PathBuf::from(folder);
    }
    section.here("event_log", settings.event_log);
    if let Some(wanted) = section.flag("event_log") {
        settings.event_log = wanted;
        if wanted
            && !cfg!(windows)
            && let Some(node) = section.get("event_log")
        {
            let found = "only Windows has an Event Log".to_owned();
            let fix = "leave it out: systemd's journal and the files have all lines".to_owned();
            section.wrong("event_log", node, found, Some(fix));
        }
    }
    settings.level = section.word_or("level", &LEVELS, settings.level);
    let limits = &mut settings.limits;
    let days = section.number_or("keep_days", 1, 3_650, limits.keep_days.into());
    limits.keep_days = u16::try_from(days).unwrap_or(u16::MAX);
    let mut bytes = |key, usual| section.number_or(key, FILE_BYTES_MIN, TOTAL_BYTES_MAX, usual);
    limits.file_bytes_max = bytes("file_bytes_max", limits.file_bytes_max);
    limits.total_bytes_max = bytes("total_bytes_max", limits.total_bytes_max);
    // The file that is written counts as full, and the one before it should still be there.
    let least = limits.file_bytes_max.saturating_mul(2);
    if limits.total_bytes_max < least {
        let found = format!(
            "{} bytes in total are less than two files of {}",
            limits.total_bytes_max, limits.file_bytes_max
        );
        let fix = Some(format!("total_bytes_max = {least}, or smaller files"));
        match section.get("total_bytes_max") {
            Some(node) => section.wrong("total_bytes_max", node, found, fix),
            None => {
                if let Some(node) = section.get("file_bytes_max") {
                    section.wrong("file_bytes_max", node, found, fix);
                }
            }
        }
    }
    section.finish();
    settings
}

/// The Event Log is told of us by who installs the service: then it is where an administrator looks.
#[cfg(windows)]
fn is_known_to_event_log() -> bool {
    super::event_log::is_registered()
}

#[cfg(not(windows))]
fn is_known_to_event_log() -> bool {
    false
}

//! The Event Log of this machine.

use eventlog::EventLog;
use log::{Level as LogLevel, Log as _, Record};
use tracing::Level;
use windows_registry::LOCAL_MACHINE;

use super::{Line, SOURCE};

/// Where the Event Log keeps the names of what writes.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

/// Whether the Event Log knows our name: who installs the service makes it known.
pub(in super::super) fn is_registered() -> bool {
    LOCAL_MACHINE.open(format!(r"{SOURCES}\{SOURCE}")).is_ok()
}

pub(super) fn register() -> Result<(), String> {
    eventlog::register(SOURCE).map_err(|error| said(&error))
}

pub(super) fn unregister() -> Result<(), String> {
    eventlog::deregister(SOURCE).map_err(|error| error.to_string())
}

/// An error with what is behind it.
fn said(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// What writes a line.
pub(in super::super) fn open() -> Result<impl FnMut(Line), String> {
    let events = EventLog::new(SOURCE, LogLevel::Info).map_err(|error| said(&error))?;
    Ok(move |line: Line| {
        let level = match line.level {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            _ => LogLevel::Info,
        };
        let text = format_args!("{}", line.text);
        events.log(&Record::builder().level(level).args(text).build());
    })
}

//! Alerts without other tools: rules on the agent's own numbers, told by mail, to chats and in the log, and a dead
//! man's switch for the case that nobody is left to tell.
//!
//! It runs beside the loops and shares only counters with them. It reads the numbers as `/metrics` writes them,
//! so a rule here and one in Prometheus see the same.

mod book;
mod builtin;
mod channel;
mod command;
mod deadman;
mod judge;
mod letters;
mod read_rule;
mod rule;
mod series;
mod settings;
mod smtp;
mod tell;
mod watch;
mod webhook;

pub(crate) use command::{AlertCommand, alert};
pub(crate) use settings::{AlertSettings, read};
pub(crate) use watch::Watch;

/// All that can be asked for, for the schema of the settings.
pub(crate) const EXAMPLE: &str = r#"
[[alert]]
name = "x"
[alerts]
every_seconds = 10
[alerts.smtp]
host = "x"
[[alerts.webhook]]
shape = "json"
[alerts.deadman]
every_seconds = 60
"#;

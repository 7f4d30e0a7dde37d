//! `[check]` in the settings file: how often the running agent checks by itself.

use std::time::Duration;

use contract::Section;

/// How often, unless the settings say otherwise.
const EVERY: Duration = Duration::from_hours(1);
/// The first one comes when the agent has found its feet.
const FIRST_AFTER: Duration = Duration::from_mins(2);

/// What the settings say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckSettings {
    /// Between two checks; `None` = only a person checks.
    pub(crate) every: Option<Duration>,
    /// From the agent's start, or a change of its settings, to the first one.
    pub(crate) first_after: Duration,
}

/// Reads the block; what it leaves out is as usual.
pub(crate) fn read(top: &mut Section<'_>) -> CheckSettings {
    let mut section = top.section_or_empty("check");
    let every = section.number("every_minutes", 0, 7 * 24 * 60);
    let every = section.or("every_minutes", every, EVERY.as_secs() / 60);
    let first = section.number("first_after_seconds", 1, 3_600);
    let first = section.or("first_after_seconds", first, FIRST_AFTER.as_secs());
    section.finish();
    CheckSettings {
        every: (every > 0).then(|| Duration::from_mins(every)),
        first_after: Duration::from_secs(first),
    }
}

//! Who holds what a command is about, and the note of what was done to it.

use contract::Finding;
use state::{HeldFilter, StateReader};

use super::Failed;
use crate::audit;
use crate::config::Config;

/// Who holds something of it.
#[derive(Default)]
pub(super) struct Holders {
    pub(super) destinations: Vec<String>,
    /// Changes that mappings hold.
    pub(super) changes: u64,
    /// Their sources and tables, which are read again to try them anew.
    pub(super) tables: Vec<(String, String)>,
    /// What was asked for by name and is not held.
    pub(super) missing: Vec<Finding>,
}

/// Who holds something of what is meant.
pub(super) fn holders(config: &Config, which: &HeldFilter) -> Result<Holders, Failed> {
    let reader = StateReader::open(&config.state_folder)?;
    let mut found = Holders::default();
    let mut missing = which.ids.clone();
    reader.held_each(which, |item| {
        missing.retain(|id| *id != item.id);
        match item.change {
            None if found.destinations.contains(&item.by) => {}
            None => found.destinations.push(item.by),
            Some(change) => {
                found.changes += 1;
                let table = (change.source, change.table);
                if !found.tables.contains(&table) {
                    found.tables.push(table);
                }
            }
        }
        true
    })?;
    found.missing = missing
        .into_iter()
        .map(|id| Finding::fail(id, "is not held").fix("lighterman held list shows what is"))
        .collect();
    Ok(found)
}

impl Holders {
    /// Notes what was done to what they hold, where they hold anything: to how many, and how often not.
    pub(super) fn note(
        &self,
        config: &Config,
        what: &str,
        which: &HeldFilter,
        (count, failed): (u64, usize),
        why: Option<&str>,
    ) {
        // Changes that a mapping holds are only given up.
        let changes = if why.is_some() { self.changes } else { 0 };
        let subject: &str = match self.destinations.as_slice() {
            [] if changes == 0 => return,
            [] => "mapping",
            [only] if changes == 0 => only,
            _ => "",
        };
        let details = serde_json::json!({
            "which": which,
            "destinations": self.destinations,
            "count": count,
            "not_done": (failed > 0).then_some(failed),
            "why": why,
        });
        audit::did(&config.state_folder, what, subject, details);
    }
}

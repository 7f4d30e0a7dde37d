//! Settings and rules as they were noted last: what differs now was changed, also while no agent ran.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::{AuditEntry, append, prune, within};
use crate::error::StoreError;

/// One thing that is otherwise now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditChange {
    /// Its name.
    pub name: String,
    /// What it was; `None` = it was not there.
    pub was: Option<String>,
    /// What it is; `None` = it is not there any more.
    pub is: Option<String>,
}

/// Notes how a set of values differs from what was noted of it last, and remembers it, in one
/// transaction. `entries` makes the entries of the changes; `None` = nothing was noted of the set yet.
///
/// # Errors
/// See [`StoreError`]. Nothing is noted or remembered then.
pub fn note_changes(
    folder: &Path,
    set: &str,
    now: &BTreeMap<String, String>,
    entries: impl FnOnce(Option<Vec<AuditChange>>) -> Vec<AuditEntry>,
) -> Result<(), StoreError> {
    within(folder, |db| {
        let before = last(db, set)?;
        let changes = before.as_ref().map(|before| changes(before, now));
        for entry in entries(changes) {
            append(db, &entry, prune::LIMITS)?;
        }
        if before.as_ref() != Some(now) {
            let value = serde_json::json!(now).to_string();
            db.execute(
                "INSERT OR REPLACE INTO audit_known (name, value) VALUES (?1, ?2)",
                [set, &value],
            )?;
        }
        Ok(())
    })
}

/// A set as it was noted last. What does not parse was not written here: it is noted as if it were new.
fn last(db: &Connection, set: &str) -> Result<Option<BTreeMap<String, String>>, StoreError> {
    let value: Option<String> = db
        .query_row(
            "SELECT value FROM audit_known WHERE name = ?1",
            [set],
            |row| row.get(0),
        )
        .optional()?;
    Ok(value.and_then(|value| serde_json::from_str(&value).ok()))
}

fn changes(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<AuditChange> {
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let changed = names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name));
    changed
        .map(|name| AuditChange {
            name: name.clone(),
            was: before.get(name).cloned(),
            is: now.get(name).cloned(),
        })
        .collect()
}

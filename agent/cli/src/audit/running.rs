//! What the running agent notes: its starts and stops, and settings and mappings that are in force.
//!
//! Who changed a file the system does not say: whom it belongs to and when it was written is noted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::Clock;
use engine::clock::SystemClock;
use jiff::{SignedDuration, Timestamp};
use mappings::MappingSet;
use serde_json::{Map, Value, json};
use state::{AuditChange, AuditEntry, AuditFilter, StateReader, StoreError};

use super::person::owner;
use crate::Exit;
use crate::config::Flat;

/// A start or failure so soon after another one, with nothing else noted between them, says nothing new: an
/// agent that fails again and again must not push out what persons did.
const SAME_START: SignedDuration = SignedDuration::from_mins(10);
/// Changes that are noted one by one; more than that are a new file.
const CHANGES_MAX: usize = 200;

/// Notes for one state folder, never in the way of the agent: what cannot be noted is said in its log.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    folder: PathBuf,
    settings: PathBuf,
}

impl Notes {
    pub(crate) fn of(folder: &Path, settings: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            settings: settings.to_owned(),
        }
    }

    /// The agent has started.
    pub(crate) async fn started(&self) {
        let folder = self.folder.clone();
        self.within(move || {
            if just_noted(&folder, &["agent.started", "agent.failed"])? {
                return Ok(());
            }
            let details =
                json!({ "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id() });
            state::note_audit(&folder, &entry("agent.started", "", details))
        })
        .await;
    }

    /// It has ended.
    pub(crate) async fn ended(&self, exit: Exit) {
        let what = if exit == Exit::Ok {
            "agent.stopped"
        } else {
            "agent.failed"
        };
        let folder = self.folder.clone();
        let entry = entry(what, "", json!({ "pid": std::process::id() }));
        self.within(move || {
            if exit != Exit::Ok && just_noted(&folder, &["agent.failed"])? {
                return Ok(());
            }
            state::note_audit(&folder, &entry)
        })
        .await;
    }

    /// These settings are in force. `before` are those that were while the agent ran; what differs from
    /// those noted last, by whatever agent, is noted.
    pub(crate) async fn settings(&self, before: Option<&Flat>, now: &Flat) {
        let values: BTreeMap<String, String> = now
            .iter()
            .map(|said| (said.path.clone(), said.value.clone()))
            .collect();
        let origins: BTreeMap<String, String> = now
            .iter()
            .map(|said| (said.path.clone(), said.origin.clone()))
            .collect();
        // A secret that is another one now looks the same.
        let secrets: Vec<AuditChange> = before
            .map(|before| before.changes(now))
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, was, is)| was == is)
            .map(|(path, was, is)| AuditChange {
                name: path.to_owned(),
                was: was.map(str::to_owned),
                is: is.map(str::to_owned),
            })
            .collect();
        let (folder, file) = (self.folder.clone(), self.settings.clone());
        self.within(move || {
            let written = written(&[file]);
            state::note_audit_changes(&folder, "settings", &values, |changes| match changes {
                None => first_settings(&values, &written),
                Some(changes) => {
                    let changes = changes.into_iter().chain(secrets).collect();
                    changed("settings.changed", changes, |change| {
                        let origin = origins.get(&change.name);
                        (
                            change.name.clone(),
                            json!({ "origin": origin, "files": written }),
                        )
                    })
                }
            })
        })
        .await;
    }

    /// These mappings of a source are in force.
    pub(crate) async fn mapping(&self, source: &str, mapping: &MappingSet, files: &[PathBuf]) {
        let rules: BTreeMap<String, String> =
            mapping.rules().map(|rule| (rule.id, rule.digest)).collect();
        let (folder, source, files) = (self.folder.clone(), source.to_owned(), files.to_vec());
        self.within(move || {
            let written = written(&files);
            let set = format!("mapping {source}");
            state::note_audit_changes(&folder, &set, &rules, |changes| match changes {
                None => vec![entry(
                    "mapping.in_force",
                    &source,
                    json!({ "rules": rules, "files": written }),
                )],
                Some(changes) => changed("mapping.in_force", changes, |change| {
                    (
                        format!("{source}/{}", change.name),
                        json!({ "files": written }),
                    )
                }),
            })
        })
        .await;
    }

    /// Waits for the file beside the agent's loops.
    async fn within(&self, work: impl FnOnce() -> Result<(), StoreError> + Send + 'static) {
        let done = tokio::task::spawn_blocking(work).await;
        let error = match done {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(error) => StoreError::Invariant(error.to_string()),
        };
        tracing::warn!(
            code = "audit.not_noted",
            error = %error,
            hint = error.hint(),
            "what changed could not be noted in the audit record"
        );
    }
}

/// Whether the newest entry is one of these, and not older than [`SAME_START`].
fn just_noted(folder: &Path, whats: &[&str]) -> Result<bool, StoreError> {
    let newest = AuditFilter {
        limit: 1,
        ..AuditFilter::default()
    };
    let newest = StateReader::open(folder)?.audit(&newest)?;
    let now = SystemClock.now();
    Ok(newest
        .first()
        .is_some_and(|one| whats.contains(&one.what.as_str()) && is_recent(one.at, now)))
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    !age.is_negative() && age < SAME_START
}

fn entry(what: &str, subject: &str, details: Value) -> AuditEntry {
    AuditEntry {
        at: SystemClock.now(),
        who: "agent".to_owned(),
        what: what.to_owned(),
        subject: subject.to_owned(),
        details,
    }
}

/// What settings begin with, an entry for each block.
fn first_settings(values: &BTreeMap<String, String>, files: &[Value]) -> Vec<AuditEntry> {
    let mut blocks: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (path, value) in values {
        let block = block(path);
        blocks
            .entry(block.to_owned())
            .or_default()
            .insert(path.clone(), value.clone().into());
    }
    let blocks = blocks.into_iter().take(CHANGES_MAX);
    blocks
        .map(|(block, values)| {
            let details = json!({ "settings": values, "files": files });
            entry("settings.in_force", &block, details)
        })
        .collect()
}

/// `source.erp` of `source.erp.port`, `log` of `log.level`.
fn block(path: &str) -> &str {
    let depth = usize::from(path.starts_with("source.") || path.starts_with("destination."));
    let end = path.match_indices('.').nth(depth).map(|(at, _)| at);
    end.and_then(|end| path.get(..end)).unwrap_or(path)
}

/// An entry for each change; `about` says what it is called and what else is known of it.
fn changed(
    what: &str,
    changes: Vec<AuditChange>,
    about: impl Fn(&AuditChange) -> (String, Value),
) -> Vec<AuditEntry> {
    let more = changes.len().saturating_sub(CHANGES_MAX);
    let mut entries: Vec<AuditEntry> = changes
        .into_iter()
        .take(CHANGES_MAX)
        .map(|change| {
            let (subject, mut details) = about(&change);
            if let Value::Object(details) = &mut details {
                details.insert("was".to_owned(), change.was.into());
                details.insert("is".to_owned(), change.is.into());
            }
            entry(what, &subject, details)
        })
        .collect();
    if more > 0 {
        entries.push(entry(what, "", json!({ "more": more })));
    }
    entries
}

/// When files were written, and whom they belong to.
fn written(files: &[PathBuf]) -> Vec<Value> {
    let one = |file: &PathBuf| {
        let modified = std::fs::metadata(file).and_then(|found| found.modified());
        let at = modified.ok().and_then(|at| Timestamp::try_from(at).ok());
        json!({
            "file": file.display().to_string(),
            "written_at": at.map(|at| format!("{at:.3}")),
            "owner": owner(file),
        })
    };
    files.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_noted_by_their_blocks() {
        assert_eq!(block("source.erp.snapshot.parallel"), "source.erp");
        assert_eq!(block("log.level"), "log");
        assert_eq!(block("tenant"), "tenant");
    }

    #[test]
    fn more_changes_than_anybody_reads_are_counted() {
        let change = |n: usize| AuditChange {
            name: n.to_string(),
            was: None,
            is: Some("1".to_owned()),
        };
        let all = (0..CHANGES_MAX + 7).map(change).collect();
        let entries = changed("settings.changed", all, |one| (one.name.clone(), json!({})));
        assert_eq!(entries.len(), CHANGES_MAX + 1);
        assert_eq!(entries[CHANGES_MAX].details, json!({ "more": 7 }));
        assert_eq!(entries[0].details, json!({ "was": null, "is": "1" }));
    }
}

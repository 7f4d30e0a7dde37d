//! Change Tracking: which keys changed, and with which version.

use std::collections::{BTreeSet, HashMap};

use super::state::State;
use super::table::{Table, View};
use crate::wire::{ServerError, Value};

/// Change Tracking of the database.
#[derive(Clone, Debug)]
pub(crate) struct Tracking {
    /// The version of the newest commit that changed a tracked table.
    pub(crate) version: i64,
    /// When each version was committed: the commit that made it and its time.
    pub(crate) commits: Vec<(i64, u64, i64)>,
    pub(crate) retention_minutes: i32,
    pub(crate) auto_cleanup: bool,
    pub(crate) max_cleanup: i64,
}

/// Change Tracking of a table.
#[derive(Clone, Debug)]
pub(crate) struct TableTracking {
    /// The number of the server's own table that it is kept in: another one each time it is turned on.
    pub(crate) kept_in: i32,
    pub(crate) columns: bool,
    pub(crate) begin: i64,
    /// The lowest valid version, with the commit from which a reader sees it.
    pub(crate) min_valid: Vec<(u64, i64)>,
    pub(crate) cleanup: i64,
    pub(crate) entries: Vec<Entry>,
}

impl TableTracking {
    pub(crate) fn new(kept_in: i32, version: i64, columns: bool) -> Self {
        Self {
            kept_in,
            columns,
            begin: version,
            min_valid: vec![(0, version)],
            cleanup: 0,
            entries: Vec::new(),
        }
    }

    pub(crate) fn min_valid(&self, view: View) -> i64 {
        let seen = self.min_valid.iter().rev().find(|(seq, _)| view.sees(*seq));
        seen.or(self.min_valid.first())
            .map_or(0, |(_, version)| *version)
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Insert,
    Update,
    Delete,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) version: i64,
    pub(crate) key: Vec<Value>,
    pub(crate) same: Vec<u8>,
    pub(crate) did: Did,
    /// The columns that an update changed, by number.
    pub(crate) columns: BTreeSet<i32>,
    /// The commits between which a reader sees the entry.
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// A row of CHANGETABLE(CHANGES ..).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Net {
    pub(crate) version: i64,
    pub(crate) created: Option<i64>,
    pub(crate) did: Did,
    /// The columns, when not all of them changed.
    pub(crate) columns: Option<Vec<u8>>,
    pub(crate) key: Vec<Value>,
}

pub(crate) fn not_tracked(name: &str) -> ServerError {
    ServerError::new(
        22_105,
        16,
        format!("Change tracking is not enabled on table '{name}'."),
    )
}

impl State {
    /// The version that a reader sees as the current one.
    pub(crate) fn tracking_version(&self, view: View) -> Option<i64> {
        let tracking = self.tracking.as_ref()?;
        let last = tracking
            .commits
            .iter()
            .rev()
            .find(|(_, seq, _)| view.sees(*seq));
        Some(last.map_or(0, |(version, _, _)| *version))
    }

    /// One row for a key that changed since a version: the last version and the net operation. What was
    /// first done since then tells whether the key was there before. A key that came and went is told as
    /// deleted. NULL stands for every version.
    pub(crate) fn net_changes(
        table: &Table,
        since: Option<i64>,
        view: View,
    ) -> Result<Vec<Net>, ServerError> {
        let tracking = table
            .tracking
            .as_ref()
            .ok_or_else(|| not_tracked(&table.full_name()))?;
        let since = since.unwrap_or(-1);
        let mut of_key: HashMap<&[u8], usize> = HashMap::new();
        let mut found: Vec<(&Entry, Vec<&Entry>)> = Vec::new();
        for entry in &tracking.entries {
            if entry.version <= since || !view.between(entry.from, entry.until) {
                continue;
            }
            let at = *of_key.entry(&entry.same).or_insert_with(|| {
                found.push((entry, Vec::new()));
                found.len() - 1
            });
            found[at].1.push(entry);
        }
        Ok(found
            .into_iter()
            .map(|(first, all)| {
                let last = all.last().copied().unwrap_or(first);
                let did = match (first.did, last.did) {
                    (_, Did::Delete) => Did::Delete,
                    (Did::Insert, _) => Did::Insert,
                    _ => Did::Update,
                };
                let inserted = all.iter().rev().find(|entry| entry.did == Did::Insert);
                let created = inserted.map(|entry| entry.version);
                // Deleted and inserted again: all columns.
                let partial = did == Did::Update && inserted.is_none() && tracking.columns;
                let columns = partial.then(|| {
                    let all: BTreeSet<i32> = all
                        .iter()
                        .flat_map(|entry| entry.columns.iter().copied())
                        .collect();
                    column_mask(&all)
                });
                Net {
                    version: last.version,
                    created,
                    did,
                    columns,
                    key: last.key.clone(),
                }
            })
            .collect())
    }

    /// The version with which a key last changed.
    pub(crate) fn key_version(table: &Table, same: &[u8], view: View) -> Option<i64> {
        let tracking = table.tracking.as_ref()?;
        let seen = |entry: &&Entry| entry.same == same && view.between(entry.from, entry.until);
        tracking
            .entries
            .iter()
            .rev()
            .find(seen)
            .map(|entry| entry.version)
    }

    /// The newest version that is older than the retention.
    pub(crate) fn tracking_outlived(&self) -> Option<i64> {
        let tracking = self.tracking.as_ref()?;
        let kept = i64::from(tracking.retention_minutes).saturating_mul(600_000_000);
        let before = self.now.saturating_sub(kept);
        let old = tracking.commits.iter().filter(|(_, _, at)| *at < before);
        old.map(|(version, ..)| *version).max()
    }

    /// Forgets what happened up to a version, as the clean-up does. What a snapshot sees of it is an
    /// option: see [`super::Options::cleanup_shows_in_snapshots`].
    pub(crate) fn tracking_cleanup(&mut self, id: i32, upto: i64) {
        self.seq += 1;
        let seq = if self.options.cleanup_shows_in_snapshots {
            0
        } else {
            self.seq
        };
        let Some(tracking) = self
            .tables
            .get_mut(&id)
            .and_then(|table| table.tracking.as_mut())
        else {
            return;
        };
        for entry in &mut tracking.entries {
            if entry.version <= upto && entry.until == u64::MAX {
                entry.until = seq;
            }
        }
        if seq == 0 {
            tracking.min_valid.clear();
        }
        tracking.min_valid.push((seq, upto));
        tracking.cleanup = upto;
        if let Some(all) = &mut self.tracking {
            all.max_cleanup = all.max_cleanup.max(upto);
        }
    }
}

/// The mask of SYS_CHANGE_COLUMNS: four bytes of zero and four for each column's number [from memory:
/// Microsoft says only that it is to be read by CHANGE_TRACKING_IS_COLUMN_IN_MASK].
fn column_mask(columns: &BTreeSet<i32>) -> Vec<u8> {
    let mut mask = vec![0; 4];
    for column in columns {
        mask.extend_from_slice(&column.to_le_bytes());
    }
    mask
}

/// Whether a column is in a mask. NULL stands for all.
pub(crate) fn in_mask(column: i32, mask: Option<&[u8]>) -> bool {
    mask.is_none_or(|mask| {
        mask.get(4..)
            .unwrap_or_default()
            .chunks(4)
            .any(|four| four == column.to_le_bytes())
    })
}

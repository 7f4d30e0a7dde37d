//! How long something is held for what it is held for, and how much else is held for the same.

use jiff::Timestamp;
use rusqlite::OptionalExtension;
use serde::Serialize;

use crate::error::StoreError;
use crate::from_millis;
use crate::held::{HeldEntry, HeldFilter};
use crate::status::StateReader;

/// What is held for the reason of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HeldAlike {
    /// Since when the item itself is held for it, however often its row came again since.
    pub first_seen: Timestamp,
    /// When it came last.
    pub last_seen: Timestamp,
    /// So many items, this one included.
    pub count: u64,
    /// Since when the oldest of them is held.
    pub oldest: Timestamp,
}

impl StateReader {
    /// What is held by the same holder for the same cause and reason. However many items are held, one at a
    /// time is in memory.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn held_alike(&self, entry: &HeldEntry) -> Result<HeldAlike, StoreError> {
        let first_seen = self.first_held(entry)?.unwrap_or(entry.since);
        let mut alike = HeldAlike {
            first_seen: first_seen.min(entry.since),
            last_seen: entry.since,
            count: 0,
            oldest: entry.since,
        };
        let which = HeldFilter {
            by: Some(entry.by.clone()),
            cause: Some(entry.cause.clone()),
            ..HeldFilter::default()
        };
        self.held_each(&which, |other| {
            if other.reason == entry.reason {
                alike.count += 1;
                alike.oldest = alike.oldest.min(other.since);
            }
            true
        })?;
        // It may have been settled meanwhile.
        alike.count = alike.count.max(1);
        Ok(alike)
    }

    /// When a held change began to be held for its reason; of a delivery, that is when it was held.
    fn first_held(&self, entry: &HeldEntry) -> Result<Option<Timestamp>, StoreError> {
        let (Some(db), Ok(id)) = (self.of_format(7)?, entry.id.parse::<i64>()) else {
            return Ok(None);
        };
        let first: Option<Option<i64>> = db
            .prepare_cached("SELECT first_at FROM held WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        Ok(first.flatten().map(from_millis))
    }
}

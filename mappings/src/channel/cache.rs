//! What look-ups found, kept for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contract::EventType;
use serde_json::Value as Json;

/// Things kept at once; then all are forgotten and found again.
const KEPT_MAX: usize = 50_000;

type Kept = HashMap<(EventType, String, String), (Duration, BTreeMap<String, Json>)>;

/// What look-ups found. Shared by everything that is delivered to a channel.
#[derive(Default)]
pub struct Cache(Mutex<Kept>);

/// Shows no content.
impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

impl Cache {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // What a panic left is at worst forgotten or found again.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(
        &self,
        place: &(EventType, String, String),
        now: Duration,
    ) -> Option<BTreeMap<String, Json>> {
        let kept = self.kept();
        let (until, found) = kept.get(place)?;
        (now < *until).then(|| found.clone())
    }

    pub(super) fn put(
        &self,
        place: (EventType, String, String),
        until: Duration,
        found: BTreeMap<String, Json>,
    ) {
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(place, (until, found));
    }

    pub(super) fn forget(&self, place: &(EventType, String, String)) {
        self.kept().remove(place);
    }
}

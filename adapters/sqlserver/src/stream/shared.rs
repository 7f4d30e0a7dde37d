//! What the streams of a source share with each other, with its readers and its looks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::{Canary, Proof, SourceError, TableName};
use tokio::time::Instant;

use crate::cycle::Cycles;
use crate::mode::Unfit;
use crate::place::Place;
use crate::settings::Settings;

use super::heads::Needed;
use super::open::TRY_AGAIN;

/// How far the log is read and stored.
pub(crate) type Reached = Arc<Mutex<Option<Place>>>;

/// What the streams of a source share with each other, with its readers and its looks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    pub(crate) cycles: Cycles,
    pub(crate) reached: Reached,
    /// Which heads the stream takes.
    needed: Arc<Mutex<Needed>>,
    /// When tables were compared last, or read first.
    compared: Arc<Mutex<BTreeMap<TableName, Instant>>>,
    /// Tables that could not be read, since when and why.
    failed: Arc<Mutex<BTreeMap<TableName, (Instant, Unfit)>>>,
    /// A cycle came to its end, while what captures for us was not known to stand still.
    cycled: Proof,
    /// The look beside the stream found that what captures for us stands still.
    still: Arc<AtomicBool>,
}

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics while holding it.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// For the same source with another mapping, which may be what a table that could not be read waited for.
    pub(crate) fn again(&self) -> Self {
        Self {
            failed: Arc::default(),
            ..self.clone()
        }
    }

    /// A stream is opened.
    pub(super) fn open(&self, needed: Needed) {
        *lock(&self.needed) = needed;
    }

    /// What the stream that was opened last needs; nothing before the first one.
    pub(crate) fn needed(&self) -> Needed {
        *lock(&self.needed)
    }

    /// A cycle came to its end: what the database has captured is told.
    pub(super) fn cycled(&self) {
        if !self.still.load(Ordering::Relaxed) {
            self.cycled.note();
        }
    }

    /// Whether what captures for us stands still: then there is nothing new to ask for, whatever changes.
    pub(crate) fn stands_still(&self, still: bool) {
        self.still.store(still, Ordering::Relaxed);
    }

    /// The last proof that changes come through.
    pub(crate) fn canary(&self) -> Canary {
        let how = "the database was asked for its changes, and its capture job was not seen to stand still";
        self.cycled.canary(how)
    }

    /// How far the log is read and stored.
    pub(crate) fn place(&self) -> Option<Place> {
        *lock(&self.reached)
    }

    /// Whether it is time to compare a table; notes that it is compared, if so. What happened before this
    /// agent began is not known, unless all of it is read now.
    pub(super) fn is_due(&self, table: &TableName, settings: &Settings, resumed: bool) -> bool {
        let every = Duration::from_secs(settings.compare_minutes.saturating_mul(60));
        let mut compared = lock(&self.compared);
        let due = match compared.get(table) {
            None => resumed,
            Some(last) => last.elapsed() >= every,
        };
        if due || !compared.contains_key(table) {
            compared.insert(table.clone(), Instant::now());
        }
        due
    }

    pub(super) fn fail(&self, table: &TableName, error: &SourceError) {
        let unfit = Unfit {
            what: error.to_string(),
            hint: error.hint().unwrap_or("lighterman check").to_owned(),
        };
        lock(&self.failed).insert(table.clone(), (Instant::now(), unfit));
    }

    /// Why a table could not be read a short time ago.
    pub(super) fn failed(&self, table: &TableName) -> Option<Unfit> {
        let failed = lock(&self.failed);
        let (since, unfit) = failed.get(table)?;
        (since.elapsed() < TRY_AGAIN).then(|| unfit.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_proves_nothing_while_what_captures_stands_still() {
        let shared = Shared::default();
        shared.stands_still(true);
        shared.cycled();
        assert_eq!(shared.canary().ago, None);
        shared.stands_still(false);
        shared.cycled();
        assert!(shared.canary().ago.is_some());
    }
}

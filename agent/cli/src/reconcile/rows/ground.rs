//! What a comparison of a source's rows is about, and what it comes to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, EventType, Position, SourceError, TableName};
use engine::SourceSetup;
use engine::clock::SystemClock;
use engine::observe::SourceMeter;
use state::{ReconcileCount, ReconcileDifference, StateReader, StoreError};
use tokio::time::Instant;

use super::LOOK_EVERY;
use crate::reconcile::reading;

/// Why rows could not be compared.
pub(in crate::reconcile) enum Stopped {
    State(StoreError),
    Source(TableName, SourceError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::State(error)
    }
}

/// What a comparison of rows is about.
pub(in crate::reconcile) struct Ground<'a> {
    pub(in crate::reconcile) folder: &'a Path,
    pub(in crate::reconcile) name: &'a str,
    /// The kind of source.
    pub(in crate::reconcile) kind: &'a str,
    pub(in crate::reconcile) epoch: u32,
    /// What the capture loop says of itself.
    pub(in crate::reconcile) meter: Arc<SourceMeter>,
    pub(in crate::reconcile) setup: &'a SourceSetup,
    /// Only of these types; empty = of all.
    pub(in crate::reconcile) types: &'a [EventType],
    /// Only the first rows of each table; `None` = all.
    pub(in crate::reconcile) first: Option<u32>,
    pub(in crate::reconcile) wait: Duration,
}

/// What it came to.
#[derive(Default)]
pub(in crate::reconcile) struct Made {
    pub(in crate::reconcile) counts: BTreeMap<EventType, ReconcileCount>,
    pub(in crate::reconcile) differences: Vec<ReconcileDifference>,
    /// What could not be looked at, and why.
    pub(in crate::reconcile) notes: Vec<String>,
}

impl Ground<'_> {
    pub(in crate::reconcile) async fn state<T: Send + 'static>(
        &self,
        what: impl FnOnce(&StateReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        reading(self.folder, what).await
    }

    /// Waits until the agent has stored all up to a position; false where it does not in time.
    pub(in crate::reconcile) async fn stored(&self, mark: &Position, deadline: Instant) -> bool {
        loop {
            // The checkpoint does not do: it stays behind where the log tells nothing of ours.
            let reached = self.meter.reached();
            if reached.as_ref().is_some_and(|at| at >= mark) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            SystemClock.sleep(LOOK_EVERY).await;
        }
    }
}

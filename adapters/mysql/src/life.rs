//! Which life of the log the stream reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The epoch that the stream stamps, and the life of the log
/// ([`Place::life`](crate::place::Place::life)) that it reads: set by the stream when it opens the
/// log, before it tells anything, and read by snapshots and questions, which see the same log and
/// cannot know of its lives. Before any stream was opened both are 0, and nothing sorts before that.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life(Arc<AtomicU64>);

impl Life {
    /// Notes what the stream reads.
    pub(crate) fn set(&self, epoch: u32, life: u32) {
        let both = u64::from(epoch) << 32 | u64::from(life);
        self.0.store(both, Ordering::Release);
    }

    /// The epoch, and the life.
    pub(crate) fn get(&self) -> (u32, u32) {
        let both = self.0.load(Ordering::Acquire);
        let part = |from: u32| u32::try_from(both >> from & u64::from(u32::MAX)).unwrap_or(0);
        (part(32), part(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_handle_has_the_same_life() {
        let stream = Life::default();
        let snapshot = stream.clone();
        assert_eq!(snapshot.get(), (0, 0));
        stream.set(3, u32::MAX);
        assert_eq!(snapshot.get(), (3, u32::MAX));
    }
}

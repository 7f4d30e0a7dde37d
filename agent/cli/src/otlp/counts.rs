//! What is counted of the sending itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts from the agent's start.
#[derive(Debug, Default)]
pub(crate) struct OtlpCounts {
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl OtlpCounts {
    pub(super) fn sent(&self, spans: usize) {
        self.sent.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Spans that were taken, those that were left out, and requests that failed.
    pub(crate) fn all(&self) -> [u64; 3] {
        [&self.sent, &self.dropped, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }
}

//! Virtual time: tokio's paused clock, which jumps when nothing can go on, and a wall clock beside it
//! that somebody sets.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use contract::Clock;
use jiff::{SignedDuration, Timestamp};

/// The first moment of 2026: a day begins.
const FIRST: i64 = 1_767_225_600;

pub struct VirtualClock {
    began: tokio::time::Instant,
    /// The wall clock is ahead by so many milliseconds, or behind.
    ahead: AtomicI64,
}

impl VirtualClock {
    pub fn new(began: tokio::time::Instant) -> Self {
        Self {
            began,
            ahead: AtomicI64::new(0),
        }
    }

    pub fn set_ahead(&self, millis: i64) {
        self.ahead.store(millis, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let first = Timestamp::from_second(FIRST).unwrap();
        let ahead = SignedDuration::from_millis(self.ahead.load(Ordering::Relaxed));
        let now = first.saturating_add(ahead).unwrap();
        contract::clock::after(now, self.began.elapsed())
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

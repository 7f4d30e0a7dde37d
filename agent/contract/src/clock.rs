//! Time, as an argument. Only `engine::clock` reads the system's.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// A clock: the wall time that events and due times carry, and a way to wait.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall time, in UTC. May jump; never used to measure a wait.
    fn now(&self) -> Timestamp;

    /// Waits. Measured on a monotonic clock; cancel-safe.
    async fn sleep(&self, time: Duration);
}

/// `moment + time`, kept within what a timestamp can hold.
pub fn after(moment: Timestamp, time: Duration) -> Timestamp {
    moment
        .saturating_add(jiff::SignedDuration::try_from(time).unwrap_or(jiff::SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

/// How long from `now` until `moment`; zero when it has passed.
pub fn until(now: Timestamp, moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// `moment - time`, kept within what a timestamp can hold.
pub fn minus(moment: Timestamp, time: jiff::SignedDuration) -> Timestamp {
    moment.saturating_sub(time).unwrap_or(Timestamp::MIN)
}

//! The system's clock: the one place that reads it.

use std::time::Duration;

use async_trait::async_trait;
use contract::Clock;
use jiff::Timestamp;

/// Wall time from the operating system, waits on tokio's monotonic timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

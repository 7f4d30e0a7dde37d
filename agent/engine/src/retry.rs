//! How long to wait before trying again: pure, with chance as an argument.

use std::time::Duration;

/// Exponential back-off with full jitter: a wait between zero and a bound that doubles with each
/// attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Bound of the first wait.
    pub first: Duration,
    /// Bound of every later wait.
    pub max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            max: Duration::from_mins(5),
        }
    }
}

/// A server's "not before" is followed up to this; a longer one is taken as a mistake.
pub const SERVER_HINT_MAX: Duration = Duration::from_hours(24);

impl RetryPolicy {
    /// The longest wait after `attempt` failures (from 1).
    pub fn bound(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }

    /// The wait after `attempt` failures: `chance` (0..1000) of the bound, but never sooner than
    /// the server asked.
    pub fn wait(&self, attempt: u32, chance: u16, server: Option<Duration>) -> Duration {
        let jittered = self.bound(attempt) * u32::from(chance.min(1_000)) / 1_000;
        // Without a floor, full jitter would let one try in a hundred go at once.
        let own = jittered.max(self.first / 10);
        server.map_or(own, |hint| hint.min(SERVER_HINT_MAX).saturating_add(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_bound_and_respect_the_server() {
        let policy = RetryPolicy {
            first: Duration::from_secs(1),
            max: Duration::from_secs(10),
        };
        let waits: Vec<u64> = (1..8)
            .map(|attempt| policy.wait(attempt, 1_000, None).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(policy.wait(1, 0, None), Duration::from_millis(100));
        assert!(policy.wait(1, 0, Some(Duration::from_mins(1))) >= Duration::from_mins(1));
        assert!(policy.wait(u32::MAX, 1_000, Some(Duration::MAX)) <= Duration::from_hours(25));
    }
}

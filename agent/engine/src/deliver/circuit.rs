//! Whether a destination as a whole is in trouble: pure.

use std::time::Duration;

use contract::clock;
use jiff::Timestamp;

use crate::retry::RetryPolicy;

/// Failures in a row without a success, and the rest that follows from them.
#[derive(Debug)]
pub(super) struct Circuit {
    failures: u32,
    rest_until: Timestamp,
}

/// What a destination's answers changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// Nothing that a person must know.
    Nothing,
    /// It fails: for the first time, or once more after many.
    Fails(u32),
    /// It answers again.
    Answers,
}

impl Circuit {
    pub(super) fn new() -> Self {
        Self {
            failures: 0,
            rest_until: Timestamp::MIN,
        }
    }

    /// It is in trouble: one probe at a time.
    pub(super) fn is_broken(&self) -> bool {
        self.failures > 0
    }

    /// How long it still rests.
    pub(super) fn rest(&self, now: Timestamp) -> Option<Duration> {
        (now < self.rest_until).then(|| clock::until(now, self.rest_until))
    }

    pub(super) fn succeeded(&mut self) -> Turned {
        let was_broken = self.is_broken();
        *self = Self::new();
        if was_broken {
            Turned::Answers
        } else {
            Turned::Nothing
        }
    }

    pub(super) fn failed(
        &mut self,
        policy: &RetryPolicy,
        chance: u16,
        after: Option<Duration>,
        now: Timestamp,
    ) -> Turned {
        self.failures = self.failures.saturating_add(1);
        self.rest_until = clock::after(now, policy.wait(self.failures, chance, after));
        if self.failures == 1 || self.failures.is_multiple_of(10) {
            Turned::Fails(self.failures)
        } else {
            Turned::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_once_and_so_is_its_end() {
        let policy = RetryPolicy::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut circuit = Circuit::new();
        assert_eq!(circuit.succeeded(), Turned::Nothing);
        let mut fail = || circuit.failed(&policy, 1_000, None, now);
        assert_eq!(fail(), Turned::Fails(1));
        for _ in 2..10 {
            assert_eq!(fail(), Turned::Nothing);
        }
        assert_eq!(fail(), Turned::Fails(10));
        assert!(circuit.is_broken() && circuit.rest(now).is_some());
        assert_eq!(circuit.succeeded(), Turned::Answers);
        assert!(!circuit.is_broken() && circuit.rest(now).is_none());
    }
}

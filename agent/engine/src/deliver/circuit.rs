//! Whether a destination as a whole is in trouble: pure.

use std::time::Duration;

use contract::clock;
use jiff::Timestamp;

use crate::retry::{RetryPolicy, SERVER_HINT_MAX};

/// A destination rests no longer than this by itself: what is urgent waits for it, and what fails may
/// be one event. An API that asks for more gets it.
const REST_MAX: Duration = Duration::from_secs(30);

/// Failures in a row without a success, and the rest that follows from them.
#[derive(Debug)]
pub(super) struct Circuit {
    failures: u32,
    rest_until: Timestamp,
    /// Failures that were ever counted.
    counted: u64,
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
            counted: 0,
        }
    }

    /// How many failures were counted so far: what a call that starts now is given.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// It is in trouble: one probe at a time.
    pub(super) fn is_broken(&self) -> bool {
        self.failures > 0
    }

    /// How long it still rests.
    pub(super) fn rest(&self, now: Timestamp) -> Option<Duration> {
        (now < self.rest_until).then(|| clock::until(now, self.rest_until))
    }

    /// The clock was set back: it rests no longer for that.
    pub(super) fn set_back(&mut self, by: Duration) {
        let by = jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX);
        self.rest_until = clock::minus(self.rest_until, by);
    }

    pub(super) fn succeeded(&mut self) -> Turned {
        let was_broken = self.is_broken();
        *self = Self {
            counted: self.counted,
            ..Self::new()
        };
        if was_broken {
            Turned::Answers
        } else {
            Turned::Nothing
        }
    }

    /// A call failed that started when so many failures were `counted`. Calls that were out together
    /// fail together: that is one failure, however many they are.
    pub(super) fn failed(
        &mut self,
        policy: &RetryPolicy,
        chance: u16,
        after: Option<Duration>,
        counted: u64,
        now: Timestamp,
    ) -> Turned {
        if counted < self.counted {
            if let Some(after) = after {
                let until = clock::after(now, after.min(SERVER_HINT_MAX));
                self.rest_until = self.rest_until.max(until);
            }
            return Turned::Nothing;
        }
        self.counted += 1;
        self.failures = self.failures.saturating_add(1);
        let policy = RetryPolicy {
            max: policy.max.min(REST_MAX),
            ..*policy
        };
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
        let fail = |circuit: &mut Circuit| {
            let counted = circuit.counted();
            circuit.failed(&policy, 1_000, None, counted, now)
        };
        assert_eq!(fail(&mut circuit), Turned::Fails(1));
        for _ in 2..10 {
            assert_eq!(fail(&mut circuit), Turned::Nothing);
        }
        assert_eq!(fail(&mut circuit), Turned::Fails(10));
        assert_eq!(
            circuit.rest(now),
            Some(REST_MAX),
            "five minutes at an event"
        );
        let hint = Some(Duration::from_mins(10));
        circuit.failed(&policy, 1_000, hint, circuit.counted(), now);
        assert!(circuit.rest(now) >= hint, "but as long as the API asks for");
        assert_eq!(circuit.succeeded(), Turned::Answers);
        assert!(!circuit.is_broken() && circuit.rest(now).is_none());
    }

    #[test]
    fn calls_that_were_out_together_fail_once() {
        let policy = RetryPolicy::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut circuit = Circuit::new();
        let together = circuit.counted();
        for _ in 0..8 {
            circuit.failed(&policy, 1_000, None, together, now);
        }
        assert_eq!(circuit.rest(now), Some(policy.first));
        // A rest that one of them was told is kept all the same.
        let hint = Duration::from_secs(7);
        circuit.failed(&policy, 1_000, Some(hint), together, now);
        assert_eq!(circuit.rest(now), Some(hint));
        // The probe behind them counts, and what they come to late does not.
        circuit.failed(&policy, 1_000, None, circuit.counted(), now);
        circuit.failed(&policy, 1_000, None, together, now);
        assert_eq!(circuit.rest(now), Some(policy.first * 2));
        circuit.succeeded();
        circuit.failed(&policy, 1_000, None, together, now);
        assert!(!circuit.is_broken());
    }
}

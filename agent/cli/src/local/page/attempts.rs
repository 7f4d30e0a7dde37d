//! How often a secret may be tried: after a few wrong ones each further try waits longer, for a name and
//! for all names together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So many wrong ones cost nothing: people mistype.
const FREE_OF_NAME: u32 = 3;
const FREE_OF_ALL: u32 = 20;
/// The longest wait. Whoever guesses must not be able to lock others out for long.
const WAIT_OF_NAME_MAX: Duration = Duration::from_mins(5);
const WAIT_OF_ALL_MAX: Duration = Duration::from_secs(30);
/// Wrong ones are forgotten after so long without another.
const FORGOTTEN: Duration = Duration::from_mins(15);

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    last: Option<Instant>,
}

impl Failures {
    fn wait(&self, free: u32, max: Duration, now: Instant) -> Option<Duration> {
        let last = self.last?;
        let over = self.count.checked_sub(free)?;
        let wait = Duration::from_secs(1_u64 << over.min(20)).min(max);
        let left = wait.saturating_sub(now.saturating_duration_since(last));
        (left > Duration::ZERO).then_some(left)
    }

    fn forget(&mut self, now: Instant) {
        let old = |last| now.saturating_duration_since(last) >= FORGOTTEN;
        if self.last.is_some_and(old) {
            *self = Self::default();
        }
    }

    fn add(&mut self, now: Instant) {
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
    }
}

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    Right,
    Wrong,
    /// It was not looked at; not before this is over.
    Wait(Duration),
}

/// Wrong tries so far. Names that nobody has share one account, so that there are never more accounts
/// than users.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    names: BTreeMap<String, Failures>,
    all: Failures,
}

impl Attempts {
    /// Tries; `name` is a user's, or nobody's.
    pub(super) fn attempt(
        &mut self,
        name: Option<&str>,
        now: Instant,
        is_right: impl FnOnce() -> bool,
    ) -> Tried {
        let of_name = self
            .names
            .entry(name.unwrap_or_default().to_owned())
            .or_default();
        of_name.forget(now);
        self.all.forget(now);
        let waits = [
            of_name.wait(FREE_OF_NAME, WAIT_OF_NAME_MAX, now),
            self.all.wait(FREE_OF_ALL, WAIT_OF_ALL_MAX, now),
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Tried::Wait(wait);
        }
        if is_right() {
            *of_name = Failures::default();
            return Tried::Right;
        }
        of_name.add(now);
        self.all.add(now);
        Tried::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_for_a_name_and_end_with_the_right_secret() {
        let mut attempts = Attempts::default();
        let began = Instant::now();
        for _ in 0..3 {
            assert_eq!(
                attempts.attempt(Some("anna"), began, || false),
                Tried::Wrong
            );
        }
        let second = Duration::from_secs(1);
        // Not even the right one is looked at while it waits.
        let tried = attempts.attempt(Some("anna"), began, || true);
        assert_eq!(tried, Tried::Wait(second));
        assert_eq!(
            attempts.attempt(Some("other"), began, || true),
            Tried::Right
        );
        let mut now = began + second;
        for wait in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(attempts.attempt(Some("anna"), now, || false), Tried::Wrong);
            let wait = Duration::from_secs(wait);
            assert_eq!(
                attempts.attempt(Some("anna"), now, || true),
                Tried::Wait(wait)
            );
            now += wait;
        }
        assert_eq!(attempts.attempt(Some("anna"), now, || true), Tried::Right);
        assert_eq!(attempts.attempt(Some("anna"), now, || false), Tried::Wrong);
    }

    #[test]
    fn all_names_together_wait_and_nobodys_names_take_no_room() {
        let mut attempts = Attempts::default();
        let mut now = Instant::now();
        let mut wrong = 0;
        while wrong < 20 {
            match attempts.attempt(None, now, || false) {
                Tried::Wrong => wrong += 1,
                Tried::Wait(wait) => now += wait,
                Tried::Right => unreachable!("nothing is right"),
            }
        }
        assert!(matches!(
            attempts.attempt(Some("anna"), now, || true),
            Tried::Wait(_)
        ));
        assert!(attempts.names.len() <= 2);
        let later = now + Duration::from_mins(15);
        assert_eq!(attempts.attempt(Some("anna"), later, || true), Tried::Right);
    }
}

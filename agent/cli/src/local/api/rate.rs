//! How many requests may come in a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_mins(1);

/// A rate: a quarter of a minute's requests may come at once, the rest evenly, and in no minute more than are
/// allowed.
#[derive(Debug)]
pub(super) struct Rate {
    begun: Instant,
    turns: Mutex<Turns>,
}

impl Rate {
    pub(super) fn per_minute(count: u32) -> Self {
        Self {
            begun: Instant::now(),
            turns: Mutex::new(Turns::per_minute(count)),
        }
    }

    /// Lets one in, or says how long it must wait.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.take(self.begun.elapsed())
    }
}

/// When the next one may come, were they to come evenly; how far ahead of that they may be.
#[derive(Debug)]
struct Turns {
    every: Duration,
    ahead: Duration,
    next: Duration,
}

impl Turns {
    fn per_minute(count: u32) -> Self {
        let at_once = (count / 4).max(1);
        let every = MINUTE / count.saturating_sub(at_once).max(1);
        Self {
            every,
            ahead: every * (at_once - 1),
            next: Duration::ZERO,
        }
    }

    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let due = self.next.max(now);
        let early = due.saturating_sub(now).saturating_sub(self.ahead);
        if early > Duration::ZERO {
            return Err(early);
        }
        self.next = due + self.every;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_than_are_allowed_however_they_come() {
        for count in [1, 2, 3, 7, 60, 600] {
            let mut turns = Turns::per_minute(count);
            let mut taken: Vec<Duration> = Vec::new();
            // As fast as they are let in.
            for step in 0..6_000_u64 {
                let now = Duration::from_millis(step * 50);
                while turns.take(now).is_ok() {
                    taken.push(now);
                }
            }
            for (at, first) in taken.iter().enumerate() {
                let within = taken[at..].iter().take_while(|one| **one < *first + MINUTE);
                assert!(within.count() <= count as usize, "{count} from {first:?}");
            }
            assert!(
                taken.len() >= 2 * count as usize,
                "{count}: {}",
                taken.len()
            );
        }
    }

    #[test]
    fn who_waits_as_long_as_was_said_comes_in() {
        let mut turns = Turns::per_minute(8);
        let mut now = Duration::from_secs(100);
        for _ in 0..20 {
            while turns.take(now).is_ok() {}
            let wait = turns.take(now).unwrap_err();
            now += wait;
            assert!(turns.take(now).is_ok());
        }
    }
}

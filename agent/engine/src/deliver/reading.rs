//! A second way through a destination's door, for those who only ask what it holds: it takes what deliveries leave.
//!
//! Every request passes the limits that deliveries pass, so the two together are never more than the API
//! bears. Beyond that, whoever reads waits for deliveries that are about to leave, takes at most a quarter
//! of the rate and of the time, leaves half of the points, and takes at most a tenth of a day's quota.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contract::{Allowance, DestinationTraits, Gate};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::DeliverySettings;
use super::gate::Door;
use super::limiter::{Limiter, Wait};
use crate::clock::SystemClock;
use crate::observe::Meters;

/// Of the rate, and of the time, one part in so many.
const SHARE: u32 = 4;
/// Of a day's quota, one part in so many.
const DAY_SHARE: u32 = 10;
/// Between two looks while deliveries are about to leave, or the day's quota is noted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where those who only read find the door of a destination while it is delivered to.
#[derive(Debug, Clone, Default)]
pub struct ReadingDoor(Arc<Mutex<Option<Arc<Door>>>>);

/// The gate of one who only reads.
#[derive(Debug)]
pub struct ReadingGate {
    door: Arc<Door>,
    pace: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    /// When the newest request left.
    left_at: Option<Instant>,
    /// The next one does not before this.
    not_before: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReadingDoor {
    /// The destination is delivered to from now on.
    pub(super) fn open(&self, door: &Arc<Door>) {
        *lock(&self.0) = Some(Arc::clone(door));
    }

    /// The gate beside deliveries; `None` while there are none.
    pub fn gate(&self) -> Option<ReadingGate> {
        let door = lock(&self.0).clone()?;
        Some(ReadingGate::new(door))
    }
}

impl ReadingGate {
    fn new(door: Arc<Door>) -> Self {
        Self {
            door,
            pace: Mutex::default(),
        }
    }

    /// The gate where nothing is delivered; what an API said before is kept for `rest`. `None` where a day's
    /// quota is counted: that is the running agent's to count.
    pub fn alone(
        name: &str,
        traits: DestinationTraits,
        settings: &DeliverySettings,
        rest: Duration,
    ) -> Option<Self> {
        let traits = settings.within(traits);
        if traits.limits.per_day.is_some() {
            return None;
        }
        let now = Instant::now();
        let mut limiter = Limiter::new(&traits, settings.rate, now);
        if !rest.is_zero() {
            limiter.rest_until(now + rest);
        }
        let meter = Meters::default().destination(name, &[]);
        let clock = Arc::new(SystemClock);
        let door = Door::new(limiter, Arc::new(Notify::new()), clock, meter);
        Some(Self::new(door))
    }

    /// Lets one request leave, or says when to try again.
    fn try_pass(&self, now: Instant, points: u32) -> Result<(), Instant> {
        let mut pace = lock(&self.pace);
        if let Some(at) = pace.not_before.filter(|at| *at > now) {
            return Err(at);
        }
        if self.door.promised() > 0 {
            return Err(now + LOOK_EVERY);
        }
        let mut limiter = self.door.limiter();
        if let Some(at) = limiter.half_left(now, points) {
            return Err(at);
        }
        if let Some(day) = limiter.day()
            && day.read >= day.max / DAY_SHARE
        {
            return Err(now + Duration::from_hours(24));
        }
        match limiter.pass(now, points) {
            Ok(()) => {}
            Err(Wait::Until(at)) => return Err(at),
            Err(Wait::Quota) => {
                self.door.noting();
                return Err(now + LOOK_EVERY);
            }
        }
        if let Some(day) = limiter.day() {
            day.read += 1;
        }
        pace.left_at = Some(now);
        pace.not_before = limiter.spacing().map(|spacing| now + spacing * SHARE);
        drop(limiter);
        self.door.passed();
        Ok(())
    }
}

#[async_trait]
impl Gate for ReadingGate {
    async fn pass(&self, points: u32, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let now = Instant::now();
            let Err(at) = self.try_pass(now, points) else {
                return true;
            };
            if at > deadline {
                return false;
            }
            let wait = at.saturating_duration_since(now);
            self.door.sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    fn heard(&self, said: &Allowance) {
        let now = Instant::now();
        let mut pace = lock(&self.pace);
        if let Some(left_at) = pace.left_at.take() {
            // As long as it took, three times: the API works for us for a quarter of the time.
            let rest = now + now.saturating_duration_since(left_at) * (SHARE - 1);
            pace.not_before = Some(pace.not_before.map_or(rest, |at| at.max(rest)));
        }
        drop(pace);
        self.door.heard(said);
    }
}

#[cfg(test)]
mod tests {
    use contract::Rate;

    use super::*;

    fn gate(settings: &DeliverySettings) -> Option<ReadingGate> {
        let traits = DestinationTraits::modest();
        ReadingGate::alone("shop", traits, settings, Duration::ZERO)
    }

    #[tokio::test]
    async fn whoever_reads_takes_a_quarter_of_the_rate() {
        let settings = DeliverySettings {
            rate: Some(Rate {
                requests: 10,
                per: Duration::from_secs(1),
            }),
            ..DeliverySettings::default()
        };
        let gate = gate(&settings).unwrap();
        let now = Instant::now();
        assert_eq!(gate.try_pass(now, 0), Ok(()));
        let next = now + Duration::from_millis(400);
        assert_eq!(gate.try_pass(now, 0), Err(next));
        assert_eq!(gate.try_pass(next, 0), Ok(()));
    }

    #[tokio::test]
    async fn whoever_reads_rests_for_three_times_what_an_answer_took_and_lets_deliveries_go_first()
    {
        let gate = gate(&DeliverySettings::default()).unwrap();
        let left_at = Instant::now();
        let took = Duration::from_mins(1);
        assert_eq!(gate.try_pass(left_at, 0), Ok(()));
        lock(&gate.pace).left_at = Some(left_at - took);
        gate.heard(&Allowance::default());
        let rests = gate.try_pass(left_at, 0).unwrap_err();
        assert!(rests >= left_at + took * 3);

        let delivery = super::super::gate::CallGate::new(&gate.door);
        let later = rests + Duration::from_secs(1);
        assert_eq!(gate.try_pass(later, 0), Err(later + LOOK_EVERY));
        drop(delivery);
        assert_eq!(gate.try_pass(later, 0), Ok(()));
    }

    #[test]
    fn without_an_agent_nobody_counts_a_days_quota() {
        let settings = DeliverySettings {
            per_day: Some(1_000),
            ..DeliverySettings::default()
        };
        assert!(gate(&settings).is_none());
    }
}

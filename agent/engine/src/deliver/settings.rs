//! What a destination's settings say of how it is delivered to, whatever its type.

use std::time::Duration;

use contract::{DestinationTraits, EventType, Rate};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use state::Guards;

use super::reading::ReadingDoor;
use crate::pace::{self, Pause};

/// How a destination is delivered to.
#[derive(Debug, Clone)]
pub struct DeliverySettings {
    /// Nothing is sent: what would be is compared with what the destination holds.
    pub shadow: bool,
    /// Times of each day at which nothing leaves.
    pub pauses: Vec<Pause>,
    /// The zone of those times, and of the days of `per_day`.
    pub zone: TimeZone,
    /// Requests at most, whatever the API bears.
    pub rate: Option<Rate>,
    /// Calls at once at most.
    pub concurrent: Option<usize>,
    /// Requests in a day at most.
    pub per_day: Option<u32>,
    /// How long a delivery waits for another one.
    pub dependency_wait: Duration,
    /// What stops a delivery that is unlikely to be meant.
    pub guards: Guards,
    /// Within what time after its commit a change is to be delivered; it is counted, nothing more.
    pub promised: Vec<(EventType, Duration)>,
    /// Where those who only read find its door while it is delivered to.
    pub reading: ReadingDoor,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            shadow: false,
            pauses: Vec::new(),
            zone: TimeZone::UTC,
            rate: None,
            concurrent: None,
            per_day: None,
            dependency_wait: Duration::from_hours(1),
            guards: Guards::default(),
            promised: Vec::new(),
            reading: ReadingDoor::default(),
        }
    }
}

impl DeliverySettings {
    /// When the pause ends that `now` lies in; `None` outside of every pause.
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        pace::paused_until(&self.pauses, &self.zone, now)
    }

    /// An API's habits within what the settings allow.
    pub(super) fn within(&self, traits: DestinationTraits) -> DestinationTraits {
        let mut traits = traits;
        if let Some(concurrent) = self.concurrent {
            traits.requests_max = traits.requests_max.min(concurrent.max(1));
        }
        let per_day = [traits.limits.per_day, self.per_day];
        traits.limits.per_day = per_day.into_iter().flatten().min();
        traits
    }
}

//! How much may be sent to an API: what is known beforehand, what its answers say, and the gate
//! that every request passes.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::destination::Outgoing;
use crate::trace_context::Context;

/// So many requests in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests.
    pub requests: u32,
    /// In this time.
    pub per: Duration,
}

/// Points that requests cost at APIs that count them, and how fast they come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Points {
    /// Most that can be there.
    pub max: u32,
    /// That come back in a second.
    pub per_second: u32,
}

/// What is known of an API's limits before anything is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests in a time; `None` = no figure: the engine finds out how many it bears at once.
    pub rate: Option<Rate>,
    /// Requests in a day.
    pub per_day: Option<u32>,
    /// Points.
    pub points: Option<Points>,
}

/// What an answer said about limits. All of it may be absent; a hint, never a promise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// The API refused the request because there were too many.
    pub throttled: bool,
    /// Nothing may leave before this has passed.
    pub wait: Option<Duration>,
    /// Requests that may still leave before `reset` has passed.
    pub requests_left: Option<u32>,
    /// Until then.
    pub reset: Option<Duration>,
    /// The rate that the API told.
    pub rate: Option<Rate>,
    /// Points that are there now.
    pub points_left: Option<u32>,
    /// How many points there can be, and how fast they come back.
    pub points: Option<Points>,
}

/// What every request to an API passes. The engine's; adapters only knock.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Waits until one more request may leave that costs `points` (0 where the API counts none).
    /// False = not within `within`: what the request was for surely did not leave.
    async fn pass(&self, points: u32, within: Duration) -> bool;

    /// Tells what an answer said.
    fn heard(&self, said: &Allowance);

    /// Tells of a request that was about several events, and so had a trace context of its own.
    fn together(&self, _: &Together<'_>) {}
}

/// A request that was about several events.
#[derive(Debug, Clone, Copy)]
pub struct Together<'r> {
    /// These.
    pub events: &'r [&'r Outgoing],
    /// What it told the receiver.
    pub context: &'r Context,
    /// When it left.
    pub began: Timestamp,
    /// When its answer was there, or none was waited for any more.
    pub ended: Timestamp,
    /// HTTP's status, where an answer came.
    pub status: Option<u16>,
}

/// A gate that is always open: for checks by hand, and for tests of adapters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

#[async_trait]
impl Gate for Open {
    async fn pass(&self, _: u32, _: Duration) -> bool {
        true
    }

    fn heard(&self, _: &Allowance) {}
}

//! The network on either side of the agent.

use std::time::Duration;

use harness::proxy::{Proxy, Stall};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::database;
use crate::destination;
use crate::play::Game;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// All connections are reset.
    Reset,
    /// The connection that gets so many more bytes is reset in the middle.
    ResetAfter(u64),
    /// Every byte needs so many milliseconds.
    Latency(u64),
    /// Connections are open, and nothing passes one way or any.
    HalfOpen(Stall),
    /// Nobody gets through.
    Partition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub side: Side,
    pub what: What,
    /// For so many steps, where it lasts.
    pub steps: u32,
}

pub fn choose(
    rng: &mut StdRng,
    source: database::Kind,
    destination: destination::Kind,
) -> Option<Network> {
    let side = if rng.random_range(0..2) == 0 {
        Side::Source
    } else {
        Side::Destination
    };
    let stalls = [Stall::BOTH, Stall::TO_CLIENT, Stall::TO_SERVER];
    let what = match rng.random_range(0..10) {
        0..3 => What::Reset,
        3..6 => What::ResetAfter(rng.random_range(1..20_000)),
        6 => What::Latency(rng.random_range(5..100)),
        7 => What::HalfOpen(stalls[rng.random_range(0..stalls.len())]),
        _ => What::Partition,
    };
    let steps = rng.random_range(1..20);
    let there = match side {
        Side::Source => source != database::Kind::Sqlite,
        Side::Destination => destination.is_remote(),
    };
    there.then_some(Network { side, what, steps })
}

impl Network {
    pub fn happen(self, game: &mut Game<'_>) {
        let proxy = match self.side {
            Side::Source => game.source_proxy.as_ref(),
            Side::Destination => game.destination.proxy(),
        };
        let Some(proxy) = proxy else {
            return;
        };
        match self.what {
            What::Reset => proxy.reset(),
            What::ResetAfter(bytes) => proxy.reset_after(bytes),
            What::Latency(milliseconds) => proxy.latency(Duration::from_millis(milliseconds)),
            What::HalfOpen(stall) => proxy.stall(stall),
            What::Partition => {
                proxy.refuse(true);
                proxy.reset();
            }
        }
        if !matches!(self.what, What::Reset | What::ResetAfter(_)) {
            game.mend_in = Some(self.steps);
        }
    }
}

/// As if nothing had been.
pub fn mend(proxy: &Proxy) {
    proxy.refuse(false);
    proxy.reset_no_more();
    proxy.latency(Duration::ZERO);
    proxy.stall(Stall::default());
}

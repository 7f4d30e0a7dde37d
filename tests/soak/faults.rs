//! What goes wrong all the time, at a steady pace: it may make the agent late, and never later.

use std::time::{Duration, Instant};

use harness::agent::Agent;
use harness::receiver::Faults;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::load::Database;

/// Of a thousand requests of the receiver.
pub const RECEIVER: Faults = Faults {
    refuse: 30,
    fail_after: 20,
    too_late: 2,
};
/// Between two faults of the machine.
const EVERY: Duration = Duration::from_secs(5);
/// So long the agent stands still.
const STOPPED: Duration = Duration::from_millis(700);

pub struct Plan {
    rng: StdRng,
    next: Instant,
    stopped: Option<Instant>,
    pub count: u64,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            next: Instant::now() + EVERY,
            stopped: None,
            count: 0,
        }
    }

    /// Does what is due.
    pub async fn next(&mut self, agent: &Agent, databases: &[Database]) {
        if self.stopped.is_some_and(|since| since.elapsed() >= STOPPED) {
            self.end(agent);
        }
        if self.stopped.is_some() || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EVERY;
        self.count += 1;
        let which = self.rng.random_range(0..=databases.len());
        if let Some(database) = databases.get(which) {
            database.cut().await;
        } else {
            agent.signal("STOP");
            self.stopped = Some(Instant::now());
        }
    }

    /// Lets the agent go on.
    pub fn end(&mut self, agent: &Agent) {
        if self.stopped.take().is_some() {
            agent.signal("CONT");
        }
    }
}

//! The door of a destination, which every request to it passes, and each call's own view of it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contract::gate::Together;
use contract::{Allowance, Clock, Gate};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::limiter::{Limiter, Wait};
use crate::observe::DestinationMeter;

/// The limits of one destination, shared by its calls and its loop.
pub(crate) struct Door {
    limiter: Mutex<Limiter>,
    /// Calls that have started and let nothing pass yet.
    promised: AtomicUsize,
    /// What may leave has changed.
    changed: Notify,
    /// Wakes the loop: the day's quota must be noted.
    wake: Arc<Notify>,
    clock: Arc<dyn Clock>,
    meter: Arc<DestinationMeter>,
}

impl Door {
    pub(crate) fn new(
        limiter: Limiter,
        wake: Arc<Notify>,
        clock: Arc<dyn Clock>,
        meter: Arc<DestinationMeter>,
    ) -> Arc<Self> {
        Arc::new(Self {
            limiter: Mutex::new(limiter),
            promised: AtomicUsize::new(0),
            changed: Notify::new(),
            wake,
            clock,
            meter,
        })
    }

    pub(crate) fn limiter(&self) -> MutexGuard<'_, Limiter> {
        // Whoever panicked has ended the agent.
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that are to leave soon: each call makes one at least.
    pub(crate) fn promised(&self) -> usize {
        self.promised.load(Ordering::SeqCst)
    }

    /// Tells those who wait to look again.
    pub(crate) fn opened(&self) {
        self.changed.notify_waiters();
    }

    /// A request left that is none of the loop's calls.
    pub(crate) fn passed(&self) {
        self.meter.requested();
        if self.limiter().has_figures() {
            self.wake.notify_one();
        }
    }

    /// Has the loop note more of the day's quota as used.
    pub(crate) fn noting(&self) {
        self.wake.notify_one();
    }

    /// Takes in what an answer said.
    pub(crate) fn heard(&self, said: &Allowance) {
        if said.throttled {
            self.meter.throttled();
        }
        self.limiter().heard(Instant::now(), said);
        self.opened();
    }

    /// Waits.
    pub(crate) async fn sleep(&self, time: Duration) {
        self.clock.sleep(time).await;
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door({} promised)", self.promised())
    }
}

/// What waits for the limits leaves so much later than they say: an API counts when requests arrive, and the way of
/// one may be a little shorter than that of another.
const LATER: Duration = Duration::from_millis(3);

/// One call's gate.
pub(crate) struct CallGate {
    door: Arc<Door>,
    passed: AtomicU32,
    refused: AtomicBool,
    promised: AtomicBool,
}

/// What a call did at the gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passes {
    /// Requests that left.
    pub(crate) passed: u32,
    /// One was not let through.
    pub(crate) refused: bool,
}

impl Passes {
    /// Nothing left because our own limits had no room: that says nothing about the destination.
    pub(crate) fn only_refused(self) -> bool {
        self.refused && self.passed == 0
    }
}

impl CallGate {
    pub(crate) fn new(door: &Arc<Door>) -> Self {
        door.promised.fetch_add(1, Ordering::SeqCst);
        Self {
            door: Arc::clone(door),
            passed: AtomicU32::new(0),
            refused: AtomicBool::new(false),
            promised: AtomicBool::new(true),
        }
    }

    /// The call's first request has left, or none is to.
    fn settle(&self) -> bool {
        let first = self.promised.swap(false, Ordering::SeqCst);
        if first {
            self.door.promised.fetch_sub(1, Ordering::SeqCst);
        }
        first
    }

    pub(crate) fn passes(&self) -> Passes {
        Passes {
            passed: self.passed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

impl Drop for CallGate {
    fn drop(&mut self) {
        self.settle();
    }
}

#[async_trait]
impl Gate for CallGate {
    async fn pass(&self, points: u32, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let changed = self.door.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let tried = self.door.limiter().pass(now, points);
            let until = match tried {
                Ok(()) => {
                    self.passed.fetch_add(1, Ordering::Relaxed);
                    self.door.meter.requested();
                    // Where there are figures, the loop can now say when the next may leave.
                    if self.settle() && self.door.limiter().has_figures() {
                        self.door.wake.notify_one();
                    }
                    return true;
                }
                // To wait for what cannot be would only hold up others.
                Err(Wait::Until(at)) if at > deadline => now,
                Err(Wait::Until(at)) => at,
                Err(Wait::Quota) => {
                    self.door.wake.notify_one();
                    deadline
                }
            };
            if until <= now {
                self.refused.store(true, Ordering::Relaxed);
                return false;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self.door.clock.sleep(until - now + LATER) => {}
            }
        }
    }

    fn heard(&self, said: &Allowance) {
        self.door.heard(said);
    }

    fn together(&self, request: &Together<'_>) {
        self.door.meter.together(request);
    }
}

//! The suite's backend of a server behind a proxy that loses answers.

use std::sync::Arc;

use async_trait::async_trait;
use contract::Destination;

use super::destination::{DestinationBackend, Fault};
use crate::proxy::{Proxy, Stall};
use crate::receiver::free_port;

/// Answers that do not come.
pub const LOST: &[Fault] = &[Fault::LoseAnswer, Fault::Hang];

/// A server behind a proxy.
pub struct Proxied<E> {
    /// In front of it.
    pub proxy: Proxy,
    /// The destination at a port.
    pub destination: fn(u16) -> Arc<dyn Destination>,
    /// What it can be made to do: [`LOST`] unless a destination makes one of them good by itself.
    pub faults: &'static [Fault],
    /// How often the server holds the event of an id.
    pub effects: E,
}

impl<E> std::fmt::Debug for Proxied<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxied({:?})", self.proxy)
    }
}

#[async_trait]
impl<E: Fn(&str) -> usize + Send + Sync> DestinationBackend for Proxied<E> {
    fn destination(&self) -> Arc<dyn Destination> {
        (self.destination)(self.proxy.port())
    }

    fn faults(&self) -> &'static [Fault] {
        self.faults
    }

    fn fail_next(&self, fault: Fault) {
        if fault == Fault::LoseAnswer {
            self.proxy.reset_after(0);
        } else {
            self.proxy.stall(Stall::TO_CLIENT);
        }
    }

    fn effects(&self, id: &str) -> usize {
        (self.effects)(id)
    }

    fn nobody(&self) -> Arc<dyn Destination> {
        (self.destination)(free_port())
    }
}

//! Conformance suites: what every source and every destination must do, whatever it speaks to.
//!
//! An adapter's `tests/suite.rs` gives a backend and calls `run`. A new adapter passes the suite
//! before anything else is tested.

mod ask;
pub mod destination;
pub mod outage;
pub mod proxied;
pub mod source;

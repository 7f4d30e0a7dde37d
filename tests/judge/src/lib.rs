//! One judge for every test that makes the agent's life hard, whatever its sources and destinations are.
//!
//! A test keeps a [`Ledger`]: what the sources committed, in the order of their commits; what each receiver took, in
//! the order it came; and what the agent says of itself. [`judge`] compares them and returns a [`Verdict`]: how many
//! findings of each [`Class`], the first of them in words, and one line of figures. Data in, data out: it reads no
//! file, asks nobody and knows no time, so a run in simulated time is judged as one of days.
//!
//! Bodies are texts that the caller makes in one way on both sides: the JSON of the fields that it knows, or a part
//! of them. The judge only compares them. [`shrink`] makes a failing history smaller.

mod judging;
mod lane;
mod ledger;
mod shrinking;
mod verdict;

pub use judging::judge;
pub use ledger::{
    Balance, Committed, HeldItem, Ledger, PositionSeen, Received, Receiver, Repeats, What,
};
pub use shrinking::{Shrunk, shrink};
pub use verdict::{Class, Verdict};

//! What the two loops do, a file for each part of it. One program, so that it is linked once.

mod asking;
mod common;
mod deadline;
mod look;
mod overtaken;
mod pauses;
mod recount;
mod untold;

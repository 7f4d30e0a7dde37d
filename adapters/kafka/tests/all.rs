//! What the Kafka destination does, a file for each part of it. One program, so that it is linked once.

mod kafka;
mod scripted;
mod suite;

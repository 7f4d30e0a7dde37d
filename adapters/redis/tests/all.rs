//! What the Redis destination does, a file for each part of it. One program, so that it is linked once.

mod redis;
mod scripted;
mod suite;

//! What the SQLite source does, a file for each part of it. One program, so that it is linked once.

mod capture;
mod catalogue;
mod common;
mod query;
mod suite;

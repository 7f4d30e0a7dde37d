//! The model against what is known of SQL Server, and the reader of statements against the statements that
//! a source needs.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod capture;
mod common;
mod lobs;
mod net;
mod reading;
mod refused;
mod rights;
mod rowversion;
mod snapshots;
mod statements;
mod tracking;
mod wire;

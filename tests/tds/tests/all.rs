//! What the scripted SQL Server does, a file for each part of it. One program, so that it is linked once.

mod clients;
mod encrypted;
mod faults;
mod malformed;
mod parameters;
mod protocol;
mod statements;
mod support;
mod transactions;
mod types;

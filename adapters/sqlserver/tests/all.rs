//! What the SQL Server source does, a file for each part of it. One program, so that it is linked once.

mod catalogue;
mod cdc;
mod check;
mod choice;
mod common;
mod cuts;
mod denials;
mod functions;
mod known;
mod large;
mod login;
mod prepare;
mod property;
mod query;
mod route;
mod rowversion;
mod servers;
mod snapshot;
mod texts;
mod tls;
mod tracking;
mod types;
mod utf8;

//! What the PostgreSQL source does, a file for each part of it. One program, so that it is linked once.

mod capture;
mod care;
mod catalogue;
mod check;
mod common;
mod ddl;
mod identity;
mod login;
mod network;
mod order;
mod privileges;
mod published;
mod query;
mod slot;
mod snapshot;
mod suite;
mod tables;
mod tls;
mod types;
mod untold;
mod visibility;

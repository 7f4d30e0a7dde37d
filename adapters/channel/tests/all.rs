//! What destination files come to on the wire, a file for each part of it. One program, so that it is
//! linked once.

mod auth;
mod common;
mod faults;
mod medusa;
mod odata;
mod reports;
mod shopify;
mod suite;
mod tryton;
mod vendure;
mod walmart;

//! The judge's own tests.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod faithful;
mod found;
mod shrinking;

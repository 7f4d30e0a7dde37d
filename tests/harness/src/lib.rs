//! What the tests share: private servers, suites, oracles. Never part of the product.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a broken environment fails the test"
)]

pub mod agent;
pub mod backlog;
pub mod brokers;
pub mod browser;
pub mod certificates;
pub mod channels;
pub mod clock;
pub mod disk;
pub mod flow;
pub mod hook;
pub mod impostor;
pub mod local;
pub mod mail;
pub mod mariadb;
pub mod pooler;
pub mod postgres;
mod preload;
pub mod proxy;
pub mod receiver;
mod server;
pub mod settings;
pub mod site;
pub mod suite;
pub mod terminal;

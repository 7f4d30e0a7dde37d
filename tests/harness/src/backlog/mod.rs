//! A backlog of single-row updates, and the server's own tool that reads it: what readers of a log are
//! measured against.

pub mod mariadb;
pub mod postgres;

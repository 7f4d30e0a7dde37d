//! A scripted SQL Server for tests. It speaks the protocol over a real socket, and answers from a model
//! of a database that captures its changes. What it does not know is an error, never an empty answer.

pub mod model;
pub mod statements;
pub mod wire;

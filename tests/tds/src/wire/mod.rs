//! The protocol of SQL Server (TDS 7.3 and 7.4), from the server's side.
//!
//! A [`Handler`] lets clients in and gives each a [`Session`], which answers SQL text with an [`Answer`]. The
//! [`Server`] speaks with the clients, and lets happen what a test wants to go wrong ([`Fault`]).
//!
//! It was made after the specification (MS-TDS) and is read by tiberius, by Microsoft's ODBC driver and by
//! FreeTDS; it was never held against a real server. Choices that the specification leaves open, and that a
//! server may make otherwise: which token ends a statement that failed inside a procedure, that such a
//! procedure returns the number of the error, which rows have their NULLs in a bitmap (here all that have
//! any), and what a client gets from a UTF-8 column when it did not ask for UTF-8 (here UTF-8).
//!
//! Not here: TDS 8 (TLS before everything), several answers at once on a connection (MARS), rows in bulk,
//! tables as parameters, encrypted columns, server-side cursors, distributed transactions.

mod answer;
mod browser;
mod client;
mod connection;
mod decode;
mod encode;
mod fault;
mod field;
mod gate;
mod handler;
mod link;
mod login;
mod parameter;
mod prelogin;
mod reader;
mod reply;
mod request;
mod sent;
mod server;
mod tls;
mod token;
mod types;
mod value;

pub use answer::{Answer, Part, ServerError, Transacted};
pub use browser::{Browser, named_port};
pub use fault::{Fault, FaultKind, LoginFault, Point};
pub use gate::Gate;
pub use handler::{Handler, Isolation, Login, Session, Transaction, answering};
pub use parameter::Parameter;
pub use prelogin::Encryption;
pub use sent::{PROGRAM, keep as keep_sent};
pub use server::{Handle, Options, Route, Server};
pub use tls::Certificate;
pub use types::{Collation, Column, Length, Type, Udt};
pub use value::{DAYS_TO_1900, Value, Variant};

//! The protocol of SQL Server (TDS 7.3 and 7.4), from the server's side.
//!
//! A [`Handler`] lets clients in and gives each a [`Session`], which answers SQL text with an [`Answer`]. The
//! [`Server`] speaks with the clients, and lets happen what a test wants to go wrong ([`Fault`]).
//!
//! Not here: TDS 8 (TLS before everything), several answers at once on a connection (MARS), rows in bulk,
//! tables as parameters, encrypted columns, server-side cursors, distributed transactions.

mod answer;
mod connection;
mod encode;
mod fault;
mod gate;
mod handler;
mod link;
mod login;
mod parameter;
mod prelogin;
mod reader;
mod reply;
mod request;
mod server;
mod tls;
mod token;
mod types;
mod value;

pub use answer::{Answer, Part, ServerError, Transacted};
pub use fault::{Fault, FaultKind, LoginFault, Point};
pub use gate::Gate;
pub use handler::{Handler, Isolation, Login, Session, Transaction, answering};
pub use parameter::Parameter;
pub use prelogin::Encryption;
pub use server::{Handle, Options, Server};
pub use tls::Certificate;
pub use types::{Collation, Column, Length, Type, Udt};
pub use value::{DAYS_TO_1900, Value, Variant};

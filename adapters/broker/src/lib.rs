//! What destinations of message brokers share: where the broker is and how it is reached, what an
//! event looks like in its protocol, and one connection at a time whose every doubt ends it.
//!
//! It knows no broker's protocol, and no adapter.

mod address;
mod content;
mod fates;
mod link;
mod questions;
mod stream;
mod template;
mod trace;

pub use address::{Address, Login};
pub use content::Content;
pub use fates::Fates;
pub use link::{Broker, Protocol, Times, build};
pub use questions::{PASSWORD, SERVERS, USER};
pub use rustls::ClientConfig;
pub use stream::{Stream, dial, dial_plain, encrypt, tls, unique};
pub use template::Template;
pub use trace::trace;

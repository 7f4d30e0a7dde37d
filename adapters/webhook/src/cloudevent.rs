//! The bodies of requests.

pub(crate) use contract::cloudevent::{BATCH, STRUCTURED, batch, structured};

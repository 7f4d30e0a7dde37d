//! Mapping files: a source's rows in, canonical business events out.
//!
//! A [`Mapping`] is one YAML file, checked against the event types when it is loaded. A [`Mapper`]
//! applies a [`MappingSet`] to row changes. It is pure: no clock, no network, no chance, and it
//! never panics on any row. What it cannot map without guessing becomes a [`HeldChange`].
//!
//! One table makes one event, each field worked out from the table's row by an SQL expression
//! ([`FUNCTIONS`] lists what it may call) and conversions. `docs/mapping.md` has all of it.

mod apply;
mod convert;
mod draft;
mod field;
mod load;
mod rule;
mod sql;
mod yaml;

pub use apply::Mapper;
pub use draft::{Draft, HeldChange, MapContext, Mapped, Truncated};
pub use rule::{Mapping, MappingSet, RuleInfo};
pub use sql::{FUNCTIONS, FunctionInfo, Type};
pub use yaml::parse_yaml;

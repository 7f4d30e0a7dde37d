//! Mapping files: a source's rows in, canonical business events out.
//!
//! A [`Mapping`] is one YAML file, checked against the event types when it is loaded. A [`Mapper`]
//! applies a [`MappingSet`] to row changes. It is pure: no clock, no network, no chance, and it
//! never panics on any row. What it cannot map without guessing becomes a [`HeldChange`].
//!
//! This is the first form of the language: one table to one event, each field one column with
//! simple conversions. `docs/mapping.md` has all of it.

mod apply;
mod convert;
mod draft;
mod expression;
mod field;
mod load;
mod rule;
mod yaml;

pub use apply::Mapper;
pub use draft::{Draft, HeldChange, MapContext, Mapped, Truncated};
pub use rule::{Mapping, MappingSet, RuleInfo};
pub use yaml::parse_yaml;

//! Mapping files: a source's rows in, canonical business events out.
//!
//! A [`Mapping`] is one YAML file, checked against the event types when it is loaded. A [`Mapper`]
//! applies the rules of a [`MappingSet`] that need one row alone; rules that need rows of several
//! tables are worked out by a relation from replicas of the needed columns. Both are pure:
//! no clock, no network, no chance, and they never panic on any row. What cannot be mapped without
//! guessing becomes a [`HeldChange`].
//!
//! `docs/mapping.md` has the whole language.

mod apply;
mod catalogue;
pub mod channel;
mod convert;
mod draft;
pub mod editor;
mod evaluate;
mod expected;
mod explain;
mod given;
mod load;
pub mod packs;
mod pages;
pub mod relate;
mod rule;
mod set;
mod sql;
pub mod trial;
mod units;
mod yaml;
mod yaml_advice;
mod zones;

pub use apply::Mapper;
pub use catalogue::Catalogue;
pub use draft::{Draft, HeldChange, MapContext, Mapped, Truncated};
pub use explain::{Explained, ExplainedEvent, ExplainedReplica, ExplainedTable};
pub use given::{Expected, Given, GivenAnswers, GivenRow, Step};
pub use load::{FindPack, LoadContext, Which};

pub use relate::{MemoryReplicas, Pending, Related, Relations, Replicas, Statement};
pub use set::{Mapping, MappingSet, RuleInfo};
pub use sql::{FORMS, FUNCTIONS, FormInfo, FunctionInfo, Type};
pub use yaml::parse_yaml;

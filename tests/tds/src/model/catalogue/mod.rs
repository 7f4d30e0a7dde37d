//! What the `sys` views, the `cdc` tables and their like show.

mod cdc;
mod objects;
mod server;

use super::rights::User;
use super::state::State;
use super::table::View;
use crate::statements::Kind;
use crate::statements::moments::{self, Moment};
use crate::wire::{Length, ServerError, Type, Value};

pub(crate) use cdc::cdc_relation;
pub(crate) use objects::TYPES;

/// Rows with the names and types of their columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relation {
    pub(crate) columns: Vec<(String, Kind)>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Relation {
    fn new(columns: &[(&str, Kind)]) -> Self {
        let columns = columns
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), kind.clone()))
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }
}

/// A view of the catalogue by its schema and name, in this database or in `msdb`.
pub(crate) fn relation(
    state: &State,
    user: &User,
    database: Option<&str>,
    schema: &str,
    name: &str,
) -> Option<Result<Relation, ServerError>> {
    let schema = schema.to_lowercase();
    let name = name.to_lowercase();
    match (database.map(str::to_lowercase).as_deref(), schema.as_str()) {
        (Some("msdb"), "dbo") => server::msdb(state, user, &name),
        (_, "sys") => {
            server::view(state, user, &name).or_else(|| objects::view(state, user, &name))
        }
        _ => None,
    }
}

pub(super) fn sysname() -> Kind {
    Kind::nvarchar(128)
}

pub(super) fn bit() -> Kind {
    Kind::new(Type::Bit)
}

pub(super) fn tiny() -> Kind {
    Kind::new(Type::TinyInt)
}

pub(super) fn small() -> Kind {
    Kind::new(Type::SmallInt)
}

pub(super) fn big() -> Kind {
    Kind::new(Type::BigInt)
}

pub(super) fn datetime() -> Kind {
    Kind::new(Type::DateTime)
}

pub(super) fn binary(size: u16) -> Kind {
    Kind::new(Type::Binary(size))
}

pub(super) fn varbinary(size: u16) -> Kind {
    Kind::new(Type::VarBinary(Length::Of(size)))
}

pub(super) fn guid() -> Kind {
    Kind::new(Type::UniqueIdentifier)
}

/// The server's local time of a moment in UTC, as `datetime`.
pub(crate) fn local(state: &State, utc: i64) -> Value {
    let ticks = utc + i64::from(state.offset_minutes) * 600_000_000;
    moments::value(
        Moment {
            ticks,
            offset: None,
        },
        &Type::DateTime,
    )
    .unwrap_or(Value::Null)
}

pub(super) fn text(text: &str) -> Value {
    Value::text(text)
}

pub(super) fn number(value: impl TryInto<i32>) -> Value {
    value.try_into().map_or(Value::Null, Value::Int)
}

/// Whether a reader sees what came with one commit and went with another.
pub(super) fn seen(view: View, from: u64, until: u64) -> bool {
    view.between(from, until)
}

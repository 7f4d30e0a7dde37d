//! Reads the T-SQL that clients send and answers it from the model: SELECT over tables, change tables,
//! functions and catalogue views, transactions, and the statements that set a database up.
//!
//! It is a small part of the language, read strictly: text that it does not know is error 102, an unknown
//! name 208 or 207, as SQL Server says it. What is asked for decides what is got: rows without an ORDER BY
//! come in an order that is not the key's, and rows that tie in another order each time.

pub(crate) mod ast;
mod bind;
pub(crate) mod compare;
mod connection;
mod convert;
mod data;
mod definition;
mod eval;
mod flush;
mod functions;
mod handler;
mod help;
pub(crate) mod moments;
mod operate;
mod parse;
mod plan;
mod procedures;
mod query;
mod rows;
mod select;
mod token;
mod types;

pub use connection::{Connection, ResultSet};
pub(crate) use convert::{convert, hex};
pub(crate) use types::{Kind, collation, name as type_name};

use crate::model::{State, View};
use crate::wire::{Length, ServerError, Type, Value};

/// The type that a bare value has, for a column of some type.
pub(crate) fn type_of(value: &Value, near: &Type) -> Type {
    match value {
        Value::Bit(_) => Type::Bit,
        Value::TinyInt(_) => Type::TinyInt,
        Value::SmallInt(_) => Type::SmallInt,
        Value::Int(_) => Type::Int,
        Value::BigInt(_) => Type::BigInt,
        Value::Real(_) => Type::Real,
        Value::Float(_) => Type::Float,
        Value::Decimal(_) => match near {
            Type::Decimal(..) | Type::Numeric(..) => near.clone(),
            _ => Type::Decimal(38, 0),
        },
        Value::Money(_) => Type::Money,
        Value::SmallMoney(_) => Type::SmallMoney,
        Value::DateTime { .. } => Type::DateTime,
        Value::SmallDateTime { .. } => Type::SmallDateTime,
        Value::Date(_) => Type::Date,
        Value::Time(_) => Type::Time(7),
        Value::DateTime2 { .. } => Type::DateTime2(7),
        Value::DateTimeOffset { .. } => Type::DateTimeOffset(7),
        Value::Text(_) => match near {
            Type::Text | Type::NText | Type::Xml => near.clone(),
            _ => Type::NVarChar(Length::Max),
        },
        Value::Bytes(_) => match near {
            Type::Udt(_) | Type::Image => near.clone(),
            _ => Type::VarBinary(Length::Max),
        },
        Value::Guid(_) => Type::UniqueIdentifier,
        Value::Variant(_) => Type::Variant,
        Value::Null => near.clone(),
    }
}

/// Whether a value is one of a type as it stands.
pub(crate) fn natural(value: &Value, kind: &Type) -> bool {
    type_of(value, kind) == *kind
}

/// Precision and scale as the catalogue has them.
pub(crate) fn digits_of(kind: &Type) -> (u8, u8) {
    match kind {
        Type::Bit => (1, 0),
        Type::TinyInt => (3, 0),
        Type::SmallInt => (5, 0),
        Type::Int => (10, 0),
        Type::BigInt => (19, 0),
        Type::Real => (24, 0),
        Type::Float => (53, 0),
        Type::Decimal(precision, scale) | Type::Numeric(precision, scale) => (*precision, *scale),
        Type::Money => (19, 4),
        Type::SmallMoney => (10, 4),
        Type::DateTime => (23, 3),
        Type::SmallDateTime => (16, 0),
        Type::Date => (10, 0),
        Type::Time(scale) => (8 + scale + u8::from(*scale > 0), *scale),
        Type::DateTime2(scale) => (19 + scale + u8::from(*scale > 0), *scale),
        Type::DateTimeOffset(scale) => (26 + scale + u8::from(*scale > 0), *scale),
        _ => (0, 0),
    }
}

/// The length in bytes as the catalogue has it, -1 for `(max)`.
pub(crate) fn length_of(kind: &Type) -> i16 {
    let size = |size: u16| i16::try_from(size).unwrap_or(-1);
    match kind {
        Type::Bit | Type::TinyInt => 1,
        Type::SmallInt => 2,
        Type::Int | Type::Real | Type::SmallMoney | Type::SmallDateTime => 4,
        Type::BigInt | Type::Float | Type::Money | Type::DateTime => 8,
        Type::Decimal(precision, _) | Type::Numeric(precision, _) => match precision {
            0..=9 => 5,
            10..=19 => 9,
            20..=28 => 13,
            _ => 17,
        },
        Type::Date => 3,
        Type::Time(scale) => 3 + i16::from((scale + 1) / 3).min(2),
        Type::DateTime2(scale) => 6 + i16::from((scale + 1) / 3).min(2),
        Type::DateTimeOffset(scale) => 8 + i16::from((scale + 1) / 3).min(2),
        Type::Char(bytes) | Type::Binary(bytes) => size(*bytes),
        Type::NChar(units) => size(*units * 2),
        Type::VarChar(Length::Of(bytes)) | Type::VarBinary(Length::Of(bytes)) => size(*bytes),
        Type::NVarChar(Length::Of(units)) => size(*units * 2),
        Type::VarChar(Length::Max) | Type::NVarChar(Length::Max) | Type::VarBinary(Length::Max) => {
            -1
        }
        Type::Text | Type::NText | Type::Image | Type::UniqueIdentifier => 16,
        Type::Xml => -1,
        Type::Udt(udt) => {
            if udt.name == "hierarchyid" {
                892
            } else {
                -1
            }
        }
        Type::Variant => 8016,
    }
}

/// The numbers of a type in `sys.types`: the system's and the user's.
pub(crate) fn system_type(kind: &Type) -> (u8, i32) {
    let number = match kind {
        Type::Image => 34,
        Type::Text => 35,
        Type::UniqueIdentifier => 36,
        Type::Date => 40,
        Type::Time(_) => 41,
        Type::DateTime2(_) => 42,
        Type::DateTimeOffset(_) => 43,
        Type::TinyInt => 48,
        Type::SmallInt => 52,
        Type::Int => 56,
        Type::SmallDateTime => 58,
        Type::Real => 59,
        Type::Money => 60,
        Type::DateTime => 61,
        Type::Float => 62,
        Type::Variant => 98,
        Type::NText => 99,
        Type::Bit => 104,
        Type::Decimal(..) => 106,
        Type::Numeric(..) => 108,
        Type::SmallMoney => 122,
        Type::BigInt => 127,
        Type::VarBinary(_) => 165,
        Type::VarChar(_) => 167,
        Type::Binary(_) => 173,
        Type::Char(_) => 175,
        Type::NVarChar(_) => 231,
        Type::NChar(_) => 239,
        Type::Xml => 241,
        Type::Udt(udt) => return (240, if udt.name == "hierarchyid" { 128 } else { 130 }),
    };
    (number, i32::from(number))
}

/// The value of a computed column for a row.
pub(crate) fn computed(
    state: &State,
    table: i32,
    expr: &ast::Expr,
    row: &[Value],
    to: &Type,
) -> Result<Value, ServerError> {
    of_table(state, table, expr, |cx, bound| {
        let value = eval::eval(cx, bound, &eval::Env::of(row))?;
        convert(&value, &bound.kind.of, to, 0)
    })
}

/// The type that a computed column has by its expression.
pub(crate) fn computed_type(
    state: &State,
    table: i32,
    expr: &ast::Expr,
) -> Result<Type, ServerError> {
    of_table(state, table, expr, |_, bound| Ok(bound.kind.of.clone()))
}

fn of_table<T>(
    state: &State,
    table: i32,
    expr: &ast::Expr,
    act: impl FnOnce(&bind::Cx<'_>, &bind::Bound) -> Result<T, ServerError>,
) -> Result<T, ServerError> {
    let of = state
        .tables
        .get(&table)
        .ok_or_else(|| ServerError::invalid_object("?"))?;
    let user = crate::model::User::sysadmin("", "");
    let cx = bind::Cx {
        state,
        user: &user,
        view: View {
            seq: state.seq,
            own: None,
            snapshot: false,
        },
        names: &bind::Names::default(),
        facts: &bind::Facts::default(),
        salt: 0,
    };
    let scope = bind::Scope::of_table(of, state.collation.1);
    let bound = bind::expr(&cx, expr, &scope, None)?.value()?;
    act(&cx, &bound)
}

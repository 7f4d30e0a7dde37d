//! Functions: what they take, give and do.

mod capture;
mod names;
mod scalar;
mod table;
mod time;
mod tracking;

use std::fmt;

use super::ast::{Op, Path};
use super::bind::{Bound, Cx, Result, case, compare};
use super::convert::convert;
use super::eval::Node;
use super::types::{Family, Kind, common, family};
use crate::wire::{Length, ServerError, Type, Value};

pub(crate) use names::parts;
pub(crate) use table::{TableFunction, table};

/// What a function does with its arguments.
#[derive(Clone, Copy)]
pub(crate) struct Run(pub(crate) fn(&Cx<'_>, &[Value], &[&Kind]) -> Result<Value>);

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Run")
    }
}

impl std::ops::Deref for Run {
    type Target = fn(&Cx<'_>, &[Value], &[&Kind]) -> Result<Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

type Function = fn(&Cx<'_>, &[Value], &[&Kind]) -> Result<Value>;

/// A function with its name, the least and most arguments, and the type it gives.
type Entry = (&'static str, usize, usize, fn(&[&Kind]) -> Kind, Function);

/// The constant NULL.
pub(crate) fn null() -> Bound {
    let mut kind = Kind::int();
    kind.null = true;
    Bound::new(kind, Node::Value(Value::Null))
}

/// Error 174.
pub(crate) fn arguments(name: &str) -> ServerError {
    ServerError::new(
        174,
        15,
        format!("The {name} function was called with a wrong number of arguments."),
    )
}

fn unknown(path: &Path) -> ServerError {
    match path.as_slice() {
        [name] => ServerError::new(
            195,
            15,
            format!("'{name}' is not a recognized built-in function name."),
        ),
        path => ServerError::new(
            4121,
            16,
            format!(
                "Cannot find either column \"{}\" or the user-defined function or aggregate \"{}\", or the \
                 name is ambiguous.",
                path[0],
                path.join(".")
            ),
        ),
    }
}

/// Binds a call.
pub(crate) fn call(cx: &Cx<'_>, path: &Path, args: Vec<Bound>) -> Result<Bound> {
    let key = match path.as_slice() {
        [name] => name.to_uppercase(),
        [schema, name] if schema.eq_ignore_ascii_case("sys") => {
            format!("SYS.{}", name.to_uppercase())
        }
        _ => return Err(unknown(path)),
    };
    if let Some(found) = shaped(&key, &args)? {
        return Ok(found);
    }
    let all = capture::ALL
        .iter()
        .chain(names::ALL)
        .chain(scalar::ALL)
        .chain(time::ALL)
        .chain(tracking::ALL);
    let (_, least, most, kind, run) = all
        .into_iter()
        .find(|(name, ..)| *name == key)
        .ok_or_else(|| unknown(path))?;
    if !(*least..=*most).contains(&args.len()) {
        return Err(arguments(&key.to_lowercase()));
    }
    let kinds: Vec<&Kind> = args.iter().map(|arg| &arg.kind).collect();
    let mut kind = kind(&kinds);
    if family(&kind.of) == Family::Text
        && args.iter().all(|arg| family(&arg.kind.of) != Family::Text)
    {
        kind.collation = cx.state.collation.1;
    }
    Ok(Bound::new(kind, Node::Call(Run(*run), args)))
}

/// Functions that are CASE in disguise.
fn shaped(key: &str, args: &[Bound]) -> Result<Option<Bound>> {
    let bit = || Kind::new(Type::Bit);
    let known = |arg: &Bound| Bound::new(bit(), Node::IsNull(Box::new(arg.clone()), true));
    Ok(match (key, args) {
        ("ISNULL", [what, other]) => {
            // The type is the first one's.
            let other = if what.kind.null {
                other.clone()
            } else {
                other.clone().cast(what.kind.clone())?
            };
            let mut found = case(vec![(known(what), what.clone())], other.clone())?;
            found.kind.nullable = other.kind.nullable;
            Some(found)
        }
        ("COALESCE", [first @ .., last]) if !first.is_empty() => {
            let whens = first.iter().map(|arg| (known(arg), arg.clone())).collect();
            Some(case(whens, last.clone())?)
        }
        ("IIF", [when, then, other]) => {
            Some(case(vec![(when.clone(), then.clone())], other.clone())?)
        }
        ("NULLIF", [what, other]) => {
            let same = compare(Op::Eq, what.clone(), other.clone())?;
            let mut found = case(vec![(same, null())], what.clone())?;
            found.kind.nullable = true;
            Some(found)
        }
        ("ISNULL" | "COALESCE" | "IIF" | "NULLIF", _) => {
            return Err(arguments(&key.to_lowercase()));
        }
        _ => None,
    })
}

/// Binds `@@NAME`.
pub(crate) fn global(cx: &Cx<'_>, name: &str) -> Result<Bound> {
    let (kind, value) = match name {
        "DBTS" => (
            Kind::new(Type::VarBinary(Length::Of(8))),
            Value::Bytes(cx.state.dbts.to_be_bytes().to_vec()),
        ),
        "TRANCOUNT" => (Kind::int(), Value::Int(cx.facts.transactions)),
        "VERSION" => (
            Kind::nvarchar(300),
            Value::Text(format!(
                "Microsoft SQL Server - {} (a model for tests)",
                cx.state.options.version
            )),
        ),
        "SERVERNAME" => (Kind::nvarchar(128), Value::text("MODEL")),
        "SPID" => (Kind::new(Type::SmallInt), Value::SmallInt(51)),
        "LOCK_TIMEOUT" => (Kind::int(), Value::Int(cx.facts.lock_timeout)),
        "ROWCOUNT" => (
            Kind::int(),
            Value::Int(i32::try_from(cx.facts.row_count).unwrap_or(i32::MAX)),
        ),
        "ERROR" => (Kind::int(), Value::Int(0)),
        "OPTIONS" => (Kind::int(), Value::Int(5496)),
        "MAX_PRECISION" => (Kind::new(Type::TinyInt), Value::TinyInt(38)),
        _ => {
            return Err(ServerError::new(
                137,
                15,
                format!("Must declare the scalar variable \"@@{name}\"."),
            ));
        }
    };
    Ok(Bound::new(
        kind.collated(cx.state.collation.1),
        Node::Value(value),
    ))
}

/// An argument as text.
fn text(value: &Value, kind: &Kind) -> Result<Option<String>> {
    match convert(value, &kind.of, &Type::NVarChar(Length::Max), 0)? {
        Value::Text(text) => Ok(Some(text)),
        _ => Ok(None),
    }
}

/// An argument as a whole number.
fn whole(value: &Value, kind: &Kind) -> Result<Option<i64>> {
    match convert(value, &kind.of, &Type::BigInt, 0)? {
        Value::BigInt(value) => Ok(Some(value)),
        _ => Ok(None),
    }
}

/// An argument as bytes.
fn bytes(value: &Value, kind: &Kind) -> Result<Option<Vec<u8>>> {
    match convert(value, &kind.of, &Type::VarBinary(Length::Max), 0)? {
        Value::Bytes(bytes) => Ok(Some(bytes)),
        _ => Ok(None),
    }
}

fn int(_: &[&Kind]) -> Kind {
    Kind::int()
}

fn big(_: &[&Kind]) -> Kind {
    Kind::new(Type::BigInt)
}

fn sysname(_: &[&Kind]) -> Kind {
    Kind::nvarchar(128)
}

fn variant(_: &[&Kind]) -> Kind {
    Kind::new(Type::Variant)
}

fn lsn_kind(_: &[&Kind]) -> Kind {
    Kind::new(Type::Binary(10))
}

fn first_text(kinds: &[&Kind]) -> Kind {
    match kinds.first() {
        Some(kind) if family(&kind.of) == Family::Text => (*kind).clone(),
        _ => Kind::nvarchar(4000),
    }
}

fn both(kinds: &[&Kind]) -> Kind {
    let mut found = kinds.first().map_or_else(Kind::int, |kind| (*kind).clone());
    for kind in kinds.iter().skip(1) {
        if let Ok(kind) = common(&found, kind) {
            found = kind;
        }
    }
    found
}

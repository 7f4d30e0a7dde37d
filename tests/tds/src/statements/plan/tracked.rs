//! CHANGETABLE.

use super::super::ast::{Expr, Path};
use super::super::bind::{Cx, Named, Result, Scope, expr};
use super::super::types::Kind;
use super::table::{object, unshaped};
use super::{Plan, named};
use crate::model::{Table, denied, not_tracked};
use crate::wire::{Length, ServerError, Type};

pub(super) fn changes(
    cx: &Cx<'_>,
    path: &Path,
    since: &Expr,
    alias: &str,
    outer: Option<&Scope<'_>>,
) -> Result<(Plan, Vec<Named>)> {
    let table = tracked(cx, path)?;
    let scope = Scope {
        columns: Vec::new(),
        outer,
    };
    let since = expr(cx, since, &scope, None)?.cast(Kind::new(Type::BigInt))?;
    let big = || Kind::new(Type::BigInt);
    let bytes = |size| Kind::new(Type::VarBinary(Length::Of(size)));
    let mut columns = vec![
        named(alias, "SYS_CHANGE_VERSION", big()),
        named(alias, "SYS_CHANGE_CREATION_VERSION", big()),
        named(alias, "SYS_CHANGE_OPERATION", Kind::new(Type::NChar(1))),
        named(alias, "SYS_CHANGE_COLUMNS", bytes(4100)),
        named(alias, "SYS_CHANGE_CONTEXT", bytes(128)),
    ];
    columns.extend(key_columns(cx, table, alias));
    Ok((
        Plan::Changes {
            table: table.id,
            since,
        },
        columns,
    ))
}

/// The version of one row, by its key.
pub(super) fn version(
    cx: &Cx<'_>,
    path: &Path,
    columns: &[String],
    values: &[Expr],
    alias: &str,
    outer: Option<&Scope<'_>>,
) -> Result<(Plan, Vec<Named>)> {
    let table = tracked(cx, path)?;
    let key: Vec<usize> = columns
        .iter()
        .map(|name| table.column(name).ok_or_else(|| no_column(name)))
        .collect::<Result<_>>()?;
    if key != table.key() {
        return Err(ServerError::new(
            22_107,
            16,
            format!(
                "The primary key columns must be given in their order for table '{}'.",
                table.full_name()
            ),
        ));
    }
    let scope = Scope {
        columns: Vec::new(),
        outer,
    };
    let mut bound = Vec::new();
    for (at, value) in key.iter().zip(values) {
        let kind = table.columns[*at].kind(cx.state.collation.1);
        bound.push(expr(cx, value, &scope, None)?.cast(kind)?);
    }
    let mut found = vec![
        named(alias, "SYS_CHANGE_VERSION", Kind::new(Type::BigInt)),
        named(
            alias,
            "SYS_CHANGE_CONTEXT",
            Kind::new(Type::VarBinary(Length::Of(128))),
        ),
    ];
    found.extend(key_columns(cx, table, alias));
    Ok((
        Plan::Version {
            table: table.id,
            values: bound,
        },
        found,
    ))
}

fn tracked<'a>(cx: &Cx<'a>, path: &Path) -> Result<&'a Table> {
    let table = object(cx, path)?;
    if !cx.user.views_tracking(table) {
        return Err(denied(
            "VIEW CHANGE TRACKING",
            &table.name,
            &cx.state.name,
            &table.schema,
        ));
    }
    if !cx.user.selects(table) {
        return Err(denied("SELECT", &table.name, &cx.state.name, &table.schema));
    }
    if table.tracking.is_none() {
        return Err(not_tracked(&path.join(".")));
    }
    unshaped(cx, table)?;
    Ok(table)
}

fn key_columns(cx: &Cx<'_>, table: &Table, alias: &str) -> Vec<Named> {
    let one = |at: &usize| {
        let column = &table.columns[*at];
        named(
            alias,
            &column.name,
            column.kind(cx.state.collation.1).not_null(),
        )
    };
    table.key().iter().map(one).collect()
}

fn no_column(name: &str) -> ServerError {
    ServerError::new(207, 16, format!("Invalid column name '{name}'."))
}

//! Tables, and views of the catalogue.

use std::sync::Arc;

use super::super::ast::Path;
use super::super::bind::{Cx, Named, Result};
use super::{Plan, Row, named, shuffle};
use crate::model::{Table, cdc_relation, denied, lock_timeout, locked, relation, same_name};
use crate::wire::{ServerError, Value};

/// The schema and table that a path names, in this database.
pub(crate) fn object<'a>(cx: &Cx<'a>, path: &Path) -> Result<&'a Table> {
    let unknown = || ServerError::invalid_object(&path.join("."));
    let (schema, name) = match path.as_slice() {
        [name] => ("dbo", name.as_str()),
        [schema, name] => (schema.as_str(), name.as_str()),
        [database, schema, name] if same_name(database, &cx.state.name) => {
            (schema.as_str(), name.as_str())
        }
        _ => return Err(unknown()),
    };
    cx.state.table(schema, name).ok_or_else(unknown)
}

pub(super) fn table(cx: &Cx<'_>, path: &Path, alias: Option<&str>) -> Result<(Plan, Vec<Named>)> {
    let last = path.last().map_or("", String::as_str);
    let alias = alias.unwrap_or(last);
    if let [.., schema, name] = path.as_slice() {
        let database = (path.len() == 3).then(|| path[0].as_str());
        let of_cdc =
            same_name(schema, "cdc") && database.is_none_or(|name| same_name(name, &cx.state.name));
        let found = if of_cdc {
            allowed(cx)?;
            cdc_relation(cx.state, cx.user, cx.view, name)
        } else {
            relation(cx.state, cx.user, database, schema, name)
        };
        if let Some(found) = found {
            let found = found?;
            let columns = found
                .columns
                .into_iter()
                .map(|(name, kind)| named(alias, &name, kind))
                .collect();
            let mut rows: Vec<Row> = found.rows.into_iter().map(Arc::new).collect();
            shuffle(&mut rows, cx.salt);
            return Ok((Plan::Rows(rows), columns));
        }
    }
    let table = object(cx, path)?;
    if !cx.user.selects(table) {
        return Err(denied("SELECT", &table.name, &cx.state.name, &table.schema));
    }
    unshaped(cx, table)?;
    let waits = cx.state.options.readers_block && !cx.view.snapshot && !cx.state.committed_snapshot;
    if waits
        && table
            .rows
            .values()
            .any(|versions| locked(versions, cx.view.own))
    {
        return Err(lock_timeout());
    }
    let kept: Vec<usize> = (0..table.columns.len())
        .filter(|at| !table.columns[*at].dropped)
        .collect();
    let columns = kept
        .iter()
        .map(|at| {
            let column = &table.columns[*at];
            let identity = column.identity;
            Named {
                identity,
                ..named(alias, &column.name, column.kind(cx.state.collation.1))
            }
        })
        .collect();
    let whole = kept.len() == table.columns.len();
    let mut rows: Vec<Row> = table
        .visible(cx.view)
        .map(|(_, row)| {
            if whole && row.len() == kept.len() {
                return Arc::clone(row);
            }
            Arc::new(
                kept.iter()
                    .map(|at| row.get(*at).cloned().unwrap_or(Value::Null))
                    .collect(),
            )
        })
        .collect();
    shuffle(&mut rows, cx.salt);
    Ok((Plan::Rows(rows), columns))
}

/// Error 3952 when a snapshot reads data of a database that does not allow it.
pub(crate) fn allowed(cx: &Cx<'_>) -> Result<()> {
    if !cx.view.snapshot || cx.state.snapshot_allowed {
        return Ok(());
    }
    Err(ServerError::new(
        3952,
        16,
        format!(
            "Snapshot isolation transaction failed accessing database '{}' because snapshot isolation is \
             not allowed in this database. Use ALTER DATABASE to allow snapshot isolation.",
            cx.state.name
        ),
    ))
}

/// Error 3961 when a snapshot meets a table whose shape changed after it began.
pub(super) fn unshaped(cx: &Cx<'_>, table: &Table) -> Result<()> {
    allowed(cx)?;
    if !cx.view.snapshot || table.shaped <= cx.view.seq {
        return Ok(());
    }
    Err(ServerError::new(
        3961,
        16,
        format!(
            "Snapshot isolation transaction failed in database '{}' because the object accessed by the \
             statement has been modified by a DDL statement in another concurrent transaction since the \
             start of this transaction. It is disallowed because the metadata is not versioned. A \
             concurrent update to metadata can lead to inconsistency if mixed with snapshot isolation.",
            cx.state.name
        ),
    ))
}

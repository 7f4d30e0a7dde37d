//! INSERT, UPDATE and DELETE.

use super::ast::{Expr, Path, Statement};
use super::bind::{Bound, Cx, Result, Scope, expr};
use super::connection::Connection;
use super::convert::convert;
use super::eval::{Env, eval, holds};
use super::plan::object;
use crate::model::{Column, Table, denied};
use crate::wire::{Length, ServerError, Type, Value};

impl Connection {
    pub(super) fn change(&mut self, statement: &Statement) -> Result<u64> {
        self.in_transaction(|connection, id| match statement {
            Statement::Insert {
                table,
                columns,
                rows,
            } => {
                let (table, rows) = connection.read(|cx| new_rows(cx, table, columns, rows))?;
                connection
                    .database
                    .with(|state| state.insert(id, table, rows))
            }
            Statement::Update { table, set, filter } => {
                let (table, rows) =
                    connection.read(|cx| changed(cx, table, set, filter.as_ref()))?;
                connection
                    .database
                    .with(|state| state.update(id, table, rows, false))
            }
            Statement::Delete { table, filter } => {
                let (table, rows) =
                    connection.read(|cx| changed(cx, table, &[], filter.as_ref()))?;
                let rows: Vec<u64> = rows.into_iter().map(|(row, _)| row).collect();
                connection
                    .database
                    .with(|state| state.delete(id, table, &rows))
            }
            _ => Err(ServerError::syntax("")),
        })
    }
}

fn writable<'a>(cx: &Cx<'a>, path: &Path, what: &str) -> Result<&'a Table> {
    let table = object(cx, path)?;
    if !cx.user.is_owner() {
        return Err(denied(what, &table.name, &cx.state.name, &table.schema));
    }
    Ok(table)
}

fn place(table: &Table, name: &str) -> Result<usize> {
    let at = table
        .column(name)
        .ok_or_else(|| ServerError::new(207, 16, format!("Invalid column name '{name}'.")))?;
    let column = &table.columns[at];
    if column.rowversion {
        return Err(ServerError::new(
            273,
            16,
            "Cannot insert an explicit value into a timestamp column.",
        ));
    }
    if column.computed.is_some() {
        let text = format!(
            "The column \"{name}\" cannot be modified because it is either a computed column or is the result of a UNION operator."
        );
        return Err(ServerError::new(271, 16, text));
    }
    Ok(at)
}

/// A value as a column holds it. A text that is too long is an error.
fn stored(cx: &Cx<'_>, of: &Bound, env: &Env<'_>, column: &Column) -> Result<Value> {
    let value = eval(cx, of, env)?;
    if let (Value::Text(text), Type::VarChar(Length::Of(size)) | Type::NVarChar(Length::Of(size))) =
        (&value, &column.kind)
        && text.trim_end_matches(' ').encode_utf16().count() > usize::from(*size)
    {
        let text = format!(
            "String or binary data would be truncated in column '{}'.",
            column.name
        );
        return Err(ServerError::new(2628, 16, text));
    }
    convert(&value, &of.kind.of, &column.kind, 0)
}

fn new_rows(
    cx: &Cx<'_>,
    path: &Path,
    columns: &[String],
    rows: &[Vec<Expr>],
) -> Result<(i32, Vec<Vec<Value>>)> {
    let table = writable(cx, path, "INSERT")?;
    let places = if columns.is_empty() {
        let given = |column: &Column| {
            !column.dropped && !column.identity && !column.rowversion && column.computed.is_none()
        };
        (0..table.columns.len())
            .filter(|at| given(&table.columns[*at]))
            .collect()
    } else {
        columns
            .iter()
            .map(|name| place(table, name))
            .collect::<Result<Vec<_>>>()?
    };
    let mut found = Vec::new();
    for row in rows {
        if row.len() != places.len() {
            let text = "Column name or number of supplied values does not match table definition.";
            return Err(ServerError::new(213, 16, text));
        }
        let mut values = vec![Value::Null; table.columns.len()];
        for (at, of) in places.iter().zip(row) {
            let bound = expr(cx, of, &Scope::default(), None)?;
            values[*at] = stored(cx, &bound, &Env::of(&[]), &table.columns[*at])?;
        }
        found.push(values);
    }
    Ok((table.id, found))
}

type Rows = Vec<(u64, Vec<Value>)>;

fn changed(
    cx: &Cx<'_>,
    path: &Path,
    set: &[(String, Expr)],
    filter: Option<&Expr>,
) -> Result<(i32, Rows)> {
    let table = writable(cx, path, if set.is_empty() { "DELETE" } else { "UPDATE" })?;
    let scope = Scope::of_table(table, cx.state.collation.1);
    let filter = filter.map(|of| expr(cx, of, &scope, None)).transpose()?;
    let set = set
        .iter()
        .map(|(name, of)| Ok((place(table, name)?, expr(cx, of, &scope, None)?)));
    let set = set.collect::<Result<Vec<_>>>()?;
    let mut found = Vec::new();
    for (id, row) in table.visible(cx.view) {
        let mut row = (**row).clone();
        row.resize(table.columns.len(), Value::Null);
        let env = Env::of(&row);
        if let Some(filter) = &filter
            && !holds(cx, filter, &env)?
        {
            continue;
        }
        let mut new = row.clone();
        for (at, of) in &set {
            new[*at] = stored(cx, of, &env, &table.columns[*at])?;
        }
        found.push((id, new));
    }
    Ok((table.id, found))
}

//! Where rows come from: tables, views, functions, CHANGETABLE, and joins of them.

mod join;
mod table;
mod tracked;

use std::sync::Arc;

use self::join::join;
use self::table::table;
use self::tracked::{changes, version};
use super::ast::{Expr, From, Join};
use super::bind::{Bound, Cx, Named, Result, Scope, expr};
use super::functions::{self, TableFunction};
use super::query::{self, Bound as BoundQuery};
use super::types::Kind;
use crate::wire::{ServerError, Value};

pub(crate) use join::{both, conjuncts};
pub(crate) use table::{allowed, object};

/// Values of a row.
pub(crate) type Row = Arc<Vec<Value>>;

/// How rows are made.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Rows(Vec<Row>),
    Query(Box<BoundQuery>),
    Values(Vec<Vec<Bound>>),
    Function(TableFunction, Vec<Bound>),
    Changes {
        table: i32,
        since: Bound,
    },
    Version {
        table: i32,
        values: Vec<Bound>,
    },
    Join {
        kind: Join,
        left: Box<Plan>,
        right: Box<Plan>,
        /// The columns of the left and of the right side.
        before: usize,
        width: usize,
        /// What left rows must be.
        filters: Vec<Bound>,
        on: Option<Bound>,
        keys: Vec<(Bound, Bound)>,
    },
}

/// Mixes the bits of a number.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Rows in an order that means nothing, another for each statement.
pub(crate) fn shuffle<T>(rows: &mut Vec<T>, salt: u64) {
    let mut keyed: Vec<(u64, T)> = rows
        .drain(..)
        .enumerate()
        .map(|(at, row)| (mix(at as u64 ^ salt << 20), row))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    rows.extend(keyed.into_iter().map(|(_, row)| row));
}

/// Binds FROM: its plan, and its columns.
pub(crate) fn bind(
    cx: &Cx<'_>,
    from: &From,
    outer: Option<&Scope<'_>>,
) -> Result<(Plan, Vec<Named>)> {
    match from {
        From::Table { path, alias } => table(cx, path, alias.as_deref()),
        From::Query { query, alias } => {
            let query = query::bind(cx, query, outer)?;
            let columns = query
                .columns
                .iter()
                .map(|c| named(alias, &c.name, c.kind.clone()))
                .collect();
            Ok((Plan::Query(Box::new(query)), columns))
        }
        From::Values {
            rows,
            alias,
            columns,
        } => values(cx, rows, alias, columns, outer),
        From::Function { path, args, alias } => {
            let scope = Scope {
                columns: Vec::new(),
                outer,
            };
            let args = args
                .iter()
                .map(|arg| expr(cx, arg, &scope, None))
                .collect::<Result<Vec<_>>>()?;
            let last = path.last().map_or("", String::as_str);
            let alias = alias.as_deref().unwrap_or(last);
            let (function, columns, args) = functions::table(cx, path, args)?;
            let columns = columns
                .into_iter()
                .map(|(name, kind)| named(alias, &name, kind))
                .collect();
            Ok((Plan::Function(function, args), columns))
        }
        From::Changes { path, since, alias } => changes(cx, path, since, alias, outer),
        From::Version {
            path,
            columns,
            values,
            alias,
        } => version(cx, path, columns, values, alias, outer),
        From::Join {
            kind,
            left,
            right,
            on,
        } => join(cx, *kind, (left, right), on.as_ref(), outer),
    }
}

fn named(of: &str, name: &str, kind: Kind) -> Named {
    Named {
        of: of.to_owned(),
        name: name.to_owned(),
        kind,
        identity: false,
    }
}

fn values(
    cx: &Cx<'_>,
    rows: &[Vec<Expr>],
    alias: &str,
    names: &[String],
    outer: Option<&Scope<'_>>,
) -> Result<(Plan, Vec<Named>)> {
    let scope = Scope {
        columns: Vec::new(),
        outer,
    };
    let mut bound = Vec::new();
    for row in rows {
        if row.len() != names.len() {
            return Err(ServerError::new(
                10_709,
                16,
                "The number of columns for each row in a table value constructor must be the same.",
            ));
        }
        bound.push(
            row.iter()
                .map(|of| expr(cx, of, &scope, None))
                .collect::<Result<Vec<_>>>()?,
        );
    }
    let mut kinds: Vec<Kind> = bound[0].iter().map(|bound| bound.kind.clone()).collect();
    for row in &bound[1..] {
        for (kind, other) in kinds.iter_mut().zip(row) {
            *kind = super::types::common(kind, &other.kind)?;
        }
    }
    let cast = |row: Vec<Bound>| {
        row.into_iter()
            .zip(&kinds)
            .map(|(b, k)| b.cast(k.clone()))
            .collect()
    };
    let rows = bound.into_iter().map(cast).collect::<Result<Vec<_>>>()?;
    let columns = names
        .iter()
        .zip(&kinds)
        .map(|(name, kind)| named(alias, name, kind.clone()))
        .collect();
    Ok((Plan::Values(rows), columns))
}

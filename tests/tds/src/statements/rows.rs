//! The rows that a plan makes.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::Join;
use super::bind::{Bound, Cx, Result};
use super::compare::sameness;
use super::convert::convert;
use super::eval::{Env, eval, holds};
use super::plan::{Plan, Row, shuffle};
use crate::model::{Did, Table};
use crate::wire::{Type, Value};

impl Plan {
    /// The rows.
    pub(crate) fn rows(&self, cx: &Cx<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Row>> {
        let env = Env::inside(&[], outer);
        Ok(match self {
            Self::Rows(rows) => rows.clone(),
            Self::Query(query) => query.run(cx, outer)?.into_iter().map(Arc::new).collect(),
            Self::Values(rows) => rows
                .iter()
                .map(|row| {
                    Ok(Arc::new(
                        row.iter()
                            .map(|of| eval(cx, of, &env))
                            .collect::<Result<Vec<_>>>()?,
                    ))
                })
                .collect::<Result<Vec<_>>>()?,
            Self::Function(function, args) => {
                let values = args
                    .iter()
                    .map(|arg| eval(cx, arg, &env))
                    .collect::<Result<Vec<_>>>()?;
                let mut rows: Vec<Row> = function
                    .rows(cx, &values)?
                    .into_iter()
                    .map(Arc::new)
                    .collect();
                shuffle(&mut rows, cx.salt);
                rows
            }
            Self::Changes { table, since } => {
                let since = match eval(cx, since, &env)? {
                    Value::BigInt(since) => Some(since),
                    _ => None,
                };
                let Some(table) = cx.state.tables.get(table) else {
                    return Ok(Vec::new());
                };
                let mut rows: Vec<Row> = crate::model::State::net_changes(table, since, cx.view)?
                    .into_iter()
                    .map(|net| {
                        let did = match net.did {
                            Did::Insert => "I",
                            Did::Update => "U",
                            Did::Delete => "D",
                        };
                        let mut row = vec![
                            Value::BigInt(net.version),
                            net.created.map_or(Value::Null, Value::BigInt),
                            Value::text(did),
                            net.columns.map_or(Value::Null, Value::Bytes),
                            Value::Null,
                        ];
                        row.extend(net.key);
                        Arc::new(row)
                    })
                    .collect();
                shuffle(&mut rows, cx.salt ^ 0x55);
                rows
            }
            Self::Version { table, values } => {
                let Some(table) = cx.state.tables.get(table) else {
                    return Ok(Vec::new());
                };
                let mut key = vec![Value::Null; table.columns.len()];
                let mut given = Vec::new();
                for (at, value) in table.key().iter().zip(values) {
                    let value = eval(cx, value, &env)?;
                    key[*at] =
                        convert(&value, &value_kind(table, *at), &value_kind(table, *at), 0)?;
                    given.push(key[*at].clone());
                }
                let same = table.sameness(table.key(), &key, cx.state.collation.1);
                let version = crate::model::State::key_version(table, &same, cx.view);
                // A key that was never tracked gives a row with NULL, so that OUTER APPLY keeps its row.
                let mut row = vec![version.map_or(Value::Null, Value::BigInt), Value::Null];
                row.extend(given);
                vec![Arc::new(row)]
            }
            Self::Join { .. } => self.joined(cx, outer)?,
        })
    }
}

fn value_kind(table: &Table, at: usize) -> Type {
    table.columns[at].kind.clone()
}

impl Plan {
    fn joined(&self, cx: &Cx<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Row>> {
        let Self::Join {
            kind,
            left,
            right,
            width,
            filters,
            on,
            keys,
            ..
        } = self
        else {
            return Ok(Vec::new());
        };
        let apply = matches!(kind, Join::CrossApply | Join::OuterApply);
        let keeps = matches!(kind, Join::Left | Join::OuterApply);
        let right_rows = if apply {
            Vec::new()
        } else {
            right.rows(cx, outer)?
        };
        let mut by_key: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        if !keys.is_empty() {
            let sides: Vec<&Bound> = keys.iter().map(|(_, right)| right).collect();
            for (at, row) in right_rows.iter().enumerate() {
                if let Some(same) = key(cx, &Env::inside(row, outer), &sides)? {
                    by_key.entry(same).or_default().push(at);
                }
            }
        }
        let sides: Vec<&Bound> = keys.iter().map(|(left, _)| left).collect();
        let all: Vec<usize> = if keys.is_empty() {
            (0..right_rows.len()).collect()
        } else {
            Vec::new()
        };
        let mut found = Vec::new();
        'left: for row in left.rows(cx, outer)? {
            let env = Env::inside(&row, outer);
            for filter in filters {
                if !holds(cx, filter, &env)? {
                    continue 'left;
                }
            }
            let mut any = false;
            let applied;
            let others: Vec<&Row> = if apply {
                applied = right.rows(cx, Some(&env))?;
                applied.iter().collect()
            } else {
                let fits = if keys.is_empty() {
                    Some(&all)
                } else {
                    key(cx, &env, &sides)?.and_then(|same| by_key.get(&same))
                };
                fits.into_iter()
                    .flatten()
                    .map(|at| &right_rows[*at])
                    .collect()
            };
            for other in others {
                let mut both = (*row).clone();
                both.extend(other.iter().cloned());
                if let Some(on) = on
                    && !holds(cx, on, &Env::inside(&both, outer))?
                {
                    continue;
                }
                any = true;
                found.push(Arc::new(both));
            }
            if !any && keeps {
                let mut both = (*row).clone();
                both.extend(std::iter::repeat_n(Value::Null, *width));
                found.push(Arc::new(both));
            }
        }
        Ok(found)
    }
}

/// The sameness of the values that a join compares. None when one is NULL, which equals nothing.
fn key(cx: &Cx<'_>, env: &Env<'_>, of: &[&Bound]) -> Result<Option<Vec<u8>>> {
    let mut found = Vec::new();
    for bound in of {
        let value = eval(cx, bound, env)?;
        if value == Value::Null {
            return Ok(None);
        }
        let same = sameness(&value, &bound.kind);
        found.extend_from_slice(&(same.len() as u64).to_be_bytes());
        found.extend(same);
    }
    Ok(Some(found))
}

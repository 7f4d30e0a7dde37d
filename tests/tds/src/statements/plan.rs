//! Where rows come from: tables, views, functions, CHANGETABLE, and joins of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{Expr, From, Join, Op, Path};
use super::bind::{Bound, Cx, Named, Result, Scope, expr};
use super::compare::sameness;
use super::convert::convert;
use super::eval::{Env, Node, eval, holds};
use super::functions::{self, TableFunction};
use super::query::{self, Bound as BoundQuery};
use super::types::Kind;
use crate::model::{
    Did, Table, cdc_relation, denied, lock_timeout, locked, not_tracked, relation, same_name,
};
use crate::wire::{Length, ServerError, Type, Value};

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
        width: usize,
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
        } => {
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

fn no_column(name: &str) -> ServerError {
    ServerError::new(207, 16, format!("Invalid column name '{name}'."))
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

fn table(cx: &Cx<'_>, path: &Path, alias: Option<&str>) -> Result<(Plan, Vec<Named>)> {
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
fn unshaped(cx: &Cx<'_>, table: &Table) -> Result<()> {
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

fn changes(
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

fn join(
    cx: &Cx<'_>,
    kind: Join,
    (left, right): (&From, &From),
    on: Option<&Expr>,
    outer: Option<&Scope<'_>>,
) -> Result<(Plan, Vec<Named>)> {
    let (left, mut columns) = bind(cx, left, outer)?;
    let apply = matches!(kind, Join::CrossApply | Join::OuterApply);
    let around = Scope {
        columns: columns.clone(),
        outer,
    };
    let (right, mut others) = bind(cx, right, if apply { Some(&around) } else { outer })?;
    let clash = columns
        .iter()
        .any(|a| others.iter().any(|b| same_name(&a.of, &b.of)));
    if clash {
        let of = others.first().map_or("", |named| named.of.as_str());
        let text = format!(
            "The objects \"{of}\" and \"{of}\" in the FROM clause have the same exposed names. Use correlation names to distinguish them."
        );
        return Err(ServerError::new(1013, 16, text));
    }
    let before = columns.len();
    let width = others.len();
    if matches!(kind, Join::Left | Join::OuterApply) {
        for other in &mut others {
            other.kind.nullable = true;
        }
    }
    columns.extend(others);
    let scope = Scope {
        columns: columns.clone(),
        outer,
    };
    let (mut keys, mut rest) = (Vec::new(), None);
    if let Some(on) = on {
        let mut parts = Vec::new();
        conjuncts(on, &mut parts);
        for part in parts {
            let bound = expr(cx, part, &scope, None)?;
            if let Some(pair) = equal_key(&bound, before) {
                keys.push(pair);
                continue;
            }
            rest = Some(match rest {
                None => bound,
                Some(rest) => Bound::new(
                    Kind::new(Type::Bit),
                    Node::Logic(true, Box::new((rest, bound))),
                ),
            });
        }
    }
    let plan = Plan::Join {
        kind,
        left: Box::new(left),
        right: Box::new(right),
        width,
        on: rest,
        keys,
    };
    Ok((plan, columns))
}

fn conjuncts<'a>(of: &'a Expr, into: &mut Vec<&'a Expr>) {
    match of {
        Expr::Binary(Op::And, left, right) => {
            conjuncts(left, into);
            conjuncts(right, into);
        }
        other => into.push(other),
    }
}

/// `left.a = right.b` of columns of one type, which is found by its sameness.
fn equal_key(bound: &Bound, before: usize) -> Option<(Bound, Bound)> {
    let Node::Compare(Op::Eq, by, parts) = &bound.node else {
        return None;
    };
    let at = |bound: &Bound| match bound.node {
        Node::Column(0, at) => Some(at),
        _ => None,
    };
    let (a, b) = (at(&parts.0)?, at(&parts.1)?);
    let same = parts.0.kind.of == parts.1.kind.of;
    if !same || (a < before) == (b < before) {
        return None;
    }
    let (mut left, mut right) = (parts.0.clone(), parts.1.clone());
    if a >= before {
        std::mem::swap(&mut left, &mut right);
    }
    left.kind.collation = *by;
    right.kind.collation = *by;
    if let Node::Column(_, at) = &mut right.node {
        *at -= before;
    }
    Some((left, right))
}

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
                let mut rows: Vec<Row> = cx
                    .state
                    .net_changes(table, since, cx.view)?
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
                let version = cx.state.key_version(table, &same, cx.view);
                // A key that was never tracked gives a row with NULL, so that OUTER APPLY keeps its row.
                let mut row = vec![version.map_or(Value::Null, Value::BigInt), Value::Null];
                row.extend(given);
                vec![Arc::new(row)]
            }
            Self::Join {
                kind,
                left,
                right,
                width,
                on,
                keys,
            } => joined(cx, *kind, (left, right), *width, on.as_ref(), keys, outer)?,
        })
    }
}

fn value_kind(table: &Table, at: usize) -> Type {
    table.columns[at].kind.clone()
}

fn joined(
    cx: &Cx<'_>,
    kind: Join,
    (left, right): (&Plan, &Plan),
    width: usize,
    on: Option<&Bound>,
    keys: &[(Bound, Bound)],
    outer: Option<&Env<'_>>,
) -> Result<Vec<Row>> {
    let apply = matches!(kind, Join::CrossApply | Join::OuterApply);
    let keeps = matches!(kind, Join::Left | Join::OuterApply);
    let right_rows = if apply {
        Vec::new()
    } else {
        right.rows(cx, outer)?
    };
    let key = |env: &Env<'_>, of: &dyn Fn(&(Bound, Bound)) -> Bound| -> Result<Option<Vec<u8>>> {
        let mut found = Vec::new();
        for pair in keys {
            let bound = of(pair);
            let value = eval(cx, &bound, env)?;
            if value == Value::Null {
                return Ok(None);
            }
            let same = sameness(&value, &bound.kind);
            found.extend_from_slice(&(same.len() as u64).to_be_bytes());
            found.extend(same);
        }
        Ok(Some(found))
    };
    let mut by_key: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
    if !keys.is_empty() {
        for (at, row) in right_rows.iter().enumerate() {
            if let Some(same) = key(&Env::inside(row, outer), &|pair| pair.1.clone())? {
                by_key.entry(same).or_default().push(at);
            }
        }
    }
    let all: Vec<usize> = (0..right_rows.len()).collect();
    let mut found = Vec::new();
    for row in left.rows(cx, outer)? {
        let env = Env::inside(&row, outer);
        let mut any = false;
        let applied;
        let others: Vec<&Row> = if apply {
            applied = right.rows(cx, Some(&env))?;
            applied.iter().collect()
        } else if keys.is_empty() {
            all.iter().map(|at| &right_rows[*at]).collect()
        } else {
            let same = key(&env, &|pair| pair.0.clone())?;
            let fits = same.and_then(|same| by_key.get(&same));
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
            both.extend(std::iter::repeat_n(Value::Null, width));
            found.push(Arc::new(both));
        }
    }
    Ok(found)
}

//! SELECT, bound to what it reads.

use super::ast::{Expr, Item, Query, Select};
use super::bind::{Bound as Part, Cx, Named, Result, Scope, expr};
use super::compare::{exact, sortable};
use super::eval::Node;
use super::plan::{self, Plan};
use super::select::BoundSelect;
use super::types::{Kind, common};
use crate::model::same_name;
use crate::wire::{ServerError, Value};

/// A column of what a query gives.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) identity: bool,
}

/// A query that is bound.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) columns: Vec<Column>,
    pub(super) selects: Vec<BoundSelect>,
    /// The order of several SELECTs, by the places of columns.
    pub(super) order: Vec<(usize, bool)>,
    pub(super) skip: Option<(Part, Option<Part>)>,
}

/// Binds a query.
pub(crate) fn bind(cx: &Cx<'_>, query: &Query, outer: Option<&Scope<'_>>) -> Result<Bound> {
    let alone = query.selects.len() == 1;
    let mut columns: Vec<Column> = Vec::new();
    let mut selects = Vec::new();
    for select in &query.selects {
        let order = if alone { query.order.as_slice() } else { &[] };
        let (bound, names) = bind_select(cx, select, order, outer)?;
        if columns.is_empty() {
            columns = names;
        } else {
            if columns.len() != names.len() {
                return Err(ServerError::new(
                    205,
                    16,
                    "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.",
                ));
            }
            for (column, other) in columns.iter_mut().zip(names) {
                column.kind = common(&column.kind, &other.kind)?;
            }
        }
        selects.push(bound);
    }
    if !alone {
        for select in &mut selects {
            let items = std::mem::take(&mut select.items);
            let cast = |(item, column): (Part, &Column)| item.cast(column.kind.clone());
            select.items = items
                .into_iter()
                .zip(&columns)
                .map(cast)
                .collect::<Result<Vec<_>>>()?;
        }
    }
    let mut order = Vec::new();
    if !alone {
        for (by, down) in &query.order {
            let at = match by {
                Expr::Column(path) if path.len() == 1 => columns
                    .iter()
                    .position(|column| same_name(&column.name, &path[0])),
                Expr::Literal(value, kind) => place(value, kind, columns.len()),
                _ => None,
            };
            let at = at.ok_or_else(|| {
                ServerError::new(104, 16, "ORDER BY items must appear in the select list if the statement contains a UNION, INTERSECT or EXCEPT operator.")
            })?;
            order.push((at, *down));
        }
    }
    let scope = Scope {
        columns: Vec::new(),
        outer,
    };
    let skip = match &query.skip {
        Some((skip, fetch)) => Some((
            expr(cx, skip, &scope, None)?,
            fetch
                .as_ref()
                .map(|fetch| expr(cx, fetch, &scope, None))
                .transpose()?,
        )),
        None => None,
    };
    Ok(Bound {
        columns,
        selects,
        order,
        skip,
    })
}

fn place(value: &Value, kind: &crate::wire::Type, width: usize) -> Option<usize> {
    let (at, 0) = exact(value, kind)? else {
        return None;
    };
    let at = usize::try_from(at).ok()?;
    (1..=width).contains(&at).then(|| at - 1)
}

fn bind_select(
    cx: &Cx<'_>,
    select: &Select,
    order: &[(Expr, bool)],
    outer: Option<&Scope<'_>>,
) -> Result<(BoundSelect, Vec<Column>)> {
    let (mut plan, columns) = match &select.from {
        Some(from) => {
            let (plan, columns) = plan::bind(cx, from, outer)?;
            (Some(plan), columns)
        }
        None => (None, Vec::new()),
    };
    let scope = Scope { columns, outer };
    let filter = match &select.filter {
        Some(of) => filters(cx, of, &scope, plan.as_mut())?,
        None => None,
    };
    let group = select
        .group
        .iter()
        .map(|of| expr(cx, of, &scope, None))
        .collect::<Result<Vec<_>>>()?;
    let mut totals = Vec::new();
    let (mut items, mut names) = (Vec::new(), Vec::new());
    for item in &select.items {
        match item {
            Item::Star(of) => star(of.as_deref(), &scope, &mut items, &mut names, cx)?,
            Item::Expr(of, alias) => {
                let bound = expr(cx, of, &scope, Some(&mut totals))?.value()?;
                let name = alias.clone().or_else(|| match of {
                    Expr::Column(path) => path.last().cloned(),
                    _ => None,
                });
                let identity = match bound.node {
                    Node::Column(0, at) => scope.columns[at].identity,
                    _ => false,
                };
                names.push(Column {
                    name: name.unwrap_or_default(),
                    kind: bound.kind.clone(),
                    identity,
                });
                items.push(bound);
            }
        }
    }
    let having = select
        .having
        .as_ref()
        .map(|of| expr(cx, of, &scope, Some(&mut totals))?.condition())
        .transpose()?;
    let mut by = Vec::new();
    for (of, down) in order {
        let output = match of {
            Expr::Column(path) if path.len() == 1 => {
                names.iter().position(|column| same_name(&column.name, &path[0]))
            }
            Expr::Literal(value, kind) => Some(place(value, kind, items.len()).ok_or_else(|| {
                ServerError::new(108, 16, "The ORDER BY position number is out of range of the number of items in the select list.")
            })?),
            _ => None,
        };
        let bound = match output {
            Some(at) => items[at].clone(),
            None => expr(cx, of, &scope, Some(&mut totals))?.value()?,
        };
        if !sortable(&bound.kind.of) {
            return Err(ServerError::new(
                306,
                16,
                "The text, ntext, and image data types cannot be compared or sorted, except when using IS NULL or LIKE operator.",
            ));
        }
        if select.distinct && output.is_none() && !items.iter().any(|item| same(item, &bound)) {
            return Err(ServerError::new(
                145,
                15,
                "ORDER BY items must appear in the select list if SELECT DISTINCT is specified.",
            ));
        }
        by.push((bound, *down));
    }
    let grouped = !group.is_empty() || !totals.is_empty();
    if grouped {
        for item in items
            .iter()
            .chain(by.iter().map(|(bound, _)| bound))
            .chain(&having)
        {
            grouped_only(item, &group, &scope)?;
        }
    }
    if select.ties && by.is_empty() {
        return Err(ServerError::new(
            1062,
            15,
            "The TOP N WITH TIES clause is not allowed without a corresponding ORDER BY clause.",
        ));
    }
    let outside = Scope {
        columns: Vec::new(),
        outer,
    };
    let top = select
        .top
        .as_ref()
        .map(|of| expr(cx, of, &outside, None))
        .transpose()?;
    let bound = BoundSelect {
        plan,
        filter,
        group,
        grouped,
        totals,
        having,
        items,
        order: by,
        top,
        ties: select.ties,
        distinct: select.distinct,
    };
    Ok((bound, names))
}

fn same(a: &Part, b: &Part) -> bool {
    matches!((&a.node, &b.node), (Node::Column(0, a), Node::Column(0, b)) if a == b)
}

/// Error 8120 for a column that is neither grouped by nor inside an aggregate.
fn grouped_only(of: &Part, group: &[Part], scope: &Scope<'_>) -> Result<()> {
    if group.iter().any(|by| same(by, of)) {
        return Ok(());
    }
    if let Node::Column(0, at) = of.node {
        let column = &scope.columns[at];
        return Err(ServerError::new(
            8120,
            16,
            format!(
                "Column '{}.{}' is invalid in the select list because it is not contained in either an aggregate function or the GROUP BY clause.",
                column.of, column.name
            ),
        ));
    }
    Ok(())
}

fn star(
    of: Option<&str>,
    scope: &Scope<'_>,
    items: &mut Vec<Part>,
    names: &mut Vec<Column>,
    cx: &Cx<'_>,
) -> Result<()> {
    let wanted = |named: &Named| of.is_none_or(|of| same_name(&named.of, of));
    let before = items.len();
    for named in scope.columns.iter().filter(|named| wanted(named)) {
        let path = vec![named.of.clone(), named.name.clone()];
        items.push(expr(cx, &Expr::Column(path), scope, None)?);
        names.push(Column {
            name: named.name.clone(),
            kind: named.kind.clone(),
            identity: named.identity,
        });
    }
    if items.len() == before {
        return Err(match of {
            Some(of) => ServerError::new(
                107,
                15,
                format!(
                    "The column prefix '{of}' does not match with a table name or alias name used in the query."
                ),
            ),
            None => ServerError::new(263, 16, "Must specify table to select from."),
        });
    }
    Ok(())
}

/// WHERE: what speaks of the left side of a join only is asked before the join, so that a page of a long
/// table does not join all of it.
fn filters(
    cx: &Cx<'_>,
    of: &Expr,
    scope: &Scope<'_>,
    mut plan: Option<&mut Plan>,
) -> Result<Option<Part>> {
    let mut parts = Vec::new();
    plan::conjuncts(of, &mut parts);
    let mut rest = None;
    for part in parts {
        let bound = expr(cx, part, scope, None)?.condition()?;
        let left = match &mut plan {
            Some(Plan::Join {
                before, filters, ..
            }) if bound.node.is_within(*before) => Some(filters),
            _ => None,
        };
        match left {
            Some(filters) => filters.push(bound),
            None => rest = Some(plan::both(rest, bound)),
        }
    }
    Ok(rest)
}

//! SELECT: bound once, run for each row around it.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use super::ast::{Expr, Item, Query, Select};
use super::bind::{Bound as Value_, Cx, Named, Result, Scope, expr};
use super::compare::{exact, order, sameness, sortable};
use super::eval::{Aggregate, Env, Node, eval, holds};
use super::plan::{self, Plan};
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
    selects: Vec<BoundSelect>,
    /// The order of several SELECTs, by the places of columns.
    order: Vec<(usize, bool)>,
    skip: Option<(Value_, Option<Value_>)>,
}

#[derive(Clone, Debug)]
struct BoundSelect {
    plan: Option<Plan>,
    filter: Option<Value_>,
    group: Vec<Value_>,
    grouped: bool,
    totals: Vec<Aggregate>,
    having: Option<Value_>,
    items: Vec<Value_>,
    order: Vec<(Value_, bool)>,
    top: Option<Value_>,
    ties: bool,
    distinct: bool,
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
            let cast = |(item, column): (Value_, &Column)| item.cast(column.kind.clone());
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
    let (plan, columns) = match &select.from {
        Some(from) => {
            let (plan, columns) = plan::bind(cx, from, outer)?;
            (Some(plan), columns)
        }
        None => (None, Vec::new()),
    };
    let scope = Scope { columns, outer };
    let filter = select
        .filter
        .as_ref()
        .map(|of| expr(cx, of, &scope, None))
        .transpose()?;
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
                let bound = expr(cx, of, &scope, Some(&mut totals))?;
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
        .map(|of| expr(cx, of, &scope, Some(&mut totals)))
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
            None => expr(cx, of, &scope, Some(&mut totals))?,
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

fn same(a: &Value_, b: &Value_) -> bool {
    matches!((&a.node, &b.node), (Node::Column(0, a), Node::Column(0, b)) if a == b)
}

/// Error 8120 for a column that is neither grouped by nor inside an aggregate.
fn grouped_only(of: &Value_, group: &[Value_], scope: &Scope<'_>) -> Result<()> {
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
    items: &mut Vec<Value_>,
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

/// A row with what it is sorted by.
struct Sorted {
    by: Vec<Value>,
    row: Vec<Value>,
}

impl Bound {
    /// The rows.
    pub(crate) fn run(&self, cx: &Cx<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Vec<Value>>> {
        let mut rows = Vec::new();
        let (skip, fetch) = match &self.skip {
            Some((skip, fetch)) => {
                let env = Env::inside(&[], outer);
                let count = |of: &Value_| count(&eval(cx, of, &env)?, of);
                (count(skip)?, fetch.as_ref().map(count).transpose()?)
            }
            None => (0, None),
        };
        for select in &self.selects {
            rows.extend(select.run(cx, outer)?);
        }
        if !self.order.is_empty() {
            rows.sort_by(|a, b| {
                let by = self.order.iter().map(|(at, down)| {
                    let found = order(&a[*at], &b[*at], &self.columns[*at].kind);
                    if *down { found.reverse() } else { found }
                });
                by.fold(Ordering::Equal, Ordering::then)
            });
        }
        if self.skip.is_some() {
            rows = rows
                .into_iter()
                .skip(skip)
                .take(fetch.unwrap_or(usize::MAX))
                .collect();
        }
        Ok(rows)
    }
}

fn count(value: &Value, of: &Value_) -> Result<usize> {
    match exact(value, &of.kind.of) {
        Some((count, 0)) => usize::try_from(count).map_err(|_| {
            ServerError::new(
                127,
                15,
                "A TOP N or FETCH rowcount value may not be negative.",
            )
        }),
        _ => Err(ServerError::new(
            1060,
            15,
            "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.",
        )),
    }
}

impl BoundSelect {
    fn run(&self, cx: &Cx<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Vec<Value>>> {
        let mut source = match &self.plan {
            Some(plan) => plan.rows(cx, outer)?,
            None => vec![plan::Row::default()],
        };
        if let Some(filter) = &self.filter {
            let mut kept = Vec::new();
            for row in source {
                if holds(cx, filter, &Env::inside(&row, outer))? {
                    kept.push(row);
                }
            }
            source = kept;
        }
        let top = match &self.top {
            Some(top) => Some(count(&eval(cx, top, &Env::inside(&[], outer))?, top)?),
            None => None,
        };
        let mut found = Vec::new();
        if self.grouped {
            self.groups(cx, &source, outer, &mut found)?;
        } else {
            for row in &source {
                self.one(cx, &Env::inside(row, outer), &mut found)?;
            }
        }
        if self.distinct {
            let mut seen = BTreeSet::new();
            found.retain(|sorted| {
                let same: Vec<_> = sorted
                    .row
                    .iter()
                    .zip(&self.items)
                    .map(|(v, item)| sameness(v, &item.kind))
                    .collect();
                seen.insert(same)
            });
        }
        self.sort(&mut found, top);
        if self.order.is_empty() {
            self.unsort(&mut found);
        }
        if let Some(top) = top {
            let mut end = top.min(found.len());
            while self.ties
                && end > 0
                && end < found.len()
                && self.before(&found[end - 1], &found[end]).is_eq()
            {
                end += 1;
            }
            found.truncate(end);
        }
        Ok(found.into_iter().map(|sorted| sorted.row).collect())
    }

    fn one(&self, cx: &Cx<'_>, env: &Env<'_>, into: &mut Vec<Sorted>) -> Result<()> {
        let row = self
            .items
            .iter()
            .map(|of| eval(cx, of, env))
            .collect::<Result<Vec<_>>>()?;
        let by = self
            .order
            .iter()
            .map(|(of, _)| eval(cx, of, env))
            .collect::<Result<Vec<_>>>()?;
        into.push(Sorted { by, row });
        Ok(())
    }

    fn groups(
        &self,
        cx: &Cx<'_>,
        source: &[plan::Row],
        outer: Option<&Env<'_>>,
        into: &mut Vec<Sorted>,
    ) -> Result<()> {
        let mut of_key: HashMap<Vec<Vec<u8>>, usize> = HashMap::new();
        let mut groups: Vec<Vec<&plan::Row>> = Vec::new();
        for row in source {
            let env = Env::inside(row, outer);
            let key = self
                .group
                .iter()
                .map(|of| Ok(sameness(&eval(cx, of, &env)?, &of.kind)));
            let at = *of_key
                .entry(key.collect::<Result<Vec<_>>>()?)
                .or_insert_with(|| {
                    groups.push(Vec::new());
                    groups.len() - 1
                });
            groups[at].push(row);
        }
        if self.group.is_empty() && groups.is_empty() {
            groups.push(Vec::new());
        }
        for group in groups {
            let envs: Vec<Env<'_>> = group.iter().map(|row| Env::inside(row, outer)).collect();
            let totals = self.totals.iter().map(|of| of.total.over(cx, of, &envs));
            let totals = totals.collect::<Result<Vec<_>>>()?;
            let first = group.first().map_or(&[][..], |row| row.as_slice());
            let env = Env {
                row: first,
                totals: &totals,
                outer,
            };
            if let Some(having) = &self.having
                && !holds(cx, having, &env)?
            {
                continue;
            }
            self.one(cx, &env, into)?;
        }
        Ok(())
    }

    fn before(&self, a: &Sorted, b: &Sorted) -> Ordering {
        for ((of, down), (a, b)) in self.order.iter().zip(a.by.iter().zip(&b.by)) {
            let found = order(a, b, &of.kind);
            if found.is_ne() {
                return if *down { found.reverse() } else { found };
            }
        }
        Ordering::Equal
    }

    fn sort(&self, rows: &mut [Sorted], top: Option<usize>) {
        if self.order.is_empty() {
            return;
        }
        if let Some(top) = top
            && !self.ties
            && top < rows.len()
            && top > 0
        {
            // Only the first ones are asked for; the others need no order.
            rows.select_nth_unstable_by(top - 1, |a, b| self.before(a, b));
            rows[..top].sort_by(|a, b| self.before(a, b));
            return;
        }
        rows.sort_by(|a, b| self.before(a, b));
    }

    /// Rows that nobody ordered must not look ordered: when they happen to go upwards they are turned.
    fn unsort(&self, rows: &mut [Sorted]) {
        let upwards = |pair: &[Sorted]| {
            let both = pair[0].row.iter().zip(&pair[1].row).zip(&self.items);
            let found = both.map(|((a, b), item)| order(a, b, &item.kind));
            found.fold(Ordering::Equal, Ordering::then).is_le()
        };
        if self.plan.is_some() && rows.len() > 1 && rows.windows(2).all(upwards) {
            rows.reverse();
        }
    }
}

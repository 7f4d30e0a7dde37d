//! A SELECT that is bound, run for each row around it.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use super::bind::{Bound as Part, Cx, Result};
use super::compare::{exact, order, sameness};
use super::eval::{Aggregate, Env, eval, holds};
use super::plan::{Plan, Row};
use super::query::Bound;
use crate::wire::{ServerError, Value};

#[derive(Clone, Debug)]
pub(super) struct BoundSelect {
    pub(super) plan: Option<Plan>,
    pub(super) filter: Option<Part>,
    pub(super) group: Vec<Part>,
    pub(super) grouped: bool,
    pub(super) totals: Vec<Aggregate>,
    pub(super) having: Option<Part>,
    pub(super) items: Vec<Part>,
    pub(super) order: Vec<(Part, bool)>,
    pub(super) top: Option<Part>,
    pub(super) ties: bool,
    pub(super) distinct: bool,
}

/// A row with what it is sorted by.
struct Sorted {
    by: Vec<Value>,
    row: Vec<Value>,
    /// Where it came from, when its values are worked out only after the others were cut off.
    at: usize,
}

impl Bound {
    /// The rows.
    pub(crate) fn run(&self, cx: &Cx<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Vec<Value>>> {
        let mut rows = Vec::new();
        let (skip, fetch) = match &self.skip {
            Some((skip, fetch)) => {
                let env = Env::inside(&[], outer);
                let count = |of: &Part| count(&eval(cx, of, &env)?, of);
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

fn count(value: &Value, of: &Part) -> Result<usize> {
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
            None => vec![Row::default()],
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
        let late = top.is_some() && !self.grouped && !self.distinct && !self.order.is_empty();
        let mut found = Vec::new();
        if self.grouped {
            self.groups(cx, &source, outer, &mut found)?;
        } else {
            for (at, row) in source.iter().enumerate() {
                self.one(cx, &Env::inside(row, outer), at, late, &mut found)?;
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
            found.truncate(top.unwrap_or(usize::MAX));
        }
        if late {
            return found
                .iter()
                .map(|sorted| self.values(cx, &Env::inside(&source[sorted.at], outer)))
                .collect();
        }
        Ok(found.into_iter().map(|sorted| sorted.row).collect())
    }

    fn one(
        &self,
        cx: &Cx<'_>,
        env: &Env<'_>,
        at: usize,
        late: bool,
        into: &mut Vec<Sorted>,
    ) -> Result<()> {
        let row = if late {
            Vec::new()
        } else {
            self.values(cx, env)?
        };
        let by = self.order.iter().map(|(of, _)| eval(cx, of, env));
        into.push(Sorted {
            by: by.collect::<Result<Vec<_>>>()?,
            row,
            at,
        });
        Ok(())
    }

    fn values(&self, cx: &Cx<'_>, env: &Env<'_>) -> Result<Vec<Value>> {
        self.items.iter().map(|of| eval(cx, of, env)).collect()
    }

    fn groups(
        &self,
        cx: &Cx<'_>,
        source: &[Row],
        outer: Option<&Env<'_>>,
        into: &mut Vec<Sorted>,
    ) -> Result<()> {
        let mut of_key: HashMap<Vec<Vec<u8>>, usize> = HashMap::new();
        let mut groups: Vec<Vec<&Row>> = Vec::new();
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
            self.one(cx, &env, 0, false, into)?;
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

    /// Sorts, and keeps no more than were asked for: those that tie with the last one too, when asked.
    fn sort(&self, rows: &mut Vec<Sorted>, top: Option<usize>) {
        if self.order.is_empty() {
            return;
        }
        let Some(top) = top.filter(|top| *top < rows.len()) else {
            rows.sort_by(|a, b| self.before(a, b));
            return;
        };
        if top == 0 {
            rows.clear();
            return;
        }
        rows.select_nth_unstable_by(top - 1, |a, b| self.before(a, b));
        let mut end = top;
        for at in top..rows.len() {
            if self.ties && self.before(&rows[top - 1], &rows[at]).is_eq() {
                rows.swap(end, at);
                end += 1;
            }
        }
        rows.truncate(end);
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

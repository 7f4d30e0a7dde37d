//! One event from the replicas: its own row, the rows it joins, adds up and lists.

use std::cmp::Ordering;
use std::collections::HashSet;

use contract::event::{HARD_DELETE, OUT_OF_SCOPE};
use contract::{Body, Decimal, EventKey, Value};

use super::Relations;
use super::memory::MemoryReplicas;
use super::plan::{PAGE, RulePlan, value_text};
use super::replicas::Replicas;
use super::work::Work;
use crate::apply::ended;
use crate::evaluate::{self, Known, complete};
use crate::rule::{Added, Field, Formula, List, Missing, Origin, Role, Sums};
use crate::sql::{Expr, LineCall, Stop, order};

/// Lines of one document at most.
const LINES_MAX: usize = 10_000;

/// What a row means now.
#[derive(Debug)]
pub(super) enum Assembled {
    /// Nothing any more, and why.
    Ended(&'static str),
    /// An event, or a part of one.
    Whole(Box<Whole>),
    /// A person is needed.
    Held(Box<Doubt>),
}

#[derive(Debug)]
pub(super) struct Whole {
    pub(super) key: EventKey,
    pub(super) body: Body,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) reason: String,
    pub(super) key: Option<EventKey>,
    pub(super) row_json: serde_json::Value,
}

/// Why assembling stops before the end.
enum Halt<E> {
    Store(E),
    Held(String),
    /// A join says that the row is not meant.
    Out,
}

impl<E> From<E> for Halt<E> {
    fn from(error: E) -> Self {
        Self::Store(error)
    }
}

/// What is done with each row that a match finds, by its key.
type See<'s, R> =
    dyn FnMut(&mut Work<'_>, &str, &mut R) -> Result<(), Halt<<R as Replicas>::Error>> + 's;

/// A joined row.
enum Joined {
    Found,
    None,
    Held(String),
}

impl Relations {
    /// What a row of a rule's own table means, by the replicas as they are.
    pub(super) fn assemble<R: Replicas>(
        &self,
        plan: &RulePlan,
        row: &str,
        replicas: &mut R,
    ) -> Result<Assembled, R::Error> {
        let mut work = Work::new(&plan.rule);
        let mut found = None;
        let tables = plan.slots.first().map_or(&[][..], |slot| &slot.tables);
        for (nth, table) in tables.iter().enumerate() {
            let Some(known) = self.plan.tables.get(table.table) else {
                continue;
            };
            if let Some(cells) = replicas.row(known.id, row)? {
                work.take(&table.cells, cells);
                found = Some(nth);
                break;
            }
        }
        let Some(nth) = found else {
            return Ok(Assembled::Ended(HARD_DELETE));
        };
        work.put(&Origin::Archived, &Value::Bool(nth > 0));
        match self.make(plan, nth, &mut work, replicas) {
            Ok(made) => Ok(made),
            Err(Halt::Out) => Ok(Assembled::Ended(OUT_OF_SCOPE)),
            Err(Halt::Store(error)) => Err(error),
            Err(Halt::Held(reason)) => {
                let key = evaluate::key(&plan.rule, &work.cells()).ok();
                Ok(Assembled::Held(Box::new(Doubt {
                    reason,
                    key,
                    row_json: work.row_json(),
                })))
            }
        }
    }

    fn make<R: Replicas>(
        &self,
        plan: &RulePlan,
        nth: usize,
        work: &mut Work<'_>,
        replicas: &mut R,
    ) -> Result<Assembled, Halt<R::Error>> {
        let rule = &*plan.rule;
        let name = &rule.reference.rule;
        let hold = |reason: String| Halt::Held(format!("rule {name}, {reason}"));
        let missing = self.joins(plan, 0, nth, work, replicas);
        let missing = match missing {
            Ok(()) => None,
            Err(Halt::Held(reason)) => Some(reason),
            Err(halt) => return Err(halt),
        };
        // What surely is not meant needs no joined row.
        let end = |work: &Work<'_>| ended(rule, &work.cells());
        match end(work) {
            Ok(Some(reason)) => return Ok(Assembled::Ended(reason)),
            Ok(None) | Err(Stop::Unchanged) => {}
            Err(Stop::Wrong(reason)) => return Err(hold(reason)),
        }
        if let Some(reason) = missing {
            return Err(hold(reason));
        }
        for (slot, sums) in adds(plan) {
            self.add(plan, slot, sums, work, replicas)?;
        }
        let mut lists = Vec::with_capacity(rule.lists.len());
        for (n, list) in rule.lists.iter().enumerate() {
            lists.push(self.list(plan, n, list, nth, work, replicas)?);
        }
        match end(work) {
            Ok(Some(reason)) => return Ok(Assembled::Ended(reason)),
            Ok(None) => {}
            Err(Stop::Unchanged) => return Err(hold(unknown(rule.filter.as_ref()))),
            Err(Stop::Wrong(reason)) => return Err(hold(reason)),
        }
        let cells = work.cells();
        let key = evaluate::key(rule, &cells).map_err(Halt::Held)?;
        let mut known = Known::new(rule).with_key(rule, &key);
        let mut body = Body::new(rule.event_type.schema());
        let of_row = |field: &Field| !(rule.grouped && field.of_fields);
        let gaps = evaluate::fields(rule, &cells, &mut lists, &mut known, &mut body, of_row);
        if !gaps.map_err(Halt::Held)?.is_empty() {
            return Err(hold("the log did not carry a column it needs".to_owned()));
        }
        let mut warnings = Vec::new();
        if !rule.grouped {
            complete(rule, &mut body).map_err(Halt::Held)?;
            warnings = evaluate::guards(rule, &cells, &key, &body).map_err(Halt::Held)?;
        }
        Ok(Assembled::Whole(Box::new(Whole {
            key,
            body,
            warnings,
        })))
    }

    /// Fills the joins of the event's own row.
    ///
    /// # Errors
    /// Why one cannot be filled.
    pub(super) fn joined(
        &self,
        plan: &RulePlan,
        nth: usize,
        work: &mut Work<'_>,
        replicas: &mut MemoryReplicas,
    ) -> Result<(), String> {
        said_halt(self.joins(plan, 0, nth, work, replicas))
    }

    /// Fills what an `add` gives.
    ///
    /// # Errors
    /// Why it gives nothing.
    pub(super) fn added(
        &self,
        plan: &RulePlan,
        slot: usize,
        sums: &Sums,
        work: &mut Work<'_>,
        replicas: &mut MemoryReplicas,
    ) -> Result<(), String> {
        said_halt(self.add(plan, slot, sums, work, replicas))
    }

    /// The objects of a list.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn listed(
        &self,
        plan: &RulePlan,
        n: usize,
        list: &List,
        nth: usize,
        work: &mut Work<'_>,
        replicas: &mut MemoryReplicas,
    ) -> Result<Vec<Body>, String> {
        said_halt(self.list(plan, n, list, nth, work, replicas))
    }

    /// Fills the joins of a slot; stops at the first that is missing.
    fn joins<R: Replicas>(
        &self,
        plan: &RulePlan,
        home: usize,
        nth: usize,
        work: &mut Work<'_>,
        replicas: &mut R,
    ) -> Result<(), Halt<R::Error>> {
        let mut stopped = None;
        for (n, slot) in plan.rule.slots.iter().enumerate() {
            let Role::Join(missing) = slot.role else {
                continue;
            };
            if slot.home != home {
                continue;
            }
            match self.join(plan, n, nth, work, replicas)? {
                Joined::Found => {}
                Joined::None if missing == Missing::Null => work.nulls(n),
                Joined::None if missing == Missing::LeaveOut => return Err(Halt::Out),
                Joined::None => {
                    let link = slot.link.as_ref().map_or("", |link| &link.text);
                    let table = &slot.table.table;
                    stopped = stopped.or(Some(format!(
                        "join {}: no row of {table} matches `{link}`",
                        slot.alias
                    )));
                }
                Joined::Held(reason) => {
                    stopped = stopped.or(Some(format!("join {}: {reason}", slot.alias)));
                }
            }
        }
        match stopped {
            Some(reason) => Err(Halt::Held(reason)),
            None => Ok(()),
        }
    }

    fn join<R: Replicas>(
        &self,
        plan: &RulePlan,
        slot: usize,
        nth: usize,
        work: &mut Work<'_>,
        replicas: &mut R,
    ) -> Result<Joined, Halt<R::Error>> {
        let mut found = 0;
        let outcome = self.each(plan, slot, nth, work, replicas, &mut |work, _, _| {
            found += 1;
            if found > 1 {
                // What stands in the cells is one of them by chance: no condition may decide by it.
                work.unknown(slot);
                return Err(Halt::Held("more than one row matches".to_owned()));
            }
            Ok(())
        });
        match outcome {
            Ok(()) if found == 0 => Ok(Joined::None),
            Ok(()) => Ok(Joined::Found),
            Err(Halt::Held(reason)) => Ok(Joined::Held(reason)),
            Err(halt) => Err(halt),
        }
    }

    /// Calls `see` with each row that a slot's match finds, its cells filled in; rows that its
    /// match does not mean are put back.
    fn each<R: Replicas>(
        &self,
        plan: &RulePlan,
        slot: usize,
        nth: usize,
        work: &mut Work<'_>,
        replicas: &mut R,
        see: &mut See<'_, R>,
    ) -> Result<(), Halt<R::Error>> {
        let Some(known) = plan.slots.get(slot) else {
            return Ok(());
        };
        let value = match value_text(work, &known.wanted) {
            Ok(Some(value)) => value,
            Ok(None) => return Ok(()),
            Err(Stop::Unchanged) => {
                return Err(Halt::Held("what it matches is not known".to_owned()));
            }
            Err(Stop::Wrong(reason)) => return Err(Halt::Held(reason)),
        };
        let link = plan
            .rule
            .slots
            .get(slot)
            .and_then(|slot| slot.link.as_ref());
        let filter = link.and_then(|link| link.filter.as_ref());
        // A document that moves to history has its lines there, but for those that are not moved
        // yet; while a line stands in both, the one beside the document's head counts.
        let first = if nth < known.tables.len() { nth } else { 0 };
        let others = (0..known.tables.len()).filter(|other| *other != first);
        let mut seen = HashSet::new();
        for at in [first].into_iter().chain(others) {
            let Some(table) = known.tables.get(at) else {
                continue;
            };
            let index = table.forward.and_then(|index| self.plan.indexes.get(index));
            let Some(index) = index else { continue };
            let mut after: Option<String> = None;
            loop {
                let rows = replicas.find(index.id, &value, after.as_deref(), PAGE)?;
                let more = rows.last().filter(|_| rows.len() == PAGE);
                let more = more.map(|last| last.key.clone());
                for row in rows {
                    if at != first && seen.contains(&row.key) {
                        continue;
                    }
                    // Looked at apart: the cells of a row that does not match must not stay.
                    if filter.is_some() {
                        let mut alone = Work::new(&plan.rule);
                        alone.fill(&table.cells, &row.cells);
                        match holds(filter, &alone.cells()) {
                            Ok(true) => {}
                            Ok(false) => continue,
                            Err(stop) => return Err(Halt::Held(said(stop))),
                        }
                    }
                    if at == first && known.tables.len() > 1 {
                        seen.insert(row.key.clone());
                    }
                    work.take(&table.cells, row.cells);
                    see(work, &row.key, replicas)?;
                }
                if more.is_none() {
                    break;
                }
                after = more;
            }
        }
        Ok(())
    }

    /// Adds up the rows of an `add`.
    fn add<R: Replicas>(
        &self,
        plan: &RulePlan,
        slot: usize,
        sums: &Sums,
        work: &mut Work<'_>,
        replicas: &mut R,
    ) -> Result<(), Halt<R::Error>> {
        let alias = plan.rule.slots.get(slot).map_or("", |slot| &slot.alias);
        let name = &plan.rule.reference.rule;
        let hold = |reason: String| Halt::Held(format!("rule {name}, add {alias}: {reason}"));
        let (mut sum, mut count) = (Decimal::ZERO, 0_i64);
        let (mut earliest, mut latest): (Value, Value) = (Value::Null, Value::Null);
        let seen = self.each(plan, slot, 0, work, replicas, &mut |work, _, replicas| {
            let missing = match self.joins(plan, slot, 0, work, replicas) {
                Ok(()) => None,
                Err(Halt::Out) => return Ok(()),
                Err(Halt::Held(reason)) => Some(reason),
                Err(halt) => return Err(halt),
            };
            let cells = work.cells();
            let filter = sums.filter.as_ref().map(|filter| &filter.expr);
            // What surely is not meant needs no joined row.
            match holds(filter, &cells) {
                Ok(false) => return Ok(()),
                Ok(true) => {}
                Err(stop) => return Err(Halt::Held(missing.unwrap_or_else(|| said(stop)))),
            }
            if let Some(reason) = missing {
                return Err(Halt::Held(reason));
            }
            count += 1;
            if let Some(formula) = &sums.sum {
                let part = formula.expr.number(&cells);
                let part = part.map_err(|stop| Halt::Held(shown(formula, stop)))?;
                if let Some(part) = part {
                    let total = sum.try_add(part);
                    sum = total.map_err(|error| Halt::Held(error.to_string()))?;
                }
            }
            let bounds = [
                (&sums.earliest, &mut earliest, Ordering::Less),
                (&sums.latest, &mut latest, Ordering::Greater),
            ];
            for (formula, best, wanted) in bounds {
                let Some(formula) = formula else { continue };
                let value = formula.expr.value(&cells);
                let value = value.map_err(|stop| Halt::Held(shown(formula, stop)))?;
                let better = match order(&value, best, &cells) {
                    Ok(Some(order)) => order == wanted,
                    Ok(None) => matches!(best, Value::Null),
                    Err(stop) => return Err(Halt::Held(shown(formula, stop))),
                };
                if better {
                    *best = value.into_owned();
                }
            }
            Ok(())
        });
        seen.map_err(|halt| match halt {
            Halt::Held(reason) => hold(reason),
            halt => halt,
        })?;
        for (what, value) in [
            (Added::Sum, Value::Decimal(sum)),
            (Added::Count, Value::Int(count)),
            (Added::Earliest, earliest),
            (Added::Latest, latest),
        ] {
            work.put(&Origin::Added { slot, what }, &value);
        }
        Ok(())
    }

    /// The objects of a list, and what is asked of all of them.
    fn list<R: Replicas>(
        &self,
        plan: &RulePlan,
        n: usize,
        list: &List,
        nth: usize,
        work: &mut Work<'_>,
        replicas: &mut R,
    ) -> Result<Vec<Body>, Halt<R::Error>> {
        let rule = &*plan.rule;
        let name = &rule.reference.rule;
        let alias = rule.slots.get(list.slot).map_or("", |slot| &slot.alias);
        let calls: Vec<(&Origin, LineCall, Option<&Expr>)> = rule
            .columns
            .iter()
            .filter_map(|origin| match origin {
                Origin::Lines { list, call, inner } if *list == n => {
                    Some((origin, *call, inner.as_ref()))
                }
                _ => None,
            })
            .collect();
        let mut totals: Vec<Total> = calls.iter().map(|(_, call, _)| Total::new(*call)).collect();
        let mut items: Vec<(Vec<Value>, String, Body)> = Vec::new();
        let mut known = Known::of(&list.reads);
        let seen = self.each(
            plan,
            list.slot,
            nth,
            work,
            replicas,
            &mut |work, row, replicas| {
                let hold = |reason: String| {
                    Halt::Held(format!("rule {name}, {alias} row {row}: {reason}"))
                };
                let missing = match self.joins(plan, list.slot, 0, work, replicas) {
                    Ok(()) => None,
                    Err(Halt::Out) => return Ok(()),
                    Err(Halt::Held(reason)) => Some(reason),
                    Err(halt) => return Err(halt),
                };
                let cells = work.cells();
                let filter = list.filter.as_ref().map(|filter| &filter.expr);
                match holds(filter, &cells) {
                    Ok(false) => return Ok(()),
                    Ok(true) => {}
                    Err(stop) => return Err(hold(missing.unwrap_or_else(|| said(stop)))),
                }
                if let Some(reason) = missing {
                    return Err(hold(reason));
                }
                if items.len() >= LINES_MAX {
                    return Err(hold(format!("more than {LINES_MAX} rows")));
                }
                known.clear();
                let body = evaluate::item(rule, &list.fields, list.schema, &cells, &mut known);
                let body = body.map_err(hold)?;
                let cells = crate::sql::Cells {
                    fields: known.values(),
                    ..cells
                };
                for ((_, _, inner), total) in calls.iter().zip(&mut totals) {
                    total.take(*inner, &cells).map_err(hold)?;
                }
                let mut sorted_by = Vec::with_capacity(list.order.len());
                for (expr, _) in &list.order {
                    let value = expr.value(&cells).map_err(|stop| hold(said(stop)))?;
                    sorted_by.push(value.into_owned());
                }
                items.push((sorted_by, row.to_owned(), body));
                Ok(())
            },
        );
        seen.map_err(|halt| match halt {
            Halt::Held(reason) if !reason.starts_with("rule ") => {
                Halt::Held(format!("rule {name}, {alias}: {reason}"))
            }
            halt => halt,
        })?;
        let cells = work.cells();
        items.sort_by(|(left, left_key, _), (right, right_key, _)| {
            for ((left, right), (_, ascending)) in left.iter().zip(right).zip(&list.order) {
                // Nulls first; what cannot be compared keeps the order of its rows.
                let found = match (left, right) {
                    (Value::Null, Value::Null) => Ordering::Equal,
                    (Value::Null, _) => Ordering::Less,
                    (_, Value::Null) => Ordering::Greater,
                    _ => order(left, right, &cells)
                        .ok()
                        .flatten()
                        .unwrap_or(Ordering::Equal),
                };
                let found = if *ascending { found } else { found.reverse() };
                if found != Ordering::Equal {
                    return found;
                }
            }
            left_key.cmp(right_key)
        });
        for ((origin, ..), total) in calls.iter().zip(totals) {
            work.put(origin, &total.value());
        }
        Ok(items.into_iter().map(|(_, _, body)| body).collect())
    }
}

fn said_halt<T>(made: Result<T, Halt<std::convert::Infallible>>) -> Result<T, String> {
    made.map_err(|halt| match halt {
        Halt::Held(reason) => reason,
        Halt::Out => "a join that is missing leaves the row out".to_owned(),
        Halt::Store(never) => match never {},
    })
}

pub(super) fn adds(plan: &RulePlan) -> impl Iterator<Item = (usize, &Sums)> {
    let slots = plan.rule.slots.iter().enumerate();
    slots.filter_map(|(n, slot)| match &slot.role {
        Role::Add(sums) => Some((n, &**sums)),
        _ => None,
    })
}

/// Whether a condition holds for a row; one that cannot be worked out is said.
fn holds(filter: Option<&Expr>, cells: &crate::sql::Cells<'_>) -> Result<bool, Stop> {
    match filter {
        Some(filter) => Ok(filter.truth(cells)? == Some(true)),
        None => Ok(true),
    }
}

fn said(stop: Stop) -> String {
    match stop {
        Stop::Wrong(reason) => reason,
        Stop::Unchanged => "the log did not carry a column it needs".to_owned(),
    }
}

fn shown(formula: &Formula, stop: Stop) -> String {
    format!("`{}`: {}", formula.shown(), said(stop))
}

fn unknown(filter: Option<&Formula>) -> String {
    let shown = filter.map(Formula::shown).unwrap_or_default();
    format!("where `{shown}`: the log did not carry a column it needs")
}

/// What is asked of all lines, as far as they have been seen.
struct Total {
    call: LineCall,
    count: i64,
    /// Null once a line has no value.
    sum: Option<Decimal>,
    all: Option<bool>,
    any: Option<bool>,
}

impl Total {
    fn new(call: LineCall) -> Self {
        Self {
            call,
            count: 0,
            sum: Some(Decimal::ZERO),
            all: Some(true),
            any: Some(false),
        }
    }

    fn take(&mut self, inner: Option<&Expr>, cells: &crate::sql::Cells<'_>) -> Result<(), String> {
        self.count += 1;
        let Some(inner) = inner else { return Ok(()) };
        match self.call {
            LineCall::Count => {}
            LineCall::Sum => {
                let part = inner.number(cells).map_err(said)?;
                self.sum = match (self.sum, part) {
                    (Some(sum), Some(part)) => {
                        Some(sum.try_add(part).map_err(|error| error.to_string())?)
                    }
                    _ => None,
                };
            }
            LineCall::All | LineCall::Any => {
                let met = inner.truth(cells).map_err(said)?;
                self.all = match (self.all, met) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (None, _) | (_, None) => None,
                    (Some(true), Some(true)) => Some(true),
                };
                self.any = match (self.any, met) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (None, _) | (_, None) => None,
                    (Some(false), Some(false)) => Some(false),
                };
            }
        }
        Ok(())
    }

    fn value(self) -> Value {
        match self.call {
            LineCall::Count => Value::Int(self.count),
            LineCall::Sum => self.sum.map_or(Value::Null, Value::Decimal),
            LineCall::All => self.all.map_or(Value::Null, Value::Bool),
            LineCall::Any => self.any.map_or(Value::Null, Value::Bool),
        }
    }
}

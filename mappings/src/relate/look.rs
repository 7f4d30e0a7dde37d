//! One event looked at closely: its rows, every expression's value, and which rows of the source it
//! needs. For people who write mappings; nothing here is part of a running agent.

use std::sync::Arc;

use contract::{CapturedTable, Row, TableName, TableShape, Value};
use serde::Serialize;

use super::Relations;
use super::assemble::{Assembled, adds};
use super::memory::MemoryReplicas;
use super::replicas::Replicas as _;
use super::work::Work;
use crate::evaluate;
use crate::rule::{Origin, Role, Rule};
use crate::set::MappingSet;
use crate::sql::Expr;

/// What an event is made of, step by step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    /// The rule.
    pub rule: String,
    /// The cells it reads, of its own row and of each row it joins; a joined row that is not there
    /// has none.
    pub rows: Vec<LookRow>,
    /// Its expressions, in the order in which they are worked out.
    pub values: Vec<LookValue>,
    /// What came of it all.
    pub outcome: String,
}

/// A row as an event sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookRow {
    /// What the event calls it.
    pub alias: String,
    /// Its table.
    pub table: String,
    /// Columns and raw values; a null is `None`.
    pub cells: Vec<(String, Option<String>)>,
}

/// An expression and what it gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookValue {
    /// Where it stands: `where`, `key.sku`, `fields.on_hand`, `guard`.
    pub what: String,
    /// As it is written; none for a constant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Its value as text; `None` = null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl LookValue {
    pub(crate) fn new(
        what: impl Into<String>,
        expression: Option<String>,
        got: Result<Option<String>, String>,
    ) -> Self {
        let (value, reason) = match got {
            Ok(value) => (value, None),
            Err(reason) => (None, Some(reason)),
        };
        Self {
            what: what.into(),
            expression,
            value,
            reason,
        }
    }
}

/// A row and what its cells are.
pub type FoundRow = (Arc<TableShape>, Row);

/// Rows of a table that an event needs, found by the rows of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Needed {
    /// The alias.
    pub alias: String,
    /// The tables to look in: that of the alias, and where its finished rows go.
    pub tables: Vec<CapturedTable>,
    /// The columns to look by; none where no plain column stands in the match.
    pub by: Vec<String>,
    /// What they must equal, for each row of the other table.
    pub values: Vec<Vec<Value>>,
}

impl MappingSet {
    /// The rules whose events begin with rows of a table, or whose statement they make be asked.
    pub fn beginning_with(&self, table: &TableName) -> Vec<String> {
        let begins = |rule: &&Arc<Rule>| {
            rule.slots.iter().any(|slot| {
                let named = slot.table.table == *table
                    || slot.history.as_ref().is_some_and(|h| h.table == *table);
                named && matches!(slot.role, Role::From | Role::Touch)
            })
        };
        let rules = self.rules.iter().filter(begins);
        rules.map(|rule| rule.reference.rule.clone()).collect()
    }

    /// The table that some rule calls by an alias.
    pub fn table_called(&self, alias: &str) -> Option<TableName> {
        let mut slots = self.rules.iter().flat_map(|rule| &rule.slots);
        let slot = slots.find(|slot| slot.alias == alias && !slot.table.key.is_empty())?;
        Some(slot.table.table.clone())
    }

    /// The body fields that a rule maps.
    pub fn mapped(&self, rule: &str) -> Vec<&'static str> {
        let rule = self.rules.iter().find(|known| known.reference.rule == rule);
        let fields = rule.iter().flat_map(|rule| &rule.fields);
        fields.map(|field| field.name).collect()
    }

    /// The rules that use a table in any way.
    pub fn using(&self, table: &TableName) -> Vec<String> {
        let uses = |rule: &&Arc<Rule>| {
            let tables = rule.tables(true);
            tables.iter().any(|known| known.table == *table)
        };
        let rules = self.rules.iter().filter(uses);
        rules.map(|rule| rule.reference.rule.clone()).collect()
    }

    /// A part of the set.
    #[must_use]
    pub fn only(&self, rules: &[String]) -> Self {
        let kept = self
            .rules
            .iter()
            .filter(|rule| rules.contains(&rule.reference.rule));
        Self {
            rules: kept.cloned().collect(),
        }
    }

    /// Which rows of a rule's `nth` further table its parent's rows need; `None` behind the last.
    /// `found` are the rows of each alias so far.
    pub fn needed(
        &self,
        rule: &str,
        nth: usize,
        found: &dyn Fn(&str) -> Vec<FoundRow>,
    ) -> Option<Needed> {
        let rule = self
            .rules
            .iter()
            .find(|known| known.reference.rule == rule)?;
        let slot = rule.slots.get(nth + 1).filter(|_| rule.read.is_none())?;
        let link = slot.link.as_ref()?;
        let tables = rule.tables(true);
        let of = |table: &CapturedTable| {
            tables
                .iter()
                .find(|known| known.table == table.table)
                .cloned()
        };
        let mut by = Vec::new();
        let mut others: Vec<&Expr> = Vec::new();
        for pair in link.back.iter().filter_map(|pair| link.pairs.get(*pair)) {
            if let Some(column) = plain_column(rule, &pair.0, nth + 1) {
                by.push(column);
                others.push(&pair.1);
            }
        }
        let parent = rule.slots.get(link.parent)?;
        let mut values: Vec<Vec<Value>> = Vec::new();
        for (shape, row) in found(&parent.alias) {
            let mut work = Work::new(rule);
            work.fill_named(link.parent, &shape, &row);
            let wanted: Option<Vec<Value>> = others
                .iter()
                .map(|expr| {
                    let value = expr.value(&work.cells()).ok()?.into_owned();
                    (value != Value::Null).then_some(value)
                })
                .collect();
            values.extend(wanted.filter(|wanted| !values.contains(wanted)));
        }
        Some(Needed {
            alias: slot.alias.clone(),
            tables: [Some(&slot.table), slot.history.as_ref()]
                .into_iter()
                .flatten()
                .filter_map(of)
                .collect(),
            by,
            values,
        })
    }

    /// The tables of a rule's own rows, current ones first; of those that make it ask, where it
    /// reads by key.
    pub fn own_tables(&self, rule: &str) -> Vec<CapturedTable> {
        let Some(rule) = self.rules.iter().find(|known| known.reference.rule == rule) else {
            return Vec::new();
        };
        let own = rule.slots.iter().filter(|slot| match &rule.read {
            Some(_) => slot.role == Role::Touch,
            None => slot.role == Role::From,
        });
        let names: Vec<&TableName> = own
            .flat_map(|slot| [Some(&slot.table), slot.history.as_ref()])
            .flatten()
            .map(|table| &table.table)
            .collect();
        let tables = rule.tables(true);
        let found = names
            .iter()
            .filter_map(|name| tables.iter().find(|known| known.table == **name));
        found.cloned().collect()
    }

    /// The alias of a rule's own row.
    pub fn own_alias(&self, rule: &str) -> String {
        let rule = self.rules.iter().find(|known| known.reference.rule == rule);
        rule.map_or_else(String::new, |rule| rule.from().alias.clone())
    }
}

/// The column of a slot that an expression is.
fn plain_column(rule: &Rule, expr: &Expr, wanted: usize) -> Option<String> {
    let Expr::Column(at) = expr else { return None };
    match rule.columns.get(*at)? {
        Origin::Cell { slot, column, .. } if *slot == wanted => Some(column.clone()),
        _ => None,
    }
}

impl Relations {
    /// The keys of the rows that a rule's statement gave.
    pub fn answered_rows(&self, rule: &str, replicas: &mut MemoryReplicas) -> Vec<String> {
        let plans = &self.plan.rules;
        let mut asking = plans.iter().filter(|plan| plan.read().is_some());
        let plan = asking.find(|plan| plan.rule.reference.rule == rule);
        let at = plan.and_then(|plan| plan.slots.first()?.tables.first());
        let Some(known) = at.and_then(|at| self.plan.tables.get(at.table)) else {
            return Vec::new();
        };
        let Ok(rows) = replicas.rows(known.id, None, usize::MAX);
        rows.into_iter().map(|row| row.key).collect()
    }

    /// Looks at what a row of a rule's own table makes, by its key; `None` where there is no such
    /// row.
    pub fn look(&self, rule: &str, row: &str, replicas: &mut MemoryReplicas) -> Option<Look> {
        let plans = &self.plan.rules;
        let plan = plans.iter().find(|plan| plan.rule.reference.rule == rule)?;
        let mut work = Work::new(&plan.rule);
        let mut nth = None;
        for (n, table) in plan.slots.first()?.tables.iter().enumerate() {
            let known = self.plan.tables.get(table.table)?;
            let Ok(cells) = replicas.row(known.id, row);
            if let Some(cells) = cells {
                work.fill(&table.cells, &cells);
                nth = Some(n);
                break;
            }
        }
        let nth = nth?;
        work.put(&Origin::Archived, &Value::Bool(nth > 0));
        let rule = &*plan.rule;
        let mut values = Vec::new();
        let mut note = |what: String, got: Result<(), String>| {
            if let Err(reason) = got {
                values.push(LookValue::new(what, None, Err(reason)));
            }
        };
        note(
            "join".to_owned(),
            self.joined(plan, nth, &mut work, replicas),
        );
        for (slot, sums) in adds(plan) {
            let alias = rule.slots.get(slot).map_or("", |slot| &slot.alias);
            let got = self.added(plan, slot, sums, &mut work, replicas);
            note(format!("add.{alias}"), got);
        }
        let mut lists = Vec::new();
        for (n, list) in rule.lists.iter().enumerate() {
            let made = self.listed(plan, n, list, nth, &mut work, replicas);
            let got = made.map(|lines| lists.push(lines));
            note("lines".to_owned(), got);
        }
        values.extend(sums(rule, &work));
        evaluate::look(rule, &work.cells(), &mut lists, &mut values);
        let Ok(assembled) = self.assemble(plan, row, replicas);
        let outcome = match assembled {
            Assembled::Ended(reason) => format!("no event: {reason}"),
            Assembled::Held(doubt) => format!("held: {}", doubt.reason),
            Assembled::Whole(whole) if rule.grouped => {
                format!("a part of {}", whole.key.text())
            }
            Assembled::Whole(whole) => format!("event {}", whole.key.text()),
        };
        Some(Look {
            rule: rule.reference.rule.clone(),
            rows: rows(rule, &work, nth),
            values,
            outcome,
        })
    }
}

/// The rows behind an event's own expressions.
fn rows(rule: &Rule, work: &Work<'_>, nth: usize) -> Vec<LookRow> {
    let slots = rule.slots.iter().enumerate();
    let single = slots.filter(|(_, slot)| {
        matches!(slot.role, Role::From) || matches!(slot.role, Role::Join(_)) && slot.home == 0
    });
    let row = |(n, slot): (usize, &crate::rule::Slot)| {
        let history = slot.history.as_ref().filter(|_| n == 0 && nth > 0);
        LookRow {
            alias: slot.alias.clone(),
            table: history.unwrap_or(&slot.table).table.to_string(),
            cells: work.cells_of(n),
        }
    };
    single.map(row).collect()
}

/// What was added up or asked of all lines.
fn sums(rule: &Rule, work: &Work<'_>) -> Vec<LookValue> {
    let mut found = Vec::new();
    for (at, origin) in rule.columns.iter().enumerate() {
        if let Origin::Added { slot, what } = origin {
            let alias = rule.slots.get(*slot).map_or("", |slot| &slot.alias);
            let name = crate::rule::Added::ALL
                .iter()
                .find(|(_, known)| known == what);
            let what = format!("{alias}.{}", name.map_or("", |(name, _)| name));
            found.push(LookValue::new(what, None, Ok(work.text(at))));
        }
    }
    found
}

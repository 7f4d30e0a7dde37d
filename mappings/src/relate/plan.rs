//! What the rules of a mapping set need: which columns of which tables, and by what they are found.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use contract::event::digest;
use contract::{CapturedTable, TableName, Value};

use super::replicas::{Cell, Replicas};
use super::work::Work;
use crate::rule::{Origin, Read, Rule};
use crate::set::MappingSet;
use crate::sql::{Expr, Stop};

/// Rows taken from a replica at a time.
pub(super) const PAGE: usize = 500;

/// A replica.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) id: i64,
    pub(super) columns: Vec<String>,
    /// Those by which rows are found. A row without one of them is not taken.
    pub(super) links: Vec<String>,
    pub(super) uses: Vec<Use>,
    /// Some match takes only those of its rows for which a condition is true.
    pub(super) filtered: bool,
    /// The rules that its rows make ask, and which of their touches.
    pub(super) touches: Vec<(usize, usize)>,
    /// Indexes on it.
    pub(super) indexes: Vec<usize>,
}

/// Where a table is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) rule: usize,
    pub(super) slot: usize,
}

/// An index: the rows of a table by what expressions give for each.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) id: i64,
    pub(super) rule: usize,
    pub(super) slot: usize,
    pub(super) exprs: Vec<Expr>,
}

/// A slot's tables and indexes: the current one first, then its history, if it has one.
#[derive(Debug)]
pub(super) struct SlotPlan {
    pub(super) tables: Vec<TablePlan>,
    /// The other sides of its match, in the order of the index.
    pub(super) wanted: Vec<Expr>,
    /// What of a row finds the rows of its parent.
    pub(super) back: Vec<Expr>,
}

#[derive(Debug)]
pub(super) struct TablePlan {
    pub(super) table: usize,
    /// Places in the rule's columns and in the replica's layout.
    pub(super) cells: Vec<(usize, usize)>,
    /// Finds its rows from those of others.
    pub(super) forward: Option<usize>,
    /// Finds rows of this table, as a parent, for each slot that has it as parent.
    pub(super) as_parent: BTreeMap<usize, usize>,
}

#[derive(Debug)]
pub(super) struct RulePlan {
    pub(super) id: i64,
    pub(super) rule: Arc<Rule>,
    /// The tables that must have been read before it can be worked out.
    pub(super) tables: Vec<TableName>,
    pub(super) slots: Vec<SlotPlan>,
    /// Where its questions wait.
    pub(super) questions: Option<i64>,
}

impl RulePlan {
    /// What it asks the source's database, and where its questions wait.
    pub(super) fn read(&self) -> Option<(&Read, i64)> {
        Some((self.rule.read.as_ref()?, self.questions?))
    }
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) tables: Vec<Table>,
    pub(super) by_name: HashMap<TableName, usize>,
    pub(super) indexes: Vec<Index>,
    pub(super) rules: Vec<RulePlan>,
}

/// What opening a plan found out.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Tables with columns that were not kept so far.
    pub(super) to_read: Vec<TableName>,
    /// Rules that are not what they were.
    pub(super) changed: Vec<usize>,
    /// Rules that ask other questions than they did.
    pub(super) asked_anew: Vec<usize>,
    /// Indexes that are new.
    pub(super) to_fill: Vec<usize>,
}

impl Plan {
    /// The plan of a set's rules, with everything it needs opened.
    pub(super) fn open<R: Replicas>(
        set: &MappingSet,
        all: bool,
        replicas: &mut R,
    ) -> Result<(Self, Opened), R::Error> {
        let mut plan = Self::default();
        let mut opened = Opened::default();
        let rules: Vec<&Arc<Rule>> = set
            .rules
            .iter()
            .filter(|rule| all || rule.relates())
            .collect();
        let mut grown = Vec::new();
        for captured in needed(&rules) {
            let open = replicas.open_table(&captured.table, &captured.columns)?;
            if open.grown {
                grown.push(captured.table.clone());
            }
            let links = rules.iter().flat_map(|rule| rule.links(&captured.table));
            let mut links: Vec<String> = links.map(str::to_owned).collect();
            links.sort_unstable();
            links.dedup();
            plan.by_name.insert(captured.table, plan.tables.len());
            plan.tables.push(Table {
                id: open.id,
                columns: open.columns,
                links,
                uses: Vec::new(),
                filtered: false,
                touches: Vec::new(),
                indexes: Vec::new(),
            });
        }
        for rule in rules {
            plan.add_rule(rule, replicas, &mut opened)?;
            if rule.read.is_none() {
                continue;
            }
            // Answers are read again by reading again what they are asked for.
            let at = plan.rules.len() - 1;
            let answers = rule.from().table.table.clone();
            if grown.contains(&answers) || opened.asked_anew.contains(&at) {
                grown.retain(|table| *table != answers);
                grown.extend(rule.tables(false).into_iter().map(|table| table.table));
            }
        }
        for table in grown {
            if !opened.to_read.contains(&table) {
                opened.to_read.push(table);
            }
        }
        let tables: Vec<i64> = plan.tables.iter().map(|table| table.id).collect();
        let indexes: Vec<i64> = plan.indexes.iter().map(|index| index.id).collect();
        let rules = plan.rules.iter();
        let rules: Vec<i64> = rules
            .flat_map(|rule| [Some(rule.id), rule.questions])
            .flatten()
            .collect();
        replicas.close_others(&tables, &indexes, &rules)?;
        Ok((plan, opened))
    }

    fn add_rule<R: Replicas>(
        &mut self,
        rule: &Arc<Rule>,
        replicas: &mut R,
        opened: &mut Opened,
    ) -> Result<(), R::Error> {
        let reference = &rule.reference;
        let at = self.rules.len();
        let (id, changed) = replicas.open_rule(&reference.rule, &rule.digest)?;
        if changed {
            opened.changed.push(at);
        }
        let mut questions = None;
        if let Some(read) = &rule.read {
            let name = format!("questions of {}", reference.rule);
            let (id, changed) = replicas.open_rule(&name, &read.digest())?;
            questions = Some(id);
            if changed {
                opened.asked_anew.push(at);
            }
        }
        let mut slots = Vec::with_capacity(rule.slots.len());
        for (n, slot) in rule.slots.iter().enumerate() {
            let (mut wanted, mut back) = (Vec::new(), Vec::new());
            if let Some(link) = &slot.link {
                wanted.extend(link.pairs.iter().map(|(_, other)| other.clone()));
                let pairs = link.back.iter().filter_map(|pair| link.pairs.get(*pair));
                back.extend(pairs.map(|(own, _)| own.clone()));
            }
            let mut tables = Vec::new();
            for captured in [Some(&slot.table), slot.history.as_ref()]
                .into_iter()
                .flatten()
            {
                let Some(table) = self.by_name.get(&captured.table).copied() else {
                    continue;
                };
                let layout = self
                    .tables
                    .get(table)
                    .map_or(&[][..], |table| &table.columns);
                let cells = rule
                    .columns
                    .iter()
                    .enumerate()
                    .filter_map(|(place, origin)| {
                        let Origin::Cell { slot, column, .. } = origin else {
                            return None;
                        };
                        let cell = layout.iter().position(|known| known == column)?;
                        (*slot == n).then_some((place, cell))
                    });
                tables.push(TablePlan {
                    table,
                    cells: cells.collect(),
                    forward: None,
                    as_parent: BTreeMap::new(),
                });
                let Some(table) = self.tables.get_mut(table) else {
                    continue;
                };
                let link = slot.link.as_ref();
                table.filtered |= link.is_some_and(|link| link.filter.is_some());
                match &rule.read {
                    Some(read) if n > 0 => {
                        let touches = read.touches.iter().enumerate();
                        let touches = touches.filter(|(_, touch)| touch.slot == n);
                        table.touches.extend(touches.map(|(nth, _)| (at, nth)));
                    }
                    _ => table.uses.push(Use { rule: at, slot: n }),
                }
            }
            slots.push(SlotPlan {
                tables,
                wanted,
                back,
            });
        }
        let tables = rule.tables(false).into_iter();
        self.rules.push(RulePlan {
            id,
            rule: Arc::clone(rule),
            // What a database answers does not wait for what was read of its tables.
            tables: match rule.read {
                Some(_) => Vec::new(),
                None => tables.map(|captured| captured.table).collect(),
            },
            slots,
            questions,
        });
        for (n, slot) in rule.slots.iter().enumerate() {
            let Some(link) = &slot.link else { continue };
            let own: Vec<Expr> = link.pairs.iter().map(|(own, _)| own.clone()).collect();
            for index in self.indexes_on(at, n, &own, &format!("{n} own"), replicas, opened)? {
                if let Some(table) = self.table_plan(at, n, index.0) {
                    table.forward = Some(index.1);
                }
            }
            let pairs = link.back.iter().filter_map(|pair| link.pairs.get(*pair));
            let other: Vec<Expr> = pairs.map(|(_, other)| other.clone()).collect();
            let tag = format!("{n} other");
            for index in self.indexes_on(at, link.parent, &other, &tag, replicas, opened)? {
                if let Some(table) = self.table_plan(at, link.parent, index.0) {
                    table.as_parent.insert(n, index.1);
                }
            }
        }
        Ok(())
    }

    fn table_plan(&mut self, rule: usize, slot: usize, nth: usize) -> Option<&mut TablePlan> {
        self.rules
            .get_mut(rule)?
            .slots
            .get_mut(slot)?
            .tables
            .get_mut(nth)
    }

    /// Indexes on the tables of a slot: (which of its tables, index).
    fn indexes_on<R: Replicas>(
        &mut self,
        rule: usize,
        slot: usize,
        exprs: &[Expr],
        tag: &str,
        replicas: &mut R,
        opened: &mut Opened,
    ) -> Result<Vec<(usize, usize)>, R::Error> {
        let mut found = Vec::new();
        let Some(plan) = self.rules.get(rule) else {
            return Ok(found);
        };
        let on = signature(&plan.rule, tag, exprs);
        let tables = plan.slots.get(slot).map_or(&[][..], |slot| &slot.tables);
        let tables: Vec<usize> = tables.iter().map(|table| table.table).collect();
        for (nth, table) in tables.into_iter().enumerate() {
            let Some(known) = self.tables.get(table) else {
                continue;
            };
            let (id, new) = replicas.open_index(known.id, &on)?;
            let same = known.indexes.iter().copied();
            let same = same
                .into_iter()
                .find(|at| self.indexes.get(*at).is_some_and(|index| index.id == id));
            let at = same.unwrap_or(self.indexes.len());
            if same.is_none() {
                self.indexes.push(Index {
                    id,
                    rule,
                    slot,
                    exprs: exprs.to_vec(),
                });
                if let Some(table) = self.tables.get_mut(table) {
                    table.indexes.push(at);
                }
                if new {
                    opened.to_fill.push(at);
                }
            }
            found.push((nth, at));
        }
        Ok(found)
    }

    /// A row's places in the indexes on its table.
    pub(super) fn places(&self, table: usize, cells: &[Cell]) -> Vec<(i64, String)> {
        let indexes = self
            .tables
            .get(table)
            .map_or(&[][..], |table| &table.indexes);
        indexes
            .iter()
            .filter_map(|at| {
                let index = self.indexes.get(*at)?;
                let value = self.index_value(index, table, cells)?;
                Some((index.id, value))
            })
            .collect()
    }

    /// What an index holds a row under; `None` where no match can find it.
    pub(super) fn index_value(
        &self,
        index: &Index,
        table: usize,
        cells: &[Cell],
    ) -> Option<String> {
        self.value_of(index.rule, index.slot, table, &index.exprs, cells)
    }

    /// The text of expressions over one row.
    pub(super) fn value_of(
        &self,
        rule: usize,
        slot: usize,
        table: usize,
        exprs: &[Expr],
        cells: &[Cell],
    ) -> Option<String> {
        let plan = self.rules.get(rule)?;
        let tables = &plan.slots.get(slot)?.tables;
        let table = tables.iter().find(|known| known.table == table)?;
        let mut work = Work::new(&plan.rule);
        work.fill(&table.cells, cells);
        value_text(&work, exprs).ok().flatten()
    }
}

/// The columns of every table that the rules need, key columns first.
fn needed(rules: &[&Arc<Rule>]) -> Vec<CapturedTable> {
    let mut found: Vec<CapturedTable> = Vec::new();
    let tables = rules.iter().flat_map(|rule| rule.tables(true));
    for table in tables.chain(rules.iter().filter_map(|rule| rule.answers())) {
        let at = found.iter().position(|known| known.table == table.table);
        let at = at.unwrap_or_else(|| {
            found.push(CapturedTable {
                columns: Vec::new(),
                ..table.clone()
            });
            found.len() - 1
        });
        let Some(known) = found.get_mut(at) else {
            continue;
        };
        for column in table.key.iter().chain(&table.columns) {
            if !known.columns.contains(column) {
                known.columns.push(column.clone());
            }
        }
    }
    found
}

/// What an index is on. Plain columns are shared between rules; anything else belongs to one
/// version of one rule.
fn signature(rule: &Rule, tag: &str, exprs: &[Expr]) -> String {
    let cleaning = &rule.cleaning;
    let mut names = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let column = match expr {
            Expr::Column(at) => match rule.columns.get(*at) {
                Some(Origin::Cell { column, .. }) => Some(column),
                _ => None,
            },
            _ => None,
        };
        let Some(column) = column else {
            return digest(&[&rule.digest, &rule.reference.rule, tag]);
        };
        names.push(column.as_str());
    }
    let rules = format!("{cleaning:?}");
    let mut parts = vec![rules.as_str()];
    parts.extend(names);
    digest(&parts)
}

/// What expressions give together, so that equal values give equal texts; `None` where one is
/// null.
///
/// # Errors
/// Why one of them has no value.
pub(super) fn value_text(work: &Work<'_>, exprs: &[Expr]) -> Result<Option<String>, Stop> {
    let mut text = String::new();
    let cells = work.cells();
    for expr in exprs {
        let value = expr.value(&cells)?;
        let Some((class, part)) = comparable(work.rule, &value) else {
            return Ok(None);
        };
        // Lengths keep the parts of a longer key apart.
        push_number(&mut text, part.len());
        text.push(class);
        text.push_str(&part);
    }
    Ok(Some(text))
}

fn push_number(text: &mut String, number: usize) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b"0123456789"[number % 10]));
}

/// A value's class and text: values that expressions call equal have both in common.
fn comparable<'v>(rule: &Rule, value: &'v Value) -> Option<(char, Cow<'v, str>)> {
    let cleaning = &rule.cleaning;
    let plain = |text: &'v str| Cow::Borrowed(text);
    Some(match value {
        Value::Null | Value::Unchanged => return None,
        Value::Bool(value) => ('n', plain(if *value { "1" } else { "0" })),
        Value::Int(_) | Value::UInt(_) | Value::Decimal(_) => ('n', value.text()?.into()),
        Value::Text(text) if cleaning.untyped => match text.parse::<contract::Decimal>() {
            Ok(number) if number.to_string() == *text => ('n', plain(text)),
            _ if cleaning.fold => ('t', crate::sql::folded(text).into()),
            _ => ('t', plain(text)),
        },
        Value::Text(text) if cleaning.fold => ('t', crate::sql::folded(text).into()),
        Value::Text(text) => ('t', plain(text)),
        Value::Date(date) => ('d', date.to_string().into()),
        Value::DateTime(local) if local.time() == jiff::civil::Time::midnight() => {
            ('d', local.date().to_string().into())
        }
        Value::DateTime(_) => ('l', value.text()?.into()),
        Value::Time(_) => ('h', value.text()?.into()),
        Value::Timestamp(_) => ('z', value.text()?.into()),
        Value::Uuid(_) => ('u', value.text()?.into()),
        Value::Float(_) => ('f', value.text()?.into()),
        Value::Bytes(_) => ('b', value.text()?.into()),
        Value::Json(_) => ('j', value.text()?.into()),
        Value::Invalid(_) => return None,
    })
}

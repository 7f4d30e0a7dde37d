//! A mapping file compiled: what [`crate::load`] makes, [`crate::apply`] and [`crate::relate`] run.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::event::digest;
use contract::{
    BodySchema, CapturedTable, EventKind, EventType, FieldType, FieldValue, MappingRef, TableName,
};
use jiff::tz::TimeZone;

use crate::convert::Cleaning;
use crate::sql::{Cells, Expr, LineCall};

/// Which blanks text loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Trim {
    #[default]
    None,
    Left,
    Right,
    Both,
}

/// A dictionary as one field uses it: codes and their values, already of the field's type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lookup {
    pub(crate) name: String,
    pub(crate) values: BTreeMap<String, FieldValue>,
    /// What unknown codes mean; `None` = hold.
    pub(crate) otherwise: Option<FieldValue>,
}

/// How a text or number is a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DateForm {
    /// `2026-11-20`
    Iso,
    /// `20261120`
    Ymd,
    /// `126324`: century since 1900, year, day of year (JD Edwards)
    Cyyddd,
}

/// Where an amount's currency comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Currency {
    Fixed(String),
    /// Worked out from the row.
    Of(Formula),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term {
    /// A constant, already of the field's type (an amount of money without its currency).
    Constant(FieldValue),
    /// Index into the rule's columns.
    Column(usize),
    /// Worked out from the row.
    Expression(Formula),
    /// An object's fields.
    Object(&'static BodySchema, Vec<Field>),
    /// Texts, each worked out alone; nulls are left out.
    Texts(Vec<Field>),
    /// Named texts; nulls are left out.
    Map(Vec<(String, Field)>),
    /// Rows of another table: an index into the rule's lists.
    List(usize),
}

/// An expression and how its author wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Formula {
    pub(crate) text: String,
    pub(crate) expr: Expr,
}

impl Formula {
    /// On one line and not too long, for reasons.
    pub(crate) fn shown(&self) -> String {
        let words: Vec<&str> = self.text.split_whitespace().collect();
        let text = words.join(" ");
        match text.char_indices().nth(120) {
            Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
            None => text,
        }
    }
}

/// How a field of several rows becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combine {
    Sum,
    Least,
    Greatest,
    /// True when it is true for some row.
    Any,
    /// True when it is true for every row.
    All,
    /// Every row must say the same.
    Same,
}

/// A key or body field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Index in the key or in the body's schema.
    pub(crate) index: usize,
    pub(crate) field_type: FieldType,
    pub(crate) required: bool,
    pub(crate) term: Term,
    pub(crate) cleaning: Arc<Cleaning>,
    /// Instead of null.
    pub(crate) default: Option<FieldValue>,
    pub(crate) lookup: Option<Lookup>,
    pub(crate) implied_decimals: u32,
    pub(crate) round: Option<u32>,
    pub(crate) date: DateForm,
    pub(crate) zone: Option<TimeZone>,
    pub(crate) currency: Option<Currency>,
    /// How the rows of a grouped event make one value of it.
    pub(crate) combine: Combine,
    /// It is made of other fields.
    pub(crate) of_fields: bool,
}

impl Field {
    /// The expressions that make it.
    pub(crate) fn expressions(&self) -> Vec<&Expr> {
        let mut found: Vec<&Expr> = Vec::new();
        match &self.term {
            Term::Expression(formula) => found.push(&formula.expr),
            Term::Object(_, fields) | Term::Texts(fields) => {
                found.extend(fields.iter().flat_map(Self::expressions));
            }
            Term::Map(entries) => {
                found.extend(entries.iter().flat_map(|(_, field)| field.expressions()));
            }
            Term::Constant(_) | Term::Column(_) | Term::List(_) => {}
        }
        if let Some(Currency::Of(formula)) = &self.currency {
            found.push(&formula.expr);
        }
        found
    }
}

/// Where a rule's column comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    /// A column of a slot's row.
    Cell {
        slot: usize,
        column: String,
        /// Some versions of the table lack it.
        optional: bool,
    },
    /// What the rows of an `add` make together.
    Added { slot: usize, what: Added },
    /// What is asked of all lines: an expression over one line.
    Lines {
        list: usize,
        call: LineCall,
        inner: Option<Expr>,
    },
    /// Whether the row was found in the tables of `also_in`.
    Archived,
}

/// What an `add` gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    Sum,
    Count,
    Earliest,
    Latest,
}

impl Added {
    /// Every one, with its name.
    pub(crate) const ALL: [(&'static str, Self); 4] = [
        ("sum", Self::Sum),
        ("count", Self::Count),
        ("earliest", Self::Earliest),
        ("latest", Self::Latest),
    ];
}

/// What a missing row of a join means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Hold,
    Null,
    LeaveOut,
}

/// What a slot is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    /// The event's own table.
    From,
    /// At most one row.
    Join(Missing),
    /// Rows to add up.
    Add(Box<Sums>),
    /// Rows that become a list.
    List,
    /// Rows whose changes make the rule ask the database.
    Touch,
}

/// What a rule asks the source's database, and when.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Read {
    pub(crate) sql: String,
    /// The statement's parameters.
    pub(crate) names: Vec<String>,
    /// The columns it gives.
    pub(crate) columns: Vec<String>,
    pub(crate) touches: Vec<Touch>,
    /// Most rows of one question's answer.
    pub(crate) rows_max: usize,
    pub(crate) time_max_ms: u64,
}

impl Read {
    /// Another digest means other questions, or other answers.
    pub(crate) fn digest(&self) -> String {
        let mut parts: Vec<&str> = vec![&self.sql];
        parts.extend(self.names.iter().map(String::as_str));
        for touch in &self.touches {
            parts.push(&touch.table);
            parts.extend(touch.filter.iter().map(|filter| filter.text.as_str()));
            parts.extend(touch.give.iter().map(|give| give.text.as_str()));
        }
        digest(&parts)
    }
}

/// Rows that put a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Touch {
    pub(crate) slot: usize,
    /// Its table's name.
    pub(crate) table: String,
    pub(crate) filter: Option<Formula>,
    /// The parameters' values, in the order of their names.
    pub(crate) give: Vec<Formula>,
}

/// What is made of the rows of an `add`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Sums {
    pub(crate) filter: Option<Formula>,
    pub(crate) sum: Option<Formula>,
    pub(crate) earliest: Option<Formula>,
    pub(crate) latest: Option<Formula>,
}

/// A table as one event uses it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) alias: String,
    pub(crate) table: CapturedTable,
    /// Where rows of it go when their document is finished.
    pub(crate) history: Option<CapturedTable>,
    pub(crate) role: Role,
    /// The slot whose rows it belongs to: 0 for joins of the event's own row, else that of an
    /// `add` or a list.
    pub(crate) home: usize,
    /// How its rows are found; none for the event's own table.
    pub(crate) link: Option<Link>,
}

/// How the rows of a slot are found from those of others, and the other way round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Link {
    pub(crate) text: String,
    /// Both sides of each equality: its own, and what it must equal.
    pub(crate) pairs: Vec<(Expr, Expr)>,
    /// What only its own row decides.
    pub(crate) filter: Option<Expr>,
    /// The slot through which a change of its rows is felt.
    pub(crate) parent: usize,
    /// The equalities with that slot alone.
    pub(crate) back: Vec<usize>,
}

/// Rows of a table as a list of objects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct List {
    pub(crate) slot: usize,
    pub(crate) schema: &'static BodySchema,
    pub(crate) filter: Option<Formula>,
    /// Ascending, or descending.
    pub(crate) order: Vec<(Expr, bool)>,
    pub(crate) fields: Vec<Field>,
    /// Which of its schema's fields some expression reads.
    pub(crate) reads: Vec<bool>,
}

/// A condition that every event of a rule should meet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Guard {
    pub(crate) check: Formula,
    /// Hold the event, or send it with a warning.
    pub(crate) hold: bool,
    pub(crate) say: String,
}

/// One `events` entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) reference: Arc<MappingRef>,
    /// Of all that its events are made of.
    pub(crate) digest: String,
    pub(crate) event_type: EventType,
    /// The company it is for, where the file has several.
    pub(crate) company: Option<String>,
    /// The event's own table first.
    pub(crate) slots: Vec<Slot>,
    pub(crate) lists: Vec<List>,
    /// What its expressions read.
    pub(crate) columns: Vec<Origin>,
    pub(crate) key: Vec<Field>,
    /// In the order in which they can be worked out.
    pub(crate) fields: Vec<Field>,
    /// Which of the event's fields, key fields behind them, some expression reads.
    pub(crate) reads: Vec<bool>,
    /// Several rows make one event.
    pub(crate) grouped: bool,
    /// The rows it is about; all, if there is none.
    pub(crate) filter: Option<Formula>,
    /// Rows that are there but gone.
    pub(crate) deleted_when: Option<Formula>,
    pub(crate) guards: Vec<Guard>,
    /// Whether a deleted row first tells zero.
    pub(crate) zero_first: bool,
    /// Its own rows come from the database's answers.
    pub(crate) read: Option<Read>,
    /// How long a document may wait for the rest of its rows, in milliseconds.
    pub(crate) wait_ms: u64,
    /// The file's cleaning rules and zone, for expressions.
    pub(crate) cleaning: Arc<Cleaning>,
    pub(crate) zone: Option<TimeZone>,
    /// How the log is made to carry whole rows, where that is one statement.
    pub(crate) whole_rows_hint: Option<String>,
}

impl Rule {
    /// Notes which fields are read, so that working out a row need not ask again.
    pub(crate) fn noted(mut self) -> Self {
        let schema = self.event_type.schema();
        let mut reads = vec![false; schema.fields.len() + schema.key.len()];
        for field in &mut self.fields {
            field.of_fields = note(&mut reads, &field.expressions());
        }
        let guards: Vec<&Expr> = self.guards.iter().map(|guard| &guard.check.expr).collect();
        note(&mut reads, &guards);
        self.reads = reads;
        for (n, list) in self.lists.iter_mut().enumerate() {
            let mut reads = vec![false; list.schema.fields.len()];
            for field in &mut list.fields {
                field.of_fields = note(&mut reads, &field.expressions());
            }
            let order: Vec<&Expr> = list.order.iter().map(|(expr, _)| expr).collect();
            note(&mut reads, &order);
            let calls = self.columns.iter().filter_map(|origin| match origin {
                Origin::Lines { list, inner, .. } if *list == n => inner.as_ref(),
                _ => None,
            });
            note(&mut reads, &calls.collect::<Vec<_>>());
            list.reads = reads;
        }
        self
    }

    /// The columns of a table by which rows are found, from it or in it. A row that lacks one could
    /// belong to any other.
    pub(crate) fn links(&self, table: &TableName) -> Vec<&str> {
        // A test gives only the columns that matter to it.
        if self.cleaning.untyped {
            return Vec::new();
        }
        let of_table = |slot: usize| {
            let slot = self.slots.get(slot);
            slot.is_some_and(|slot| {
                let tables = [Some(&slot.table), slot.history.as_ref()];
                tables
                    .into_iter()
                    .flatten()
                    .any(|known| known.table == *table)
            })
        };
        let links = self.slots.iter().filter_map(|slot| slot.link.as_ref());
        let sides = links.flat_map(|link| link.pairs.iter().flat_map(|(own, other)| [own, other]));
        sides
            .flat_map(Expr::columns)
            .filter_map(|at| match self.columns.get(at) {
                Some(Origin::Cell {
                    slot,
                    column,
                    optional: false,
                }) if of_table(*slot) => Some(column.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Whether it needs rows beside the changed one.
    pub(crate) fn relates(&self) -> bool {
        self.needs_others() || self.shares_key()
    }

    /// Whether an event is made of more than one row.
    fn needs_others(&self) -> bool {
        self.slots.len() > 1 || self.grouped || self.from().history.is_some() || self.read.is_some()
    }

    /// Whether two rows of its one table can have the same event key: then what one no longer tells
    /// another may tell, and the log of a removed row may not say what it told. A fact is told by its
    /// row's key, whatever the event's.
    pub(crate) fn shares_key(&self) -> bool {
        !self.needs_others() && self.event_type.kind() == EventKind::State && !self.own_keys()
    }

    /// No two rows of its own table can have the same event key: each column of the table's key
    /// stands in it as it is. What an expression makes of a column may be the same for two rows.
    fn own_keys(&self) -> bool {
        let stands = |column: &String| {
            self.key.iter().any(|field| {
                let Term::Column(at) = field.term else {
                    return false;
                };
                let whole = field.lookup.is_none() && field.default.is_none();
                whole
                    && matches!(self.columns.get(at), Some(Origin::Cell { slot: 0, column: own, .. })
                        if own == column)
            })
        };
        self.from().table.key.iter().all(stands)
    }

    /// Names the table of its answers after the rule.
    pub(crate) fn name_answers(&mut self) {
        if let (Some(_), Some(slot)) = (&self.read, self.slots.first_mut()) {
            slot.table.table = TableName::new("", format!("answers of {}", self.reference.rule));
        }
    }

    /// The rows of its answers as a table, with the columns it needs of them.
    pub(crate) fn answers(&self) -> Option<CapturedTable> {
        self.read.as_ref()?;
        Some(self.needed_of(0, true))
    }

    /// The columns it needs of a slot's table.
    fn needed_of(&self, wanted: usize, optional: bool) -> CapturedTable {
        let columns = self.columns.iter().filter_map(|origin| match origin {
            Origin::Cell {
                slot,
                column,
                optional: can_lack,
            } if *slot == wanted && (optional || !can_lack) => Some(column.clone()),
            _ => None,
        });
        let slot = self.slots.get(wanted).unwrap_or(self.from());
        CapturedTable {
            columns: columns.collect(),
            ..slot.table.clone()
        }
    }

    /// The event's own table.
    pub(crate) fn from(&self) -> &Slot {
        // A rule is made with its own table first.
        #[expect(clippy::indexing_slicing, reason = "a rule has at least one slot")]
        &self.slots[0]
    }

    /// How a field's value is written in the file; none for a constant.
    pub(crate) fn written(&self, field: &Field) -> Option<String> {
        match &field.term {
            Term::Expression(formula) => Some(formula.shown()),
            Term::Column(n) => match self.columns.get(*n)? {
                Origin::Cell { slot, column, .. } => {
                    let alias = self.slots.get(*slot).map_or("", |slot| &slot.alias);
                    Some(format!("{alias}.{column}"))
                }
                Origin::Added { slot, what } => {
                    let alias = self.slots.get(*slot).map_or("", |slot| &slot.alias);
                    let name = Added::ALL.iter().find(|(_, known)| known == what);
                    Some(format!("{alias}.{}", name.map_or("", |(name, _)| name)))
                }
                Origin::Lines { .. } | Origin::Archived => None,
            },
            Term::Constant(_)
            | Term::Object(..)
            | Term::Texts(_)
            | Term::Map(_)
            | Term::List(_) => None,
        }
    }

    /// Names a field of the rule and its column, for reasons.
    pub(crate) fn describe(&self, field: &Field) -> String {
        let (rule, name) = (&self.reference.rule, field.name);
        match &field.term {
            Term::Expression(formula) => {
                format!("rule {rule}, field {name}, `{}`", formula.shown())
            }
            Term::Column(n) => match self.columns.get(*n) {
                Some(Origin::Cell {
                    slot: 0, column, ..
                }) => {
                    format!("rule {rule}, field {name}, column \"{column}\"")
                }
                Some(Origin::Cell { slot, column, .. }) => {
                    let alias = self.slots.get(*slot).map_or("", |slot| &slot.alias);
                    format!("rule {rule}, field {name}, column \"{column}\" of {alias}")
                }
                _ => format!("rule {rule}, field {name}"),
            },
            _ => format!("rule {rule}, field {name}"),
        }
    }

    /// A row as the rule's expressions see it.
    pub(crate) fn cells<'r>(&'r self, at: &'r [usize], row: &'r [contract::Value]) -> Cells<'r> {
        Cells {
            row,
            at,
            fields: &[],
            names: &self.columns,
            cleaning: &self.cleaning,
            zone: self.zone.as_ref(),
        }
    }

    /// `reason`, and how the log can be made to carry whole rows.
    pub(crate) fn with_hint(&self, reason: String) -> String {
        match &self.whole_rows_hint {
            Some(hint) => format!("{reason}; `{hint}` makes it carry whole rows"),
            None => reason,
        }
    }

    /// The columns it needs of each table, and with `optional` those it can do without.
    pub(crate) fn tables(&self, optional: bool) -> Vec<CapturedTable> {
        let mut tables: Vec<CapturedTable> = Vec::new();
        for (n, slot) in self.slots.iter().enumerate() {
            if n == 0 && self.read.is_some() {
                // No table of the source.
                continue;
            }
            let table = self.needed_of(n, optional);
            if let Some(history) = &slot.history {
                let mut history = history.clone();
                history.columns.clone_from(&table.columns);
                tables.push(history);
            }
            tables.push(table);
        }
        tables
    }
}

/// Notes the fields that expressions read; whether there are any.
fn note(reads: &mut [bool], exprs: &[&Expr]) -> bool {
    let mut any = false;
    for field in exprs.iter().flat_map(|expr| expr.fields()) {
        any = true;
        if let Some(read) = reads.get_mut(field) {
            *read = true;
        }
    }
    any
}

//! A mapping file compiled: what [`crate::load`] makes and [`crate::apply`] runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{
    CapturedTable, EventType, FieldType, FieldValue, Finding, MappingRef, TableName, Value,
};
use jiff::tz::TimeZone;

use crate::convert::Cleaning;
use crate::sql::{Cells, Expr};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Currency {
    Fixed(String),
    /// Index into the rule's columns.
    Column(usize),
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

/// A key or body field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Index in the key or in the body's schema.
    pub(crate) index: usize,
    pub(crate) field_type: FieldType,
    pub(crate) required: bool,
    pub(crate) term: Term,
    pub(crate) cleaning: Cleaning,
    /// Instead of null.
    pub(crate) default: Option<FieldValue>,
    pub(crate) lookup: Option<Lookup>,
    pub(crate) implied_decimals: u32,
    pub(crate) round: Option<u32>,
    pub(crate) date: DateForm,
    pub(crate) zone: Option<TimeZone>,
    pub(crate) currency: Option<Currency>,
}

/// One `events` entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) reference: Arc<MappingRef>,
    pub(crate) event_type: EventType,
    pub(crate) table: CapturedTable,
    /// Columns the rule reads.
    pub(crate) columns: Vec<String>,
    pub(crate) key: Vec<Field>,
    pub(crate) fields: Vec<Field>,
    /// No two rows of the table can have the same event key.
    pub(crate) own_keys: bool,
    /// The rows it is about; all, if there is none.
    pub(crate) filter: Option<Formula>,
    /// Rows that are there but gone.
    pub(crate) deleted_when: Option<Formula>,
    /// The file's cleaning rules and zone, for expressions.
    pub(crate) cleaning: Cleaning,
    pub(crate) zone: Option<TimeZone>,
    /// How the log is made to carry whole rows, where that is one statement.
    pub(crate) whole_rows_hint: Option<String>,
}

impl Rule {
    /// Names a field of the rule and its column, for reasons.
    pub(crate) fn describe(&self, field: &Field) -> String {
        let column = match &field.term {
            Term::Column(n) => self.columns.get(*n),
            Term::Constant(_) | Term::Expression(_) => None,
        };
        let (rule, name) = (&self.reference.rule, field.name);
        if let Term::Expression(formula) = &field.term {
            return format!("rule {rule}, field {name}, `{}`", formula.shown());
        }
        match column {
            Some(column) => format!("rule {rule}, field {name}, column \"{column}\""),
            None => format!("rule {rule}, field {name}"),
        }
    }

    /// A row as the rule's expressions see it.
    pub(crate) fn cells<'r>(&'r self, at: &'r [usize], row: &'r [Value]) -> Cells<'r> {
        Cells {
            row,
            at,
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
}

/// One mapping file, checked and compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub(crate) pack: String,
    pub(crate) digest: String,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) warnings: Vec<Finding>,
}

impl Mapping {
    /// The pack's name.
    pub fn pack(&self) -> &str {
        &self.pack
    }

    /// Digest of the file's text.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What loads but a person should know, with its place.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }
}

/// A rule, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    /// Its id.
    pub id: String,
    /// What it emits.
    pub event_type: EventType,
    /// The table it reads.
    pub table: TableName,
}

/// All mapping files of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct MappingSet {
    pub(crate) rules: Vec<Arc<Rule>>,
}

impl MappingSet {
    /// Joins files.
    ///
    /// # Errors
    /// When two rules have one id, or two files give one table different keys.
    pub fn new(mappings: Vec<Mapping>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        for rule in mappings.into_iter().flat_map(|mapping| mapping.rules) {
            let id = &rule.reference.rule;
            if let Some(known) = rules.iter().find(|known| known.reference.rule == *id) {
                let found = format!(
                    "pack {} and pack {} both define it",
                    known.reference.pack, rule.reference.pack
                );
                let fix = "give one of them another `id`";
                findings.push(Finding::fail(format!("rule {id}"), found).fix(fix));
            }
            let other = rules.iter().find(|known| {
                known.table.table == rule.table.table && known.table.key != rule.table.key
            });
            if let Some(other) = other {
                let found = format!(
                    "rule {} says its key is [{}], rule {id} says [{}]",
                    other.reference.rule,
                    other.table.key.join(", "),
                    rule.table.key.join(", ")
                );
                findings.push(Finding::fail(format!("table {}", rule.table.table), found));
            }
            rules.push(rule);
        }
        if findings.is_empty() {
            Ok(Self { rules })
        } else {
            Err(findings)
        }
    }

    /// The tables to capture, each with every column some rule reads.
    pub fn tables(&self) -> Vec<CapturedTable> {
        let mut tables: Vec<CapturedTable> = Vec::new();
        for rule in &self.rules {
            let known = tables
                .iter()
                .position(|known| known.table == rule.table.table);
            let at = known.unwrap_or_else(|| {
                let (table, key) = (rule.table.table.clone(), rule.table.key.clone());
                tables.push(CapturedTable {
                    table,
                    key,
                    columns: Vec::new(),
                });
                tables.len() - 1
            });
            let Some(table) = tables.get_mut(at) else {
                continue;
            };
            for column in rule.table.key.iter().chain(&rule.columns) {
                if !table.columns.contains(column) {
                    table.columns.push(column.clone());
                }
            }
        }
        tables
    }

    /// The rules.
    pub fn rules(&self) -> impl Iterator<Item = RuleInfo> {
        self.rules.iter().map(|rule| RuleInfo {
            id: rule.reference.rule.clone(),
            event_type: rule.event_type,
            table: rule.table.table.clone(),
        })
    }
}

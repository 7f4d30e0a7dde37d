//! A mapping file compiled: what [`crate::load`] makes and [`crate::apply`] runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{CapturedTable, Decimal, EventType, FieldType, MappingRef, TableName};
use jiff::tz::TimeZone;

/// Which blanks text loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Trim {
    #[default]
    None,
    Left,
    Right,
    Both,
}

/// Codes and the words they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dictionary {
    pub(crate) name: String,
    pub(crate) words: BTreeMap<String, String>,
    /// What unknown codes mean; `None` = hold.
    pub(crate) otherwise: Option<String>,
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
    Text(String),
    Number(Decimal),
    Bool(bool),
    /// Index into the rule's columns.
    Column(usize),
    /// `case when column is [not] null then 'a' else 'b' end`
    NullCase {
        column: usize,
        when_null: String,
        when_set: String,
    },
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
    pub(crate) trim: Trim,
    pub(crate) blank_is_null: bool,
    pub(crate) null_values: Vec<String>,
    pub(crate) default: Option<String>,
    pub(crate) dictionary: Option<Arc<Dictionary>>,
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
}

/// One mapping file, checked and compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub(crate) pack: String,
    pub(crate) digest: String,
    pub(crate) rules: Vec<Arc<Rule>>,
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
    pub fn new(mappings: Vec<Mapping>) -> Result<Self, Vec<contract::Finding>> {
        let mut findings = Vec::new();
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        for rule in mappings.into_iter().flat_map(|mapping| mapping.rules) {
            let id = &rule.reference.rule;
            if rules.iter().any(|known| known.reference.rule == *id) {
                let what = format!("rule {id}");
                findings.push(contract::Finding::fail(what, "two mapping files define it"));
            }
            let other = rules.iter().find(|known| {
                known.table.table == rule.table.table && known.table.key != rule.table.key
            });
            if other.is_some() {
                let what = format!("table {}", rule.table.table);
                findings.push(contract::Finding::fail(
                    what,
                    "two rules give it different keys",
                ));
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
            let wanted = rule.table.key.iter().chain(&rule.columns);
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
            for column in wanted {
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

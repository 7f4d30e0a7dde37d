//! Mapping files joined: the rules of one source, and what they need of its tables.

use std::sync::Arc;

use contract::{CapturedTable, EventType, Finding, MappingRef, TableName};

use crate::given::Given;
use crate::rule::{Field, Rule, Term};

/// One mapping file, checked and compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub(crate) pack: String,
    pub(crate) digest: String,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) tests: Vec<Given>,
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
    /// Every table whose rows its events are made of.
    pub tables: Vec<TableName>,
    /// Of all that its events are made of: another one means that they may be others.
    pub digest: String,
    /// Whether it needs rows beside the changed one.
    pub relates: bool,
    /// Before a tombstone, zero is told.
    pub zero_first: bool,
    /// What its events say made them.
    pub mapping: Arc<MappingRef>,
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
            for table in rule.tables(true) {
                let clash = rules.iter().find_map(|known| {
                    let other = known
                        .tables(true)
                        .into_iter()
                        .find(|other| other.table == table.table && other.key != table.key)?;
                    Some((known.reference.rule.clone(), other.key.join(", ")))
                });
                if let Some((other, key)) = clash {
                    let found = format!(
                        "rule {other} says its key is [{key}], rule {id} says [{}]",
                        table.key.join(", ")
                    );
                    let what = format!("table {}", table.table);
                    findings.push(Finding::fail(what, found));
                }
            }
            rules.push(rule);
        }
        if findings.is_empty() {
            Ok(Self { rules })
        } else {
            Err(findings)
        }
    }

    /// The tables to capture, each with every column some rule cannot do without.
    pub fn tables(&self) -> Vec<CapturedTable> {
        self.tables_with(false)
    }

    /// The same tables, each also with the columns that some versions lack.
    pub fn all_tables(&self) -> Vec<CapturedTable> {
        self.tables_with(true)
    }

    fn tables_with(&self, optional: bool) -> Vec<CapturedTable> {
        let mut tables: Vec<CapturedTable> = Vec::new();
        for needed in self.rules.iter().flat_map(|rule| rule.tables(optional)) {
            let known = tables.iter().position(|known| known.table == needed.table);
            let at = known.unwrap_or_else(|| {
                let mut table = needed.clone();
                table.columns = Vec::new();
                tables.push(table);
                tables.len() - 1
            });
            let Some(table) = tables.get_mut(at) else {
                continue;
            };
            for column in needed.key.iter().chain(&needed.columns) {
                if !table.columns.contains(column) {
                    table.columns.push(column.clone());
                }
            }
        }
        tables
    }

    /// What each rule cannot do without, by what it tells.
    pub fn needs(&self) -> impl Iterator<Item = (EventType, CapturedTable)> {
        let rules = self.rules.iter();
        rules.flat_map(|rule| {
            let tables = rule.tables(false).into_iter();
            tables.map(|table| (rule.event_type, table))
        })
    }

    /// Whether a rule of this id asks the database.
    pub(crate) fn reads(&self, event: &str) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| {
            let id = &rule.reference.rule;
            let id = id.split_once('@').map_or(id.as_str(), |(id, _)| id);
            rule.read.is_some() && id == event
        })
    }

    /// Whether some rule needs rows of several tables.
    pub fn relates(&self) -> bool {
        self.rules.iter().any(|rule| rule.relates())
    }

    /// The rules.
    pub fn rules(&self) -> impl Iterator<Item = RuleInfo> {
        self.rules.iter().map(|rule| RuleInfo {
            id: rule.reference.rule.clone(),
            event_type: rule.event_type,
            table: rule.from().table.table.clone(),
            tables: rule
                .tables(true)
                .into_iter()
                .map(|one| one.table.clone())
                .collect(),
            digest: rule.digest.clone(),
            relates: rule.relates(),
            zero_first: rule.zero_first,
            mapping: Arc::clone(&rule.reference),
        })
    }
}

impl Mapping {
    /// The tests that stand in the file.
    pub fn tests(&self) -> &[Given] {
        &self.tests
    }
}

impl Rule {
    /// The rule for rows of a test, where texts stand for values of any type.
    fn untyped(&self) -> Self {
        let mut rule = self.clone();
        Arc::make_mut(&mut rule.cleaning).untyped = true;
        let lists = rule.lists.iter_mut().flat_map(|list| &mut list.fields);
        let fields = rule.key.iter_mut().chain(&mut rule.fields).chain(lists);
        fields.for_each(untyped);
        rule
    }
}

fn untyped(field: &mut Field) {
    Arc::make_mut(&mut field.cleaning).untyped = true;
    match &mut field.term {
        Term::Object(_, fields) | Term::Texts(fields) => fields.iter_mut().for_each(untyped),
        Term::Map(entries) => entries.iter_mut().for_each(|(_, field)| untyped(field)),
        Term::Constant(_) | Term::Column(_) | Term::Expression(_) | Term::List(_) => {}
    }
}

impl MappingSet {
    /// The set for rows of a test.
    pub(crate) fn untyped(&self) -> Self {
        let rules = self.rules.iter().map(|rule| Arc::new(rule.untyped()));
        Self {
            rules: rules.collect(),
        }
    }
}

impl Mapping {
    /// Whether some rule is for a company.
    pub(crate) fn has_company(&self, code: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.company.as_deref() == Some(code))
    }
}

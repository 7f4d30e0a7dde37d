//! Rows of a source as rules see them now, for other rooms.

use std::collections::BTreeMap;

use contract::{CapturedTable, Finding, Source, TableInfo};
use mappings::MappingSet;
use serde_json::Value as Json;

use super::attempt::{one, one_json, typed};
use super::rows::{Pick, Reader, Rows, Tried, run};
use crate::config::SourceConfig;

/// A row, what it is joined with, and what each expression of its rule gives.
pub(crate) struct Looked {
    rows: Rows,
    tried: Tried,
}

impl Looked {
    /// Reads a row by its key, as texts in the order of the key's columns, and tries the rule on it.
    ///
    /// # Errors
    /// Why the source does not give it.
    pub(crate) async fn at(
        config: &SourceConfig,
        tables: &[TableInfo],
        set: &MappingSet,
        rule: &str,
        table: &CapturedTable,
        key: &[String],
    ) -> Result<Self, Vec<Finding>> {
        let source = config.capturing(set.tables())?;
        let rules = [rule.to_owned()];
        let set = set.only(&rules);
        let info = tables.iter().find(|info| info.table == table.table);
        let values = table.key.iter().zip(key).map(|(column, text)| {
            let column = info.and_then(|info| info.column(column));
            typed(column.map(|column| column.kind), text)
        });
        let pick = Pick::Keys(table.table.clone(), vec![values.collect()]);
        let rows = Reader::new(&*source, tables, &set)
            .read(&rules, &pick)
            .await?;
        if rows.own.values().all(Vec::is_empty) {
            let found = "its row is not there any more";
            let fix = "have its table read again, and the item goes: lighterman held retry --cause mapping";
            return Err(vec![
                Finding::fail(format!("table {}", table.table), found).fix(fix),
            ]);
        }
        let tried = run(Some(&*source), &set, &rows, 1).await?;
        Ok(Self { rows, tried })
    }

    /// Prints it for people.
    pub(crate) fn print(&self) {
        one(&self.rows, &self.tried);
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Json {
        one_json(&self.rows, &self.tried)
    }
}

/// What became of the first rows of each rule's own table, by rule.
pub(crate) struct Trying {
    pub(crate) rows: BTreeMap<String, u64>,
    pub(crate) events: BTreeMap<String, u64>,
    pub(crate) held: BTreeMap<String, u64>,
}

/// Tries all rules of a mapping on the first `count` rows of their own tables.
///
/// # Errors
/// Why the source does not give them.
pub(crate) async fn tried_first(
    source: &dyn Source,
    tables: &[TableInfo],
    set: &MappingSet,
    count: usize,
) -> Result<Trying, Vec<Finding>> {
    let rules: Vec<String> = set.rules().map(|rule| rule.id).collect();
    let reader = Reader::new(source, tables, set);
    let rows = reader.read(&rules, &Pick::First(count)).await?;
    let tried = run(Some(source), set, &rows, count).await?;
    let mut trying = Trying {
        rows: BTreeMap::new(),
        events: BTreeMap::new(),
        held: BTreeMap::new(),
    };
    for (rule, own) in &rows.own {
        trying.rows.insert(rule.clone(), own.len() as u64);
    }
    for event in &tried.outcome.events {
        *trying
            .events
            .entry(event.envelope.mapping.rule.clone())
            .or_default() += 1;
    }
    for held in &tried.outcome.held {
        *trying.held.entry(held.mapping.rule.clone()).or_default() += 1;
    }
    Ok(trying)
}

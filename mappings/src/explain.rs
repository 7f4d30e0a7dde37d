//! What an event is made of: every table and column that influences it, how its rows are found
//! from each other, and what the agent must keep for that.

use serde::Serialize;

use crate::rule::{Link, MappingSet, Missing, Origin, Role, Rule, Slot};

/// Bytes that a replica's row takes beside its cells, about: key, places in indexes, SQLite's own.
const ROW_BYTES: u64 = 80;
/// Bytes of a cell, about.
const CELL_BYTES: u64 = 16;
/// Bytes of a place in an index, about.
const PLACE_BYTES: u64 = 48;

/// One event of a mapping file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedEvent {
    /// The rule.
    pub rule: String,
    /// What it emits.
    pub emits: &'static str,
    /// The pack.
    pub pack: String,
    /// Works on one row alone and keeps nothing.
    pub one_row: bool,
    /// Several rows make one event.
    pub grouped: bool,
    /// It keeps the rows of its one table because two of them can have the same event key.
    pub shared_key: bool,
    /// The event's key.
    pub key: Vec<String>,
    /// Its fields.
    pub fields: Vec<&'static str>,
    /// The statement that gives its rows, where they are read by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The tables that influence it, its own first.
    pub tables: Vec<ExplainedTable>,
}

/// A table as an event uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedTable {
    /// How the event calls it.
    pub alias: String,
    /// The table.
    pub table: String,
    /// What it is for, in words.
    pub role: &'static str,
    /// The columns whose change is felt.
    pub columns: Vec<String>,
    /// How its rows are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_by: Option<String>,
    /// What a missing row means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<&'static str>,
    /// Through which alias a change of it reaches the event; none for its own table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub felt_through: Option<String>,
    /// What the source's database is asked when a row of it changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// Where its rows go when their document is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
    /// Bytes kept per row of the table in the state file, about; 0 where nothing is kept.
    pub bytes_per_row: u64,
}

impl MappingSet {
    /// What each event is made of.
    pub fn explain(&self) -> Vec<ExplainedEvent> {
        self.rules.iter().map(|rule| explain(rule)).collect()
    }
}

fn explain(rule: &Rule) -> ExplainedEvent {
    let one_row = !rule.relates();
    let slots = rule.slots.iter().enumerate();
    let tables = slots.map(|(n, slot)| table(rule, n, slot, one_row));
    ExplainedEvent {
        rule: rule.reference.rule.clone(),
        emits: rule.event_type.name(),
        pack: rule.reference.pack.clone(),
        one_row,
        grouped: rule.grouped,
        shared_key: rule.shares_key(),
        key: rule.key.iter().map(|field| field.name.to_owned()).collect(),
        fields: {
            let mut fields: Vec<_> = rule.fields.iter().collect();
            fields.sort_by_key(|field| field.index);
            fields.iter().map(|field| field.name).collect()
        },
        statement: rule.read.as_ref().map(|read| read.sql.clone()),
        tables: tables.collect(),
    }
}

fn table(rule: &Rule, n: usize, slot: &Slot, one_row: bool) -> ExplainedTable {
    let columns: Vec<String> = rule
        .columns
        .iter()
        .filter_map(|origin| match origin {
            Origin::Cell { slot, column, .. } if *slot == n => Some(column.clone()),
            _ => None,
        })
        .collect();
    let (role, missing) = match &slot.role {
        Role::From if rule.read.is_some() => ("what the statement gives", None),
        Role::From => ("the event's own rows", None),
        Role::Join(missing) => (
            "one more row",
            Some(match missing {
                Missing::Hold => "hold",
                Missing::Null => "null",
                Missing::LeaveOut => "leave_out",
            }),
        ),
        Role::Add(_) => ("rows added up", None),
        Role::List => ("rows listed", None),
        Role::Touch => ("rows that make it ask", None),
    };
    let alias = |n: usize| rule.slots.get(n).map_or("", |slot| &slot.alias).to_owned();
    // Found from others by one index, and others from it by one each.
    let children = rule.slots.iter().filter_map(|slot| slot.link.as_ref());
    let children = children.filter(|link| link.parent == n).count();
    let places = children + usize::from(slot.link.is_some());
    let cells = columns.len() + slot.table.key.len();
    let bytes = ROW_BYTES
        + CELL_BYTES * u64::try_from(cells).unwrap_or(0)
        + PLACE_BYTES * u64::try_from(places).unwrap_or(0);
    let asks = rule.read.iter().flat_map(|read| {
        let touches = read.touches.iter().filter(|touch| touch.slot == n);
        touches.map(|touch| {
            let given = read.names.iter().zip(&touch.give);
            let given: Vec<String> = given
                .map(|(name, give)| format!("{name} = {}", give.shown()))
                .collect();
            given.join(", ")
        })
    });
    ExplainedTable {
        asks: asks.collect(),
        alias: slot.alias.clone(),
        table: slot.table.table.to_string(),
        role,
        columns,
        found_by: slot.link.as_ref().map(|link: &Link| link.text.clone()),
        missing,
        felt_through: slot.link.as_ref().map(|link| alias(link.parent)),
        history: slot
            .history
            .as_ref()
            .map(|history| history.table.to_string()),
        bytes_per_row: if one_row { 0 } else { bytes },
    }
}

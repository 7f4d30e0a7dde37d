//! Tables: their shape, and their rows in all versions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::tracking::TableTracking;
use crate::statements::Kind;
use crate::statements::ast::Expr;
use crate::statements::compare::sameness;
use crate::wire::{Collation, Type, Value};

/// The values of a row, by the place of the column. A row that is older than a column is shorter.
pub(crate) type Row = Arc<Vec<Value>>;

/// The bit of a stamp that says that its transaction is open.
pub(crate) const OPEN: u64 = 1 << 63;

/// What a reader sees: what was committed up to a moment, and what its own transaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) seq: u64,
    pub(crate) own: Option<u64>,
    /// Whether it is a snapshot, for which a later change of the table's shape is an error.
    pub(crate) snapshot: bool,
}

impl View {
    pub(crate) fn sees(self, stamp: u64) -> bool {
        stamp <= self.seq || self.own.is_some_and(|own| stamp == OPEN | own)
    }

    /// Whether it sees what came with one commit and went with another.
    pub(crate) fn between(self, from: u64, until: u64) -> bool {
        self.sees(from) && !self.sees(until)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) stamp: u64,
    pub(crate) row: Option<Row>,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) collation: Option<(String, Collation)>,
    pub(crate) nullable: bool,
    pub(crate) identity: bool,
    pub(crate) rowversion: bool,
    pub(crate) computed: Option<Expr>,
    pub(crate) dropped: bool,
}

impl Column {
    /// A column that can be NULL.
    pub fn new(name: &str, kind: Type) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            collation: None,
            nullable: true,
            identity: false,
            rowversion: false,
            computed: None,
            dropped: false,
        }
    }

    /// A `rowversion` column.
    pub fn rowversion(name: &str) -> Self {
        Self {
            rowversion: true,
            nullable: false,
            ..Self::new(name, Type::Binary(8))
        }
    }

    /// The same, never NULL.
    #[must_use]
    pub fn not_null(self) -> Self {
        Self {
            nullable: false,
            ..self
        }
    }

    /// The same, numbered by the server.
    #[must_use]
    pub fn identity(self) -> Self {
        Self {
            identity: true,
            nullable: false,
            ..self
        }
    }

    pub(crate) fn kind(&self, default: Collation) -> Kind {
        Kind {
            of: self.kind.clone(),
            collation: self
                .collation
                .as_ref()
                .map_or(default, |(_, collation)| *collation),
            nullable: self.nullable,
            rowversion: self.rowversion,
            null: false,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) columns: Vec<usize>,
    pub(crate) primary: bool,
    pub(crate) unique: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) id: i32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) indexes: Vec<Index>,
    pub(crate) rows: BTreeMap<u64, Vec<Version>>,
    pub(crate) next_row: u64,
    pub(crate) next_identity: i64,
    /// Rows that have or had a key, by the key's sameness.
    pub(crate) by_key: HashMap<Vec<u8>, BTreeSet<u64>>,
    pub(crate) tracking: Option<TableTracking>,
    /// The commit with which its shape last changed.
    pub(crate) shaped: u64,
    pub(crate) created: i64,
}

impl Table {
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The place of a column that is not dropped.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| !column.dropped && super::same_name(&column.name, name))
    }

    pub(crate) fn primary(&self) -> Option<&Index> {
        self.indexes.iter().find(|index| index.primary)
    }

    pub(crate) fn key(&self) -> &[usize] {
        self.primary().map_or(&[], |index| &index.columns)
    }

    /// The key's values of a row.
    pub(crate) fn key_of(&self, row: &[Value]) -> Vec<Value> {
        self.key()
            .iter()
            .map(|at| row.get(*at).cloned().unwrap_or(Value::Null))
            .collect()
    }

    /// The sameness of the values of an index.
    pub(crate) fn sameness(&self, columns: &[usize], row: &[Value], default: Collation) -> Vec<u8> {
        let mut found = Vec::new();
        for at in columns {
            let value = row.get(*at).unwrap_or(&Value::Null);
            let kind = self.columns[*at].kind(default);
            let same = sameness(value, &kind);
            found.extend_from_slice(&(same.len() as u64).to_be_bytes());
            found.extend(same);
        }
        found
    }

    /// Every row that a reader sees, in no order that means anything.
    pub(crate) fn visible(&self, view: View) -> impl Iterator<Item = (u64, &Row)> {
        self.rows.iter().filter_map(move |(id, versions)| {
            let version = versions
                .iter()
                .rev()
                .find(|version| view.sees(version.stamp))?;
            version.row.as_ref().map(|row| (*id, row))
        })
    }

    /// Whether another transaction that is open has changed a row.
    pub(crate) fn is_locked(&self, own: Option<u64>) -> bool {
        self.rows.values().any(|versions| locked(versions, own))
    }
}

/// Whether another transaction that is open has changed the row.
pub(crate) fn locked(versions: &[Version], own: Option<u64>) -> bool {
    versions.last().is_some_and(|last| {
        last.stamp & OPEN != 0 && own.is_none_or(|own| last.stamp != OPEN | own)
    })
}

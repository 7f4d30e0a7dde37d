//! What a live database says about its tables, as far as expressions want to know.

use std::collections::{BTreeMap, BTreeSet};

use contract::{ColumnInfo, ColumnKind, TableInfo, TableName};

use crate::sql::Type;

/// Tables, their columns, and what those give. Empty where nobody was asked.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    tables: BTreeMap<TableName, Vec<ColumnInfo>>,
    asked: Asked,
}

/// Of which tables one that is not in the catalogue does not exist.
#[derive(Debug, Clone, Default)]
enum Asked {
    #[default]
    Nothing,
    Some(BTreeSet<TableName>),
    All,
}

impl Catalogue {
    /// A catalogue in which every table stands that exists.
    pub fn new(tables: &[TableInfo]) -> Self {
        Self {
            tables: columns(tables),
            asked: Asked::All,
        }
    }

    /// What the database said when it was asked about some tables.
    pub fn of(asked: &[TableName], tables: &[TableInfo]) -> Self {
        Self {
            tables: columns(tables),
            asked: Asked::Some(asked.iter().cloned().collect()),
        }
    }

    /// A table's columns, where they are known.
    pub(crate) fn columns(&self, table: &TableName) -> Option<&[ColumnInfo]> {
        self.tables.get(table).map(Vec::as_slice)
    }

    /// Whether a table surely does not exist.
    pub(crate) fn lacks(&self, table: &TableName) -> bool {
        let asked = match &self.asked {
            Asked::Nothing => false,
            Asked::Some(asked) => asked.contains(table),
            Asked::All => true,
        };
        asked && !self.tables.contains_key(table)
    }

    /// The names of all tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.tables.keys()
    }
}

fn columns(tables: &[TableInfo]) -> BTreeMap<TableName, Vec<ColumnInfo>> {
    let tables = tables.iter();
    tables
        .map(|info| (info.table.clone(), info.columns.clone()))
        .collect()
}

/// What expressions see of a column.
pub(crate) fn seen(kind: ColumnKind) -> Type {
    match kind {
        ColumnKind::Bool => Type::Bool,
        ColumnKind::Int | ColumnKind::Decimal => Type::Number,
        ColumnKind::Text => Type::Text,
        ColumnKind::Date => Type::Date,
        ColumnKind::Time => Type::Time,
        ColumnKind::DateTime => Type::DateTime,
        ColumnKind::Timestamp => Type::Timestamp,
        ColumnKind::Float => Type::Float,
        // Known only when a row comes, or of no use in most expressions.
        ColumnKind::Bytes | ColumnKind::Uuid | ColumnKind::Json | ColumnKind::Other => Type::Any,
    }
}

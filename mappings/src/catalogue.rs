//! What a live database says about its tables, as far as expressions want to know.

use std::collections::BTreeMap;

use contract::TableName;

use crate::sql::Type;

/// Tables, their columns, and what those give. Empty where nobody was asked.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    tables: BTreeMap<TableName, Vec<(String, Type)>>,
    /// Every table is in it; one that is not does not exist.
    complete: bool,
}

impl Catalogue {
    /// A catalogue in which every table stands that exists.
    pub fn new(tables: BTreeMap<TableName, Vec<(String, Type)>>) -> Self {
        Self {
            tables,
            complete: true,
        }
    }

    /// A table's columns, where they are known.
    pub(crate) fn columns(&self, table: &TableName) -> Option<&[(String, Type)]> {
        self.tables.get(table).map(Vec::as_slice)
    }

    /// Whether a table surely does not exist.
    pub(crate) fn lacks(&self, table: &TableName) -> bool {
        self.complete && !self.tables.contains_key(table)
    }

    /// The names of all tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.tables.keys()
    }
}

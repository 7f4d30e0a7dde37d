//! Which cells of a table are read, whichever way its rows come: the same columns in the same order.

use std::sync::Arc;

use contract::{CapturedTable, Row, SourceError, TableName, TableShape, Value};
use tiberius::ColumnData;

use crate::catalogue::Table;
use crate::column::Column;
use crate::values;

/// The columns that are read of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) shape: Arc<TableShape>,
    pub(crate) columns: Vec<Column>,
}

impl Layout {
    /// Of the columns that `has` and that can be read, those that the mapping wants, or all where it names
    /// none; in the table's order.
    pub(crate) fn new(
        table: &Table,
        captured: &CapturedTable,
        has: impl Fn(&Column) -> bool,
    ) -> Self {
        let key = table.key(captured);
        let own = table.own_key();
        let wanted = |column: &Column| {
            let of = |names: &[String]| names.contains(&column.name);
            captured.columns.is_empty() || of(&captured.columns) || of(&key) || of(&own)
        };
        let columns = table.columns.iter();
        let columns = columns
            .filter(|column| wanted(column) && column.kind.select("").is_some() && has(column));
        let columns: Vec<Column> = columns.cloned().collect();
        let at = |name: &String| columns.iter().position(|column| column.name == *name);
        let key: Option<Vec<usize>> = key.iter().map(at).collect();
        Self {
            shape: Arc::new(TableShape {
                table: captured.table.clone(),
                columns: columns.iter().map(|column| column.name.clone()).collect(),
                key: key.unwrap_or_default(),
            }),
            columns,
        }
    }

    pub(crate) fn table(&self) -> &TableName {
        &self.shape.table
    }

    /// What is asked for of the table that is called `of` in the statement.
    pub(crate) fn select(&self, of: &str) -> String {
        let all = self.columns.iter().filter_map(|column| column.select(of));
        all.collect::<Vec<_>>().join(", ")
    }

    /// The row that its cells are.
    pub(crate) fn row(
        &self,
        cells: &mut impl Iterator<Item = ColumnData<'static>>,
    ) -> Result<Row, SourceError> {
        let row = self.columns.iter().map(|column| {
            let value = cells
                .next()
                .and_then(|cell| values::value(&column.kind, cell));
            value.ok_or_else(|| {
                SourceError::Malformed(format!(
                    "read {}: a cell of column {} is of another type than its column",
                    self.table(),
                    column.name
                ))
            })
        });
        row.collect()
    }

    /// A row of which only these cells are known.
    pub(crate) fn known(&self, known: &[(&str, Value)]) -> Row {
        let cell = |column: &Column| {
            let value = known.iter().find(|(name, _)| *name == column.name);
            value.map_or(Value::Unchanged, |(_, value)| value.clone())
        };
        self.columns.iter().map(cell).collect()
    }
}

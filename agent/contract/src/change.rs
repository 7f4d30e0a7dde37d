//! One row change of a source.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::position::Position;
use crate::value::Value;

/// A table's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Schema, or `main` where the database has none.
    pub schema: String,
    /// Table.
    pub name: String,
}

impl TableName {
    /// A name from its two parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// The columns of a table at one moment; shared by all rows read under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// The table.
    pub table: TableName,
    /// Column names in the source's order.
    pub columns: Vec<String>,
    /// Indexes into `columns` that identify a row, in key order. Empty when the source knows none.
    pub key: Vec<usize>,
}

impl TableShape {
    /// The index of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The names of its key columns.
    pub fn key_names(&self) -> Vec<&str> {
        let names = self.key.iter().filter_map(|at| self.columns.get(*at));
        names.map(String::as_str).collect()
    }
}

/// What happened to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// A new row.
    Insert,
    /// A changed row.
    Update,
    /// A removed row.
    Delete,
    /// The whole table was emptied; there is no row.
    Truncate,
    /// A row seen by a snapshot or a re-read.
    Read,
}

impl Op {
    /// The plain name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Read => "read",
        }
    }
}

/// A row's cells, in the order of its shape's columns.
pub type Row = Vec<Value>;

/// One row change, typed and placed.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    /// The table and its columns when the change was made.
    pub shape: Arc<TableShape>,
    /// What happened.
    pub op: Op,
    /// The row before, as far as the log tells; cells it does not tell are
    /// [`Value::Unchanged`].
    pub before: Option<Row>,
    /// The row after; cells the log leaves out are [`Value::Unchanged`].
    pub after: Option<Row>,
    /// Where in the log.
    pub position: Position,
    /// When the source committed it; `None` where the source does not say.
    pub committed_at: Option<Timestamp>,
    /// The source's transaction id, 0 where it has none.
    pub transaction: u64,
}

impl RowChange {
    /// The table.
    pub fn table(&self) -> &TableName {
        &self.shape.table
    }

    /// The row that identifies the change: the new one, else the old one.
    pub fn row(&self) -> Option<&Row> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// The row's key as the new row (or, for a delete, the old row) has it.
    pub fn key(&self) -> Option<RowKey> {
        RowKey::of(&self.shape, self.row()?)
    }

    /// The key of the row before, when it differs from [`RowChange::key`].
    pub fn old_key(&self) -> Option<RowKey> {
        let old = RowKey::of(&self.shape, self.before.as_ref()?)?;
        (self.key().as_ref() != Some(&old)).then_some(old)
    }

    /// Bytes the change takes in memory, about.
    pub fn bytes(&self) -> usize {
        let row = |row: &Option<Row>| row.iter().flatten().map(Value::bytes).sum::<usize>();
        size_of::<Self>() + row(&self.before) + row(&self.after)
    }
}

/// A row's key as text: the canonical texts of its key columns, joined so that no two keys
/// collide. Two readings of one row give the same key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(String);

impl RowKey {
    /// The key of a row; `None` when the table has no key or a key cell is unknown.
    pub fn of(shape: &TableShape, row: &Row) -> Option<Self> {
        if shape.key.is_empty() {
            return None;
        }
        let mut text = String::new();
        for (n, index) in shape.key.iter().enumerate() {
            let part = row.get(*index)?.text()?;
            if n > 0 {
                text.push('|');
            }
            push_escaped(&mut text, &part);
        }
        Some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Appends `part` with `|` and `\` escaped, so that joined parts stay apart.
pub(crate) fn push_escaped(text: &mut String, part: &str) {
    if !part.bytes().any(|byte| matches!(byte, b'|' | b'\\')) {
        text.push_str(part);
        return;
    }
    for c in part.chars() {
        if matches!(c, '|' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
}

/// The parts that [`push_escaped`] joined.
pub(crate) fn split_escaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            '|' if !escaped => parts.push(String::new()),
            c => {
                escaped = false;
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(parts: &[&str]) -> RowKey {
        let shape = TableShape {
            table: TableName::new("s", "t"),
            columns: parts.iter().map(|_| String::new()).collect(),
            key: (0..parts.len()).collect(),
        };
        RowKey::of(
            &shape,
            &parts.iter().map(|p| Value::Text((*p).to_owned())).collect(),
        )
        .unwrap()
    }

    proptest! {
        #[test]
        fn different_keys_never_collide(a: [String; 2], b: [String; 2]) {
            let left = key(&[&a[0], &a[1]]);
            let right = key(&[&b[0], &b[1]]);
            prop_assert_eq!(a == b, left == right);
        }
    }

    #[test]
    fn unknown_key_cell_is_no_key() {
        let shape = TableShape {
            table: TableName::new("s", "t"),
            columns: vec!["a".to_owned()],
            key: vec![0],
        };
        assert_eq!(RowKey::of(&shape, &vec![Value::Unchanged]), None);
        assert_eq!(RowKey::of(&shape, &vec![Value::Null]), None);
        assert_eq!(RowKey::of(&shape, &vec![]), None);
    }
}

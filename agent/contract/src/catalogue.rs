//! What a database itself says about its tables: for choosing one, and for checking a mapping
//! against it before a row is read.

use crate::change::TableName;
use crate::value::Value;

/// A table, as the database's own catalogue describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// The table.
    pub table: TableName,
    /// The columns a snapshot and the stream deliver, in the table's order. A column the database
    /// computes itself is not among them where the log does not have it.
    pub columns: Vec<ColumnInfo>,
    /// The columns that identify a row, in key order: the primary key, or a unique index without
    /// nulls. Empty when there is neither.
    pub key: Vec<String>,
    /// How many rows the database believes the table has; `None` when it has no estimate. Never
    /// counted.
    pub rows: Option<u64>,
}

impl TableInfo {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnInfo> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// The column's name.
    pub name: String,
    /// What its values come as.
    pub kind: ColumnKind,
    /// Whether it may hold NULL.
    pub nullable: bool,
    /// The database's own text of the type, such as `numeric(19,5)`; empty when the column has
    /// none.
    pub declared: String,
}

/// Which [`Value`] a source delivers for a column, on the snapshot path and on the stream path
/// alike. [`Value::Null`], [`Value::Unchanged`] and [`Value::Invalid`] can come in every column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// [`Value::Bool`].
    Bool,
    /// [`Value::Int`], or [`Value::UInt`] above its range.
    Int,
    /// [`Value::Decimal`].
    Decimal,
    /// [`Value::Float`].
    Float,
    /// [`Value::Text`].
    Text,
    /// [`Value::Bytes`].
    Bytes,
    /// [`Value::Date`].
    Date,
    /// [`Value::Time`].
    Time,
    /// [`Value::DateTime`].
    DateTime,
    /// [`Value::Timestamp`].
    Timestamp,
    /// [`Value::Uuid`].
    Uuid,
    /// [`Value::Json`].
    Json,
    /// The values vary: the declared type does not say what comes.
    Other,
}

impl ColumnKind {
    /// The plain name: [`Value::type_name`] of the values, or `other`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Decimal => "decimal",
            Self::Float => "float",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Date => "date",
            Self::Time => "time",
            Self::DateTime => "datetime",
            Self::Timestamp => "timestamp",
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Other => "other",
        }
    }

    /// Whether a column of this kind may deliver `value`.
    pub fn fits(self, value: &Value) -> bool {
        match value {
            Value::Null | Value::Unchanged | Value::Invalid(_) => true,
            Value::UInt(_) => matches!(self, Self::Int | Self::Other),
            _ => self == Self::Other || self.name() == value.type_name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_fits_its_own_values_and_what_every_column_can_hold() {
        let decimal = Value::Decimal("1.5".parse().unwrap());
        for (kind, value, fits) in [
            (ColumnKind::Decimal, &decimal, true),
            (ColumnKind::Int, &decimal, false),
            (ColumnKind::Other, &decimal, true),
            (ColumnKind::Int, &Value::UInt(u64::MAX), true),
            (ColumnKind::Decimal, &Value::UInt(u64::MAX), false),
            (ColumnKind::DateTime, &Value::Null, true),
            (ColumnKind::Date, &Value::Unchanged, true),
            (ColumnKind::Uuid, &Value::Invalid("x".to_owned()), true),
            (ColumnKind::Json, &Value::Text("{}".to_owned()), false),
        ] {
            assert_eq!(kind.fits(value), fits, "{kind:?} {value:?}");
        }
    }
}

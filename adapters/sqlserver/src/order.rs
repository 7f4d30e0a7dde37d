//! The order in which a table is read, and how far that is: the server compares, never we. Its unique
//! identifiers, collations and padded texts sort as nobody else's do.

use contract::{SourceError, Value};

use crate::catalogue::Table;
use crate::column::{Column, packed};
use crate::session::Parameter;
use crate::sql::name;

/// Between the parts of a cursor.
const BETWEEN: char = '|';

/// The order of a unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// The table's number in the database.
    object: i64,
    pub(crate) columns: Vec<Column>,
}

impl Order {
    /// The order of the columns of an index.
    ///
    /// # Errors
    /// The name of one that cannot be compared.
    pub(crate) fn of(table: &Table, index: &[String]) -> Result<Self, String> {
        let columns = index.iter().map(|column| {
            let found = table.column(column);
            let usable = found.filter(|found| found.kind.mark(1).is_some());
            usable.cloned().ok_or_else(|| column.clone())
        });
        Ok(Self {
            object: table.object_id,
            columns: columns.collect::<Result<_, _>>()?,
        })
    }

    /// `ORDER BY` this, of the table that is called `of`.
    pub(crate) fn by(&self, of: &str) -> String {
        let columns = self.columns.iter();
        let columns = columns.map(|column| format!("{of}.{}", name(&column.name)));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The rows behind a key whose parameters begin with number `first`.
    pub(crate) fn behind(&self, of: &str, first: usize) -> String {
        let mut sql = String::new();
        for (n, column) in self.columns.iter().enumerate().rev() {
            let place = format!("{of}.{}", name(&column.name));
            let mark = column.kind.mark(first + n).unwrap_or_default();
            sql = if sql.is_empty() {
                format!("{place} > {mark}")
            } else {
                format!("({place} > {mark} OR ({place} = {mark} AND {sql}))")
            };
        }
        sql
    }

    /// A key as texts.
    ///
    /// # Errors
    /// When a cell has no text that the server would know again.
    pub(crate) fn pack(&self, key: &[Value]) -> Result<Vec<String>, SourceError> {
        let pairs = self.columns.iter().zip(key);
        let texts = pairs.map(|(column, value)| {
            let text = packed(value).filter(|_| !matches!(value, Value::Invalid(_)));
            text.ok_or_else(|| SourceError::SchemaChanged {
                what: format!(
                    "a row's key has a value in column {} by which nothing can be found",
                    column.name
                ),
                hint: "correct the row, or give the table a primary key of other columns"
                    .to_owned(),
            })
        });
        texts.collect()
    }

    /// The parameters of a packed key; `None` when it is none of this order.
    pub(crate) fn bind(&self, key: &[String]) -> Option<Vec<Parameter>> {
        let pairs = self.columns.iter().zip(key);
        let all = pairs.map(|(column, text)| column.kind.unpacked(text));
        let all: Option<Vec<Parameter>> = all.collect();
        all.filter(|all| all.len() == self.columns.len() && key.len() == all.len())
    }

    /// What says that a cursor is one of this order: its table, and the columns with their types.
    fn head(&self) -> Vec<String> {
        let columns = self.columns.iter();
        let columns = columns.map(|column| format!("{} {:?}", column.name, column.kind));
        std::iter::once(self.object.to_string())
            .chain(columns)
            .collect()
    }

    /// A place as the engine keeps it.
    pub(crate) fn cursor(&self, key: &[String]) -> String {
        let mut text = String::new();
        for part in self.head().iter().chain(key) {
            for c in part.chars() {
                if matches!(c, BETWEEN | '\\') {
                    text.push('\\');
                }
                text.push(c);
            }
            text.push(BETWEEN);
        }
        text
    }

    /// The key in a cursor; `None` when it is of another table of this name, or of another order.
    pub(crate) fn read(&self, cursor: &str) -> Option<Vec<String>> {
        let mut parts = vec![String::new()];
        let mut escaped = false;
        for c in cursor.chars() {
            let last = parts.last_mut()?;
            match c {
                '\\' if !escaped => escaped = true,
                BETWEEN if !escaped => parts.push(String::new()),
                c => {
                    escaped = false;
                    last.push(c);
                }
            }
        }
        if escaped || parts.pop().is_none_or(|rest| !rest.is_empty()) {
            return None;
        }
        let key = parts.split_off(self.head().len().min(parts.len()));
        (parts == self.head() && self.bind(&key).is_some()).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use contract::TableName;
    use proptest::prelude::*;

    use super::*;
    use crate::column::Kind;

    fn order(kinds: &[(&str, Kind)]) -> Order {
        let column = |(name, kind): &(&str, Kind)| Column {
            name: (*name).to_owned(),
            id: 1,
            kind: kind.clone(),
            nullable: false,
            computed: false,
            alias: None,
        };
        let table = Table {
            name: TableName::new("dbo", "t"),
            object_id: 7,
            columns: kinds.iter().map(column).collect(),
            indexes: Vec::new(),
            rows: None,
        };
        let names: Vec<String> = kinds.iter().map(|(name, _)| (*name).to_owned()).collect();
        Order::of(&table, &names).unwrap()
    }

    fn text() -> Kind {
        Kind::NChar {
            fixed: false,
            units: Some(20),
            collation: "Latin1_General_CI_AS".to_owned(),
        }
    }

    #[test]
    fn the_server_compares_by_the_whole_key() {
        let order = order(&[("a]b", Kind::Int("int")), ("b", text()), ("c", Kind::Uuid)]);
        assert_eq!(order.by("T"), "T.[a]]b], T.[b], T.[c]");
        assert_eq!(
            order.behind("T", 2),
            "(T.[a]]b] > CAST(@P2 AS int) OR (T.[a]]b] = CAST(@P2 AS int) AND (T.[b] > @P3 OR (T.[b] = @P3 \
             AND T.[c] > @P4))))"
        );
    }

    #[test]
    fn what_cannot_be_found_again_is_no_key() {
        let order = order(&[("b", text())]);
        assert!(order.pack(&[Value::Null]).is_err());
        assert!(order.pack(&[Value::Invalid("x".to_owned())]).is_err());
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(number: i64, words: String) {
            let order = order(&[("a|b", Kind::Int("bigint")), ("b\\", text())]);
            let key = order.pack(&[Value::Int(number), Value::Text(words)]).unwrap();
            prop_assert_eq!(order.read(&order.cursor(&key)), Some(key));
        }

        #[test]
        fn a_cursor_of_another_order_is_none(number: i64) {
            let one = order(&[("a", Kind::Int("bigint"))]);
            let other = order(&[("a", Kind::Int("int"))]);
            let cursor = one.cursor(&[number.to_string()]);
            prop_assert_eq!(other.read(&cursor), None);
        }

        #[test]
        fn never_panics(cursor: String) {
            let _ = order(&[("a", Kind::Int("bigint"))]).read(&cursor);
        }
    }
}

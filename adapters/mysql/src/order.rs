//! The order a table is read in, and how far that is: the database compares, never we.
//!
//! Rows are read in the order of an index that tells them all apart, and go on behind the last row's
//! key. The key travels back in the form the column itself has: a text as its bytes, in the column's
//! own character set and collation, so that the comparison is the index's ([`key`](crate::key)).

use std::fmt::Write as _;

use contract::value::hex;
use contract::{SourceError, TableName};
use mysql_async::Value as Sent;
use sha2::{Digest as _, Sha256};

use crate::catalogue::Table;
use crate::connect::{Connection, literal, name, table as named};
use crate::key::Form;

/// The order of a unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// The index's name.
    pub(crate) index: String,
    pub(crate) parts: Vec<Part>,
    /// Of the table and of what decides how its rows compare: other ones have another.
    digest: String,
}

/// A column of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) column: String,
    descending: bool,
    form: Form,
}

/// A place as it is stored, with what says that it is one of this order.
type Cursor = (String, Vec<String>);

/// What else the server says of a column.
struct Described {
    column: String,
    declared: String,
    charset: Option<String>,
    collation: Option<String>,
}

/// An index, as far as it is known.
struct Index {
    name: String,
    columns: Vec<(String, bool)>,
    usable: bool,
}

impl Order {
    /// The order of the primary key, else of the smallest unique index without nulls; `None` = there
    /// is no index that can be read along.
    pub(crate) async fn read(
        connection: &mut Connection,
        table: &Table,
    ) -> Result<Option<Self>, SourceError> {
        let of = &table.name;
        let doing = format!("read indexes of {of}");
        let indexes = indexes(connection, table, &doing).await?;
        let described = described(connection, of, &doing).await?;
        let made: Vec<(String, Option<String>)> = connection
            .rows(
                &doing,
                &format!(
                    "SELECT TABLE_NAME, CAST(CREATE_TIME AS CHAR) FROM information_schema.TABLES
                      WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
                    literal(&of.schema),
                    literal(&of.name)
                ),
            )
            .await?;
        let made = made.into_iter().find(|(known, _)| *known == of.name);
        let made = made.and_then(|(_, made)| made).unwrap_or_default();
        let usable = indexes.into_iter().filter_map(|index| {
            let parts = parts(table, &index, &described)?;
            Some((index.name, parts))
        });
        let smallest =
            usable.min_by_key(|(index, parts)| (index != "PRIMARY", parts.len(), index.clone()));
        Ok(smallest.map(|(index, parts)| Self {
            digest: digest(&made, &parts, &described),
            index,
            parts,
        }))
    }

    /// What is read of a row beside its columns, to know its place: the numbers of labels.
    pub(crate) fn extra(&self) -> Vec<String> {
        let labels = self.parts.iter().filter(|part| part.form == Form::Label);
        labels
            .map(|part| format!("CAST({} AS UNSIGNED)", name(&part.column)))
            .collect()
    }

    /// `a, b DESC`.
    pub(crate) fn by(&self) -> String {
        let by = self.parts.iter().map(|part| {
            let descending = if part.descending { " DESC" } else { "" };
            format!("{}{descending}", name(&part.column))
        });
        by.collect::<Vec<_>>().join(", ")
    }

    /// Behind a key: `a > 1 OR (a = 1 AND b > 2)`, which the server reads as a range of the index; it
    /// does not do so with `(a, b) > (1, 2)`
    /// (<https://dev.mysql.com/doc/refman/8.4/en/row-constructor-optimization.html>).
    pub(crate) fn behind(&self, key: &[String]) -> Option<String> {
        let mut before = String::new();
        let mut all = String::new();
        for (part, text) in self.parts.iter().zip(key) {
            let (column, value) = (name(&part.column), part.form.sql(text)?);
            let sign = if part.descending { "<" } else { ">" };
            if !all.is_empty() {
                all.push_str(" OR ");
            }
            let _ = write!(all, "({before}{column} {sign} {value})");
            let _ = write!(before, "{column} = {value} AND ");
        }
        (key.len() == self.parts.len()).then_some(all)
    }

    /// The key of a row; `None` when it is not of this order. `cell` gives a column's value by its
    /// name, `extra` are those of [`Order::extra`].
    pub(crate) fn key<'a>(
        &self,
        cell: impl Fn(&str) -> Option<&'a Sent>,
        extra: &[Sent],
    ) -> Option<Vec<String>> {
        let mut extra = extra.iter();
        let key = self.parts.iter().map(|part| match part.form {
            Form::Label => Form::Int.text(extra.next()?),
            _ => part.form.text(cell(&part.column)?),
        });
        key.collect()
    }

    /// Where reading goes on: at the first row, also where the cursor is of another table of this
    /// name, of another key or of the same one in another order. What is read again is told once
    /// all the same, and what was never read would not be missed by anyone.
    pub(crate) fn place(&self, cursor: Option<&str>, table: &TableName) -> Option<Vec<String>> {
        let cursor = cursor?;
        let known = serde_json::from_str::<Cursor>(cursor).ok();
        let known = known.filter(|(of, key)| *of == self.digest && self.behind(key).is_some());
        if known.is_none() {
            tracing::warn!(
                stage = "snapshot",
                table = %table,
                "the table is another than when its snapshot began, or its key is another or stands in \
                 another order: it is read from its first row again"
            );
        }
        known.map(|(_, key)| key)
    }

    /// A place as the engine keeps it.
    pub(crate) fn cursor(&self, key: Vec<String>) -> Result<String, serde_json::Error> {
        let cursor: Cursor = (self.digest.clone(), key);
        serde_json::to_string(&cursor)
    }
}

/// The unique indexes of a table. Which columns the answer has differs from server to server.
async fn indexes(
    connection: &mut Connection,
    table: &Table,
    doing: &str,
) -> Result<Vec<Index>, SourceError> {
    let sql = format!("SHOW INDEX FROM {}", named(&table.name));
    let rows: Vec<mysql_async::Row> = connection.rows(doing, &sql).await?;
    // A hash tells rows apart and has no order; tables in memory are small enough to be sorted.
    let is_memory = table.engine.eq_ignore_ascii_case("memory");
    let mut found: Vec<Index> = Vec::new();
    for row in rows {
        let get = |column: &str| {
            let cell = row.get_opt::<Option<String>, _>(column);
            cell.and_then(Result::ok).flatten()
        };
        if get("Non_unique").as_deref() != Some("0") {
            continue;
        }
        let index = get("Key_name").unwrap_or_default();
        let column = get("Column_name");
        let whole =
            column.is_some() && get("Sub_part").is_none() && get("Null").as_deref() != Some("YES");
        let ordered = is_memory || get("Index_type").as_deref() == Some("BTREE");
        // Such an index may not be named in a statement.
        let hidden =
            get("Ignored").as_deref() == Some("YES") || get("Visible").as_deref() == Some("NO");
        if found.last().is_none_or(|last| last.name != index) {
            found.push(Index {
                name: index,
                columns: Vec::new(),
                usable: true,
            });
        }
        if let Some(last) = found.last_mut() {
            last.usable &= whole && ordered && !hidden;
            let descending = get("Collation").as_deref() == Some("D");
            last.columns.push((column.unwrap_or_default(), descending));
        }
    }
    found.retain(|index| index.usable);
    Ok(found)
}

async fn described(
    connection: &mut Connection,
    table: &TableName,
    doing: &str,
) -> Result<Vec<Described>, SourceError> {
    type Row = (String, String, String, Option<String>, Option<String>);
    let rows: Vec<Row> = connection
        .rows(
            doing,
            &format!(
                "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME
                   FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}
                  ORDER BY ORDINAL_POSITION",
                literal(&table.schema),
                literal(&table.name)
            ),
        )
        .await?;
    let ours = rows.into_iter().filter(|(of, ..)| *of == table.name);
    Ok(ours
        .map(|(_, column, declared, charset, collation)| Described {
            column,
            declared,
            charset,
            collation,
        })
        .collect())
}

/// The columns of an index; `None` when a value of one of them cannot travel back.
fn parts(table: &Table, index: &Index, described: &[Described]) -> Option<Vec<Part>> {
    let part = |(column, descending): &(String, bool)| {
        let of = described.iter().find(|known| known.column == *column)?;
        Some(Part {
            form: Form::of(
                &table.column(column)?.kind,
                of.charset.as_deref(),
                of.collation.as_deref(),
            )?,
            column: column.clone(),
            descending: *descending,
        })
    };
    index.columns.iter().map(part).collect()
}

fn digest(made: &str, parts: &[Part], described: &[Described]) -> String {
    let mut all = Sha256::new();
    let mut add = |text: &str| {
        all.update(text.as_bytes());
        all.update([0]);
    };
    add(made);
    for part in parts {
        add(&part.column);
        add(if part.descending { "descending" } else { "" });
        if let Some(of) = described.iter().find(|known| known.column == part.column) {
            add(&of.declared);
            add(of.collation.as_deref().unwrap_or_default());
        }
    }
    let all = all.finalize();
    hex(all.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(forms: &[(&str, Form)]) -> Order {
        let parts = forms.iter().map(|(column, form)| Part {
            column: (*column).to_owned(),
            descending: *column == "down",
            form: form.clone(),
        });
        let parts: Vec<Part> = parts.collect();
        Order {
            index: "PRIMARY".to_owned(),
            digest: digest("2026", &parts, &[]),
            parts,
        }
    }

    fn latin1() -> Form {
        Form::Text {
            charset: "latin1".to_owned(),
            collation: "latin1_german2_ci".to_owned(),
        }
    }

    #[test]
    fn a_key_is_compared_as_its_index_compares() {
        let order = order(&[("a`b", latin1()), ("down", Form::Int), ("e", Form::Label)]);
        assert_eq!(order.by(), "`a``b`, `down` DESC, `e`");
        assert_eq!(order.extra(), ["CAST(`e` AS UNSIGNED)"]);
        let text = Sent::Bytes(b"it's\xe9".to_vec());
        let down = Sent::Int(-5);
        let cell = |name: &str| match name {
            "a`b" => Some(&text),
            "down" => Some(&down),
            _ => None,
        };
        let key = order.key(cell, &[Sent::UInt(3)]).unwrap();
        assert_eq!(key, ["69742773e9", "-5", "3"]);
        let a = "_latin1 X'69742773e9' COLLATE latin1_german2_ci";
        assert_eq!(
            order.behind(&key).unwrap(),
            format!(
                "(`a``b` > {a}) OR (`a``b` = {a} AND `down` < -5) OR \
                 (`a``b` = {a} AND `down` = -5 AND `e` > 3)"
            )
        );
        assert_eq!(order.key(cell, &[]), None);
        assert_eq!(order.behind(&key[..2]), None);
    }

    #[test]
    fn a_cursor_of_something_else_begins_again() {
        let table = TableName::new("s", "t");
        let order = order(&[("a", Form::Int), ("b", Form::Decimal)]);
        let key = vec!["1".to_owned(), "2.5".to_owned()];
        let cursor = order.cursor(key.clone()).unwrap();
        assert_eq!(order.place(Some(&cursor), &table), Some(key));
        assert_eq!(order.place(None, &table), None);
        let other = self::order(&[("a", Form::Int), ("c", Form::Decimal)]);
        assert_eq!(other.place(Some(&cursor), &table), None);
        let digest = &order.digest;
        for broken in [
            "nonsense".to_owned(),
            r#"["1","2.5"]"#.to_owned(),
            format!(r#"["{digest}",["1"]]"#),
            format!(r#"["{digest}",["1","2.5","3"]]"#),
            // What is no number would be SQL.
            format!(r#"["{digest}",["1 OR 1=1","2.5"]]"#),
            format!(r#"["{digest}",["1","2.5.5"]]"#),
            format!(r#"["{digest}",["","-"]]"#),
        ] {
            assert_eq!(order.place(Some(&broken), &table), None, "{broken}");
        }
    }
}

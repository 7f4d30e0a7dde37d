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
use crate::connect::{Connection, literal, name};
use crate::index::{Described, Index, described, indexes};
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

/// Where reading is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Behind the row of this key; none = at the beginning.
    pub(crate) at: Option<Vec<String>>,
    /// The range that is read: values of the first column, from this one on, up to the other.
    from: Option<String>,
    until: Option<String>,
}

/// A place as it is stored, with what says that it is one of this order.
type Cursor = (String, Option<Vec<String>>, Option<String>, Option<String>);

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

    /// The condition that a row is behind the place; empty = every row is, none = it is no place of
    /// this order.
    pub(crate) fn rest(&self, place: &Place) -> Option<String> {
        let mut all = Vec::new();
        for (sign, bound) in [(">=", &place.from), ("<", &place.until)] {
            if let Some(bound) = bound {
                let first = self.parts.first()?;
                all.push(format!(
                    "{} {sign} {}",
                    name(&first.column),
                    first.form.sql(bound)?
                ));
            }
        }
        if let Some(key) = &place.at {
            all.push(format!("({})", self.behind(key)?));
        }
        Some(all.join(" AND "))
    }

    /// Behind a key: `a > 1 OR (a = 1 AND b > 2)`, which the server reads as a range of the index; it
    /// does not do so with `(a, b) > (1, 2)`
    /// (<https://dev.mysql.com/doc/refman/8.4/en/row-constructor-optimization.html>).
    fn behind(&self, key: &[String]) -> Option<String> {
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
    /// all the same, and what was never read would not be missed by anyone. One of several ranges keeps
    /// its bounds: together they are the whole table by whatever numbers.
    pub(crate) fn place(&self, cursor: Option<&str>, table: &TableName) -> Place {
        let Some(cursor) = cursor else {
            return Place::default();
        };
        let known = serde_json::from_str::<Cursor>(cursor).ok();
        let is_ours = known.as_ref().is_some_and(|(of, ..)| *of == self.digest);
        let known = known.map(|(_, at, from, until)| Place { at, from, until });
        let fits = |place: &Place| self.rest(place).is_some();
        let cuts = |place: &Place| self.numbers().is_some() && fits(place);
        let (place, bounds) = match known {
            Some(place) if is_ours => (Some(place).filter(fits), None),
            Some(place) => (None, Some(Place { at: None, ..place }).filter(cuts)),
            None => (None, None),
        };
        place.unwrap_or_else(|| {
            tracing::warn!(
                code = "snapshot.table_replaced",
                stage = "snapshot",
                table = %table,
                "the table is another than when its snapshot began, or its key is another or stands in \
                 another order: it is read from its first row again"
            );
            bounds.unwrap_or_default()
        })
    }

    /// A place as the engine keeps it.
    pub(crate) fn cursor(&self, place: Place) -> Result<String, serde_json::Error> {
        let cursor: Cursor = (self.digest.clone(), place.at, place.from, place.until);
        serde_json::to_string(&cursor)
    }

    /// The first column, where it holds whole numbers, which can be cut without a look at the rows.
    pub(crate) fn numbers(&self) -> Option<&str> {
        let first = self.parts.first()?;
        (first.form == Form::Int).then_some(first.column.as_str())
    }

    /// Ranges between bounds, the lowest first.
    pub(crate) fn ranges(&self, bounds: &[i128]) -> Result<Vec<String>, serde_json::Error> {
        let bounds = || bounds.iter().map(|bound| Some(bound.to_string()));
        let starts = std::iter::once(None).chain(bounds());
        let ends = bounds().chain([None]);
        let places = starts.zip(ends).map(|(from, until)| Place {
            at: None,
            from,
            until,
        });
        places.map(|place| self.cursor(place)).collect()
    }
}

/// What cuts the numbers from one to another into about `parts` like parts.
pub(crate) fn bounds(least: i128, most: i128, parts: usize) -> Vec<i128> {
    let (Some(span), Ok(parts)) = (most.checked_sub(least), i128::try_from(parts)) else {
        return Vec::new();
    };
    let cuts = (1..parts).filter_map(|n| Some(least + span.checked_mul(n)? / parts));
    let mut cuts: Vec<i128> = cuts.filter(|cut| *cut > least).collect();
    cuts.dedup();
    cuts
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
        let at = |key| Place {
            at: Some(key),
            ..Place::default()
        };
        let cursor = order.cursor(at(key.clone())).unwrap();
        assert_eq!(order.place(Some(&cursor), &table), at(key));
        assert_eq!(order.place(None, &table), Place::default());
        let other = self::order(&[("a", Form::Int), ("c", Form::Decimal)]);
        assert_eq!(other.place(Some(&cursor), &table), Place::default());
        let digest = &order.digest;
        for broken in [
            "nonsense".to_owned(),
            r#"["1","2.5"]"#.to_owned(),
            format!(r#"["{digest}",["1"],null,null]"#),
            format!(r#"["{digest}",["1","2.5","3"],null,null]"#),
            // What is no number would be SQL.
            format!(r#"["{digest}",["1 OR 1=1","2.5"],null,null]"#),
            format!(r#"["{digest}",["1","2.5.5"],null,null]"#),
            format!(r#"["{digest}",["","-"],null,null]"#),
            format!(r#"["{digest}",null,"1 OR 1=1",null]"#),
            format!(r#"["{digest}",null,null,"x"]"#),
        ] {
            let place = order.place(Some(&broken), &table);
            assert_eq!(place, Place::default(), "{broken}");
        }
    }

    #[test]
    fn ranges_leave_no_gap() {
        let order = order(&[("a", Form::Int), ("b", Form::Decimal)]);
        let table = TableName::new("s", "t");
        let cursors = order.ranges(&[-5, 9]).unwrap();
        let rest = |cursor: &String| order.rest(&order.place(Some(cursor), &table)).unwrap();
        let rests: Vec<String> = cursors.iter().map(rest).collect();
        assert_eq!(rests, ["`a` < -5", "`a` >= -5 AND `a` < 9", "`a` >= 9"]);
        let place = Place {
            at: Some(vec!["1".to_owned(), "2.5".to_owned()]),
            ..order.place(Some(&cursors[1]), &table)
        };
        assert_eq!(
            order.rest(&place).unwrap(),
            "`a` >= -5 AND `a` < 9 AND ((`a` > 1) OR (`a` = 1 AND `b` > 2.5))"
        );
        // Of a table that was changed meanwhile, each begins anew within its bounds.
        let other = self::order(&[("c", Form::Int)]);
        let cursor = order.cursor(place).unwrap();
        let anew = other.rest(&other.place(Some(&cursor), &table)).unwrap();
        assert_eq!(anew, "`c` >= -5 AND `c` < 9");
        let text = self::order(&[("c", Form::Decimal)]);
        assert_eq!(text.place(Some(&cursor), &table), Place::default());
        assert_eq!(bounds(1, 101, 4), [26, 51, 76]);
        assert_eq!(bounds(1, 2, 8), Vec::<i128>::new());
        assert_eq!(bounds(5, 5, 3), Vec::<i128>::new());
        assert_eq!(
            bounds(0, i128::from(u64::MAX), 2),
            [i128::from(u64::MAX / 2)]
        );
        assert_eq!(bounds(0, 9, 0), Vec::<i128>::new());
    }
}

//! The order in which a table is read, and how far that is: the server compares, never we. Its unique
//! identifiers, collations and padded texts sort as nobody else's do.

use contract::{SourceError, Value};

use crate::catalogue::Table;
use crate::column::{Column, Kind, packed};
use crate::session::Parameter;
use crate::sql::name;

/// Between the parts of a cursor.
const BETWEEN: char = '|';
/// The first part of the cursor of a range; that of any other is a number.
const RANGE: &str = "range";

/// Where reading goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bounds of the first column: from this one on, and below that one.
    pub(crate) from: Option<String>,
    pub(crate) until: Option<String>,
    /// Behind this key.
    pub(crate) at: Option<Vec<String>>,
}

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

    /// The rows behind a key whose parameters begin with number `first`. The first column is bounded by itself,
    /// too: within an OR the server may not see that it can begin to read there.
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
            if n == 0 && self.columns.len() > 1 {
                sql = format!("{place} >= {mark} AND {sql}");
            }
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

    /// The name of the first column, where that has numbers, which can be cut into ranges.
    pub(crate) fn numbers(&self) -> Option<&str> {
        let first = self.columns.first()?;
        matches!(first.kind, Kind::Int(_)).then_some(first.name.as_str())
    }

    /// The rows that are still to be read from a place on, of the table that is called `of`, with parameters
    /// from number `first` on; nothing where that is all of them. `None` = the place is none of this order.
    pub(crate) fn rest(
        &self,
        place: &Place,
        of: &str,
        first: usize,
    ) -> Option<(String, Vec<Parameter>)> {
        let mut conditions = Vec::new();
        let mut parameters = Vec::new();
        if let Some(at) = &place.at {
            conditions.push(self.behind(of, first));
            parameters.extend(self.bind(at)?);
        }
        // What lies behind a key of a range is not below the range.
        let from = place.from.as_ref().filter(|_| place.at.is_none());
        for (bound, sign) in [(from, ">="), (place.until.as_ref(), "<")] {
            let Some(bound) = bound else {
                continue;
            };
            let column = self.columns.first()?;
            let mark = column.kind.mark(first + parameters.len())?;
            conditions.push(format!("{of}.{} {sign} {mark}", name(&column.name)));
            parameters.push(column.kind.unpacked(bound)?);
        }
        Some((conditions.join(" AND "), parameters))
    }

    /// A place as the engine keeps it.
    pub(crate) fn cursor(&self, place: &Place) -> String {
        let mut parts = Vec::new();
        if place.from.is_some() || place.until.is_some() {
            parts.push(RANGE.to_owned());
            parts
                .extend([&place.from, &place.until].map(|bound| bound.clone().unwrap_or_default()));
        }
        parts.extend(self.head());
        parts.extend(place.at.clone().unwrap_or_default());
        let mut text = String::new();
        for part in parts {
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

    /// The place in a cursor; `None` when it is of another table of this name, or of another order.
    pub(crate) fn read(&self, cursor: &str) -> Option<Place> {
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
        let mut place = Place::default();
        let is_range = parts.first().is_some_and(|first| first == RANGE);
        if is_range {
            let rest = parts.split_off(parts.len().min(3));
            let mut bounds = parts.into_iter().skip(1);
            let mut bound = || bounds.next().filter(|bound| !bound.is_empty());
            (place.from, place.until) = (bound(), bound());
            parts = rest;
        }
        let key = parts.split_off(self.head().len().min(parts.len()));
        if parts != self.head() || (key.is_empty() && !is_range) {
            return None;
        }
        place.at = (!key.is_empty()).then_some(key);
        self.rest(&place, "T", 1).is_some().then_some(place)
    }

    /// The cursors at which the ranges between these bounds begin.
    pub(crate) fn ranges(&self, bounds: &[i128]) -> Vec<String> {
        let bounds = || bounds.iter().map(|bound| Some(bound.to_string()));
        let starts = std::iter::once(None).chain(bounds());
        let places = starts.zip(bounds().chain([None]));
        let places = places.map(|(from, until)| Place {
            from,
            until,
            at: None,
        });
        places.map(|place| self.cursor(&place)).collect()
    }
}

/// What cuts the numbers from one to another into about `parts` like parts.
pub(crate) fn bounds(least: i64, most: i64, parts: usize) -> Vec<i128> {
    let (least, most) = (i128::from(least), i128::from(most));
    let parts = i128::try_from(parts).unwrap_or(1);
    let cuts = (1..parts).map(|n| least + (most - least) * n / parts);
    let mut cuts: Vec<i128> = cuts.filter(|cut| *cut > least).collect();
    cuts.dedup();
    cuts
}

#[cfg(test)]
mod tests {
    use contract::TableName;
    use proptest::prelude::*;

    use super::*;

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
            "T.[a]]b] >= CAST(@P2 AS int) AND (T.[a]]b] > CAST(@P2 AS int) OR (T.[a]]b] = CAST(@P2 AS int) AND (T.[b] > @P3 OR (T.[b] = @P3 \
             AND T.[c] > @P4))))"
        );
    }

    #[test]
    fn what_cannot_be_found_again_is_no_key() {
        let order = order(&[("b", text())]);
        assert!(order.pack(&[Value::Null]).is_err());
        assert!(order.pack(&[Value::Invalid("x".to_owned())]).is_err());
    }

    #[test]
    fn ranges_leave_no_gap_and_each_is_gone_on_with_within_its_bounds() {
        let order = order(&[("a", Kind::Int("int")), ("b", text())]);
        let places: Vec<Place> = order
            .ranges(&[-5, 9])
            .iter()
            .map(|cursor| order.read(cursor).unwrap())
            .collect();
        let rest = |place: &Place| order.rest(place, "T", 2).unwrap();
        let rests: Vec<String> = places.iter().map(|place| rest(place).0).collect();
        assert_eq!(
            rests,
            [
                "T.[a] < CAST(@P2 AS int)",
                "T.[a] >= CAST(@P2 AS int) AND T.[a] < CAST(@P3 AS int)",
                "T.[a] >= CAST(@P2 AS int)"
            ]
        );
        let within = Place {
            at: Some(vec!["1".to_owned(), "x".to_owned()]),
            ..places[1].clone()
        };
        assert_eq!(order.read(&order.cursor(&within)), Some(within.clone()));
        let (sql, parameters) = rest(&within);
        assert!(sql.ends_with("AND T.[a] < CAST(@P4 AS int)"), "{sql}");
        assert_eq!(parameters.len(), 3);
        assert_eq!(rest(&Place::default()), (String::new(), Vec::new()));
        assert_eq!(bounds(1, 101, 4), [26, 51, 76]);
        assert_eq!(bounds(1, 2, 8), Vec::<i128>::new());
        assert_eq!(bounds(i64::MIN, i64::MAX, 2), [-1]);
        assert_eq!(bounds(0, 9, 0), Vec::<i128>::new());
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(number: i64, words: String) {
            let order = order(&[("a|b", Kind::Int("bigint")), ("b\\", text())]);
            let key = order.pack(&[Value::Int(number), Value::Text(words)]).unwrap();
            for until in [None, Some("7".to_owned())] {
                let place = Place { until, at: Some(key.clone()), ..Place::default() };
                prop_assert_eq!(order.read(&order.cursor(&place)), Some(place));
            }
        }

        #[test]
        fn a_cursor_of_another_order_is_none(number: i64) {
            let one = order(&[("a", Kind::Int("bigint"))]);
            let other = order(&[("a", Kind::Int("int"))]);
            let at = Some(vec![number.to_string()]);
            let cursor = one.cursor(&Place { at, ..Place::default() });
            prop_assert_eq!(other.read(&cursor), None);
        }

        #[test]
        fn never_panics(cursor: String) {
            let _ = order(&[("a", Kind::Int("bigint"))]).read(&cursor);
        }
    }
}

//! The order a table is read in, and how far that is: the database compares, never we.
//!
//! Rows are read in the order of an index that tells them all apart. The index may have another
//! collation than its column, which calls two of its keys equal or knows another order: in that of
//! the column a row would fall between two chunks.

use contract::{SourceError, TableName};
use tokio_postgres::Client;

use crate::connect::{classify, name};

/// The order of a unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// The table's number in the database.
    pub(crate) table: u32,
    /// The columns' numbers in the table: they stay when a column is renamed.
    pub(crate) key: Vec<i16>,
    /// What decides how each compares: its type's number in the database, and its collation's.
    pub(crate) compared: Vec<(u32, u32)>,
    /// The collation of each, as SQL, where its type has any.
    pub(crate) collations: Vec<Option<String>>,
}

/// How far a table, or a range of it, has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The last row's key as the database writes it; empty = none was read.
    pub(crate) at: Vec<String>,
    /// The first key column begins here.
    pub(crate) from: Option<String>,
    /// The first key column stays before this.
    pub(crate) until: Option<String>,
}

/// A place as it is stored, with what says that it is one of this order.
type Cursor = (
    u32,
    Vec<i16>,
    Vec<(u32, u32)>,
    Vec<String>,
    Option<String>,
    Option<String>,
);

impl Order {
    /// The order of the unique index on these columns of a table; `None` when there is none. One that
    /// is checked only at a transaction's end will do: a snapshot sees no transaction before its end.
    pub(crate) async fn read(
        client: &Client,
        table: &TableName,
        columns: &[String],
    ) -> Result<Option<Self>, SourceError> {
        let found = client
            .query_opt(
                "SELECT i.indrelid,
                        pg_catalog.array_agg(k.attnum ORDER BY k.place),
                        pg_catalog.array_agg(n.nspname::pg_catalog.text ORDER BY k.place),
                        pg_catalog.array_agg(c.collname::pg_catalog.text ORDER BY k.place),
                        pg_catalog.array_agg(a.atttypid ORDER BY k.place),
                        pg_catalog.array_agg(k.collation_oid ORDER BY k.place)
                   FROM pg_catalog.pg_index i
                   JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
                   JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
                  CROSS JOIN LATERAL ROWS FROM (
                          pg_catalog.unnest(i.indkey::pg_catalog.int2[]),
                          pg_catalog.unnest(i.indcollation::pg_catalog.oid[]))
                        WITH ORDINALITY k(attnum, collation_oid, place)
                   JOIN pg_catalog.pg_attribute a
                     ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                   LEFT JOIN pg_catalog.pg_collation c ON c.oid = k.collation_oid
                   LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
                  WHERE tn.nspname = $1 AND t.relname = $2
                    AND i.indisunique AND i.indisvalid
                    AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
                  GROUP BY i.indexrelid, i.indrelid, i.indisprimary
                 HAVING pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.place) = $3
                  ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1",
                &[&table.schema, &table.name, &columns],
            )
            .await
            .map_err(|error| classify(&format!("read indexes of {table}"), &error))?;
        Ok(found.map(|row| {
            let schemas: Vec<Option<String>> = row.get(2);
            let names: Vec<Option<String>> = row.get(3);
            let collations = schemas.iter().zip(&names).map(|(schema, collation)| {
                let (schema, collation) = (schema.as_ref()?, collation.as_ref()?);
                Some(format!("{}.{}", name(schema), name(collation)))
            });
            let (types, orders): (Vec<u32>, Vec<u32>) = (row.get(4), row.get(5));
            Self {
                table: row.get(0),
                key: row.get(1),
                compared: types.into_iter().zip(orders).collect(),
                collations: collations.collect(),
            }
        }))
    }

    /// The `n`th column, or a value for it, to be compared in this order.
    pub(crate) fn of(&self, n: usize, sql: &str) -> String {
        match self.collations.get(n).and_then(Option::as_ref) {
            Some(collation) => format!("{sql} COLLATE {collation}"),
            None => sql.to_owned(),
        }
    }

    /// Where reading goes on: at the first row, also where the cursor is of another table of this
    /// name, of another key or of the same one in another order. What is read again is told once
    /// all the same, and what was never read would not be missed by anyone.
    pub(crate) fn place(&self, cursor: Option<&str>, table: &TableName) -> Place {
        let Some(cursor) = cursor else {
            return Place::default();
        };
        let known = serde_json::from_str::<Cursor>(cursor).ok();
        let known = known.filter(|(of, key, compared, at, ..)| {
            *of == self.table
                && *key == self.key
                && *compared == self.compared
                && [0, key.len()].contains(&at.len())
        });
        let Some((_, _, _, at, from, until)) = known else {
            tracing::warn!(
                code = "snapshot.table_replaced",
                stage = "snapshot",
                table = %table,
                "the table is another than when its snapshot began, or its key is another or stands in \
                 another order: it is read from its first row again"
            );
            return Place::default();
        };
        Place { at, from, until }
    }

    /// A place as the engine keeps it.
    pub(crate) fn cursor(&self, place: Place) -> Result<String, serde_json::Error> {
        let cursor: Cursor = (
            self.table,
            self.key.clone(),
            self.compared.clone(),
            place.at,
            place.from,
            place.until,
        );
        serde_json::to_string(&cursor)
    }

    /// Ranges between bounds that stand in this order.
    pub(crate) fn ranges(&self, bounds: &[String]) -> Result<Vec<String>, serde_json::Error> {
        let starts = std::iter::once(None).chain(bounds.iter().cloned().map(Some));
        let ends = bounds.iter().cloned().map(Some).chain([None]);
        starts
            .zip(ends)
            .map(|(from, until)| {
                self.cursor(Place {
                    at: Vec::new(),
                    from,
                    until,
                })
            })
            .collect()
    }
}

/// Of values in order, those that cut them into about `parts` like parts.
pub(crate) fn bounds(values: &[String], parts: usize) -> Vec<String> {
    let places = (1..parts).filter_map(|n| values.get(n * values.len() / parts));
    let mut bounds: Vec<String> = places.cloned().collect();
    bounds.dedup();
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_cut_values_into_like_parts() {
        let values: Vec<String> = (0..101).map(|n| n.to_string()).collect();
        assert_eq!(bounds(&values, 4), ["25", "50", "75"]);
        assert_eq!(bounds(&values, 1), Vec::<String>::new());
        assert_eq!(bounds(&values[..2], 4), ["0", "1"]);
        assert_eq!(bounds(&[], 4), Vec::<String>::new());
    }

    #[test]
    fn ranges_leave_no_gap() {
        let order = Order {
            table: 7,
            key: vec![1],
            compared: vec![(25, 100)],
            collations: vec![None],
        };
        let table = TableName::new("s", "t");
        let cursors = order.ranges(&["b".to_owned(), "f".to_owned()]).unwrap();
        let places: Vec<Place> = cursors
            .iter()
            .map(|cursor| order.place(Some(cursor), &table))
            .collect();
        let bound = |text: &str| Some(text.to_owned());
        let of = |from, until| Place {
            at: Vec::new(),
            from,
            until,
        };
        assert_eq!(
            places,
            [
                of(None, bound("b")),
                of(bound("b"), bound("f")),
                of(bound("f"), None)
            ]
        );
    }
}

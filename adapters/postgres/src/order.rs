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
    /// The collation of each, as SQL, where its type has any.
    pub(crate) collations: Vec<Option<String>>,
}

/// How far a table has been read: the table's number, its key's, and the last row's key as the
/// database writes it.
type Cursor = (u32, Vec<i16>, Vec<String>);

impl Order {
    /// The order of the unique index on these columns of a table; `None` when there is none.
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
                        pg_catalog.array_agg(c.collname::pg_catalog.text ORDER BY k.place)
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
                    AND i.indisunique AND i.indisvalid AND i.indimmediate
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
            Self {
                table: row.get(0),
                key: row.get(1),
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

    /// The key behind which reading goes on; `None` = from the first row, also where the cursor is
    /// of another table of this name or of another key. What is read again is told once all the
    /// same, and what was never read would not be missed by anyone.
    pub(crate) fn behind(&self, cursor: Option<&str>, table: &TableName) -> Option<Vec<String>> {
        let cursor = cursor?;
        let known = serde_json::from_str::<Cursor>(cursor)
            .ok()
            .filter(|(table, key, _)| *table == self.table && *key == self.key)
            .filter(|(_, _, at)| at.len() == self.key.len());
        if known.is_none() {
            tracing::warn!(
                stage = "snapshot",
                table = %table,
                "the table is another than when its snapshot began, or has another key: it is read \
                 from its first row again"
            );
        }
        Some(known?.2)
    }

    /// The cursor behind a row's key.
    pub(crate) fn cursor(&self, at: Vec<String>) -> Result<String, serde_json::Error> {
        let cursor: Cursor = (self.table, self.key.clone(), at);
        serde_json::to_string(&cursor)
    }
}

//! How much stands in each table: what support asks first of a state file that has grown.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::Serialize;

use crate::error::StoreError;
use crate::status::StateReader;

/// How much stands in a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableSize {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// Bytes of its pages and those of its indexes, where SQLite says so.
    pub bytes: Option<u64>,
}

impl StateReader {
    /// How much stands in each table. Reads all of the file.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn table_sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let names: Vec<String> = db
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                 ORDER BY name",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let sizes = bytes(db).unwrap_or_default();
        let mut all = Vec::new();
        for table in names {
            let rows: i64 =
                db.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| {
                    row.get(0)
                })?;
            all.push(TableSize {
                rows: rows.unsigned_abs(),
                bytes: sizes.get(&table).map(|bytes| bytes.unsigned_abs()),
                table,
            });
        }
        Ok(all)
    }
}

/// Bytes by table. SQLite may have been built without the table that says it.
fn bytes(db: &Connection) -> rusqlite::Result<BTreeMap<String, i64>> {
    let mut query = db.prepare(
        "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_schema s ON s.name = d.name
         WHERE d.aggregate = TRUE GROUP BY s.tbl_name",
    )?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

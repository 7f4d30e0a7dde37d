//! What a source's tables looked like before its ERP was upgraded: compared with what they are after it.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::status::StateReader;
use crate::{folder, from_millis, millis};

/// What a table looks like, as far as it matters to a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Its columns and their types, in the database's own words.
    pub columns: BTreeMap<String, String>,
    /// What identifies a row.
    pub key: Vec<String>,
}

/// The tables of a source at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shapes {
    /// The moment.
    pub taken_at: Timestamp,
    /// Each table that was there.
    pub tables: BTreeMap<String, Shape>,
}

/// Keeps what a source's tables look like, in place of what was kept before; beside a running agent or
/// without one. `false` = there is no state file yet.
///
/// # Errors
/// See [`StoreError`].
pub fn keep_shapes(folder: &Path, source: &str, shapes: &Shapes) -> Result<bool, StoreError> {
    let Some(mut db) = folder::open_beside(folder)? else {
        return Ok(false);
    };
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM shape WHERE source = ?1", [source])?;
    for (table, shape) in &shapes.tables {
        let json = serde_json::to_string(shape)
            .map_err(|error| StoreError::Invariant(format!("a shape has no JSON: {error}")))?;
        transaction.execute(
            "INSERT INTO shape (source, table_name, taken_at, shape) VALUES (?1, ?2, ?3, ?4)",
            params![source, table, millis(shapes.taken_at), json],
        )?;
    }
    transaction.commit()?;
    Ok(true)
}

impl StateReader {
    /// What was kept of a source's tables; `None` = nothing was.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn shapes(&self, source: &str) -> Result<Option<Shapes>, StoreError> {
        let Some(db) = self.of_format(7)? else {
            return Ok(None);
        };
        let mut query =
            db.prepare_cached("SELECT table_name, taken_at, shape FROM shape WHERE source = ?1")?;
        let mut rows = query.query([source])?;
        let mut found: Option<Shapes> = None;
        while let Some(row) = rows.next()? {
            let shape: String = row.get(2)?;
            let shape = serde_json::from_str(&shape)
                .map_err(|_| StoreError::Invariant("a shape does not parse".to_owned()))?;
            let shapes = found.get_or_insert(Shapes {
                taken_at: from_millis(row.get(1)?),
                tables: BTreeMap::new(),
            });
            shapes.tables.insert(row.get(0)?, shape);
        }
        Ok(found)
    }
}

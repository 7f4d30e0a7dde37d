//! The rules in force, for whoever only reads.

use serde::Serialize;

use crate::error::StoreError;
use crate::status::StateReader;

/// A rule as it was last in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownRule {
    /// The source that it is of.
    pub source: String,
    /// Its name.
    pub rule: String,
    /// Of all that its events are made of.
    pub digest: String,
}

impl StateReader {
    /// The rules of every source as they were last in force.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn rules_in_force(&self) -> Result<Vec<KnownRule>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT s.name, r.name, r.digest FROM rule r JOIN source s ON s.id = r.source
             WHERE r.active ORDER BY s.name, r.name",
        )?;
        let rows = query.query_map([], |row| {
            Ok(KnownRule {
                source: row.get(0)?,
                rule: row.get(1)?,
                digest: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

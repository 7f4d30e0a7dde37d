//! What things are called at a destination: what was told, and what is there and was not.
//!
//! There may be millions of them, so they stand in a file of their own that nobody else sees, not in memory
//! and not in the state file, whose writer has better to do. It is gone when this is dropped, however that
//! comes.

use contract::ListedEntry;
use rusqlite::{Connection, params};

use crate::error::StoreError;

/// Memory for it, in KiB; what is more goes into the system's folder for passing files.
const CACHE_KIB: i64 = 2_048;

/// Names that were told, and things whose name was not.
#[derive(Debug)]
pub struct Names {
    db: Connection,
}

impl Names {
    /// None at all.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn new() -> Result<Self, StoreError> {
        // A file without a name is SQLite's own, and is removed as soon as it is made.
        let db = Connection::open("")?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // Nothing of it is worth a flush: it does not outlive the process.
        db.pragma_update(None, "synchronous", "off")?;
        db.execute_batch(
            "CREATE TABLE told (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
             CREATE TABLE untold (name TEXT PRIMARY KEY, holds TEXT NOT NULL) STRICT, WITHOUT ROWID;",
        )?;
        Ok(Self { db })
    }

    /// These were told.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn told(&mut self, names: &[String]) -> Result<(), StoreError> {
        let written = self.db.transaction()?;
        {
            let mut told = written.prepare_cached("INSERT OR IGNORE INTO told VALUES (?1)")?;
            let mut gone = written.prepare_cached("DELETE FROM untold WHERE name = ?1")?;
            for name in names {
                told.execute([name])?;
                gone.execute([name])?;
            }
        }
        Ok(written.commit()?)
    }

    /// These are there; what is listed twice is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn listed(&mut self, entries: &[ListedEntry]) -> Result<(), StoreError> {
        let written = self.db.transaction()?;
        {
            let mut untold = written.prepare_cached(
                "INSERT OR REPLACE INTO untold SELECT ?1, ?2
                 WHERE NOT EXISTS (SELECT 1 FROM told WHERE name = ?1)",
            )?;
            for entry in entries {
                untold.execute(params![entry.name, entry.holds])?;
            }
        }
        Ok(written.commit()?)
    }

    /// How many are there that were not told.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn untold_count(&self) -> Result<u64, StoreError> {
        let count: i64 = self
            .db
            .query_row("SELECT count(*) FROM untold", [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// The first of them, in the order of their names.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn untold(&self, limit: usize) -> Result<Vec<ListedEntry>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut query = self
            .db
            .prepare_cached("SELECT name, holds FROM untold ORDER BY name LIMIT ?1")?;
        let rows = query.query_map([limit], |row| {
            Ok(ListedEntry {
                name: row.get(0)?,
                holds: row.get(1)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_was_not_told_is_known_once() {
        let entry = |name: &str, holds: &str| ListedEntry {
            name: name.to_owned(),
            holds: holds.to_owned(),
        };
        let mut names = Names::new().unwrap();
        names.told(&["A".to_owned(), "B".to_owned()]).unwrap();
        let all = ["A", "C", "D", "C"].map(|name| entry(name, "1"));
        names.listed(&all).unwrap();
        names.listed(&[entry("C", "2")]).unwrap();
        assert_eq!(names.untold_count().unwrap(), 2);
        assert_eq!(names.untold(9).unwrap(), [entry("C", "2"), entry("D", "1")]);
        // Told while it was listed.
        names.told(&["D".to_owned()]).unwrap();
        assert_eq!(names.untold(9).unwrap(), [entry("C", "2")]);
    }
}

//! What was told of a source's rows, to be compared with the rows themselves.

use contract::EventType;
use rusqlite::{Connection, OptionalExtension, params};

use super::reading;
use crate::error::StoreError;
use crate::status::StateReader;

/// What was told last of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldBody {
    /// The body as JSON; `None` = it was told to be gone.
    pub body: Option<String>,
    /// Which telling it is; versions are in the order of the source's log.
    pub version: String,
}

/// A key that a rule told and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldByRule {
    /// The key's place.
    pub lane: i64,
    /// The type.
    pub event_type: String,
    /// The key.
    pub key: String,
    /// Which telling it is.
    pub version: String,
}

/// A table whose rows are kept for the rules that join and add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaTable {
    /// The replica.
    pub id: i64,
    /// The table.
    pub table: String,
    /// Its columns that are kept, in order.
    pub columns: Vec<String>,
}

fn source_id(db: &Connection, source: &str) -> Result<Option<i64>, StoreError> {
    Ok(db
        .query_row("SELECT id FROM source WHERE name = ?1", [source], |row| {
            row.get(0)
        })
        .optional()?)
}

impl StateReader {
    /// What was told last of each of these keys; `None` where nothing ever was.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn told_bodies(
        &self,
        source: &str,
        keys: &[(EventType, String)],
    ) -> Result<Vec<Option<ToldBody>>, StoreError> {
        let nothing = || vec![None; keys.len()];
        let Some(db) = reading(self)? else {
            return Ok(nothing());
        };
        let Some(source) = source_id(db, source)? else {
            return Ok(nothing());
        };
        let mut query = db.prepare_cached(
            "SELECT body, version FROM published
             WHERE source = ?1 AND event_type = ?2 AND key = ?3",
        )?;
        keys.iter()
            .map(|(event_type, key)| {
                let found = query.query_row(params![source, event_type.name(), key], |row| {
                    Ok(ToldBody {
                        body: row.get(0)?,
                        version: row.get(1)?,
                    })
                });
                Ok(found.optional()?)
            })
            .collect()
    }

    /// Keys that a rule told and has not ended, behind a place, in order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn told_by_rule(
        &self,
        source: &str,
        rule: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<ToldByRule>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(Vec::new());
        };
        let Some(source) = source_id(db, source)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT id, event_type, key, version FROM published INDEXED BY published_by_rule
             WHERE source = ?1 AND rule = ?2 AND body IS NOT NULL AND id > ?3
             ORDER BY id LIMIT ?4",
        )?;
        let rows = query.query_map(params![source, rule, after, limit], |row| {
            Ok(ToldByRule {
                lane: row.get(0)?,
                event_type: row.get(1)?,
                key: row.get(2)?,
                version: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The tables whose rows are kept for rules that join and add up.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn replica_tables(&self, source: &str) -> Result<Vec<ReplicaTable>, StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT r.id, r.table_name, r.columns FROM replica r JOIN source s ON s.id = r.source
             WHERE s.name = ?1 ORDER BY r.table_name",
        )?;
        let rows = query.query_map([source], |row| {
            let columns: String = row.get(2)?;
            Ok((row.get(0)?, row.get(1)?, columns))
        })?;
        let mut all = Vec::new();
        for row in rows {
            let (id, table, columns): (i64, String, String) = row?;
            let columns = serde_json::from_str(&columns).map_err(|_| {
                StoreError::Invariant("a replica's list of columns does not parse".to_owned())
            })?;
            all.push(ReplicaTable { id, table, columns });
        }
        Ok(all)
    }

    /// Hands the cells of each row of a replica over, as they stand at one moment; they are the text that
    /// the mapping made of them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn replica_rows(&self, id: i64, mut row: impl FnMut(&str)) -> Result<(), StoreError> {
        let Some(db) = reading(self)? else {
            return Ok(());
        };
        let mut query = db.prepare_cached("SELECT cells FROM replica_row WHERE replica = ?1")?;
        let mut rows = query.query([id])?;
        while let Some(found) = rows.next()? {
            row(found.get_ref(0)?.as_str().unwrap_or_default());
        }
        Ok(())
    }
}

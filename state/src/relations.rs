//! What relations remember: replicas, marks, what was told, groups. All of it is read and written
//! inside the capture loop's transaction, so that it never runs ahead of the checkpoint or behind.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// The relations of one source, within a transaction.
#[derive(Debug)]
pub struct RelationStore<'t> {
    pub(crate) db: &'t Connection,
    pub(crate) source: i64,
}

/// What a row told, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldRow {
    /// The row.
    pub row_key: String,
    /// The event's key.
    pub event_key: String,
    /// Its part is in doubt.
    pub held: bool,
    /// Its part of a group, or a fact's digest.
    pub part: String,
}

/// A part of a group, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPart {
    /// What its rows agree in.
    pub same: String,
    /// How many they are.
    pub rows: i64,
    /// Their sums.
    pub sums: String,
}

/// An entry of a row in an index: the index and the value.
pub type Place = (i64, String);

pub(crate) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn broken(what: &str) -> StoreError {
    StoreError::Invariant(format!("{what} does not parse"))
}

fn places_of(text: &str) -> Result<Vec<Place>> {
    serde_json::from_str(text).map_err(|_| broken("a replica row's list of places"))
}

impl<'t> RelationStore<'t> {
    pub(crate) fn new(db: &'t Connection, source: i64) -> Self {
        Self { db, source }
    }

    /// A table's replica, widened by `columns`: its id, all its columns, whether any is new.
    ///
    /// # Errors
    /// See [`StoreError`]; so for all that follow.
    pub fn open_table(&self, table: &str, columns: &[String]) -> Result<(i64, Vec<String>, bool)> {
        let known: Option<(i64, String)> = self
            .db
            .prepare_cached(
                "SELECT id, columns FROM replica WHERE source = ?1 AND table_name = ?2",
            )?
            .query_row(params![self.source, table], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let mut all: Vec<String> = match &known {
            Some((_, text)) => {
                serde_json::from_str(text).map_err(|_| broken("a replica's list of columns"))?
            }
            None => Vec::new(),
        };
        let before = all.len();
        for column in columns {
            if !all.contains(column) {
                all.push(column.clone());
            }
        }
        let grown = all.len() > before || known.is_none();
        let id = match known {
            Some((id, _)) if !grown => id,
            _ => self.db.query_row(
                "INSERT INTO replica (source, table_name, columns) VALUES (?1, ?2, ?3)
                 ON CONFLICT (source, table_name) DO UPDATE SET columns = excluded.columns
                 RETURNING id",
                params![self.source, table, serde_json::json!(all).to_string()],
                |row| row.get(0),
            )?,
        };
        Ok((id, all, grown))
    }

    /// An index on a replica, and whether it is new.
    pub fn open_index(&self, replica: i64, on: &str) -> Result<(i64, bool)> {
        let known = self
            .db
            .prepare_cached("SELECT id FROM replica_index WHERE replica = ?1 AND on_what = ?2")?
            .query_row(params![replica, on], |row| row.get(0))
            .optional()?;
        if let Some(id) = known {
            return Ok((id, false));
        }
        self.db.execute(
            "INSERT INTO replica_index (replica, on_what) VALUES (?1, ?2)",
            params![replica, on],
        )?;
        Ok((self.db.last_insert_rowid(), true))
    }

    /// A rule's id, and whether it is new or has another digest than before.
    pub fn open_rule(&self, rule: &str, digest: &str) -> Result<(i64, bool)> {
        let known: Option<(i64, String)> = self
            .db
            .prepare_cached("SELECT id, digest FROM relation WHERE source = ?1 AND rule = ?2")?
            .query_row(params![self.source, rule], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match known {
            Some((id, known)) if known == digest => Ok((id, false)),
            Some((id, _)) => {
                self.db.execute(
                    "UPDATE relation SET digest = ?2 WHERE id = ?1",
                    params![id, digest],
                )?;
                Ok((id, true))
            }
            None => {
                self.db.execute(
                    "INSERT INTO relation (source, rule, digest) VALUES (?1, ?2, ?3)",
                    params![self.source, rule, digest],
                )?;
                Ok((self.db.last_insert_rowid(), true))
            }
        }
    }

    /// Forgets the source's replicas, indexes and rules that are not in the lists.
    pub fn close_others(&self, tables: &[i64], indexes: &[i64], rules: &[i64]) -> Result<()> {
        let list = |ids: &[i64]| serde_json::json!(ids).to_string();
        let (tables, indexes, rules) = (list(tables), list(indexes), list(rules));
        self.db
            .execute_batch("CREATE TEMP TABLE IF NOT EXISTS gone (id INTEGER PRIMARY KEY)")?;
        let each = |find: &str, keep: &str, statements: &[&str]| -> Result<()> {
            self.db.execute_batch("DELETE FROM temp.gone")?;
            self.db.execute(find, params![self.source, keep])?;
            for statement in statements {
                self.db.execute(statement, [])?;
            }
            Ok(())
        };
        each(
            "INSERT INTO temp.gone SELECT i.id FROM replica_index i
             JOIN replica r ON r.id = i.replica WHERE r.source = ?1
               AND i.id NOT IN (SELECT value FROM json_each(?2))",
            &indexes,
            &[
                "DELETE FROM replica_place WHERE idx IN (SELECT id FROM temp.gone)",
                "DELETE FROM replica_index WHERE id IN (SELECT id FROM temp.gone)",
            ],
        )?;
        each(
            "INSERT INTO temp.gone SELECT id FROM replica WHERE source = ?1
               AND id NOT IN (SELECT value FROM json_each(?2))",
            &tables,
            &[
                "DELETE FROM replica_row WHERE replica IN (SELECT id FROM temp.gone)",
                "DELETE FROM replica WHERE id IN (SELECT id FROM temp.gone)",
            ],
        )?;
        each(
            "INSERT INTO temp.gone SELECT id FROM relation WHERE source = ?1
               AND id NOT IN (SELECT value FROM json_each(?2))",
            &rules,
            &[
                "DELETE FROM mark WHERE relation IN (SELECT id FROM temp.gone)",
                "DELETE FROM told WHERE relation IN (SELECT id FROM temp.gone)",
                "DELETE FROM group_part WHERE relation IN (SELECT id FROM temp.gone)",
                "DELETE FROM relation WHERE id IN (SELECT id FROM temp.gone)",
            ],
        )
    }

    /// A row's cells.
    pub fn row(&self, replica: i64, key: &str) -> Result<Option<String>> {
        Ok(self
            .db
            .prepare_cached("SELECT cells FROM replica_row WHERE replica = ?1 AND row_key = ?2")?
            .query_row(params![replica, key], |row| row.get(0))
            .optional()?)
    }

    fn places(&self, replica: i64, key: &str) -> Result<Option<Vec<Place>>> {
        let found: Option<String> = self
            .db
            .prepare_cached("SELECT places FROM replica_row WHERE replica = ?1 AND row_key = ?2")?
            .query_row(params![replica, key], |row| row.get(0))
            .optional()?;
        found.map(|text| places_of(&text)).transpose()
    }

    fn enter(&self, key: &str, (index, value): &Place) -> Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO replica_place (idx, value, row_key) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![index, value, key])?;
        Ok(())
    }

    fn leave(&self, key: &str, (index, value): &Place) -> Result<()> {
        self.db
            .prepare_cached(
                "DELETE FROM replica_place WHERE idx = ?1 AND value = ?2 AND row_key = ?3",
            )?
            .execute(params![index, value, key])?;
        Ok(())
    }

    /// Stores a row and its places, in place of what stood there.
    pub fn put(&self, replica: i64, key: &str, cells: &str, places: &[Place]) -> Result<()> {
        let known = self.places(replica, key)?.unwrap_or_default();
        for place in known.iter().filter(|place| !places.contains(place)) {
            self.leave(key, place)?;
        }
        for place in places.iter().filter(|place| !known.contains(place)) {
            self.enter(key, place)?;
        }
        self.db
            .prepare_cached(
                "INSERT INTO replica_row (replica, row_key, cells, places, seen)
                 VALUES (?1, ?2, ?3, ?4, (SELECT reading FROM replica WHERE id = ?1))
                 ON CONFLICT DO UPDATE SET cells = excluded.cells, places = excluded.places,
                   seen = excluded.seen",
            )?
            .execute(params![
                replica,
                key,
                cells,
                serde_json::json!(places).to_string()
            ])?;
        Ok(())
    }

    /// A row was found as it stands.
    pub fn seen(&self, replica: i64, key: &str) -> Result<()> {
        self.db
            .prepare_cached(
                "UPDATE replica_row SET seen = (SELECT reading FROM replica WHERE id = ?1)
                 WHERE replica = ?1 AND row_key = ?2
                   AND seen < (SELECT reading FROM replica WHERE id = ?1)",
            )?
            .execute(params![replica, key])?;
        Ok(())
    }

    /// Whether the present reading of a replica's table has yet to see a row.
    pub fn is_unseen(&self, replica: i64, key: &str) -> Result<bool> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM replica_row w JOIN replica r ON r.id = w.replica
                 WHERE w.replica = ?1 AND w.row_key = ?2 AND w.seen < r.reading)",
            )?
            .query_row(params![replica, key], |row| row.get(0))?)
    }

    /// Of the next rows behind a key, those that the present reading of their table did not see,
    /// and the last key looked at; none = all rows have been looked at.
    pub fn unseen(
        &self,
        replica: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        let looked: Vec<(String, bool)> = self
            .db
            .prepare_cached(
                "SELECT w.row_key, w.seen < r.reading - EXISTS (SELECT 1 FROM snapshot s
                   WHERE s.source = r.source AND s.table_name = r.table_name AND s.marked)
                 FROM replica_row w
                 JOIN replica r ON r.id = w.replica
                 WHERE w.replica = ?1 AND w.row_key > coalesce(?2, '')
                 ORDER BY w.row_key LIMIT ?3",
            )?
            .query_map(params![replica, after, limit_of(limit)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<std::result::Result<_, _>>()?;
        let last = looked.last().filter(|_| looked.len() == limit);
        let last = last.map(|(key, _)| key.clone());
        let unseen = looked.into_iter().filter(|(_, unseen)| *unseen);
        Ok((unseen.map(|(key, _)| key).collect(), last))
    }

    /// What the present reading of a table did not see has left its replica.
    pub fn swept(&self, table: &str) -> Result<()> {
        self.db
            .prepare_cached(
                "UPDATE replica SET swept = reading WHERE source = ?1 AND table_name = ?2",
            )?
            .execute(params![self.source, table])?;
        Ok(())
    }

    /// Tables whose replicas may still hold rows that their present reading did not see.
    pub fn unswept(&self) -> Result<Vec<String>> {
        Ok(self
            .db
            .prepare_cached("SELECT table_name FROM replica WHERE source = ?1 AND swept < reading")?
            .query_map([self.source], |row| row.get(0))?
            .collect::<std::result::Result<_, _>>()?)
    }

    /// Adds a stored row to an index.
    pub fn index(&self, index: i64, value: &str, replica: i64, key: &str) -> Result<()> {
        let Some(mut places) = self.places(replica, key)? else {
            return Ok(());
        };
        let place = (index, value.to_owned());
        self.enter(key, &place)?;
        places.push(place);
        self.db
            .prepare_cached(
                "UPDATE replica_row SET places = ?3 WHERE replica = ?1 AND row_key = ?2",
            )?
            .execute(params![replica, key, serde_json::json!(places).to_string()])?;
        Ok(())
    }

    /// Removes a row.
    pub fn remove(&self, replica: i64, key: &str) -> Result<()> {
        for place in self.places(replica, key)?.unwrap_or_default() {
            self.leave(key, &place)?;
        }
        self.db
            .prepare_cached("DELETE FROM replica_row WHERE replica = ?1 AND row_key = ?2")?
            .execute(params![replica, key])?;
        Ok(())
    }

    /// Rows behind a key: key and cells.
    pub fn rows(
        &self,
        replica: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT row_key, cells FROM replica_row
                 WHERE replica = ?1 AND (?2 IS NULL OR row_key > ?2) ORDER BY row_key LIMIT ?3",
            )?
            .query_map(params![replica, after, limit_of(limit)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<std::result::Result<_, _>>()?)
    }

    /// Rows with a value in an index, behind a key: key and cells.
    pub fn find(
        &self,
        index: i64,
        value: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT p.row_key, r.cells FROM replica_place p
                 JOIN replica_row r ON r.row_key = p.row_key
                   AND r.replica = (SELECT replica FROM replica_index WHERE id = ?1)
                 WHERE p.idx = ?1 AND p.value = ?2 AND p.row_key > coalesce(?3, '')
                 ORDER BY p.row_key LIMIT ?4",
            )?
            .query_map(params![index, value, after, limit_of(limit)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<std::result::Result<_, _>>()?)
    }

    /// A mark.
    pub fn mark(&self, rule: i64, what: u8, key: &str) -> Result<Option<String>> {
        Ok(self
            .db
            .prepare_cached("SELECT json FROM mark WHERE relation = ?1 AND what = ?2 AND key = ?3")?
            .query_row(params![rule, what, key], |row| row.get(0))
            .optional()?)
    }

    /// Stores a mark in place of the one that stood there.
    pub fn put_mark(
        &self,
        rule: i64,
        what: u8,
        key: &str,
        due: Option<i64>,
        json: &str,
    ) -> Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO mark (relation, what, key, due, json) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET due = excluded.due, json = excluded.json",
            )?
            .execute(params![rule, what, key, due, json])?;
        Ok(())
    }

    /// Takes a rule's marks that are due: key and mark.
    pub fn take_marks(
        &self,
        rule: i64,
        what: u8,
        now: i64,
        limit: usize,
    ) -> Result<Vec<(String, String)>> {
        let found: Vec<(String, String)> = self
            .db
            .prepare_cached(
                "SELECT key, json FROM mark
                 WHERE relation = ?1 AND what = ?2 AND (due IS NULL OR due <= ?3)
                 ORDER BY key LIMIT ?4",
            )?
            .query_map(params![rule, what, now, limit_of(limit)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<std::result::Result<_, _>>()?;
        for (key, _) in &found {
            self.db
                .prepare_cached("DELETE FROM mark WHERE relation = ?1 AND what = ?2 AND key = ?3")?
                .execute(params![rule, what, key])?;
        }
        Ok(found)
    }

    /// A rule's marks behind a key, left where they are.
    pub fn marks(
        &self,
        rule: i64,
        what: u8,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, String)>> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT key, json FROM mark WHERE relation = ?1 AND what = ?2 AND key > ?3
                 ORDER BY key LIMIT ?4",
            )?
            .query_map(params![rule, what, after, limit_of(limit)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<std::result::Result<_, _>>()?)
    }

    /// Takes a mark away.
    pub fn unmark(&self, rule: i64, what: u8, key: &str) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM mark WHERE relation = ?1 AND what = ?2 AND key = ?3")?
            .execute(params![rule, what, key])?;
        Ok(())
    }

    /// When the next mark that waits for its time is due, in milliseconds.
    pub fn next_due(&self) -> Result<Option<i64>> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT min(due) FROM mark INDEXED BY mark_due
                 WHERE relation IN (SELECT id FROM relation WHERE source = ?1)
                   AND due IS NOT NULL",
            )?
            .query_row([self.source], |row| row.get(0))?)
    }

    /// Whether there are marks.
    pub fn has_marks(&self) -> Result<bool> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM mark
                 WHERE relation IN (SELECT id FROM relation WHERE source = ?1))",
            )?
            .query_row([self.source], |row| row.get(0))?)
    }

    /// What a row told.
    pub fn told(&self, rule: i64, row: &str) -> Result<Option<ToldRow>> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT row_key, event_key, held, part FROM told
                 WHERE relation = ?1 AND row_key = ?2",
            )?
            .query_row(params![rule, row], told_row)
            .optional()?)
    }

    /// Remembers what a row told.
    pub fn tell(&self, rule: i64, told: &ToldRow) -> Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO told (relation, row_key, event_key, held, part)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET event_key = excluded.event_key, held = excluded.held,
                   part = excluded.part",
            )?
            .execute(params![
                rule,
                told.row_key,
                told.event_key,
                told.held,
                told.part
            ])?;
        Ok(())
    }

    /// Forgets what a row told.
    pub fn untell(&self, rule: i64, row: &str) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM told WHERE relation = ?1 AND row_key = ?2")?
            .execute(params![rule, row])?;
        Ok(())
    }

    /// The rows that told an event's key.
    pub fn tellers(&self, rule: i64, event_key: &str, limit: usize) -> Result<Vec<ToldRow>> {
        Ok(self
            .db
            .prepare_cached(
                // Named: without statistics all that a rule ever told would be walked.
                "SELECT row_key, event_key, held, part FROM told INDEXED BY told_by_key
                 WHERE relation = ?1 AND event_key = ?2 ORDER BY row_key LIMIT ?3",
            )?
            .query_map(params![rule, event_key, limit_of(limit)], told_row)?
            .collect::<std::result::Result<_, _>>()?)
    }

    /// Rows behind a key that told something.
    pub fn told_rows(&self, rule: i64, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT row_key FROM told
                 WHERE relation = ?1 AND (?2 IS NULL OR row_key > ?2) ORDER BY row_key LIMIT ?3",
            )?
            .query_map(params![rule, after, limit_of(limit)], |row| row.get(0))?
            .collect::<std::result::Result<_, _>>()?)
    }

    /// The parts of a group.
    pub fn group(&self, rule: i64, event_key: &str) -> Result<Vec<GroupPart>> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT same, row_count, sums FROM group_part
                 WHERE relation = ?1 AND event_key = ?2 ORDER BY same",
            )?
            .query_map(params![rule, event_key], |row| {
                Ok(GroupPart {
                    same: row.get(0)?,
                    rows: row.get(1)?,
                    sums: row.get(2)?,
                })
            })?
            .collect::<std::result::Result<_, _>>()?)
    }

    /// Stores a part of a group; removes it where it has no rows.
    pub fn put_group(&self, rule: i64, event_key: &str, part: &GroupPart) -> Result<()> {
        if part.rows == 0 {
            self.db
                .prepare_cached(
                    "DELETE FROM group_part WHERE relation = ?1 AND event_key = ?2 AND same = ?3",
                )?
                .execute(params![rule, event_key, part.same])?;
            return Ok(());
        }
        self.db
            .prepare_cached(
                "INSERT INTO group_part (relation, event_key, same, row_count, sums)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET row_count = excluded.row_count, sums = excluded.sums",
            )?
            .execute(params![rule, event_key, part.same, part.rows, part.sums])?;
        Ok(())
    }

    /// Whether all ranges of a table but this one have been read.
    pub fn is_last_range(&self, table: &str, range: u32) -> Result<bool> {
        crate::snapshot::is_last_range(self.db, self.source, table, range)
    }

    /// Tables whose replicas must be read (again): their snapshots begin anew.
    pub fn read_again(&self, tables: &[String]) -> Result<()> {
        for table in tables {
            crate::snapshot::read_again(self.db, self.source, table)?;
            // Nothing else settles those without a key; the ones still unclear are held anew.
            self.db.execute(
                "DELETE FROM held WHERE source = ?1 AND table_name = ?2 AND row_key = ''
                   AND rule IN (SELECT name FROM rule WHERE source = ?1 AND relates)",
                params![self.source, table],
            )?;
        }
        Ok(())
    }
}

fn told_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ToldRow> {
    Ok(ToldRow {
        row_key: row.get(0)?,
        event_key: row.get(1)?,
        held: row.get(2)?,
        part: row.get(3)?,
    })
}

//! What another mapping would tell of live changes, beside the one in force: counts, and the newest differences.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::error::StoreError;
use crate::status::StateReader;
use crate::{Store, from_millis, millis};

/// Differences that are kept of a source: the newest, one of each key.
const KEPT: i64 = 1_000;

/// How often something was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ShadowCounts {
    /// Changed rows that both mappings were tried on.
    pub rows: u64,
    /// Changed rows that there was no time or way for.
    pub left_out: u64,
    /// Events that both tell alike.
    pub same: u64,
    /// Events that they tell otherwise.
    pub changed: u64,
    /// Events that only the new one tells.
    pub added: u64,
    /// Events that only the old one tells.
    pub removed: u64,
    /// What only the new one holds, or for another reason.
    pub held: u64,
    /// What only the old one holds.
    pub freed: u64,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShadowDifference {
    /// `changed`, `added`, `removed`, `held` or `freed`.
    pub class: String,
    /// The event's type and key, or the rule and its row.
    pub what: String,
    /// The fields with both values, or the reason.
    pub details: serde_json::Value,
    /// When it was seen last.
    pub seen_at: Timestamp,
}

/// What came of one source's other mapping so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShadowRun {
    /// The source.
    pub source: String,
    /// The mapping's files, as the settings name them.
    pub files: String,
    /// Since when these two mappings are compared.
    pub since: Timestamp,
    /// When rows were last looked at.
    pub looked_at: Timestamp,
    /// How often what was found.
    pub counts: ShadowCounts,
    /// Why nothing is compared now.
    pub problem: Option<String>,
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Store {
    /// Begins to compare, or goes on where these two mappings, known by `digest`, were compared before. With
    /// none (""), because they cannot be compared now, what was found of others stays.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn shadow_begins(
        &self,
        source: &str,
        digest: &str,
        files: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (source, digest, files) = (source.to_owned(), digest.to_owned(), files.to_owned());
        self.writer
            .run(move |db| {
                let known: Option<String> = db
                    .query_row("SELECT digest FROM shadow WHERE source = ?1", [&source], |row| row.get(0))
                    .optional()?;
                if known.as_deref() == Some(&digest) || (known.is_some() && digest.is_empty()) {
                    db.execute(
                        "UPDATE shadow SET problem = NULL, files = ?2 WHERE source = ?1",
                        [&source, &files],
                    )?;
                    return Ok(());
                }
                forget(db, &source)?;
                db.execute(
                    "INSERT INTO shadow (source, digest, files, since_at, looked_at, rows, left_out, same,
                       changed, added, removed, held, freed)
                     VALUES (?1, ?2, ?3, ?4, ?4, 0, 0, 0, 0, 0, 0, 0, 0)",
                    params![source, digest, files, millis(now)],
                )?;
                Ok(())
            })
            .await
    }

    /// Adds what was found, the newest differences included; or says why nothing is compared.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn shadow_found(
        &self,
        source: &str,
        more: ShadowCounts,
        differences: Vec<ShadowDifference>,
        problem: Option<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let source = source.to_owned();
        self.writer
            .run(move |db| {
                db.prepare_cached(
                    "UPDATE shadow SET looked_at = ?2, rows = rows + ?3, left_out = left_out + ?4,
                       same = same + ?5, changed = changed + ?6, added = added + ?7,
                       removed = removed + ?8, held = held + ?9, freed = freed + ?10, problem = ?11
                     WHERE source = ?1",
                )?
                .execute(params![
                    source,
                    millis(now),
                    number(more.rows),
                    number(more.left_out),
                    number(more.same),
                    number(more.changed),
                    number(more.added),
                    number(more.removed),
                    number(more.held),
                    number(more.freed),
                    problem
                ])?;
                for one in &differences {
                    // As the newest: it gets a new number.
                    db.prepare_cached(
                        "INSERT OR REPLACE INTO shadow_difference (source, class, what, details, seen_at)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![
                        source,
                        one.class,
                        one.what,
                        one.details.to_string(),
                        millis(one.seen_at)
                    ])?;
                }
                db.prepare_cached(
                    "DELETE FROM shadow_difference WHERE source = ?1 AND id <=
                       (SELECT id FROM shadow_difference WHERE source = ?1 ORDER BY id DESC
                        LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![source, KEPT])?;
                Ok(())
            })
            .await
    }

    /// Forgets what was compared of sources that have no other mapping now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn shadow_only(&self, sources: Vec<String>) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let known: Vec<String> = db
                    .prepare_cached("SELECT source FROM shadow")?
                    .query_map([], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for source in known.iter().filter(|one| !sources.contains(one)) {
                    forget(db, source)?;
                }
                Ok(())
            })
            .await
    }
}

fn forget(db: &Connection, source: &str) -> Result<(), StoreError> {
    db.execute("DELETE FROM shadow WHERE source = ?1", [source])?;
    db.execute("DELETE FROM shadow_difference WHERE source = ?1", [source])?;
    Ok(())
}

impl StateReader {
    /// What came of the other mappings that are tried on live changes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn shadows(&self) -> Result<Vec<ShadowRun>, StoreError> {
        let Some(db) = self.of_format(7)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT source, files, since_at, looked_at, rows, left_out, same, changed, added, removed,
               held, freed, problem FROM shadow ORDER BY source",
        )?;
        let rows = query.query_map([], |row| {
            let count = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
            Ok(ShadowRun {
                source: row.get(0)?,
                files: row.get(1)?,
                since: from_millis(row.get(2)?),
                looked_at: from_millis(row.get(3)?),
                counts: ShadowCounts {
                    rows: count(4)?,
                    left_out: count(5)?,
                    same: count(6)?,
                    changed: count(7)?,
                    added: count(8)?,
                    removed: count(9)?,
                    held: count(10)?,
                    freed: count(11)?,
                },
                problem: row.get(12)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The newest differences of a source, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn shadow_differences(
        &self,
        source: &str,
        limit: usize,
    ) -> Result<Vec<ShadowDifference>, StoreError> {
        let Some(db) = self.of_format(7)? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT class, what, details, seen_at FROM shadow_difference WHERE source = ?1
             ORDER BY id DESC LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map(params![source, limit], |row| {
            let details: String = row.get(2)?;
            Ok(ShadowDifference {
                class: row.get(0)?,
                what: row.get(1)?,
                details: serde_json::from_str(&details).unwrap_or_default(),
                seen_at: from_millis(row.get(3)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

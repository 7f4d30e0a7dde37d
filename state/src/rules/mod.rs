//! The rules of a source as they were last in force: which of them are told over the rows that are
//! there, and which keys no row tells any more.
//!
//! A rule that is new or changed gets the next generation, and every key that it tells carries it.
//! When its table has been read whole, a key of an older generation is one that no row tells: unless
//! its row is held, or another rule has still to say something.

mod end;
mod in_force;
mod open;

use contract::{EventKind, EventType, Position};
use rusqlite::{Connection, params};

use crate::Store;
use crate::error::StoreError;
use crate::snapshot::parse;
pub use end::Untold;
pub use in_force::KnownRule;
use open::Opening;

/// A rule that stands in the mappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInForce {
    /// Its name.
    pub name: String,
    /// Of all that its events are made of.
    pub digest: String,
    /// What it emits.
    pub event_type: EventType,
    /// Its own table.
    pub table: String,
    /// Whether it needs rows of several tables.
    pub relates: bool,
}

/// How far a rule is told over the rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// All of it; and what no row tells has ended.
    Told,
    /// Its table is being read for it.
    Reading,
    /// Its table is read for it when the present reading, which began before it, is done.
    Next,
    /// Its table has been read, or its rows are worked out: what no row tells ends.
    Ending,
    /// Its facts are told, and its table is being read for those of them that are held.
    Held,
    /// So when the present reading, which began before, is done.
    HeldNext,
    /// Its table is being read for it, and then once more for what is held.
    ReadingThenHeld,
}

impl Stage {
    fn of(number: i64) -> Self {
        match number {
            1 => Self::Reading,
            2 => Self::Next,
            3 => Self::Ending,
            4 => Self::Held,
            5 => Self::HeldNext,
            6 => Self::ReadingThenHeld,
            _ => Self::Told,
        }
    }

    fn number(self) -> i64 {
        match self {
            Self::Told => 0,
            Self::Reading => 1,
            Self::Next => 2,
            Self::Ending => 3,
            Self::Held => 4,
            Self::HeldNext => 5,
            Self::ReadingThenHeld => 6,
        }
    }
}

/// A rule in force and how far it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProgress {
    /// Its name.
    pub name: String,
    /// Whether it needs rows of several tables.
    pub relates: bool,
    /// How far it is told.
    pub stage: Stage,
    /// It saw every change behind this position; `None` = every one.
    pub since: Option<Position>,
    /// But for those behind the first position and up to the second, when it stood in no mapping.
    pub unseen: Option<(Option<Position>, Position)>,
    /// Its facts were told before their rows are read into replicas.
    pub quiet: bool,
}

impl Store {
    /// Whether a source's rules are those that were in force last, unchanged, as names with their
    /// digests.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn are_in_force(
        &self,
        source: &str,
        mut rules: Vec<(String, String)>,
    ) -> Result<bool, StoreError> {
        let source = source.to_owned();
        rules.sort_unstable();
        self.writer
            .run(move |db| {
                let mut found = db.prepare(
                    "SELECT r.name, r.digest FROM rule r JOIN source s ON s.id = r.source
                      WHERE s.name = ?1 AND r.active AND s.checkpoint IS NOT NULL ORDER BY r.name",
                )?;
                let found = found.query_map([source], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let found: Vec<(String, String)> = found.collect::<Result<_, _>>()?;
                Ok(!found.is_empty() && found == rules)
            })
            .await
    }

    /// Takes a source's rules into force. Of those that are new or changed, the tables are read
    /// again; not for facts, which are told once. `checkpoint` is where their changes begin.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_rules(
        &self,
        source: i64,
        rules: Vec<RuleInForce>,
        checkpoint: Option<Position>,
    ) -> Result<Vec<RuleProgress>, StoreError> {
        self.writer
            .run(move |db| {
                let unknown: bool = db.query_row(
                    "SELECT EXISTS (SELECT 1 FROM snapshot WHERE source = ?1)
                        AND NOT EXISTS (SELECT 1 FROM rule WHERE source = ?1)",
                    [source],
                    |row| row.get(0),
                )?;
                let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
                let mut opening = Opening {
                    db,
                    source,
                    names: serde_json::json!(names).to_string(),
                    checkpoint: checkpoint.as_ref().map(ToString::to_string),
                    unknown,
                    taken: Vec::new(),
                };
                // Facts first: what they told is judged by what was read before this.
                let fact = |rule: &&RuleInForce| rule.event_type.kind() == EventKind::Fact;
                let (facts, states): (Vec<_>, Vec<_>) = rules.iter().partition(fact);
                for rule in facts.into_iter().chain(states) {
                    opening.open(rule)?;
                }
                opening.take_out()?;
                progress(db, source)
            })
            .await
    }

    /// How far the rules in force are told.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rules(&self, source: i64) -> Result<Vec<RuleProgress>, StoreError> {
        self.writer.run(move |db| progress(db, source)).await
    }
}

fn progress(db: &Connection, source: i64) -> Result<Vec<RuleProgress>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT name, relates, stage, since, quiet, left_at, back_at
         FROM rule WHERE source = ?1 AND active",
    )?;
    let mut rows = query.query([source])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let since: Option<String> = row.get(3)?;
        let (left, back): (Option<String>, Option<String>) = (row.get(5)?, row.get(6)?);
        let left = left.map(|text| parse(&text)).transpose()?;
        let back = back.map(|text| parse(&text)).transpose()?;
        found.push(RuleProgress {
            name: row.get(0)?,
            relates: row.get(1)?,
            stage: Stage::of(row.get(2)?),
            since: since.map(|text| parse(&text)).transpose()?,
            unseen: back.map(|back| (left, back)),
            quiet: row.get(4)?,
        });
    }
    Ok(found)
}

/// A table was read from its first row to its last.
pub(crate) fn table_read(db: &Connection, source: i64, table: &str) -> Result<(), StoreError> {
    // What is held of a row that was not seen is no longer there. A fact that nobody was told
    // stays for a person, and what rows without a key are is not known.
    db.prepare_cached(
        "DELETE FROM held WHERE source = ?1 AND row_key <> '' AND rule IN (
           SELECT name FROM rule r WHERE r.source = ?1 AND r.table_name = ?2 AND r.active
             AND NOT r.relates AND NOT r.fact AND r.stage = 1)
           AND generation < (SELECT r.generation FROM rule r
             WHERE r.source = ?1 AND r.name = held.rule)
             - EXISTS (SELECT 1 FROM snapshot s
               WHERE s.source = ?1 AND s.table_name = ?2 AND s.marked)",
    )?
    .execute(params![source, table])?;
    db.prepare_cached(
        "UPDATE rule SET stage = CASE WHEN stage = 2 THEN 1 WHEN stage IN (5, 6) THEN 4
           WHEN fact THEN 0 ELSE 3 END
         WHERE source = ?1 AND table_name = ?2 AND active AND NOT relates
           AND stage IN (1, 2, 4, 5, 6)",
    )?
    .execute(params![source, table])?;
    Ok(())
}

/// A table, or every table of a source, is read anew: for all its rules, for facts as well. What
/// a rule of states told and no row tells then, ends. Facts keep their generation, by which it is
/// known whether another form of their rule told them.
pub(crate) fn tell_again(
    db: &Connection,
    source: i64,
    table: Option<&str>,
) -> Result<(), StoreError> {
    db.execute(
        "UPDATE rule SET quiet = 0,
           stage = CASE WHEN NOT relates THEN 1 WHEN fact THEN stage ELSE 3 END,
           generation = generation + NOT fact
         WHERE source = ?1 AND active AND (?2 IS NULL OR table_name = ?2)",
        params![source, table],
    )?;
    // Nothing else settles what is held of rows without a key; of these the reading holds anew what
    // is still unclear. A fact that nobody was told stays for a person.
    db.execute(
        "DELETE FROM held WHERE source = ?1 AND row_key = '' AND (?2 IS NULL OR table_name = ?2)
           AND rule IN (SELECT name FROM rule WHERE source = ?1 AND relates AND NOT fact)",
        params![source, table],
    )?;
    if table.is_none() {
        // Another life of the log: it sees every change of that.
        db.execute(
            "UPDATE rule SET since = NULL, back_at = NULL WHERE source = ?1 AND active",
            [source],
        )?;
    }
    Ok(())
}

/// Whether a rule stands in the mappings.
pub(crate) fn is_active(db: &Connection, source: i64, rule: &str) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM rule WHERE source = ?1 AND name = ?2 AND active)",
        )?
        .query_row(params![source, rule], |row| row.get(0))?)
}

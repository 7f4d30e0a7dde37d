//! The rules of a source as they were last in force: which of them are told over the rows that are
//! there, and which keys no row tells any more.
//!
//! A rule that is new or changed gets the next generation, and every key that it tells carries it.
//! When its table has been read whole, a key of an older generation is one that no row tells: unless
//! its row is held, or another rule has still to say something.

use contract::{EventKind, EventType, Position};
use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::error::StoreError;
use crate::relations::{RelationStore, limit_of};
use crate::snapshot::{parse, read_again};

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
}

impl Stage {
    fn of(number: i64) -> Self {
        match number {
            1 => Self::Reading,
            2 => Self::Next,
            3 => Self::Ending,
            _ => Self::Told,
        }
    }

    fn number(self) -> i64 {
        match self {
            Self::Told => 0,
            Self::Reading => 1,
            Self::Next => 2,
            Self::Ending => 3,
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
    /// Its facts were told before their rows are read into replicas.
    pub quiet: bool,
}

/// A key that no row tells any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// Where the next ones stand.
    pub id: i64,
    /// The event.
    pub event_type: EventType,
    /// Its key.
    pub key: String,
}

/// What is known of a rule of that name.
struct Known {
    digest: String,
    event_type: String,
    table: String,
    generation: i64,
    stage: Stage,
    relates: bool,
    quiet: bool,
    active: bool,
}

impl Store {
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
                // A state file from before rules were remembered: what it told is not known.
                let unknown: bool = db.query_row(
                    "SELECT EXISTS (SELECT 1 FROM snapshot WHERE source = ?1)
                        AND NOT EXISTS (SELECT 1 FROM rule WHERE source = ?1)",
                    [source],
                    |row| row.get(0),
                )?;
                // Facts first: what they told is judged by what was read before this.
                let fact = |rule: &&RuleInForce| rule.event_type.kind() == EventKind::Fact;
                let (facts, states): (Vec<_>, Vec<_>) = rules.iter().partition(fact);
                for rule in facts.into_iter().chain(states) {
                    open(db, source, rule, checkpoint.as_ref(), unknown)?;
                }
                let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
                db.execute(
                    "UPDATE rule SET active = 0, stage = 0
                     WHERE source = ?1 AND name NOT IN (SELECT value FROM json_each(?2))",
                    params![source, serde_json::json!(names).to_string()],
                )?;
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
        "SELECT name, relates, stage, since, quiet FROM rule WHERE source = ?1 AND active",
    )?;
    let mut rows = query.query([source])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let since: Option<String> = row.get(3)?;
        found.push(RuleProgress {
            name: row.get(0)?,
            relates: row.get(1)?,
            stage: Stage::of(row.get(2)?),
            since: since.map(|text| parse(&text)).transpose()?,
            quiet: row.get(4)?,
        });
    }
    Ok(found)
}

fn open(
    db: &Connection,
    source: i64,
    rule: &RuleInForce,
    checkpoint: Option<&Position>,
    unknown: bool,
) -> Result<(), StoreError> {
    let known: Option<Known> = db
        .query_row(
            "SELECT digest, generation, stage, relates, quiet, active, event_type, table_name
             FROM rule WHERE source = ?1 AND name = ?2",
            params![source, rule.name],
            |row| {
                Ok(Known {
                    digest: row.get(0)?,
                    generation: row.get(1)?,
                    stage: Stage::of(row.get(2)?),
                    relates: row.get(3)?,
                    quiet: row.get(4)?,
                    active: row.get(5)?,
                    event_type: row.get(6)?,
                    table: row.get(7)?,
                })
            },
        )
        .optional()?;
    if known
        .as_ref()
        .is_some_and(|known| known.active && known.digest == rule.digest)
    {
        return Ok(());
    }
    let fact = rule.event_type.kind() == EventKind::Fact;
    // A fact of another table or type is another fact.
    let same = known.as_ref().filter(|known| {
        fact && known.table == rule.table && known.event_type == rule.event_type.name()
    });
    let (mut quiet, mut same_since) = (false, false);
    let stage = if fact {
        let told = match same {
            Some(known) => Some(known.stage),
            None => told_before(db, source, rule, unknown)?,
        };
        if rule.relates {
            // Rows of several tables are read into replicas whatever was told of them.
            let relations = RelationStore { db, source };
            quiet = told.is_some() && !relations.remembers(&rule.name)?
                || same.is_some_and(|known| known.relates && known.quiet);
            if quiet { Stage::Ending } else { Stage::Told }
        } else if let Some(told) = told {
            // What is left of a reading is told as it is now.
            same_since = true;
            told
        } else {
            read_for(db, source, &rule.table)?
        }
    } else if rule.relates {
        Stage::Ending
    } else {
        read_for(db, source, &rule.table)?
    };
    let generation = known.as_ref().map_or(1, |known| known.generation + 1);
    db.execute(
        "INSERT INTO rule (source, name, digest, event_type, table_name, fact, relates,
           generation, stage, since, quiet, active)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1)
         ON CONFLICT DO UPDATE SET digest = excluded.digest, event_type = excluded.event_type,
           table_name = excluded.table_name, fact = excluded.fact, relates = excluded.relates,
           generation = excluded.generation, stage = excluded.stage, quiet = excluded.quiet,
           since = CASE WHEN ?12 AND rule.active THEN rule.since ELSE excluded.since END,
           active = 1",
        params![
            source,
            rule.name,
            rule.digest,
            rule.event_type.name(),
            rule.table,
            fact,
            rule.relates,
            generation,
            stage.number(),
            // Nobody can say since when a rule of an older file saw changes: from the first.
            checkpoint.filter(|_| !unknown).map(ToString::to_string),
            quiet,
            same_since && same.is_some()
        ],
    )?;
    Ok(())
}

/// How far a new rule's facts were told under another name or by an older file; `None` = not at
/// all, as far as anybody knows.
fn told_before(
    db: &Connection,
    source: i64,
    rule: &RuleInForce,
    unknown: bool,
) -> Result<Option<Stage>, StoreError> {
    if unknown {
        let done: Option<bool> = db
            .query_row(
                "SELECT done FROM snapshot WHERE source = ?1 AND table_name = ?2",
                params![source, rule.table],
                |row| row.get(0),
            )
            .optional()?;
        return Ok(done.map(|done| if done { Stage::Told } else { Stage::Reading }));
    }
    let stage: Option<i64> = db.query_row(
        "SELECT max(stage) FROM rule WHERE source = ?1 AND name <> ?2
           AND event_type = ?3 AND table_name = ?4",
        params![source, rule.name, rule.event_type.name(), rule.table],
        |row| row.get(0),
    )?;
    Ok(stage.map(Stage::of))
}

/// Has a rule's table read for it.
fn read_for(db: &Connection, source: i64, table: &str) -> Result<Stage, StoreError> {
    let begun: Option<bool> = db
        .query_row(
            "SELECT NOT done AND cursor IS NOT NULL FROM snapshot
             WHERE source = ?1 AND table_name = ?2",
            params![source, table],
            |row| row.get(0),
        )
        .optional()?;
    read_again(db, source, table)?;
    Ok(match begun {
        Some(true) => Stage::Next,
        Some(false) | None => Stage::Reading,
    })
}

/// A table was read from its first row to its last.
pub(crate) fn table_read(db: &Connection, source: i64, table: &str) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE rule SET stage = CASE WHEN stage = 2 THEN 1 WHEN fact THEN 0 ELSE 3 END
         WHERE source = ?1 AND table_name = ?2 AND NOT relates AND stage IN (1, 2)",
    )?
    .execute(params![source, table])?;
    Ok(())
}

/// Every table of a source is read anew: for all its rules, and for facts as well.
pub(crate) fn tell_all(db: &Connection, source: i64) -> Result<(), StoreError> {
    db.execute(
        "UPDATE rule SET since = NULL, quiet = 0,
           stage = CASE WHEN relates THEN stage ELSE 1 END
         WHERE source = ?1 AND active",
        [source],
    )?;
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

impl RelationStore<'_> {
    /// Whether nothing is left that could still tell a key of a rule's: no other rule of its event
    /// type or table is being told, but those that are `ready` to end keys as well, and no row is
    /// held whose key nobody knows.
    ///
    /// # Errors
    /// See [`StoreError`]; so for all that follow.
    pub fn may_end(&self, rule: &str, ready: &[String]) -> Result<bool, StoreError> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT NOT EXISTS (
                   SELECT 1 FROM rule r JOIN rule o ON o.source = r.source AND o.active
                     AND NOT o.fact
                     AND (o.event_type = r.event_type OR o.table_name = r.table_name)
                   WHERE r.source = ?1 AND r.name = ?2 AND (
                     o.stage <> 0 AND o.name NOT IN (SELECT value FROM json_each(?3))
                     OR EXISTS (SELECT 1 FROM held h WHERE h.source = o.source
                       AND h.event_key IS NULL AND h.rule = o.name)))",
            )?
            .query_row(
                params![self.source, rule, serde_json::json!(ready).to_string()],
                |row| row.get(0),
            )?)
    }

    /// The rules under whose names a rule's keys may have been told: its own first, then those that
    /// emitted the same from the same table and stand in no mapping any more.
    pub fn predecessors(&self, rule: &str) -> Result<Vec<String>, StoreError> {
        let mut names = vec![rule.to_owned()];
        let mut query = self.db.prepare_cached(
            "SELECT o.name FROM rule r JOIN rule o ON o.source = r.source AND NOT o.active
               AND o.event_type = r.event_type AND o.table_name = r.table_name
             WHERE r.source = ?1 AND r.name = ?2 ORDER BY o.name",
        )?;
        let found = query.query_map(params![self.source, rule], |row| row.get(0))?;
        for name in found {
            names.push(name?);
        }
        Ok(names)
    }

    /// Keys last told by `teller`, which is `rule` or its predecessor, that no row tells any more:
    /// told by an older generation, by no row that relations remember, and not held.
    pub fn untold(
        &self,
        rule: &str,
        teller: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Untold>, StoreError> {
        let found: Vec<(i64, String, String)> = self
            .db
            .prepare_cached(
                "SELECT p.id, p.event_type, p.key
                 FROM published p JOIN rule r ON r.source = p.source AND r.name = ?2
                 WHERE p.source = ?1 AND p.rule = ?3 AND p.body IS NOT NULL AND p.id > ?4
                   AND (p.rule <> r.name OR p.generation < r.generation)
                   AND NOT EXISTS (SELECT 1 FROM relation n
                     JOIN told t ON t.relation = n.id AND t.event_key = p.key
                     WHERE n.source = p.source AND n.rule = r.name
                       AND p.event_type = r.event_type)
                   AND NOT EXISTS (SELECT 1 FROM held h
                     JOIN rule o ON o.source = h.source AND o.name = h.rule AND o.active
                     WHERE h.source = p.source AND h.event_key = p.key
                       AND h.event_type = p.event_type)
                 ORDER BY p.id LIMIT ?5",
            )?
            .query_map(
                params![self.source, rule, teller, after, limit_of(limit)],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )?
            .collect::<Result<_, _>>()?;
        let mut keys = Vec::with_capacity(found.len());
        for (id, event_type, key) in found {
            let event_type = event_type.parse().map_err(|()| {
                StoreError::Invariant("a published event type is unknown".to_owned())
            })?;
            keys.push(Untold {
                id,
                event_type,
                key,
            });
        }
        Ok(keys)
    }

    /// All that a rule told before and tells no more has ended.
    pub fn rule_told(&self, rule: &str) -> Result<(), StoreError> {
        self.db
            .prepare_cached("UPDATE rule SET stage = 0, quiet = 0 WHERE source = ?1 AND name = ?2")?
            .execute(params![self.source, rule])?;
        Ok(())
    }

    /// Whether it is remembered what a rule told.
    pub fn remembers(&self, rule: &str) -> Result<bool, StoreError> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM relation WHERE source = ?1 AND rule = ?2)",
            )?
            .query_row(params![self.source, rule], |row| row.get(0))?)
    }

    /// Whether something of a rule's row is held.
    pub fn is_held(&self, rule: &str, row_key: &str) -> Result<bool, StoreError> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM held
                 WHERE source = ?1 AND rule = ?2 AND row_key = ?3)",
            )?
            .query_row(params![self.source, rule, row_key], |row| row.get(0))?)
    }
}

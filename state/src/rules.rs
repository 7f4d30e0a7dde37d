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
    saw: Saw,
}

/// Which changes a rule saw, as it is stored.
#[derive(Clone, Default)]
struct Saw {
    since: Option<String>,
    left_at: Option<String>,
    back_at: Option<String>,
}

/// A rule that told the facts of a new one before.
struct Teller {
    name: String,
    stage: Stage,
    active: bool,
    saw: Saw,
    /// How far its table was read when it was taken out.
    left_read: Option<String>,
}

/// What is opened, and what is already seen of it.
struct Opening<'a> {
    db: &'a Connection,
    source: i64,
    /// The names of all rules, as JSON.
    names: String,
    checkpoint: Option<String>,
    /// A state file from before rules were remembered: what it told is not known.
    unknown: bool,
    /// Rules whose unfinished reading others have taken over.
    taken: Vec<String>,
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

impl Opening<'_> {
    fn open(&mut self, rule: &RuleInForce) -> Result<(), StoreError> {
        let (db, source) = (self.db, self.source);
        let known = self.known(&rule.name)?;
        if known
            .as_ref()
            .is_some_and(|known| known.active && known.digest == rule.digest)
        {
            return Ok(());
        }
        let fact = rule.event_type.kind() == EventKind::Fact;
        // A fact of another table or type is another fact.
        let same = known.as_ref().filter(|known| {
            known.table == rule.table && known.event_type == rule.event_type.name()
        });
        if same.is_none_or(|known| !known.active) {
            db.execute(
                "UPDATE rule SET successor = ?2
                 WHERE source = ?1 AND active AND successor IS NULL
                   AND event_type = ?3 AND table_name = ?4
                   AND name NOT IN (SELECT value FROM json_each(?5))",
                params![
                    source,
                    rule.name,
                    rule.event_type.name(),
                    rule.table,
                    self.names
                ],
            )?;
        }
        // Nobody can say since when a rule of an older file saw changes: from the first.
        let mut saw = Saw {
            since: self.checkpoint.clone().filter(|_| !self.unknown),
            ..Saw::default()
        };
        let mut quiet = false;
        let stage = if fact {
            let same = same.filter(|_| fact);
            let teller = self.teller(rule, same)?;
            let told = match &teller {
                Some(teller) => Some(teller.stage),
                None => self.told_before_rules(rule)?,
            };
            if rule.relates {
                // Rows of several tables are read into replicas whatever was told of them.
                let relations = RelationStore { db, source };
                quiet = told.is_some() && !relations.remembers(&rule.name)?
                    || same.is_some_and(|known| known.relates && known.quiet);
                if quiet { Stage::Ending } else { Stage::Told }
            } else {
                // What is left of a reading is told as it is now.
                let stage = match (teller, told) {
                    (Some(teller), _) => self.go_on(rule, teller, &mut saw)?,
                    (None, Some(told)) => told,
                    (None, None) => read_for(db, source, &rule.table)?,
                };
                self.for_held(rule, stage)?
            }
        } else if rule.relates {
            Stage::Ending
        } else {
            // Rows without a key settle nothing; those that are still unclear are held anew.
            db.execute(
                "DELETE FROM held WHERE source = ?1 AND rule = ?2 AND row_key = ''",
                params![source, rule.name],
            )?;
            read_for(db, source, &rule.table)?
        };
        let generation = known.as_ref().map_or(1, |known| known.generation + 1);
        db.execute(
            "INSERT INTO rule (source, name, digest, event_type, table_name, fact, relates,
               generation, stage, since, left_at, back_at, quiet, active)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1)
             ON CONFLICT DO UPDATE SET digest = excluded.digest, event_type = excluded.event_type,
               table_name = excluded.table_name, fact = excluded.fact, relates = excluded.relates,
               generation = excluded.generation, stage = excluded.stage, since = excluded.since,
               left_at = excluded.left_at, back_at = excluded.back_at, quiet = excluded.quiet,
               active = 1, successor = NULL, left_read = NULL",
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
                saw.since,
                saw.left_at,
                saw.back_at,
                quiet
            ],
        )?;
        Ok(())
    }

    fn known(&self, name: &str) -> Result<Option<Known>, StoreError> {
        let known = self
            .db
            .query_row(
                "SELECT digest, generation, stage, relates, quiet, active, event_type, table_name,
                   since, left_at, back_at
                 FROM rule WHERE source = ?1 AND name = ?2",
                params![self.source, name],
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
                        saw: Saw {
                            since: row.get(8)?,
                            left_at: row.get(9)?,
                            back_at: row.get(10)?,
                        },
                    })
                },
            )
            .optional()?;
        Ok(known)
    }

    /// Who told a rule's facts before: itself, or another of its type and table.
    fn teller(
        &mut self,
        rule: &RuleInForce,
        same: Option<&Known>,
    ) -> Result<Option<Teller>, StoreError> {
        if let Some(known) = same.filter(|known| known.active) {
            return Ok(Some(Teller {
                name: rule.name.clone(),
                stage: known.stage,
                active: true,
                saw: known.saw.clone(),
                left_read: None,
            }));
        }
        // Its own reading first, where it was left; then that of a rule which goes as it comes.
        let teller = self
            .db
            .query_row(
                "SELECT name, stage, active, since, left_at, back_at, left_read FROM rule
                 WHERE source = ?1 AND fact AND event_type = ?3 AND table_name = ?4
                 ORDER BY name = ?2 AND stage <> 0 DESC,
                   active AND name NOT IN (SELECT value FROM json_each(?5)) DESC,
                   name = ?2 DESC, stage DESC, name LIMIT 1",
                params![
                    self.source,
                    rule.name,
                    rule.event_type.name(),
                    rule.table,
                    self.names
                ],
                |row| {
                    Ok(Teller {
                        name: row.get(0)?,
                        stage: Stage::of(row.get(1)?),
                        active: row.get(2)?,
                        saw: Saw {
                            since: row.get(3)?,
                            left_at: row.get(4)?,
                            back_at: row.get(5)?,
                        },
                        left_read: row.get(6)?,
                    })
                },
            )
            .optional()?;
        if let Some(teller) = &teller {
            self.taken.push(teller.name.clone());
            // What it holds is settled by who tells its rows from now on.
            self.db.execute(
                "UPDATE held SET rule = ?3 WHERE source = ?1 AND rule = ?2 AND event_type = ?4
                   AND ?2 NOT IN (SELECT value FROM json_each(?5))",
                params![
                    self.source,
                    teller.name,
                    rule.name,
                    rule.event_type.name(),
                    self.names
                ],
            )?;
        }
        Ok(teller)
    }

    /// How far facts were told by a file that remembered no rules; `None` = not at all, as far as
    /// anybody knows.
    fn told_before_rules(&self, rule: &RuleInForce) -> Result<Option<Stage>, StoreError> {
        if !self.unknown {
            return Ok(None);
        }
        let done: Option<bool> = self
            .db
            .query_row(
                "SELECT done FROM snapshot WHERE source = ?1 AND table_name = ?2",
                params![self.source, rule.table],
                |row| row.get(0),
            )
            .optional()?;
        Ok(done.map(|done| if done { Stage::Told } else { Stage::Reading }))
    }

    /// Goes on with the telling of facts where another rule, or the same one before, left it.
    fn go_on(
        &self,
        rule: &RuleInForce,
        teller: Teller,
        saw: &mut Saw,
    ) -> Result<Stage, StoreError> {
        let (db, source) = (self.db, self.source);
        if teller.active {
            *saw = teller.saw;
            return Ok(teller.stage);
        }
        let left = match teller.stage {
            Stage::Told | Stage::Ending | Stage::Held | Stage::HeldNext => return Ok(Stage::Told),
            Stage::Next => None,
            Stage::Reading | Stage::ReadingThenHeld => teller.left_read,
        };
        let Some(left) = left else {
            return read_for(db, source, &rule.table);
        };
        let stands: Option<(bool, Option<String>)> = db
            .query_row(
                "SELECT done, cursor FROM snapshot WHERE source = ?1 AND table_name = ?2",
                params![source, rule.table],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        match stands {
            Some((true, _)) => {
                db.execute(
                    "UPDATE snapshot SET done = 0, cursor = ?3 WHERE source = ?1 AND table_name = ?2",
                    params![source, rule.table, left],
                )?;
            }
            Some((false, cursor)) if cursor.as_ref() == Some(&left) => {}
            // Read on for others meanwhile: rather all of it again than a part never.
            Some((false, _)) | None => return read_for(db, source, &rule.table),
        }
        *saw = Saw {
            back_at: self.checkpoint.clone(),
            ..teller.saw
        };
        Ok(teller.stage)
    }

    /// Has a changed rule's table read for facts that are held, which nobody was told.
    fn for_held(&self, rule: &RuleInForce, stage: Stage) -> Result<Stage, StoreError> {
        let (db, source) = (self.db, self.source);
        let held: bool = db.query_row(
            "SELECT EXISTS (SELECT 1 FROM held WHERE source = ?1 AND rule = ?2 AND row_key <> ''
               AND row_json ->> 'op' IN ('read', 'insert'))",
            params![source, rule.name],
            |row| row.get(0),
        )?;
        if !held {
            return Ok(stage);
        }
        Ok(match stage {
            Stage::Told | Stage::Ending | Stage::Held | Stage::HeldNext => {
                match read_for(db, source, &rule.table)? {
                    Stage::Next => Stage::HeldNext,
                    _ => Stage::Held,
                }
            }
            Stage::Reading | Stage::ReadingThenHeld => match read_for(db, source, &rule.table)? {
                Stage::Next => Stage::ReadingThenHeld,
                _ => Stage::Reading,
            },
            // All its rows are still to be read.
            Stage::Next => Stage::Next,
        })
    }

    /// Rules that stand in the mappings no more. How far facts were told is kept, for them or
    /// another name to go on.
    fn take_out(&self) -> Result<(), StoreError> {
        self.db.execute(
            "UPDATE rule SET active = 0,
               stage = CASE WHEN fact AND NOT relates THEN stage ELSE 0 END,
               left_at = CASE WHEN back_at IS NULL THEN ?3 ELSE left_at END,
               left_read = (SELECT s.cursor FROM snapshot s WHERE s.source = rule.source
                 AND s.table_name = rule.table_name AND NOT s.done)
             WHERE source = ?1 AND active AND name NOT IN (SELECT value FROM json_each(?2))",
            params![self.source, self.names, self.checkpoint],
        )?;
        self.db.execute(
            "UPDATE rule SET stage = 0
             WHERE source = ?1 AND NOT active AND name IN (SELECT value FROM json_each(?2))",
            params![self.source, serde_json::json!(self.taken).to_string()],
        )?;
        Ok(())
    }
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
        "UPDATE rule SET stage = CASE WHEN stage = 2 THEN 1 WHEN stage IN (5, 6) THEN 4
           WHEN fact THEN 0 ELSE 3 END
         WHERE source = ?1 AND table_name = ?2 AND active AND NOT relates
           AND stage IN (1, 2, 4, 5, 6)",
    )?
    .execute(params![source, table])?;
    Ok(())
}

/// Every table of a source is read anew: for all its rules, and for facts as well.
pub(crate) fn tell_all(db: &Connection, source: i64) -> Result<(), StoreError> {
    db.execute(
        "UPDATE rule SET since = NULL, back_at = NULL, quiet = 0,
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
    /// type or table, or of a type that it told before, is being told, but those that are `ready`
    /// to end keys as well, and no row is held whose key nobody knows. Rows without a key do not
    /// count: nothing would ever settle them.
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
                   WHERE r.source = ?1 AND r.name = ?2 AND (
                     o.stage <> 0 AND o.name NOT IN (SELECT value FROM json_each(?3))
                     OR EXISTS (SELECT 1 FROM held h WHERE h.source = o.source
                       AND h.event_key IS NULL AND h.rule = o.name AND h.row_key <> ''))
                   AND (o.event_type = r.event_type OR o.table_name = r.table_name
                     OR EXISTS (SELECT 1 FROM published p WHERE p.source = r.source
                       AND p.rule = r.name AND p.body IS NOT NULL
                       AND p.event_type = o.event_type)))",
            )?
            .query_row(
                params![self.source, rule, serde_json::json!(ready).to_string()],
                |row| row.get(0),
            )?)
    }

    /// The rules under whose names a rule's keys may have been told: its own first, then those in
    /// whose place it came into force.
    pub fn predecessors(&self, rule: &str) -> Result<Vec<String>, StoreError> {
        let mut names = vec![rule.to_owned()];
        let mut query = self.db.prepare_cached(
            "WITH RECURSIVE before (name) AS (VALUES (?2) UNION
               SELECT o.name FROM before JOIN rule o ON o.source = ?1 AND NOT o.active
                 AND o.successor = before.name)
             SELECT name FROM before WHERE name <> ?2",
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

    /// Whether a rule's fact is held of which nobody was told; of a held correction somebody was.
    pub fn is_fact_held(&self, rule: &str, row_key: &str) -> Result<bool, StoreError> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM held
                 WHERE source = ?1 AND rule = ?2 AND row_key = ?3 AND row_key <> ''
                   AND row_json ->> 'op' IN ('read', 'insert'))",
            )?
            .query_row(params![self.source, rule, row_key], |row| row.get(0))?)
    }
}

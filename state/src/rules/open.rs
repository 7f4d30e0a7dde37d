//! Rules as they come into force: what was told by them, and what is still to be read.

use contract::EventKind;
use rusqlite::{Connection, OptionalExtension, params};

use super::{RuleInForce, Stage};
use crate::error::StoreError;
use crate::relations::RelationStore;
use crate::snapshot::read_again;

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
pub(super) struct Opening<'a> {
    pub(super) db: &'a Connection,
    pub(super) source: i64,
    /// The names of all rules, as JSON.
    pub(super) names: String,
    pub(super) checkpoint: Option<String>,
    /// A state file from before rules were remembered: what it told is not known.
    pub(super) unknown: bool,
    /// Rules whose unfinished reading others have taken over.
    pub(super) taken: Vec<String>,
}

impl Opening<'_> {
    pub(super) fn open(&mut self, rule: &RuleInForce) -> Result<(), StoreError> {
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
        let of_name = known.as_ref().map_or(0, |known| known.generation);
        let generation = if fact {
            self.generation_of_fact(rule, of_name)?
        } else {
            of_name + 1
        };
        failpoint::at!("state.rule.opened")?;
        db.execute(
            "INSERT INTO rule (source, name, digest, event_type, table_name, fact, relates,
               generation, formed, stage, since, left_at, back_at, quiet, active)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13, 1)
             ON CONFLICT DO UPDATE SET digest = excluded.digest, event_type = excluded.event_type,
               table_name = excluded.table_name, fact = excluded.fact, relates = excluded.relates,
               generation = excluded.generation,
               formed = excluded.formed, stage = excluded.stage, since = excluded.since,
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

    /// The generation that a rule of facts comes into force with. Whether two tellings of a fact may be
    /// compared is known by it, and facts are known by type and table, whatever the rule's name: so
    /// the same form keeps the generation that it had under another one, and any other form gets one
    /// that no form of that type and table had, nor this name.
    fn generation_of_fact(&self, rule: &RuleInForce, of_name: i64) -> Result<i64, StoreError> {
        let (any, same): (i64, i64) = self.db.query_row(
            "SELECT coalesce(max(generation), 0),
               coalesce(max(generation) FILTER (WHERE digest = ?4), 0)
             FROM rule WHERE source = ?1 AND fact AND event_type = ?2 AND table_name = ?3",
            params![self.source, rule.event_type.name(), rule.table, rule.digest],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(if same > 0 && same >= of_name {
            same
        } else {
            1 + any.max(of_name)
        })
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
                    "UPDATE snapshot SET done = 0, cursor = ?3, begun_at = NULL
                     WHERE source = ?1 AND table_name = ?2",
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
    pub(super) fn take_out(&self) -> Result<(), StoreError> {
        self.db.execute(
            "UPDATE rule SET active = 0,
               stage = CASE WHEN fact AND NOT relates THEN stage ELSE 0 END,
               left_at = CASE WHEN back_at IS NULL THEN ?3 ELSE left_at END,
               left_read = (SELECT s.cursor FROM snapshot s WHERE s.source = rule.source
                 AND s.table_name = rule.table_name AND NOT s.done AND s.cursor <> 'ranges')
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

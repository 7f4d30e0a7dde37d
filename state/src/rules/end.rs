//! What a rule told and no row tells any more, and when it may end.

use contract::EventType;
use rusqlite::params;

use crate::error::StoreError;
use crate::relations::{RelationStore, limit_of};

/// A key that no row tells any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// Where the next ones stand.
    pub id: i64,
    /// The event.
    pub event_type: EventType,
    /// Its key.
    pub key: String,
    /// The rule as it is now told it: its row is gone, or has another key.
    pub same_rule: bool,
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
    /// told by an older generation, by no row that relations remember, and not held. Of a marked table
    /// by one before that ([`crate::marked`]).
    pub fn untold(
        &self,
        rule: &str,
        teller: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Untold>, StoreError> {
        let found: Vec<(i64, String, String, bool)> = self
            .db
            .prepare_cached(
                "SELECT p.id, p.event_type, p.key, p.rule = r.name AND p.generation >= r.formed
                 FROM published p INDEXED BY published_by_rule
                 JOIN rule r ON r.source = p.source AND r.name = ?2
                 WHERE p.source = ?1 AND p.rule = ?3 AND p.body IS NOT NULL AND p.id > ?4
                   AND (p.rule <> r.name OR p.generation < r.generation
                     - EXISTS (SELECT 1 FROM snapshot s WHERE s.source = r.source
                         AND s.table_name = r.table_name AND s.marked))
                   AND NOT EXISTS (SELECT 1 FROM relation n
                     JOIN told t INDEXED BY told_by_key ON t.relation = n.id AND t.event_key = p.key
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
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )?
            .collect::<Result<_, _>>()?;
        let mut keys = Vec::with_capacity(found.len());
        for (id, event_type, key, same_rule) in found {
            let event_type = event_type.parse().map_err(|()| {
                StoreError::Invariant("a published event type is unknown".to_owned())
            })?;
            keys.push(Untold {
                id,
                event_type,
                key,
                same_rule,
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

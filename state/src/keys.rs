//! What was published last of each key: read before an event of it goes into the outbox, written after.

use contract::Event;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::kept::Kept;
use crate::millis;

/// What was last published of a key.
pub(crate) struct Known {
    pub(crate) id: i64,
    pub(crate) version: String,
    pub(crate) digest: String,
    /// `None` = a tombstone, or nobody asked for it.
    pub(crate) body: Option<String>,
    /// The rule that told it.
    pub(crate) rule: String,
}

/// What is asked and written of keys, for as long as a desk works.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    db: &'a Connection,
    known: Kept<'a>,
    first: Kept<'a>,
    anew: Kept<'a>,
    same: Kept<'a>,
    by_another_rule: Kept<'a>,
}

const KNOWN: &str = "SELECT id, version, digest, CASE WHEN ?4 THEN body END, rule FROM published
  WHERE source = ?1 AND event_type = ?2 AND key = ?3";

const FIRST: &str = "INSERT INTO published (source, event_type, key, rule, version, digest, body,
    generation, offset, occurred_at)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const ANEW: &str = "UPDATE published SET version = ?2, digest = ?3, body = ?4, generation = ?5,
    offset = ?6, occurred_at = ?7
  WHERE id = ?1";

const SAME: &str = "UPDATE published SET version = max(version, ?2), generation = ?3 WHERE id = ?1";

/// By itself, and rare: whatever names a column of an index in a statement has SQLite write its entry anew.
const BY_ANOTHER_RULE: &str = "UPDATE published SET rule = ?2 WHERE id = ?1";

impl<'a> Keys<'a> {
    pub(crate) fn new(db: &'a Connection) -> Self {
        Self {
            db,
            known: Kept::new(db, KNOWN),
            first: Kept::new(db, FIRST),
            anew: Kept::new(db, ANEW),
            same: Kept::new(db, SAME),
            by_another_rule: Kept::new(db, BY_ANOTHER_RULE),
        }
    }

    /// What is known of an event's key; `None` = nothing was ever told of it.
    pub(crate) fn known(
        &self,
        source: i64,
        event: &Event,
        key: &str,
        with_body: bool,
    ) -> Result<Option<Known>, StoreError> {
        let event_type = event.envelope.event_type.name();
        self.known.run(|known| {
            let of = params![source, event_type, key, with_body];
            let found = known.query_row(of, |row| {
                Ok(Known {
                    id: row.get(0)?,
                    version: row.get(1)?,
                    digest: row.get(2)?,
                    body: row.get(3)?,
                    rule: row.get(4)?,
                })
            });
            found.optional()
        })
    }

    /// What is told of a key for the first time. Its id.
    pub(crate) fn first(
        &self,
        source: i64,
        event: &Event,
        key: &str,
        generation: i64,
        offset: i64,
    ) -> Result<i64, StoreError> {
        let envelope = &event.envelope;
        self.first.run(|first| {
            first.execute(params![
                source,
                envelope.event_type.name(),
                key,
                envelope.mapping.rule,
                envelope.version.to_string(),
                event.body_digest,
                event.body_json(),
                generation,
                offset,
                millis(envelope.occurred_at)
            ])
        })?;
        Ok(self.db.last_insert_rowid())
    }

    /// What is told of a known key. Its id.
    pub(crate) fn anew(
        &self,
        event: &Event,
        known: &Known,
        generation: i64,
        offset: i64,
    ) -> Result<i64, StoreError> {
        let envelope = &event.envelope;
        self.anew.run(|anew| {
            anew.execute(params![
                known.id,
                envelope.version.to_string(),
                event.body_digest,
                event.body_json(),
                generation,
                offset,
                millis(envelope.occurred_at)
            ])
        })?;
        self.told_by(known, &envelope.mapping.rule)?;
        Ok(known.id)
    }

    /// What is told of a known key is what was told of it before.
    pub(crate) fn same(
        &self,
        known: &Known,
        version: &str,
        rule: &str,
        generation: i64,
    ) -> Result<(), StoreError> {
        let to = params![known.id, version, generation];
        self.same.run(|same| same.execute(to))?;
        self.told_by(known, rule)
    }

    fn told_by(&self, known: &Known, rule: &str) -> Result<(), StoreError> {
        if known.rule != rule {
            let to = params![known.id, rule];
            self.by_another_rule.run(|told| told.execute(to))?;
        }
        Ok(())
    }
}

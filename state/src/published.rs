//! Reading back what was last published.

use contract::{Body, EventType};
use rusqlite::{OptionalExtension, params};

use crate::Store;
use crate::error::StoreError;

/// The last published body of a key, for cells the log left out.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedBody {
    /// The body.
    pub body: Body,
    /// It may not stand in for what the log left out: another rule told it, or the rule as it was
    /// before it changed, or before its table was to be read again because changes may have gone
    /// unseen; or an open held change of the same row is newer.
    pub outdated: bool,
}

impl Store {
    /// The last published body of a key; `None` when nothing or a tombstone was published.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn published(
        &self,
        source: i64,
        event_type: EventType,
        key: String,
        rule: String,
        row_key: String,
    ) -> Result<Option<PublishedBody>, StoreError> {
        self.writer
            .run(move |db| {
                let found: Option<(Option<String>, bool)> = db
                    .prepare_cached(
                        "SELECT body, rule <> ?4
                           OR generation < coalesce((SELECT r.generation FROM rule r
                             WHERE r.source = ?1 AND r.name = ?4), 0)
                           OR version < (SELECT printf('%010d/', s.epoch) FROM source s
                             WHERE s.id = ?1)
                           OR EXISTS (SELECT 1 FROM held h
                             WHERE h.source = ?1 AND h.rule = ?4 AND h.row_key = ?5)
                         FROM published
                         WHERE source = ?1 AND event_type = ?2 AND key = ?3",
                    )?
                    .query_row(
                        params![source, event_type.name(), key, rule, row_key],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .optional()?;
                let Some((Some(json), outdated)) = found else {
                    return Ok(None);
                };
                let broken = || StoreError::Invariant("a published body does not parse".to_owned());
                let json = serde_json::from_str(&json).map_err(|_| broken())?;
                let body = Body::from_json(event_type.schema(), &json).map_err(|_| broken())?;
                Ok(Some(PublishedBody { body, outdated }))
            })
            .await
    }
}

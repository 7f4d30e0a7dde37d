//! What the last look at a source's log found.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::error::StoreError;
use crate::{Store, from_millis, millis};

/// What a look found, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookStatus {
    /// When.
    pub looked_at: Timestamp,
    /// What the database calls the state of the log it keeps for us.
    pub state: Option<String>,
    /// How much it keeps.
    pub kept_bytes: Option<u64>,
    /// How much may be written before it drops what we have not read; none = it never does.
    pub left_bytes: Option<u64>,
    /// Free room on the log's disk; none = not known.
    pub room_bytes: Option<u64>,
    /// How much more it keeps in an hour, as measured; none = not yet.
    pub growth_per_hour: Option<i64>,
    /// All that in plain words.
    pub sentence: Option<String>,
    /// What a person should know of it.
    pub alarm: Option<String>,
    /// When the newest heartbeat was written.
    pub heartbeat_sent_at: Option<Timestamp>,
    /// How long it took to come round; none = it has not.
    pub heartbeat_took_ms: Option<u64>,
}

fn stored(bytes: Option<u64>) -> Option<i64> {
    bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

impl Store {
    /// Remembers what a look found, in place of what the one before found.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_look(&self, source: i64, look: LookStatus) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached(
                    "INSERT OR REPLACE INTO look (source, looked_at, state, kept_bytes, left_bytes,
                       room_bytes, growth_per_hour, sentence, alarm, heartbeat_sent_at,
                       heartbeat_took_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                )?
                .execute(params![
                    source,
                    millis(look.looked_at),
                    look.state,
                    stored(look.kept_bytes),
                    stored(look.left_bytes),
                    stored(look.room_bytes),
                    look.growth_per_hour,
                    look.sentence,
                    look.alarm,
                    look.heartbeat_sent_at.map(millis),
                    stored(look.heartbeat_took_ms),
                ])?;
                Ok(())
            })
            .await
    }
}

/// What the last look at a source found.
pub(crate) fn of(db: &Connection, source: &str) -> Result<Option<LookStatus>, StoreError> {
    let count = |value: Option<i64>| value.map(i64::unsigned_abs);
    // A file of an older version has no such table until the agent has opened it.
    let known: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'look')")?
        .query_row([], |row| row.get(0))?;
    if !known {
        return Ok(None);
    }
    let found = db
        .prepare_cached(
            "SELECT l.looked_at, l.state, l.kept_bytes, l.left_bytes, l.room_bytes,
               l.growth_per_hour, l.sentence, l.alarm, l.heartbeat_sent_at, l.heartbeat_took_ms
             FROM look l JOIN source s ON s.id = l.source WHERE s.name = ?1",
        )?
        .query_row([source], |row| {
            Ok(LookStatus {
                looked_at: from_millis(row.get(0)?),
                state: row.get(1)?,
                kept_bytes: count(row.get(2)?),
                left_bytes: count(row.get(3)?),
                room_bytes: count(row.get(4)?),
                growth_per_hour: row.get(5)?,
                sentence: row.get(6)?,
                alarm: row.get(7)?,
                heartbeat_sent_at: row.get::<_, Option<i64>>(8)?.map(from_millis),
                heartbeat_took_ms: count(row.get(9)?),
            })
        })
        .optional()?;
    Ok(found)
}

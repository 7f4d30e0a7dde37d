//! What is held: deliveries that the destinations or our guards stopped, and changes that a mapping
//! could not turn into events. Listed, shown, sent again, given up.

use contract::delivery::HeldCause;
use jiff::Timestamp;
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

use crate::attempt::{self, Attempt};
use crate::error::StoreError;
use crate::status::StateReader;
use crate::{from_millis, held_pages, kind};

/// Which held items are meant: all that fit everything given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldFilter {
    /// Some of these, as a list shows them; empty = any.
    pub ids: Vec<String>,
    /// Of this destination; `mapping` = changes that a mapping held.
    pub by: Option<String>,
    /// For this cause; `mapping` = changes that a mapping held.
    pub cause: Option<String>,
    /// Of this key: the whole of it, or one of its parts (a SKU, an order's number).
    pub key: Option<String>,
    /// Of this event type.
    pub event_type: Option<String>,
}

/// One held item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldEntry {
    /// What to call it by: the destination and the event's offset, or a change's number.
    pub id: String,
    /// The destination's name, or `mapping`.
    pub by: String,
    /// [`HeldCause::name`], or `mapping`.
    pub cause: String,
    /// The event's type.
    pub event_type: String,
    /// The event's key; of a change without one, its table and row.
    pub key: String,
    /// Why, in plain words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// The last answer's status.
    pub status: Option<u16>,
    /// The start of the last answer's body.
    pub body: Option<String>,
    /// Of a change: its source and table, which is read again to retry it.
    pub change: Option<HeldChange>,
}

/// Where a held change came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldChange {
    /// The source's name.
    pub source: String,
    /// The table.
    pub table: String,
    /// The rule.
    pub rule: String,
    /// Where in the log.
    pub position: String,
}

/// How many items are held by whom for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldCount {
    /// The destination's name, or `mapping`.
    pub by: String,
    /// [`HeldCause::name`], or `mapping`.
    pub cause: String,
    /// So many.
    pub count: u64,
}

/// All that is known of a held item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldDetail {
    /// The item.
    pub entry: HeldEntry,
    /// The event as it is sent, or the row as it was read: JSON.
    pub data: String,
    /// What was tried, oldest first.
    pub attempts: Vec<Attempt>,
}

/// What `by` and `cause` are for changes that a mapping held.
pub(crate) const MAPPING: &str = "mapping";

impl HeldFilter {
    pub(crate) fn takes(&self, entry: &HeldEntry) -> bool {
        let fits = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        (self.ids.is_empty() || self.ids.contains(&entry.id))
            && fits(&self.by, &entry.by)
            && fits(&self.cause, &entry.cause)
            && fits(&self.event_type, &entry.event_type)
            && self
                .key
                .as_deref()
                .is_none_or(|key| kind::is_meant(&entry.event_type, &entry.key, key))
    }
}

/// What [`delivery`] reads, up to where it is said through which index.
pub(crate) const DELIVERY: &str =
    "SELECT n.name, d.offset, o.event_type, o.key, d.held_cause, d.cause,
    d.updated_at, d.attempt, d.answer_status, d.answer_body FROM delivery d INDEXED BY";
/// What comes behind that.
pub(crate) const IS_HELD: &str = "CROSS JOIN outbox o ON o.offset = d.offset
    CROSS JOIN destination n ON n.id = d.destination
  WHERE d.destination = ?1 AND d.state = 'held'";

/// How many deliveries a destination holds for which cause.
pub(crate) const COUNTS: &str =
    "SELECT (SELECT name FROM destination WHERE id = ?1), held_cause, count(*)
  FROM delivery INDEXED BY delivery_held_cause
  WHERE destination = ?1 AND state = 'held'
  GROUP BY held_cause ORDER BY held_cause";

/// What [`change`] reads.
pub(crate) const CHANGES: &str =
    "SELECT h.id, h.event_type, h.event_key, h.table_name, h.row_key, h.reason,
    h.held_at, h.rule, h.position, s.name
  FROM held h CROSS JOIN source s ON s.id = h.source";

pub(crate) fn delivery(row: &Row<'_>) -> rusqlite::Result<HeldEntry> {
    let by: String = row.get(0)?;
    let offset: i64 = row.get(1)?;
    let cause: Option<String> = row.get(4)?;
    let cause = cause.unwrap_or_else(|| HeldCause::Ambiguous.name().to_owned());
    Ok(HeldEntry {
        id: format!("{by}/{offset}"),
        by,
        event_type: row.get(2)?,
        key: row.get(3)?,
        reason: row
            .get::<_, Option<String>>(5)?
            .unwrap_or_else(|| cause.clone()),
        cause,
        since: from_millis(row.get(6)?),
        attempts: row.get(7)?,
        status: row.get(8)?,
        body: row.get(9)?,
        change: None,
    })
}

pub(crate) fn change(row: &Row<'_>) -> rusqlite::Result<HeldEntry> {
    let id: i64 = row.get(0)?;
    let (table, row_key): (String, String) = (row.get(3)?, row.get(4)?);
    let key: Option<String> = row.get(2)?;
    Ok(HeldEntry {
        id: id.to_string(),
        by: MAPPING.to_owned(),
        cause: MAPPING.to_owned(),
        event_type: row.get(1)?,
        key: key.unwrap_or_else(|| format!("{table} {row_key}")),
        reason: row.get(5)?,
        since: from_millis(row.get(6)?),
        attempts: 0,
        status: None,
        body: None,
        change: Some(HeldChange {
            source: row.get(9)?,
            table,
            rule: row.get(7)?,
            position: row.get(8)?,
        }),
    })
}

impl StateReader {
    /// Held items that fit, oldest first within each holder, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn held_list(
        &self,
        which: &HeldFilter,
        limit: usize,
    ) -> Result<Vec<HeldEntry>, StoreError> {
        let mut found = Vec::new();
        self.held_each(which, |entry| {
            found.push(entry);
            found.len() < limit
        })?;
        Ok(found)
    }

    /// Goes through the held items that fit, oldest first within each holder, until `take` says
    /// that it is enough. However many there are, a page of them is in memory.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn held_each(
        &self,
        which: &HeldFilter,
        take: impl FnMut(HeldEntry) -> bool,
    ) -> Result<(), StoreError> {
        self.held_within(which, usize::MAX, take).map(|_| ())
    }

    /// The same, where no more than `most` items are looked at, whether they fit or not; false = there are more, and
    /// it was not enough.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn held_within(
        &self,
        which: &HeldFilter,
        most: usize,
        take: impl FnMut(HeldEntry) -> bool,
    ) -> Result<bool, StoreError> {
        match self.newest()? {
            Some(db) => held_pages::walk(db, which, most, take),
            None => Ok(true),
        }
    }

    /// How many items are held by whom for what.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn held_counts(&self) -> Result<Vec<HeldCount>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(Vec::new());
        };
        let mut counts = Vec::new();
        let changes: i64 = db.query_row("SELECT count(*) FROM held", [], |row| row.get(0))?;
        if changes > 0 {
            counts.push(HeldCount {
                by: MAPPING.to_owned(),
                cause: MAPPING.to_owned(),
                count: changes.unsigned_abs(),
            });
        }
        for destination in destinations(db)? {
            let mut query = db.prepare_cached(COUNTS)?;
            let rows = query.query_map([destination], |row| {
                let cause: Option<String> = row.get(1)?;
                Ok(HeldCount {
                    by: row.get(0)?,
                    cause: cause.unwrap_or_else(|| HeldCause::Ambiguous.name().to_owned()),
                    count: row.get::<_, i64>(2)?.unsigned_abs(),
                })
            })?;
            counts.extend(rows.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(counts)
    }

    /// All that is known of a held item: for `show` and `export`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn held_show(&self, id: &str) -> Result<Option<HeldDetail>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(None);
        };
        let Some((destination, offset)) = held_pages::place(db, id)? else {
            return show_change(db, id.parse().unwrap_or(-1));
        };
        let Some(entry) = held_pages::one(db, destination, offset)? else {
            return Ok(None);
        };
        let data = db.query_row(
            "SELECT json FROM outbox WHERE offset = ?1",
            [offset],
            |row| row.get(0),
        )?;
        Ok(Some(HeldDetail {
            entry,
            data,
            attempts: attempt::of(db, destination, offset)?,
        }))
    }
}

fn show_change(db: &Connection, id: i64) -> Result<Option<HeldDetail>, StoreError> {
    let Some(entry) = held_pages::one_change(db, id)? else {
        return Ok(None);
    };
    let sql = "SELECT row_json FROM held WHERE id = ?1";
    Ok(Some(HeldDetail {
        entry,
        data: db.query_row(sql, [id], |row| row.get(0))?,
        attempts: Vec::new(),
    }))
}

pub(crate) fn destinations(db: &Connection) -> Result<Vec<i64>, StoreError> {
    let mut query = db.prepare_cached("SELECT id FROM destination ORDER BY name")?;
    let rows = query.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

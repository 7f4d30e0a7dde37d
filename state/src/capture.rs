//! What the capture loop writes, in one transaction: events, held changes, snapshot progress,
//! the guard and the checkpoint.

use std::sync::Arc;

use contract::{
    Envelope, Event, EventKey, EventKind, EventOp, EventType, MappingRef, Origin, Position,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::enqueue::Enqueue;
use crate::error::StoreError;
use crate::relations::RelationStore;
use crate::{counter, millis, publish};

/// A destination and the event types it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination's id in the store.
    pub destination: i64,
    /// Event types; empty = all.
    pub event_types: Vec<EventType>,
}

impl Route {
    pub(crate) fn takes(&self, event_type: EventType) -> bool {
        self.event_types.is_empty() || self.event_types.contains(&event_type)
    }
}

/// An event and the source row it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The event.
    pub event: Event,
    /// The source row's key, which resolves an older held change of the same rule and row.
    pub row_key: String,
    /// Worked out from several rows as they are now: newer than whatever was told of its key.
    pub related: bool,
    /// Before its tombstone, zero is told.
    pub zero_first: bool,
}

/// A change that waits for a person, with all a person needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The rule.
    pub rule: String,
    /// The event it would have become.
    pub event_type: EventType,
    /// The table.
    pub table: String,
    /// The row.
    pub row_key: String,
    /// The event's key, where it could be worked out.
    pub event_key: Option<String>,
    /// Where in the log.
    pub position: Position,
    /// Why, in plain words.
    pub reason: String,
    /// The raw row, for the operator.
    pub row_json: String,
}

/// A table that was emptied: every published key of the rule becomes a tombstone.
#[derive(Debug, Clone, PartialEq)]
pub struct Truncated {
    /// Everything a tombstone's envelope needs but its key.
    pub envelope: Envelope,
    /// Before each tombstone, zero is told.
    pub zero_first: bool,
}

/// What the outbox is given, in log order.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// An event.
    Event(Published),
    /// A fact whose row was rewritten and says the same of it: told only where an earlier change of
    /// the row is held, for then nobody was told.
    Rewritten(Published),
    /// A held change.
    Held(Held),
    /// What may be held of a rule's row no longer is.
    Settled {
        /// The rule.
        rule: String,
        /// The row.
        row_key: String,
    },
    /// An emptied table.
    Truncated(Truncated),
}

/// A streamed change of a row in a table under snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardEntry {
    /// The table.
    pub table: String,
    /// The row.
    pub row_key: String,
    /// Where in the log.
    pub position: Position,
    /// The source's transaction.
    pub transaction: u64,
}

/// Progress of one table's snapshot, stored with the chunk's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkDone {
    /// The table.
    pub table: String,
    /// The range of it that the chunk is of, where it is read by ranges.
    pub range: Option<u32>,
    /// Where to go on; `None` = the table, or its range, is done.
    pub next: Option<String>,
    /// Rows in this chunk.
    pub rows: u64,
}

/// One commit of the capture loop.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CaptureCommit {
    /// What to store, in log order.
    pub items: Vec<Item>,
    /// Where events go.
    pub routes: Arc<[Route]>,
    /// The new checkpoint; `None` = it stays.
    pub checkpoint: Option<Position>,
    /// What the server calls itself that told of the checkpoint, where it is not known to be stored:
    /// stored with the checkpoint and never without, for it says whose the checkpoint is.
    pub server: Option<String>,
    /// The newest commit time among the changes.
    pub committed_at: Option<Timestamp>,
    /// Streamed changes of tables under snapshot.
    pub guard: Vec<GuardEntry>,
    /// A snapshot chunk.
    pub chunk: Option<ChunkDone>,
    /// Row changes behind all this.
    pub changes: u64,
    /// Changes that mean nothing to any rule.
    pub filtered: u64,
}

/// What became of a commit's items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureReport {
    /// Events put in the outbox.
    pub events: u64,
    /// Events that say what was told already.
    pub suppressed: u64,
    /// Events older than what was published.
    pub stale: u64,
    /// Held changes.
    pub held: u64,
}

impl crate::Store {
    /// Stores a commit of `source`; durable when it returns.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing of the commit is stored then.
    pub async fn commit_capture(
        &self,
        source: i64,
        commit: CaptureCommit,
        now: Timestamp,
    ) -> Result<CaptureReport, StoreError> {
        let rows = commit.items.len();
        let stored = self.commit_related(source, rows, now, |_| Ok((Arc::new(commit), ())));
        Ok(stored.await?.0)
    }

    /// Lets `work` read and change what relations remember and say what to store; all of it is
    /// one commit of `source`, durable when this returns. The commit is shared, so that whoever
    /// must be able to ask again keeps it without a copy. `rows` says of how many rows it is, about.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is stored then.
    pub async fn commit_related<T: Send + 'static>(
        &self,
        source: i64,
        rows: usize,
        now: Timestamp,
        work: impl FnOnce(&mut RelationStore<'_>) -> Result<(Arc<CaptureCommit>, T), StoreError>
        + Send
        + 'static,
    ) -> Result<(CaptureReport, T), StoreError> {
        self.writer
            .run_for(rows, move |db| {
                let (commit, answer) = work(&mut RelationStore::new(db, source))?;
                Ok((write(db, source, &commit, now)?, answer))
            })
            .await
    }
}

fn write(
    db: &Connection,
    source: i64,
    commit: &CaptureCommit,
    now: Timestamp,
) -> Result<CaptureReport, StoreError> {
    let mut report = CaptureReport::default();
    let desk = Enqueue::new(db, source, &commit.routes, now);
    let mut held_open: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM held WHERE source = ?1)")?
        .query_row([source], |row| row.get(0))?;
    for item in &commit.items {
        match item {
            Item::Event(published) => {
                if held_open {
                    let rule = &published.event.envelope.mapping.rule;
                    settle(db, source, rule, &published.row_key)?;
                }
                publish::publish(&desk, published, &mut report)?;
            }
            Item::Rewritten(published) => {
                let rule = &published.event.envelope.mapping.rule;
                if held_open && settle(db, source, rule, &published.row_key)? {
                    publish::publish(&desk, published, &mut report)?;
                } else {
                    report.suppressed += 1;
                }
            }
            Item::Settled { rule, row_key } => {
                if held_open {
                    settle(db, source, rule, row_key)?;
                }
            }
            Item::Held(held) => {
                held_open = true;
                hold(db, source, held, now)?;
                report.held += 1;
            }
            Item::Truncated(truncated) => {
                publish::truncate(&desk, truncated, &mut report)?;
            }
        }
    }
    desk.finish()?;
    for entry in &commit.guard {
        db.prepare_cached(
            "INSERT INTO guard (source, table_name, row_key, position, transaction_id)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET position = excluded.position,
               transaction_id = excluded.transaction_id",
        )?
        .execute(params![
            source,
            entry.table,
            entry.row_key,
            entry.position.to_string(),
            i64::try_from(entry.transaction).unwrap_or(i64::MAX)
        ])?;
    }
    if let Some(chunk) = &commit.chunk {
        crate::snapshot::chunk_done(db, source, chunk, now)?;
    }
    failpoint::at!("state.capture.checkpoint")?;
    if let Some(checkpoint) = &commit.checkpoint {
        let moved = db
            .prepare_cached(
                "UPDATE source SET checkpoint = ?2, updated_at = ?3, server = coalesce(?5, server),
                   committed_at = coalesce(max(committed_at, ?4), committed_at, ?4)
                 WHERE id = ?1 AND (checkpoint IS NULL OR checkpoint <= ?2)",
            )?
            .execute(params![
                source,
                checkpoint.to_string(),
                millis(now),
                commit.committed_at.map(millis),
                commit.server
            ])?;
        if moved != 1 {
            return Err(StoreError::Invariant(format!(
                "I1: checkpoint of source {source} would move back to {checkpoint}"
            )));
        }
    }
    let scope = scope(db, source)?;
    for (name, value) in [
        ("changes", commit.changes),
        ("filtered", commit.filtered),
        ("events", report.events),
        ("suppressed", report.suppressed),
        ("stale", report.stale),
        ("held", report.held),
    ] {
        counter::add(db, &scope, name, value)?;
    }
    Ok(report)
}

fn scope(db: &Connection, source: i64) -> Result<String, StoreError> {
    Ok(db
        .prepare_cached("SELECT 'source:' || name FROM source WHERE id = ?1")?
        .query_row([source], |row| row.get(0))?)
}

/// Takes away what is held of a rule's row; false where nothing was. Whatever has no row's key, such
/// as the end of a key that several rows made, says nothing of the rows that have none either.
fn settle(db: &Connection, source: i64, rule: &str, row_key: &str) -> Result<bool, StoreError> {
    if row_key.is_empty() {
        return Ok(false);
    }
    let settled = db
        .prepare_cached("DELETE FROM held WHERE source = ?1 AND rule = ?2 AND row_key = ?3")?
        .execute(params![source, rule, row_key])?;
    Ok(settled > 0)
}

/// Since when a rule's row is held for the same reason already.
fn first_held(db: &Connection, source: i64, held: &Held) -> Result<Option<i64>, StoreError> {
    if held.row_key.is_empty() {
        return Ok(None);
    }
    let found = db
        .prepare_cached(
            "SELECT min(coalesce(first_at, held_at)) FROM held
             WHERE source = ?1 AND rule = ?2 AND row_key = ?3 AND reason = ?4",
        )?
        .query_row(
            params![source, held.rule, held.row_key, held.reason],
            |row| row.get(0),
        )?;
    Ok(found)
}

fn hold(db: &Connection, source: i64, held: &Held, now: Timestamp) -> Result<(), StoreError> {
    let first_at = first_held(db, source, held)?.unwrap_or(millis(now));
    // One open item per rule and row: a newer state of the row replaces the older. Facts each keep
    // their own item; so do rows without a key, as long as no two of them are alike: one that is
    // read again must not pile up.
    if held.row_key.is_empty() {
        db.prepare_cached(
            "DELETE FROM held WHERE source = ?1 AND rule = ?2 AND row_key = ''
               AND table_name = ?3 AND row_json = ?4",
        )?
        .execute(params![source, held.rule, held.table, held.row_json])?;
    } else if held.event_type.kind() == EventKind::State {
        settle(db, source, &held.rule, &held.row_key)?;
    }
    db.prepare_cached(
        "INSERT INTO held (source, rule, event_type, table_name, row_key, event_key, position,
           reason, row_json, held_at, generation, first_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, coalesce((SELECT generation FROM rule
           WHERE source = ?1 AND name = ?2), 0), ?11)",
    )?
    .execute(params![
        source,
        held.rule,
        held.event_type.name(),
        held.table,
        held.row_key,
        held.event_key,
        held.position.to_string(),
        held.reason,
        held.row_json,
        millis(now),
        first_at
    ])?;
    Ok(())
}

impl Truncated {
    /// The tombstone template for one rule whose table was emptied at `version`.
    #[expect(clippy::too_many_arguments, reason = "each is a field of the envelope")]
    pub fn new(
        tenant: Arc<str>,
        source: Arc<str>,
        event_type: EventType,
        version: Position,
        occurred_at: Option<Timestamp>,
        read_at: Timestamp,
        transaction: u64,
        mapping: Arc<MappingRef>,
    ) -> Self {
        Self {
            zero_first: false,
            envelope: Envelope {
                tenant,
                source,
                event_type,
                key: EventKey::new(Vec::new()),
                version,
                op: EventOp::Delete,
                origin: Origin::Live,
                occurred_at: occurred_at.unwrap_or(read_at),
                occurred_at_exact: occurred_at.is_some(),
                read_at,
                transaction,
                mapping,
                fact_key: None,
                reason: Some("hard_delete"),
                renamed_from: None,
                warnings: Vec::new(),
            },
        }
    }
}

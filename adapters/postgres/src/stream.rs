//! Reads the log.
//!
//! The replication client runs in a task of its own that answers the server's keepalives whatever
//! we do; we take its events one by one. A second connection reads the catalogue when the log
//! names a type or table not met before, and asks, when the log is silent, whether the server
//! still holds our slot: a dead connection and a quiet database look alike otherwise.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use contract::{
    CapturedTable, ChangeBatch, ChangeStream, Op, Position, Resume, Row, RowChange, SourceError,
    TableName, TableShape, Value,
};
use jiff::Timestamp;
use pgwire_replication::{Lsn, ReplicationClient, ReplicationEvent};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Client;

use crate::catalogue::{Table, shape};
use crate::connect::{self, Rights, classify_replication, lost};
use crate::decode::{self, Cell, Message, Old, Relation, Tuple};
use crate::gather::{Gather, Place};
use crate::identity::Identity;
use crate::lsn;
use crate::settings::Settings;
use crate::slot::Slot;
use crate::start;
use crate::values::{Kind, Kinds, value_of_bytes};

/// Between two batches that only tell a newer border.
const BORDER_EVERY: Duration = Duration::from_millis(100);
/// A border the engine has not acknowledged is told again after this long.
const BORDER_AGAIN: Duration = Duration::from_millis(1_500);
/// After so much silence we ask whether anybody is there.
const SILENCE_ASK: Duration = Duration::from_secs(20);
/// How long the answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Events taken without letting others run.
const TURNS_MAX: u32 = 4_096;
/// How long the replication connection may take to end by itself.
const END_MAX: Duration = Duration::from_secs(3);
/// Microseconds from 1970 to 2000, PostgreSQL's own zero.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A table the log has described.
struct Known {
    shape: Arc<TableShape>,
    kinds: Vec<Kind>,
    /// Which columns an old key holds.
    identity: Vec<bool>,
}

/// A running read of the log.
pub(crate) struct LogStream {
    settings: Settings,
    server: Identity,
    tables: Vec<CapturedTable>,
    /// Taken only when the stream is dropped.
    replication: Option<ReplicationClient>,
    sql: Client,
    gather: Gather,
    kinds: Kinds,
    /// By the log's own number; `None` = not captured.
    relations: HashMap<u32, Option<Known>>,
    /// Described by the log, waiting for the catalogue's answer.
    pending: Option<(Relation, TableName)>,
    /// The newest transaction id met, in full.
    newest_id: u64,
    acknowledged: u64,
    heard_at: Instant,
    asked_at: Instant,
    border_at: Instant,
}

pub(crate) async fn open(
    settings: &Settings,
    tables: &[CapturedTable],
    from: &Resume,
) -> Result<LogStream, SourceError> {
    let sql = connect::connect(settings, Rights::Read).await?;
    let (server, ours) = start::server(settings, &sql, from).await?;
    let slot = start::slot(settings, &sql, ours.as_ref()).await?;
    start::publication(settings, &sql, tables).await?;
    let confirmed = slot.confirmed.unwrap_or(0);
    let start = ours.map_or(confirmed, |ours| ours.checkpoint.max(confirmed));
    let replication = connect::replicate(settings, start, confirmed).await?;
    let now = Instant::now();
    Ok(LogStream {
        settings: settings.clone(),
        server,
        tables: tables.to_vec(),
        replication: Some(replication),
        sql,
        gather: Gather::new(from.epoch, from.after.clone()),
        kinds: Kinds::default(),
        relations: HashMap::new(),
        pending: None,
        newest_id: slot.xmax,
        acknowledged: confirmed,
        heard_at: now,
        asked_at: now,
        border_at: now,
    })
}

/// The full form of a transaction's 32-bit id: the one nearest to an id known in full. The server
/// stops long before two ids in use are half the circle apart.
fn extend_id(id: u32, near: u64) -> u64 {
    const CIRCLE: u64 = 1 << 32;
    let here = near & !(CIRCLE - 1) | u64::from(id);
    [
        here.checked_sub(CIRCLE),
        Some(here),
        here.checked_add(CIRCLE),
    ]
    .into_iter()
    .flatten()
    .min_by_key(|candidate| candidate.abs_diff(near))
    .unwrap_or(here)
}

/// A commit time as the log has it: microseconds since 2000.
fn commit_time(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros.checked_add(EPOCH_MICROS)?).ok()
}

impl LogStream {
    fn doing(&self) -> String {
        format!("read slot \"{}\"", self.settings.slot)
    }

    fn replication(&mut self) -> Result<&mut ReplicationClient, SourceError> {
        let doing = self.doing();
        let ended = move || SourceError::Disconnected(format!("{doing}: the connection has ended"));
        self.replication.as_mut().ok_or_else(ended)
    }

    /// An event that is there already.
    fn event_at_hand(&mut self) -> Result<Option<ReplicationEvent>, SourceError> {
        let received = {
            // Unconstrained: the runtime's own turn limit would look like an empty queue.
            let receiving = tokio::task::unconstrained(self.replication()?.recv());
            pin!(receiving).poll(&mut Context::from_waker(Waker::noop()))
        };
        match received {
            Poll::Ready(received) => self.heard(received).map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// An event, waited for until `until`.
    async fn event_until(
        &mut self,
        until: Instant,
    ) -> Result<Option<ReplicationEvent>, SourceError> {
        match timeout_at(until, self.replication()?.recv()).await {
            Ok(received) => self.heard(received).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn heard(
        &mut self,
        received: pgwire_replication::Result<Option<ReplicationEvent>>,
    ) -> Result<ReplicationEvent, SourceError> {
        self.heard_at = Instant::now();
        match received {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(SourceError::Disconnected(format!(
                "{}: the server has ended the stream",
                self.doing()
            ))),
            Err(error) => {
                let error = classify_replication(&self.doing(), &error);
                // The publication was there when we started: it is the change being read that is
                // older than it, and stays so.
                Err(match error {
                    SourceError::Denied { what, .. } if what.contains("publication") => {
                        lost(format!("{what} as of the change to be read"))
                    }
                    other => other,
                })
            }
        }
    }

    fn take(&mut self, event: ReplicationEvent) -> Result<(), SourceError> {
        match event {
            ReplicationEvent::Begin {
                final_lsn,
                xid,
                commit_time_micros,
            } => {
                let id = extend_id(xid, self.newest_id);
                self.newest_id = self.newest_id.max(id);
                self.gather
                    .begin(final_lsn.as_u64(), id, commit_time(commit_time_micros))
            }
            ReplicationEvent::Commit { end_lsn, .. } => self.gather.commit(end_lsn.as_u64()),
            ReplicationEvent::KeepAlive { wal_end, .. } => {
                self.gather.keepalive(wal_end.as_u64());
                Ok(())
            }
            ReplicationEvent::XLogData { data, .. } => self.message(data),
            // Written by applications for other readers, or asked for by us only.
            ReplicationEvent::Message { .. } | ReplicationEvent::StoppedAt { .. } => Ok(()),
        }
    }

    fn message(&mut self, data: Bytes) -> Result<(), SourceError> {
        let message = decode::decode(data).map_err(|error| {
            SourceError::Malformed(format!(
                "{}: a change is unreadable: {}",
                self.doing(),
                error.0
            ))
        })?;
        match message {
            Message::Relation(relation) => {
                let table = TableName::new(&relation.schema, &relation.name);
                if self.tables.iter().any(|captured| captured.table == table) {
                    self.pending = Some((relation, table));
                } else {
                    self.relations.insert(relation.id, None);
                }
            }
            Message::Insert { relation, new } => {
                self.change(relation, Op::Insert, |known| {
                    Ok((None, Some(known.row(&new, None)?)))
                })?;
            }
            Message::Update { relation, old, new } => {
                self.change(relation, Op::Update, |known| {
                    let before = old.map(|old| known.old(&old)).transpose()?;
                    let after = known.row(&new, before.as_ref())?;
                    Ok((before, Some(after)))
                })?;
            }
            Message::Delete { relation, old } => {
                self.change(relation, Op::Delete, |known| {
                    Ok((Some(known.old(&old)?), None))
                })?;
            }
            Message::Truncate { relations } => {
                for relation in relations {
                    self.change(relation, Op::Truncate, |_| Ok((None, None)))?;
                }
            }
            Message::Other => {}
        }
        Ok(())
    }

    /// Counts a change and, when it is captured and new to the engine, gathers it.
    fn change(
        &mut self,
        relation: u32,
        op: Op,
        rows: impl FnOnce(&Known) -> Result<(Option<Row>, Option<Row>), &'static str>,
    ) -> Result<(), SourceError> {
        let place = self.gather.place()?;
        let malformed = |found: &str| {
            SourceError::Malformed(format!(
                "read slot \"{}\": a change is unreadable: {found}",
                self.settings.slot
            ))
        };
        let Some(known) = self.relations.get(&relation) else {
            return Err(malformed("its table was not described"));
        };
        let (Some(known), Some(place)) = (known, place) else {
            return Ok(());
        };
        let (before, after) = rows(known).map_err(malformed)?;
        let Place {
            position,
            transaction,
            committed_at,
        } = place;
        let change = RowChange {
            shape: Arc::clone(&known.shape),
            op,
            before,
            after,
            position,
            committed_at,
            transaction,
        };
        self.gather.push(change);
        Ok(())
    }

    /// Gives the table the log has just described its shape and kinds. Asked again when
    /// interrupted: `pending` stays until the answer is there.
    async fn learn(&mut self) -> Result<(), SourceError> {
        let Some((relation, name)) = &self.pending else {
            return Ok(());
        };
        let oids: Vec<u32> = relation.columns.iter().map(|c| c.type_oid).collect();
        if self.sql.is_closed() {
            self.sql = connect::connect(&self.settings, Rights::Read).await?;
        }
        if !self.kinds.knows(&oids) {
            self.kinds.learn(&self.sql, &oids).await?;
        }
        let table = Table::read(&self.sql, name).await?;
        let captured = self.tables.iter().find(|captured| captured.table == *name);
        let columns = relation.columns.iter().map(|c| c.name.clone()).collect();
        let key = match (&table, captured) {
            (Some(table), Some(captured)) => table.key(captured),
            // Dropped since: the log itself marks the identity's columns, which are the key's
            // unless it is the whole row.
            (None, Some(captured)) if captured.key.is_empty() && relation.identity != b'f' => {
                let marked = relation.columns.iter().filter(|c| c.identity);
                marked.map(|c| c.name.clone()).collect()
            }
            (None, Some(captured)) => captured.key.clone(),
            (_, None) => Vec::new(),
        };
        let known = Known {
            shape: shape(name, columns, &key)?,
            kinds: oids.iter().map(|oid| self.kinds.of(*oid)).collect(),
            identity: relation.columns.iter().map(|c| c.identity).collect(),
        };
        self.relations.insert(relation.id, Some(known));
        self.pending = None;
        Ok(())
    }

    /// Asks the server, after silence, whether our slot is still being read by us.
    async fn ask(&mut self) -> Result<(), SourceError> {
        let asking = async {
            if self.sql.is_closed() {
                self.sql = connect::connect(&self.settings, Rights::Read).await?;
            }
            Slot::read(&self.sql, &self.settings.slot).await
        };
        let doing = format!("read slot \"{}\"", self.settings.slot);
        let slot = timeout(ANSWER_MAX, asking).await.unwrap_or_else(|_| {
            let seconds = ANSWER_MAX.as_secs();
            Err(SourceError::Disconnected(format!(
                "{doing}: no answer within {seconds} s"
            )))
        })?;
        let found = match slot {
            None => return Err(lost(format!("{doing}: slot does not exist"))),
            Some(slot) => match slot.dead() {
                Some(why) => return Err(lost(format!("{doing}: {why}"))),
                None => slot.active_pid,
            },
        };
        if found.is_none() {
            return Err(SourceError::Disconnected(format!(
                "{doing}: the server no longer streams to us"
            )));
        }
        self.asked_at = Instant::now();
        Ok(())
    }

    fn told_now(&mut self, batch: ChangeBatch) -> ChangeBatch {
        self.border_at = Instant::now();
        batch
    }

    /// Whether the newest border has been told but not acknowledged for a while. The engine may
    /// let a batch without changes pass; without another the slot would keep that much log for as
    /// long as the database is quiet.
    fn unacknowledged(&self) -> bool {
        let told = self.gather.told().filter(|told| told.seq == 0);
        told.and_then(|told| told.pos.number())
            .is_some_and(|told| told > self.acknowledged)
    }
}

impl Known {
    /// A whole row; cells the log left out are taken from the row before where that has them.
    fn row(&self, tuple: &Tuple, before: Option<&Row>) -> Result<Row, &'static str> {
        if tuple.len() != self.kinds.len() {
            return Err("it has another number of cells than its table has columns");
        }
        let earlier = |n: usize| before.and_then(|row| row.get(n)).cloned();
        let cells = tuple.iter().zip(&self.kinds).enumerate();
        let cells = cells.map(|(n, (cell, kind))| match cell {
            Cell::Null => Value::Null,
            Cell::Unchanged => earlier(n).unwrap_or(Value::Unchanged),
            Cell::Text(text) => value_of_bytes(*kind, text),
        });
        Ok(cells.collect())
    }

    fn old(&self, old: &Old) -> Result<Row, &'static str> {
        match old {
            Old::Full(tuple) => self.row(tuple, None),
            Old::Key(tuple) => {
                let mut row = self.row(tuple, None)?;
                for (cell, identity) in row.iter_mut().zip(&self.identity) {
                    if !identity {
                        *cell = Value::Unchanged;
                    }
                }
                Ok(row)
            }
        }
    }
}

#[async_trait]
impl ChangeStream for LogStream {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        let mut turns = 0_u32;
        loop {
            self.learn().await?;
            if let Some(batch) = self.gather.take_full() {
                return Ok(self.told_now(batch));
            }
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_MAX) {
                tokio::task::yield_now().await;
            }
            if let Some(event) = self.event_at_hand()? {
                self.take(event)?;
                continue;
            }
            if let Some(batch) = self.gather.take_whole() {
                return Ok(self.told_now(batch));
            }
            let now = Instant::now();
            let ask_at = self.heard_at.max(self.asked_at) + SILENCE_ASK;
            let border_at = if self.gather.has_moved() {
                Some(self.border_at + BORDER_EVERY)
            } else if self.unacknowledged() {
                Some(self.border_at + BORDER_AGAIN)
            } else {
                None
            };
            if border_at.is_some_and(|due| due <= now)
                && let Some(batch) = self.gather.take_border(true)
            {
                return Ok(self.told_now(batch));
            }
            if ask_at <= now {
                self.ask().await?;
                continue;
            }
            // A border that cannot be told now (a transaction is open) is no reason to wake.
            let until = border_at
                .filter(|due| *due > now)
                .map_or(ask_at, |due| due.min(ask_at));
            if let Some(event) = self.event_until(until).await? {
                self.take(event)?;
            }
        }
    }

    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError> {
        // Inside a transaction the server can forget nothing yet.
        if upto.seq == 0 {
            let end = lsn::of(upto)?;
            self.replication()?.update_applied_lsn(Lsn::from_u64(end));
            self.acknowledged = self.acknowledged.max(end);
        }
        Ok(())
    }

    fn server(&self) -> Option<String> {
        Some(self.server.to_string())
    }
}

impl Drop for LogStream {
    /// Gives the slot back: the connection is ended politely, and by force if that hangs.
    fn drop(&mut self) {
        let Some(mut replication) = self.replication.take() else {
            return;
        };
        replication.stop();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    let ending = async { while let Ok(Some(_)) = replication.recv().await {} };
                    if timeout(END_MAX, ending).await.is_err() {
                        replication.abort();
                    }
                });
            }
            Err(_) => replication.abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_extended_to_the_nearest() {
        const CIRCLE: u64 = 1 << 32;
        for (id, near, full) in [
            (7, 9, 7),
            (9, 7, 9),
            (u32::MAX, CIRCLE + 5, CIRCLE - 1),
            (3, CIRCLE - 2, CIRCLE + 3),
            (3, 5 * CIRCLE + 9, 5 * CIRCLE + 3),
            (u32::MAX, 3, u64::from(u32::MAX)),
        ] {
            assert_eq!(extend_id(id, near), full, "{id} near {near}");
        }
    }

    #[test]
    fn a_commit_time_out_of_range_is_unknown() {
        assert_eq!(commit_time(0).unwrap().to_string(), "2000-01-01T00:00:00Z");
        assert_eq!(commit_time(i64::MAX), None);
        assert_eq!(commit_time(i64::MIN), None);
    }
}

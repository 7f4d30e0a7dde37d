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
    CapturedTable, ChangeBatch, ChangeStream, Op, Position, Row, RowChange, SourceError, TableName,
    TableShape, Untold,
};
use jiff::Timestamp;
use pgwire_replication::{Lsn, ReplicationClient, ReplicationEvent};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Client;

use crate::catalogue::Slot;
use crate::connect::{self, Rights, classify_replication, lost};
use crate::decode::{self, Message, Relation};
use crate::exchange::Exchange;
use crate::gather::{Gather, Place};
use crate::known::{Described, Known};
use crate::lsn;
use crate::settings::Settings;
use crate::start;
use crate::untold::Standing;
use crate::values::Kinds;

/// Between two batches that only tell a newer border.
const BORDER_EVERY: Duration = Duration::from_millis(100);
/// A border the engine has not acknowledged is told again after this long.
const BORDER_AGAIN: Duration = Duration::from_millis(1_500);
/// After so much silence we ask whether anybody is there.
const SILENCE_ASK: Duration = Duration::from_secs(20);
/// How long the answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether the captured tables are still told, and after one that found something.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Events taken without letting others run.
const TURNS_MAX: u32 = 4_096;
/// How long the replication connection may take to end by itself.
const END_MAX: Duration = Duration::from_secs(3);
/// Microseconds from 1970 to 2000, PostgreSQL's own zero.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A running read of the log.
pub(crate) struct LogStream {
    settings: Settings,
    tables: Vec<CapturedTable>,
    /// Taken only when the stream is dropped.
    replication: Option<ReplicationClient>,
    sql: Client,
    gather: Gather,
    kinds: Kinds,
    /// By the log's own number; `None` = not captured.
    relations: HashMap<u32, Option<Known>>,
    /// As each captured table was described last.
    shapes: HashMap<TableName, Arc<TableShape>>,
    /// Described by the log, waiting for the catalogue's answer.
    pending: Option<(Relation, TableName)>,
    /// The newest transaction id met, in full.
    newest_id: u64,
    acknowledged: u64,
    heard_at: Instant,
    asked_at: Instant,
    border_at: Instant,
    standing: Standing,
    exchange: Exchange,
    /// When the captured tables are looked at next.
    look_at: Instant,
    /// The engine has not been told yet what is not told any more.
    unsaid: bool,
}

pub(crate) async fn open(
    settings: &Settings,
    tables: &[CapturedTable],
    epoch: u32,
    after: Option<&Position>,
) -> Result<LogStream, SourceError> {
    let sql = connect::connect(settings, Rights::Read).await?;
    let slot = start::slot(settings, &sql, after).await?;
    let mut standing = Standing::default();
    standing.look(settings, &sql, tables).await?;
    // A table that was captured before and is not told now must not stop the others.
    let mut told = tables.to_vec();
    told.retain(|captured| after.is_none() || standing.tells(&captured.table));
    start::publication(settings, &sql, &told).await?;
    let confirmed = slot.confirmed.unwrap_or(0);
    let start = match after {
        Some(after) => lsn::of(after)?.max(confirmed),
        None => confirmed,
    };
    let encoding = connect::encoding(&sql).await?;
    let replication = connect::replicate(settings, &encoding, start, confirmed).await?;
    let now = Instant::now();
    Ok(LogStream {
        settings: settings.clone(),
        tables: tables.to_vec(),
        replication: Some(replication),
        sql,
        gather: Gather::new(epoch, after.cloned()),
        kinds: Kinds::default(),
        relations: HashMap::new(),
        shapes: HashMap::new(),
        pending: None,
        newest_id: slot.xmax,
        acknowledged: confirmed,
        heard_at: now,
        asked_at: now,
        border_at: now,
        unsaid: !standing.untold().is_empty(),
        standing,
        exchange: Exchange::default(),
        look_at: now + LOOK_EVERY,
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
                self.exchange.begin();
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
                if self.standing.contradicts(relation.id, &table) {
                    self.look_at = Instant::now();
                }
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
        let Some(known) = known else {
            return Ok(());
        };
        // Of a transaction that is told from its middle on, its beginning counts as well.
        if place.is_none() && !known.exchanges {
            return Ok(());
        }
        let (before, after) = rows(known).map_err(malformed)?;
        let unclear = known.exchanges && {
            let (before, after) = (before.as_ref(), after.as_ref());
            self.exchange
                .note(relation, &known.shape, op, before, after)
        };
        let Some(place) = place else {
            return Ok(());
        };
        if unclear {
            self.standing.unclear(&known.shape.table);
            self.look_at = Instant::now() + LOOK_AGAIN;
        }
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
        if self.sql.is_closed() {
            self.sql = connect::connect(&self.settings, Rights::Read).await?;
        }
        let captured = self.tables.iter().find(|captured| captured.table == *name);
        let known = match captured {
            Some(captured) => {
                let described = Described {
                    relation,
                    captured,
                    transaction: self.gather.transaction(),
                    earlier: self.shapes.get(name).map(AsRef::as_ref),
                };
                Some(Known::learn(&self.sql, &mut self.kinds, &described).await?)
            }
            None => None,
        };
        if let Some(known) = &known {
            self.shapes.insert(name.clone(), Arc::clone(&known.shape));
        }
        self.relations.insert(relation.id, known);
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
            Some(slot) if slot.wal_status == "lost" => {
                return Err(lost(format!(
                    "{doing}: the server has removed the log it needs"
                )));
            }
            Some(slot) => slot.active_pid,
        };
        if found.is_none() {
            return Err(SourceError::Disconnected(format!(
                "{doing}: the server no longer streams to us"
            )));
        }
        self.asked_at = Instant::now();
        Ok(())
    }

    /// Asks the catalogue whether the captured tables are still told.
    async fn look(&mut self) -> Result<(), SourceError> {
        let looking = async {
            if self.sql.is_closed() {
                self.sql = connect::connect(&self.settings, Rights::Read).await?;
            }
            self.standing
                .look(&self.settings, &self.sql, &self.tables)
                .await
        };
        let looked = timeout(ANSWER_MAX, looking).await.unwrap_or_else(|_| {
            let seconds = ANSWER_MAX.as_secs();
            Err(SourceError::Disconnected(format!(
                "look at the captured tables: no answer within {seconds} s"
            )))
        });
        let (again, more) = looked?;
        if let Some(table) = again.first() {
            return Err(SourceError::Disconnected(format!(
                "table {table} is told again, and is read again"
            )));
        }
        self.unsaid |= more;
        let wait = if self.standing.untold().is_empty() {
            LOOK_EVERY
        } else {
            LOOK_AGAIN
        };
        self.look_at = Instant::now() + wait;
        Ok(())
    }

    fn told_now(&mut self, batch: ChangeBatch) -> ChangeBatch {
        self.border_at = Instant::now();
        self.unsaid = false;
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

#[async_trait]
impl ChangeStream for LogStream {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        let mut turns = 0_u32;
        loop {
            self.learn().await?;
            if let Some(batch) = self.gather.take_full() {
                return Ok(self.told_now(batch));
            }
            // Not within a transaction: who is interrupted there reads all of it again.
            let may_look = self.gather.transaction().is_none();
            if may_look && self.look_at <= self.heard_at {
                self.look().await?;
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
            if (self.unsaid || border_at.is_some_and(|due| due <= now))
                && let Some(batch) = self.gather.take_border(true)
            {
                return Ok(self.told_now(batch));
            }
            if may_look && self.look_at <= now {
                self.look().await?;
                continue;
            }
            if ask_at <= now {
                self.ask().await?;
                continue;
            }
            // A border that cannot be told now (a transaction is open) is no reason to wake.
            let until = [border_at, may_look.then_some(self.look_at)]
                .into_iter()
                .flatten()
                .filter(|due| *due > now)
                .fold(ask_at, Instant::min);
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

    fn untold(&self) -> &[Untold] {
        self.standing.untold()
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

//! Reads the log.
//!
//! The replication connection runs in a task of its own that answers the server whatever we do;
//! we take its events one by one. A second connection reads the catalogue when the log names a
//! type or table not met before, and asks, when the server owes us an answer for long, what it is
//! about: a dead connection and a server at work on a large transaction look alike otherwise.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use contract::{
    CapturedTable, ChangeBatch, ChangeStream, Op, Position, Resume, Row, RowChange, SourceError,
    TableName, TableShape, Untold,
};
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Client;

use crate::connect::{self, Rights, classify, lost, of_failure};
use crate::decode::{self, Message, Relation};
use crate::exchange::Exchange;
use crate::gather::{Gather, Place};
use crate::kinds::Kinds;
use crate::known::{Described, Known};
use crate::lsn;
use crate::pulse::{Beating, Pulse};
use crate::settings::Settings;
use crate::slot::Slot;
use crate::start;
use crate::told::Origin;
use crate::untold::{Seen, Standing};
use crate::wire::{ANSWER_MAX, Event, Failure, Replication};

/// Between two batches that only tell a newer border.
const BORDER_EVERY: Duration = Duration::from_millis(100);
/// A border the engine has not acknowledged is told again after this long.
const BORDER_AGAIN: Duration = Duration::from_millis(1_500);
/// How long the second connection may take to say what the server is about.
const ASK_MAX: Duration = Duration::from_secs(10);
/// An answer that is on its way as the server waits for its log again is here after this long.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// Between two looks whether the captured tables are still told, and after one that found something.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long such a look may take, and how many in a row may fail before the stream ends.
const LOOK_MAX: Duration = Duration::from_secs(5);
const LOOKS_LOST_MAX: u32 = 5;
/// Events taken without letting others run.
const TURNS_MAX: u32 = 4_096;
/// The SQLSTATE of a thing that is not there.
const UNDEFINED_OBJECT: &str = "42704";
/// Microseconds from 1970 to 2000, PostgreSQL's own zero.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

type Look = Pin<Box<dyn Future<Output = Result<Option<Seen>, SourceError>> + Send>>;

/// A running read of the log.
pub(crate) struct LogStream {
    settings: Settings,
    /// Where checkpoints of this stream come from, as it was when it was opened.
    origin: String,
    pulse: Pulse,
    /// Where heartbeats are switched on.
    _beating: Option<Beating>,
    tables: Vec<CapturedTable>,
    replication: Replication,
    sql: Arc<Client>,
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
    /// Not before then is it asked what the server is about.
    ask_at: Instant,
    /// The answer owed since then was not on its way when the server was last looked at.
    idle: Option<Instant>,
    border_at: Instant,
    standing: Standing,
    exchange: Exchange,
    /// When the captured tables are looked at next.
    look_at: Instant,
    /// A look that is under way, beside the log: a table that somebody has locked must not keep the
    /// others from being told.
    look: Option<Look>,
    looks_lost: u32,
    /// The engine has not been told yet what is not told any more.
    unsaid: bool,
}

pub(crate) async fn open(
    settings: &Settings,
    tables: &[CapturedTable],
    from: &Resume,
    pulse: &Pulse,
) -> Result<LogStream, SourceError> {
    let sql = connect::connect(settings, Rights::Read).await?;
    let (server, ours, before) = start::server(settings, &sql, from).await?;
    let slot = start::slot(settings, &sql, ours.as_ref()).await?;
    let mut standing = Standing::new(before);
    standing.look(settings, &sql, tables).await?;
    // A table that was captured before and is not told now must not stop the others.
    let mut told = tables.to_vec();
    told.retain(|captured| from.after.is_none() || standing.tells(&captured.table));
    start::publication(settings, &sql, &told).await?;
    let confirmed = slot.confirmed.unwrap_or(0);
    let start = ours.map_or(confirmed, |ours| ours.checkpoint.max(confirmed));
    let encoding = connect::encoding(&sql).await?;
    let replication = connect::replicate(settings, &server, encoding, start, confirmed).await?;
    let beating = if settings.heartbeat {
        Some(pulse.start(settings).await?)
    } else {
        None
    };
    let now = Instant::now();
    let unsaid = !standing.untold().is_empty();
    let origin = Origin {
        server,
        told: standing.told().cloned(),
    };
    Ok(LogStream {
        settings: settings.clone(),
        origin: origin.to_string(),
        pulse: pulse.clone(),
        _beating: beating,
        tables: tables.to_vec(),
        replication,
        sql: Arc::new(sql),
        gather: Gather::new(from.epoch, from.after.clone()),
        kinds: Kinds::default(),
        relations: HashMap::new(),
        shapes: HashMap::new(),
        pending: None,
        newest_id: slot.xmax,
        acknowledged: confirmed,
        ask_at: now,
        idle: None,
        border_at: now,
        unsaid,
        standing,
        exchange: Exchange::default(),
        look_at: now + if unsaid { LOOK_AGAIN } else { LOOK_EVERY },
        look: None,
        looks_lost: 0,
    })
}

/// Whether a server process waits for something of ours: our words, our network or the log we
/// have read. It could answer then.
async fn waits_for_us(sql: &Client, pid: i32) -> Result<bool, SourceError> {
    let row = sql
        .query_opt(
            "SELECT COALESCE(wait_event_type IN ('Activity', 'Client'), false)
               FROM pg_catalog.pg_stat_activity WHERE pid = $1",
            &[&pid],
        )
        .await
        .map_err(|error| classify("read what the server is about", &error))?;
    Ok(row.is_some_and(|row| row.get(0)))
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

    /// An event that is there already.
    fn event_at_hand(&mut self) -> Result<Option<Event>, SourceError> {
        let event = self.replication.at_hand();
        event.map_err(|failure| self.ended(failure))
    }

    fn ended(&self, failure: Failure) -> SourceError {
        // The slot is ours and the publication was there when we started: it is the change being
        // read that is older than the publication, and stays so.
        let unpublished =
            matches!(&failure, Failure::Server { code, .. } if code == UNDEFINED_OBJECT);
        match of_failure(&self.doing(), failure) {
            SourceError::Denied { what, .. } if unpublished => {
                lost(format!("{what} as of the change to be read"))
            }
            other => other,
        }
    }

    fn take(&mut self, event: Event) -> Result<(), SourceError> {
        match event {
            Event::Begin {
                commit,
                id,
                committed_at,
            } => {
                let id = extend_id(id, self.newest_id);
                self.newest_id = self.newest_id.max(id);
                self.exchange.begin();
                self.gather.begin(commit, id, commit_time(committed_at))
            }
            Event::Commit { end } => self.gather.commit(end),
            Event::Reached { end } => {
                self.pulse.answered();
                self.gather.keepalive(end);
                Ok(())
            }
            Event::Change(data) => self.message(data),
            Event::Heartbeat(text) => {
                self.pulse.met(&text);
                Ok(())
            }
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
                let agrees = self.standing.agrees(relation.id, &table);
                if !agrees {
                    // One that began before knows nothing of it.
                    self.look = None;
                    self.look_at = Instant::now();
                }
                // A captured table under another name is none, and another table under its name
                // is not the captured one.
                if agrees && self.tables.iter().any(|captured| captured.table == table) {
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
            let told = self.standing.exchanged(&known.shape.table);
            self.unsaid |= told;
            // One that began before knows nothing of it.
            self.look = None;
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
            self.sql = Arc::new(connect::connect(&self.settings, Rights::Read).await?);
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

    /// Asks the server, when it owes us an answer since `since`, what it is about.
    async fn ask(&mut self, since: Instant) -> Result<(), SourceError> {
        let doing = self.doing();
        let silence = since.elapsed().as_secs();
        let asking = async {
            if self.sql.is_closed() {
                self.sql = Arc::new(connect::connect(&self.settings, Rights::Read).await?);
            }
            let slot = Slot::read(&self.sql, &self.settings.slot).await?;
            let waits = match slot.as_ref().and_then(|slot| slot.active_pid) {
                Some(pid) => waits_for_us(&self.sql, pid).await?,
                None => false,
            };
            Ok((slot, waits))
        };
        let silent = |more: &str| {
            SourceError::Disconnected(format!(
                "{doing}: the server has not answered for {silence} s{more}"
            ))
        };
        let asked = timeout(ASK_MAX, asking).await;
        let (slot, waits) = match asked {
            Ok(Ok(asked)) => asked,
            Ok(Err(SourceError::Disconnected(why))) => return Err(silent(&format!("; {why}"))),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(silent(", nor does it answer on another connection")),
        };
        let Some(slot) = slot else {
            return Err(lost(format!("{doing}: slot does not exist")));
        };
        if let Some(why) = slot.dead() {
            return Err(lost(format!("{doing}: {why}")));
        }
        if slot.active_pid.is_none() {
            return Err(silent(": it no longer streams to us"));
        }
        if waits && self.idle == Some(since) {
            return Err(silent(
                ", though it runs and waits for us: something between us and it swallows what we \
                 say to each other",
            ));
        }
        // Either its answer is on its way, or it is at work on a large transaction of which it
        // has nothing to tell.
        self.idle = waits.then_some(since);
        self.ask_at = Instant::now() + if waits { ON_ITS_WAY } else { ANSWER_MAX };
        Ok(())
    }

    /// Begins to ask the catalogue whether the captured tables are still told.
    fn begin_look(&mut self) {
        let looking = self.standing.looking(&self.tables);
        let (sql, settings) = (Arc::clone(&self.sql), self.settings.clone());
        let seeing = async move {
            let sql = if sql.is_closed() {
                Arc::new(connect::connect(&settings, Rights::Read).await?)
            } else {
                sql
            };
            looking.see(&sql, &settings.publication).await
        };
        self.look = Some(Box::pin(async move {
            timeout(LOOK_MAX, seeing).await.unwrap_or_else(|_| {
                let seconds = LOOK_MAX.as_secs();
                Err(SourceError::Disconnected(format!(
                    "look at the captured tables: no answer within {seconds} s"
                )))
            })
        }));
    }

    /// Notes what a look found, at a transaction border.
    async fn looked(&mut self, seen: Result<Option<Seen>, SourceError>) -> Result<(), SourceError> {
        let seen = match seen {
            // Whether the server is there is for the replication connection to find out: it asks
            // more often, and says more.
            Err(SourceError::Disconnected(_)) if self.looks_lost < LOOKS_LOST_MAX => {
                self.looks_lost += 1;
                self.look_at = Instant::now() + LOOK_EVERY;
                self.unsaid |= self.standing.believe();
                return Ok(());
            }
            seen => seen?,
        };
        let (again, more) = self.standing.note(&self.settings, seen, self.unsaid)?;
        self.looks_lost = 0;
        if self.standing.told().is_none() {
            start::publication(&self.settings, &self.sql, &self.tables).await?;
        }
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
        if !batch.changes.is_empty() {
            self.pulse.told();
        }
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
            // Nothing is handed over that reaches beyond a doubt before it is known what to say.
            while self.standing.doubts() && self.gather.transaction().is_none() {
                if self.look.is_none() {
                    self.begin_look();
                }
                if let Some(look) = &mut self.look {
                    let seen = look.await;
                    self.look = None;
                    self.looked(seen).await?;
                }
            }
            if let Some(batch) = self.gather.take_full() {
                return Ok(self.told_now(batch));
            }
            // Not within a transaction: who is interrupted there reads all of it again. And not
            // before the engine knows what is untold already: what a look clears was never said.
            let may_look = self.gather.transaction().is_none() && !self.unsaid;
            if may_look {
                if self.look.is_none() && self.look_at <= Instant::now() {
                    self.begin_look();
                }
                let seen = self.look.as_mut().and_then(FutureExt::now_or_never);
                if let Some(seen) = seen {
                    self.look = None;
                    self.looked(seen).await?;
                    continue;
                }
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
            // The question of a silence that begins later is due later still.
            let since = self.replication.unanswered_since();
            let ask_at = self.ask_at.max(since.unwrap_or(now) + ANSWER_MAX);
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
            if let Some(since) = since.filter(|_| ask_at <= now) {
                self.ask(since).await?;
                continue;
            }
            // A border that cannot be told now (a transaction is open) is no reason to wake.
            let looks_at = (may_look && self.look.is_none()).then_some(self.look_at);
            let until = [border_at, looks_at]
                .into_iter()
                .flatten()
                .filter(|due| *due > now)
                .fold(ask_at, Instant::min);
            // Both stay where they are: who waits for us may give up at any point.
            let arrived = timeout_at(until, self.replication.event());
            let seen = async {
                match self.look.as_mut().filter(|_| may_look) {
                    Some(look) => look.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                arrived = arrived => match arrived {
                    Ok(Ok(event)) => self.take(event)?,
                    Ok(Err(failure)) => return Err(self.ended(failure)),
                    Err(_) => {}
                },
                seen = seen => {
                    self.look = None;
                    self.looked(seen).await?;
                }
            }
        }
    }

    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError> {
        // Inside a transaction the server can forget nothing yet.
        if upto.seq == 0 {
            let end = lsn::of(upto)?;
            self.replication.acknowledge(end);
            self.acknowledged = self.acknowledged.max(end);
        }
        Ok(())
    }

    fn untold(&self) -> &[Untold] {
        self.standing.untold()
    }

    fn server(&self) -> Option<String> {
        Some(self.origin.clone())
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

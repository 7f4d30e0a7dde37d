//! Reads the log.
//!
//! A group of events is a transaction: it begins with its GTID (of servers without, with `BEGIN`) and
//! ends with a commit, which engines without transactions write as a statement. A second connection
//! reads the catalogue when the log describes a captured table.

mod catalogue;
mod groups;
mod kept;
mod log;
mod prepared;
mod statements;
mod tables;
mod xa;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    CapturedTable, ChangeBatch, ChangeStream, Position, Resume, SourceError, TableName, Untold,
};
use jiff::Timestamp;
use tokio::time::{Instant, timeout, timeout_at};

use self::groups::Group;
use self::prepared::Taken;
use crate::binlog::event::{Format, decode};
use crate::binlog::payload::PayloadEvents;
use crate::binlog::raw::Raw;
use crate::cascade::Cascades;
use crate::charset::Charsets;
use crate::connect::{self, Connection, Rights};
use crate::feed::{Feed, From};
use crate::gather::Gather;
use crate::gtid::GtidSet;
use crate::known::{Described, Known};
use crate::life::Life;
use crate::look::{self, Reached};
use crate::place::Place;
use crate::server::Server;
use crate::settings::Settings;
use crate::start;
use crate::untold::Standing;

pub(crate) use self::kept::Kept;

/// A server that says nothing at all for so long is gone: it says at least that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Before its first event the server looks for the place in its log.
const FIRST_MAX: Duration = Duration::from_mins(10);
/// How often the position of a quiet log is told.
const BORDER_EVERY: Duration = Duration::from_millis(100);
/// How often it is asked whether the captured tables are there.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// And after one was untold.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So many events are taken before others get their turn.
const TURNS_MAX: u32 = 1_024;

const MEANT: &str = "nothing, if that was meant";

/// A table as the log has described it.
#[derive(Debug)]
enum Watched {
    /// Its rows are read: they are told, or others refer to them with a rule for their change.
    Rows {
        known: Arc<Known>,
        captured: bool,
    },
    /// What becomes of its rows matters, not what they are.
    Parent(TableName),
    No,
}

/// A running read of the log.
pub(crate) struct LogStream {
    settings: Settings,
    identity: String,
    tables: Vec<CapturedTable>,
    feed: Feed,
    /// A compressed transaction that is being unpacked, and where the log goes on behind it.
    payload: Option<(PayloadEvents, u64)>,
    /// For questions to the catalogue; none while one is asked.
    sql: Option<Connection>,
    format: Format,
    charsets: Charsets,
    gather: Gather,
    group: Option<Group>,
    /// XA transactions that are prepared, as far as is known.
    prepared: Taken,
    kept: Kept,
    /// By the log's own number.
    maps: HashMap<u64, Watched>,
    /// Statements may name a table in any case.
    folds_names: bool,
    /// As each captured table was described last.
    known: HashMap<TableName, Arc<Known>>,
    cascades: Cascades,
    /// They are to be read again.
    cascades_changed: bool,
    /// Described by the log, waiting for the catalogue's answer.
    pending: Option<Described>,
    standing: Standing,
    /// The file that is read, and where the newest event ended.
    file: String,
    at: Place,
    set: Option<GtidSet>,
    /// It was opened at a place: what comes before one is what we have.
    in_order: bool,
    first: bool,
    border_at: Instant,
    /// When the newest event came.
    heard_at: Instant,
    look_at: Instant,
    reached: Reached,
    epoch: u32,
    life: Life,
    committed_at: Option<Timestamp>,
    /// Why it ends, once what came before it is told.
    failed: Option<SourceError>,
}

pub(crate) async fn open(
    settings: &Settings,
    tables: &[CapturedTable],
    from: &Resume,
    reached: &Reached,
    life: &Life,
    kept: &Kept,
) -> Result<LogStream, SourceError> {
    let mut sql = connect::connect(settings, Rights::Read).await?;
    let mut standing = Standing::default();
    let names: Vec<TableName> = tables.iter().map(|one| one.table.clone()).collect();
    let asking = async {
        let server = Server::read(&mut sql).await?;
        standing.look(&mut sql, tables).await?;
        let former = kept.cascades(&server.identity());
        let cascades = Cascades::read(&mut sql, &names, &former).await?;
        Ok((server, former, cascades))
    };
    let (server, former, cascades) = catalogue::in_time(asking).await?;
    let starting = start::start(settings, &mut sql, &server, from, kept);
    let start = timeout(FIRST_MAX, starting).await.unwrap_or_else(|_| {
        Err(SourceError::Disconnected(format!(
            "open the binary log: the place in it was not found within {} s",
            FIRST_MAX.as_secs()
        )))
    })?;
    let feed = Feed::open(settings, &start.from).await?;
    let mut gather = Gather::new(from.epoch, from.after.clone(), start.inside);
    if from.after.is_none() {
        gather.reach(&start.place);
    }
    let identity = server.identity();
    life.begin(from.epoch, start.place.life, &identity);
    let prepared = &kept.prepared;
    let prepared = prepared.take(from.epoch, from.after.as_ref(), &start.place, &identity)?;
    let now = Instant::now();
    let mut stream = LogStream {
        settings: settings.clone(),
        identity,
        tables: tables.to_vec(),
        feed,
        payload: None,
        sql: Some(sql),
        format: Format::new(),
        charsets: Charsets::default(),
        gather,
        group: None,
        prepared,
        kept: kept.clone(),
        folds_names: server.folds_names(),
        maps: HashMap::new(),
        known: HashMap::new(),
        cascades,
        cascades_changed: false,
        pending: None,
        look_at: now
            + if standing.is_unsaid() {
                LOOK_AGAIN
            } else {
                LOOK_EVERY
            },
        standing,
        file: start.file,
        set: start.place.before.clone(),
        in_order: matches!(start.from, From::File { .. }),
        at: start.place,
        first: true,
        border_at: now,
        heard_at: now,
        reached: reached.clone(),
        epoch: from.epoch,
        life: life.clone(),
        committed_at: from.committed_at,
        failed: None,
    };
    stream.missed_cascades(&former);
    Ok(stream)
}

fn malformed(found: &str) -> SourceError {
    SourceError::Malformed(format!("read the binary log: {found}"))
}

impl LogStream {
    /// Where the log stands behind the newest event, as a border.
    fn border(&self) -> Place {
        Place {
            gtid: None,
            before: self.set.clone(),
            ..self.at.clone()
        }
    }

    fn heard(&mut self, raw: &Raw) -> Result<(), SourceError> {
        self.heard_at = Instant::now();
        self.reached.heard.note();
        self.arrived(raw)?;
        self.first = false;
        Ok(())
    }

    /// Takes what is at hand; false when nothing is.
    fn take(&mut self) -> Result<bool, SourceError> {
        if let Some((events, _)) = &mut self.payload {
            match events.next() {
                Some(raw) => {
                    let raw = raw?;
                    let format = self.format.inside_payload();
                    let event = decode(&raw, &format)?;
                    self.event(event, &raw)?;
                }
                None => self.payload = None,
            }
            return Ok(true);
        }
        let Some(raw) = self.feed.at_hand() else {
            return Ok(false);
        };
        self.heard(&raw)?;
        Ok(true)
    }

    fn told(&mut self, batch: ChangeBatch) -> ChangeBatch {
        self.border_at = Instant::now();
        if let Ok(end) = Place::parse(&batch.end) {
            self.prepared.reach(&end);
        }
        self.standing.said();
        batch
    }
}

impl LogStream {
    async fn batch(&mut self) -> Result<ChangeBatch, SourceError> {
        let mut turns = 0_u32;
        loop {
            self.learn().await?;
            if let Some(batch) = self.gather.take_full() {
                return Ok(self.told(batch));
            }
            // Not within a transaction: who is interrupted there reads all of it again.
            let may_look = !self.gather.is_open() && !self.standing.is_unsaid();
            if may_look && self.look_at <= Instant::now() {
                self.look().await?;
            }
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_MAX) {
                tokio::task::yield_now().await;
            }
            if self.take()? {
                continue;
            }
            if let Some(batch) = self.gather.take_whole() {
                return Ok(self.told(batch));
            }
            let now = Instant::now();
            let border_at = self
                .gather
                .has_moved()
                .then_some(self.border_at + BORDER_EVERY);
            if (self.standing.is_unsaid() || border_at.is_some_and(|due| due <= now))
                && let Some(batch) = self.gather.take_border(true)
            {
                return Ok(self.told(batch));
            }
            let silence = if self.first { FIRST_MAX } else { SILENCE_MAX };
            let silent_at = self.heard_at + silence;
            let until = [border_at, may_look.then_some(self.look_at)];
            let until = until
                .into_iter()
                .flatten()
                .filter(|due| *due > now)
                .fold(silent_at, Instant::min);
            match timeout_at(until, self.feed.next()).await {
                Ok(raw) => self.heard(&raw?)?,
                Err(_) if Instant::now() >= silent_at => {
                    return Err(SourceError::Disconnected(format!(
                        "read the binary log: the server has said nothing for {} s",
                        silence.as_secs()
                    )));
                }
                Err(_) => {}
            }
        }
    }
}

#[async_trait]
impl ChangeStream for LogStream {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match self.batch().await {
            Ok(batch) => Ok(batch),
            // What was complete before it is told first: else it never would be.
            Err(error) => {
                self.kept.doubt(&self.identity);
                match self.gather.take_whole() {
                    Some(batch) => {
                        self.failed = Some(error);
                        Ok(self.told(batch))
                    }
                    None => Err(error),
                }
            }
        }
    }

    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError> {
        // The server keeps its log for a time, not for us: it only matters to our own looks.
        if upto.seq == 0 {
            let place = Place::parse(upto)?;
            self.prepared.stored(&place);
            if place.file == self.at.file {
                self.reached.note(look::Place {
                    file: self.file.clone(),
                    offset: place.offset,
                    committed_at: self.committed_at,
                });
            }
        }
        Ok(())
    }

    fn untold(&self) -> &[Untold] {
        self.standing.untold()
    }

    fn server(&self) -> Option<String> {
        Some(self.identity.clone())
    }
}

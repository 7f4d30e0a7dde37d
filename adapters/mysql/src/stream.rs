//! Reads the log.
//!
//! A group of events is a transaction: it begins with its GTID (of servers without, with `BEGIN`) and
//! ends with a commit, which engines without transactions write as a statement. A second connection
//! reads the catalogue when the log describes a captured table.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    CapturedTable, ChangeBatch, ChangeStream, Op, Position, Resume, RowChange, SourceError,
    TableName, Untold,
};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::binlog::event::{Event, Format, Rotate, decode};
use crate::binlog::gtid::{MariadbGtid, MysqlGtid};
use crate::binlog::payload::PayloadEvents;
use crate::binlog::query::Query;
use crate::binlog::raw::Raw;
use crate::binlog::rows::{RowsEvent, RowsKind};
use crate::binlog::statement::{self, Concerned, Statement, XaVerb};
use crate::binlog::table_map::TableEvent;
use crate::charset::Charsets;
use crate::connect::{self, Connection, Rights};
use crate::errors::lost;
use crate::feed::Feed;
use crate::gather::Gather;
use crate::gtid::{Gtid, GtidSet, MysqlSource};
use crate::known::{self, Known, Learnt};
use crate::life::Life;
use crate::look::{self, Reached};
use crate::place::{Place, file_number, full_offset};
use crate::server::Server;
use crate::settings::Settings;
use crate::start;
use crate::untold::Standing;

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

/// A group that is open.
#[derive(Debug, Default)]
struct Group {
    gtid: Option<Gtid>,
    /// One statement, with no commit behind it.
    standalone: bool,
    /// `BEGIN` was met: rows follow.
    begun: bool,
    /// What happens in it counts only when another group commits it.
    prepared: bool,
    /// Captured tables of which it has rows.
    tables: Vec<TableName>,
}

/// A running read of the log.
pub(crate) struct LogStream {
    settings: Settings,
    identity: String,
    tables: Vec<CapturedTable>,
    feed: Feed,
    /// A compressed transaction that is being unpacked, and where the log goes on behind it.
    payload: Option<(PayloadEvents, u64)>,
    sql: Connection,
    format: Format,
    charsets: Charsets,
    gather: Gather,
    group: Option<Group>,
    /// By the log's own number; `None` = not captured.
    maps: HashMap<u64, Option<Known>>,
    /// As each captured table was described last.
    known: HashMap<TableName, Known>,
    /// Described by the log, waiting for the catalogue's answer.
    pending: Option<(TableEvent, CapturedTable, String)>,
    standing: Standing,
    /// The file that is read, and where the newest event ended.
    file: String,
    at: Place,
    set: Option<GtidSet>,
    expected: Option<(u64, u64)>,
    first: bool,
    border_at: Instant,
    /// When the newest event came.
    heard_at: Instant,
    look_at: Instant,
    reached: Reached,
    epoch: u32,
    life: Life,
    committed_at: Option<Timestamp>,
}

pub(crate) async fn open(
    settings: &Settings,
    tables: &[CapturedTable],
    from: &Resume,
    reached: &Reached,
    life: &Life,
) -> Result<LogStream, SourceError> {
    let mut sql = connect::connect(settings, Rights::Read).await?;
    let server = Server::read(&mut sql).await?;
    let start = start::start(settings, &mut sql, &server, from).await?;
    let mut standing = Standing::default();
    standing.look(&mut sql, tables).await?;
    let feed = Feed::open(settings, &start.from).await?;
    let mut gather = Gather::new(from.epoch, from.after.clone(), start.inside);
    if from.after.is_none() {
        gather.reach(&start.place);
    }
    life.set(from.epoch, start.place.life);
    let now = Instant::now();
    Ok(LogStream {
        settings: settings.clone(),
        identity: server.identity(),
        tables: tables.to_vec(),
        feed,
        payload: None,
        sql,
        format: Format::new(),
        charsets: Charsets::default(),
        gather,
        group: None,
        maps: HashMap::new(),
        known: HashMap::new(),
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
        at: start.place,
        expected: start.expected,
        first: true,
        border_at: now,
        heard_at: now,
        reached: reached.clone(),
        epoch: from.epoch,
        life: life.clone(),
        committed_at: from.committed_at,
    })
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

    fn captured(&self, schema: &str, table: &str) -> Option<&CapturedTable> {
        let mut all = self.tables.iter();
        all.find(|one| one.table.schema == schema && one.table.name == table)
    }

    /// Takes an event of the log itself.
    fn arrived(&mut self, raw: Raw) -> Result<(), SourceError> {
        let event = decode(&raw, &self.format)?;
        let real = !raw.header.is_artificial() && !matches!(event, Event::Heartbeat { .. });
        if real {
            let end = full_offset(self.at.offset, raw.header.end);
            self.follows(&event, end, raw.header.size)?;
            self.at.offset = end;
        }
        self.event(event, &raw)
    }

    /// Whether the log goes on where our checkpoint is. The server may show the head of the file first;
    /// what counts is where the first transaction begins, and what lies between.
    fn follows(&mut self, event: &Event, end: u64, size: u32) -> Result<(), SourceError> {
        let Some((file, offset)) = self.expected else {
            return Ok(());
        };
        if file != self.at.file {
            // In a later file it begins at that file's head.
            self.expected = self.expected.filter(|_| file > self.at.file);
            return Ok(());
        }
        let begins = matches!(event, Event::MariadbGtid(_) | Event::MysqlGtid(_));
        if end.checked_sub(u64::from(size)) == Some(offset) {
            self.expected = (!begins).then_some((file, end));
        } else if begins {
            return Err(lost(format!(
                "read the binary log: file {} does not go on at position {offset}, where our \
                 checkpoint is: the log was deleted and begun anew (RESET MASTER), or this is a copy \
                 of the server",
                self.file
            )));
        }
        Ok(())
    }

    fn event(&mut self, event: Event, raw: &Raw) -> Result<(), SourceError> {
        match event {
            Event::FormatDescription(description) => self.format.learn(&description),
            Event::Rotate(rotate) => self.rotate(rotate)?,
            Event::Heartbeat { file, position } => self.heartbeat(&file, position),
            Event::MariadbGtid(gtid) => self.maria(&gtid, raw)?,
            Event::MysqlGtid(gtid) => self.mysql(&gtid, raw)?,
            Event::Query(query) => self.query(&query, raw)?,
            Event::Commit { .. } => self.end(true)?,
            Event::XaPrepare { one_phase, .. } => {
                if let Some(group) = &mut self.group {
                    group.prepared = !one_phase;
                }
                self.end(one_phase)?;
            }
            Event::TableMap(map) => self.table(map, raw)?,
            Event::Rows(rows) => self.rows(&rows, raw)?,
            Event::Payload(payload) => self.payload = Some((payload.events()?, self.at.offset)),
            Event::Incident { number, text } => {
                return Err(lost(format!(
                    "read the binary log: the server says that events are missing in it (incident \
                     {number}: {text})"
                )));
            }
            Event::MariadbGtidList(_)
            | Event::PreviousGtids(_)
            | Event::Statement(_)
            | Event::StatementPart(_)
            | Event::Stop
            | Event::Ignored => {}
        }
        Ok(())
    }

    fn rotate(&mut self, rotate: Rotate) -> Result<(), SourceError> {
        let Some((_, number)) = file_number(&rotate.file) else {
            let found = format!("\"{}\" is no name of a log file", rotate.file);
            return Err(malformed(&found));
        };
        let place = (number, rotate.position);
        if place < (self.at.file, self.at.offset) && self.at.file != 0 {
            // Files are numbered anew: what comes later must sort later.
            if !self.first {
                return Err(SourceError::Disconnected(
                    "read the binary log: the server begins its files anew".to_owned(),
                ));
            }
            // At the beginning of a file that the checkpoint lies in.
            if number != self.at.file {
                self.at.life = self.at.life.saturating_add(1);
                self.life.set(self.epoch, self.at.life);
                self.expected = None;
            }
        }
        self.at.file = number;
        self.at.offset = rotate.position;
        self.file = rotate.file;
        if !rotate.artificial && self.group.is_none() {
            let border = self.border();
            self.gather.reach(&border);
        }
        Ok(())
    }

    fn heartbeat(&mut self, file: &str, position: u64) {
        if self.group.is_some() || file != self.file {
            return;
        }
        let low = u32::try_from(position & 0xffff_ffff).unwrap_or(0);
        self.at.offset = full_offset(self.at.offset, low);
        let border = self.border();
        self.gather.reach(&border);
    }

    fn committed(&mut self, raw: &Raw, micros: Option<u64>) -> Option<Timestamp> {
        let exact =
            micros.and_then(|micros| Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok());
        let at = exact.or_else(|| Timestamp::from_second(i64::from(raw.header.timestamp)).ok());
        self.committed_at = at.or(self.committed_at);
        at
    }

    fn begin(&mut self, group: Group, at: Option<Timestamp>) -> Result<(), SourceError> {
        let place = Place {
            gtid: group.gtid.clone(),
            before: self.set.clone(),
            ..self.at.clone()
        };
        self.gather.begin(place, at)?;
        self.group = Some(group);
        Ok(())
    }

    fn maria(&mut self, gtid: &MariadbGtid, raw: &Raw) -> Result<(), SourceError> {
        let place = gtid.place;
        let group = Group {
            gtid: Some(Gtid::Maria {
                domain: place.domain,
                server: place.server,
                sequence: place.sequence,
            }),
            standalone: gtid.is_standalone(),
            begun: !gtid.is_standalone(),
            prepared: gtid.is_prepared_xa(),
            tables: Vec::new(),
        };
        let at = self.committed(raw, None);
        self.begin(group, at)
    }

    fn mysql(&mut self, gtid: &MysqlGtid, raw: &Raw) -> Result<(), SourceError> {
        let group = Group {
            gtid: gtid.gtid.as_ref().map(|(origin, number)| Gtid::Mysql {
                source: MysqlSource {
                    uuid: origin.server,
                    tag: origin.tag.clone(),
                },
                number: *number,
            }),
            ..Group::default()
        };
        let at = self.committed(raw, gtid.committed_at);
        self.begin(group, at)
    }

    fn query(&mut self, query: &Query, raw: &Raw) -> Result<(), SourceError> {
        let statement = statement::of(query, &self.charsets);
        match statement {
            Statement::Begin
            | Statement::Xa {
                verb: XaVerb::Start,
                ..
            } => {
                if self.group.is_none() {
                    let at = self.committed(raw, None);
                    self.begin(Group::default(), at)?;
                }
                if let Some(group) = &mut self.group {
                    group.begun = true;
                    group.prepared |= !matches!(statement, Statement::Begin);
                }
            }
            Statement::Commit => self.end(true)?,
            Statement::Rollback => self.rolled_back()?,
            Statement::Savepoint(name) => self.gather.savepoint(name.unwrap_or_default()),
            Statement::RollbackTo(name) => {
                if self.gather.back_to(&name.unwrap_or_default()) {
                    let tables = self.group.as_ref().map(|group| group.tables.clone());
                    let why = "rows were told that a rollback to a savepoint has undone";
                    self.unclear(&tables.unwrap_or_default(), why);
                }
            }
            Statement::Xa { verb, .. } => match verb {
                XaVerb::Commit | XaVerb::CommitOnePhase => {
                    // Its rows stand in the log where it was prepared, and were not told then.
                    let tables: Vec<TableName> =
                        self.tables.iter().map(|one| one.table.clone()).collect();
                    for table in tables {
                        let what = format!(
                            "an XA transaction was committed that may have rows of table {table}, \
                             so it is read again"
                        );
                        self.standing.mark(&table, what, MEANT);
                    }
                    self.end(true)?;
                }
                XaVerb::Rollback => self.end(true)?,
                XaVerb::Start | XaVerb::End | XaVerb::Prepare => {}
            },
            Statement::Truncate(concerned) => self.truncate(&concerned, raw)?,
            Statement::Ddl(concerned) => {
                self.ddl(&concerned);
                self.alone()?;
            }
            Statement::Dml { verb, table } => {
                let named = table
                    .as_ref()
                    .map(|one| format!("{}.{}", one.schema, one.table));
                let ours = table
                    .as_ref()
                    .is_none_or(|one| self.captured(&one.schema, &one.table).is_some());
                if ours {
                    let of = named.map_or_else(String::new, |name| format!(" on table {name}"));
                    return Err(SourceError::Denied {
                        what: format!(
                            "read the binary log: {verb}{of} is told as a statement, not by its rows: \
                             what it did is not in the log"
                        ),
                        hint:
                            "SET GLOBAL binlog_format = 'ROW' (and in the server's configuration), \
                               end the sessions that began before, then lighterman source resync"
                                .to_owned(),
                    });
                }
                self.alone()?;
            }
            Statement::Replaced => {
                return Err(malformed(
                    "the server replaces an event, because it takes us for too old to know it",
                ));
            }
            Statement::Unrelated => self.alone()?,
        }
        Ok(())
    }

    /// A statement that is a group by itself ends it.
    fn alone(&mut self) -> Result<(), SourceError> {
        match &self.group {
            Some(group) if group.standalone || !group.begun => self.end(true),
            Some(_) => Ok(()),
            None => {
                let border = self.border();
                self.gather.reach(&border);
                Ok(())
            }
        }
    }

    /// The group is complete.
    fn end(&mut self, counts: bool) -> Result<(), SourceError> {
        let Some(group) = self.group.take() else {
            return Err(malformed("a transaction ends that did not begin"));
        };
        if let (Some(gtid), Some(set)) = (&group.gtid, &mut self.set)
            && !set.insert(gtid)
        {
            return Err(malformed("a transaction of another kind of server"));
        }
        let border = self.border();
        if counts && !group.prepared {
            return self.gather.commit(&border);
        }
        if self.gather.withdraw(&border) {
            self.unclear(
                &group.tables,
                "a part of a transaction was told that did not count yet",
            );
        }
        Ok(())
    }

    /// Engines that cannot roll back have kept their rows, others not.
    fn rolled_back(&mut self) -> Result<(), SourceError> {
        let tables = self.group.as_ref().map(|group| group.tables.clone());
        self.end(false)?;
        self.unclear(
            &tables.unwrap_or_default(),
            "a transaction was rolled back of which some engines keep the rows",
        );
        Ok(())
    }

    fn unclear(&mut self, tables: &[TableName], why: &str) {
        for table in tables {
            let what = format!("{why}: table {table} is read again");
            self.standing.mark(table, what, MEANT);
        }
        self.look_at = Instant::now() + LOOK_AGAIN;
    }

    /// Which captured tables a statement concerns.
    fn concerned(&self, concerned: &Concerned) -> Vec<TableName> {
        let all = self.tables.iter().map(|one| &one.table);
        all.filter(|table| match concerned {
            Concerned::Tables(names) => names
                .iter()
                .any(|name| name.schema == table.schema && name.table == table.name),
            Concerned::Schema(schema) => *schema == table.schema,
            Concerned::Any => true,
        })
        .cloned()
        .collect()
    }

    fn ddl(&mut self, concerned: &Concerned) {
        for table in self.concerned(concerned) {
            self.maps.retain(|_, known| {
                known
                    .as_ref()
                    .is_none_or(|known| known.shape.table != table)
            });
            let known = self.known.remove(&table);
            // By the names of today its rows may have been told that are older.
            if known.is_some_and(|known| known.of_today) {
                let why = "its columns were changed, and the log does not say their names \
                           (binlog_row_metadata is not FULL)";
                self.unclear(&[table], why);
            }
        }
    }

    fn truncate(&mut self, concerned: &Concerned, raw: &Raw) -> Result<(), SourceError> {
        let _ = raw;
        for table in self.concerned(concerned) {
            // Its columns need not be known to say that all rows are gone.
            let shape = self.known.get(&table).map(|known| known.shape.clone());
            match (shape, self.gather.place(1)?) {
                (Some(shape), Some(at)) => self.gather.push(RowChange {
                    shape,
                    op: Op::Truncate,
                    before: None,
                    after: None,
                    position: at.position,
                    committed_at: at.committed_at,
                    transaction: 0,
                }),
                (_, None) => {}
                (None, Some(_)) => {
                    self.unclear(&[table], "it was emptied");
                }
            }
        }
        self.alone()
    }

    fn table(&mut self, map: TableEvent, raw: &Raw) -> Result<(), SourceError> {
        let same = self.maps.get(&map.id);
        if same.is_some_and(|known| known.as_ref().is_some_and(|known| known.event == map)) {
            return Ok(());
        }
        let id = map.id;
        match self.captured(&map.schema, &map.table).cloned() {
            None => {
                self.maps.insert(id, None);
            }
            Some(captured) => self.pending = Some((map, captured, raw.doing())),
        }
        Ok(())
    }

    fn rows(&mut self, rows: &RowsEvent, raw: &Raw) -> Result<(), SourceError> {
        if rows.is_dummy() {
            return Ok(());
        }
        let Some(known) = self.maps.get(&rows.table_id) else {
            return Err(malformed("rows of a table that was not described"));
        };
        let prepared = self.group.as_ref().is_some_and(|group| group.prepared);
        let Some(known) = known else {
            return self.gather.pass(rows.bytes());
        };
        let table = &known.shape.table;
        if let Some(group) = &mut self.group
            && !group.tables.contains(table)
        {
            group.tables.push(table.clone());
        }
        if prepared {
            return self.gather.pass(rows.bytes());
        }
        let doing = raw.doing();
        let op = match rows.kind {
            RowsKind::Write => Op::Insert,
            RowsKind::Update => Op::Update,
            RowsKind::Delete => Op::Delete,
        };
        let mut reader = rows.rows(&known.layout, &doing)?;
        while let Some(row) = reader.next_row(&doing)? {
            let Some(at) = self.gather.place(reader.offset())? else {
                continue;
            };
            self.gather.push(RowChange {
                shape: known.shape.clone(),
                op,
                before: row.before,
                after: row.after,
                position: at.position,
                committed_at: at.committed_at,
                transaction: 0,
            });
        }
        self.gather.pass(rows.bytes())
    }

    /// Gives the table the log has just described its columns. Asked again when interrupted:
    /// `pending` stays until the answer is there.
    async fn learn(&mut self) -> Result<(), SourceError> {
        let Some((event, captured, doing)) = &self.pending else {
            return Ok(());
        };
        let learnt = known::learn(&mut self.sql, &mut self.charsets, captured, event, doing).await;
        let learnt = match learnt {
            Err(SourceError::Disconnected(_)) => {
                self.sql = connect::connect(&self.settings, Rights::Read).await?;
                known::learn(&mut self.sql, &mut self.charsets, captured, event, doing).await?
            }
            other => other?,
        };
        match learnt {
            Learnt::Known(known) => {
                self.known.insert(captured.table.clone(), known.clone());
                self.maps.insert(event.id, Some(known));
            }
            Learnt::Unclear(what) => {
                self.standing.mark(
                    &captured.table,
                    format!("{what}: its rows are not told"),
                    "SET GLOBAL binlog_row_metadata = 'FULL', and see lighterman map check",
                );
                self.maps.insert(event.id, None);
            }
        }
        self.pending = None;
        Ok(())
    }

    async fn look(&mut self) -> Result<(), SourceError> {
        let looked = self.standing.look(&mut self.sql, &self.tables).await;
        let again = match looked {
            Err(SourceError::Disconnected(_)) => {
                self.sql = connect::connect(&self.settings, Rights::Read).await?;
                self.standing.look(&mut self.sql, &self.tables).await?
            }
            other => other?,
        };
        if let Some(table) = again {
            return Err(SourceError::Disconnected(format!(
                "table {table} is told again, and is read again"
            )));
        }
        let wait = if self.standing.untold().is_empty() {
            LOOK_EVERY
        } else {
            LOOK_AGAIN
        };
        self.look_at = Instant::now() + wait;
        Ok(())
    }

    fn heard(&mut self, raw: Raw) -> Result<(), SourceError> {
        self.heard_at = Instant::now();
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
        self.heard(raw)?;
        Ok(true)
    }

    fn told(&mut self, batch: ChangeBatch) -> ChangeBatch {
        self.border_at = Instant::now();
        self.standing.said();
        batch
    }
}

#[async_trait]
impl ChangeStream for LogStream {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
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
                Ok(raw) => self.heard(raw?)?,
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

    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError> {
        // The server keeps its log for a time, not for us: it only matters to our own looks.
        if upto.seq == 0 {
            let place = Place::parse(upto)?;
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

//! The stream: cycles that take heads and tell what changed up to them.
//!
//! A database has tables that are told in several ways, and one stream. Each cycle takes the heads of change
//! data capture, change tracking and rowversions, in this order, then tells captured changes, tracked
//! changes and changed rows up to them, each merged over its tables in one order, and ends at a border.

pub(crate) mod cdc;
mod heads;
mod open;
mod page;
mod rowversion;
mod table;
mod tracking;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contract::{ChangeBatch, ChangeStream, Position, RowChange, SourceError, TableName, Untold};
use tokio::time::Instant;

use crate::captured::Instances;
use crate::cycle::Cycles;
use crate::lsn::Lsn;
use crate::mode::{self, Unfit};
use crate::place::{Phase, Place};
use crate::session::Line;
use crate::settings::{Mode, Settings};
use crate::tuple::{Merge, Next};
use crate::untold::Standing;

pub(crate) use heads::max_lsn;
use heads::{Heads, Needed};
pub(crate) use open::open;
use page::{At, Item, Trouble};
use table::{Found, Reader, Watched};
pub(crate) use tracking::min_valid;

/// A batch has about so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// A position that only idles on is handed on this often.
const IDLE_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at what is captured.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Cycles for chunks that wait begin no sooner after one another.
const CYCLE_MIN: Duration = Duration::from_millis(20);
/// A page is read again so often where the server asks for that.
const TRIES: u32 = 6;
const GAP_HINT: &str = "nothing, if it does not come again; else keep changes for longer: sys.sp_cdc_change_job \
     @job_type = N'cleanup', @retention = .., or ALTER DATABASE CURRENT SET CHANGE_TRACKING \
     (CHANGE_RETENTION = ..)";

/// How much at once, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    pub(crate) poll: Duration,
    pub(crate) page_rows: usize,
    pub(crate) batch_bytes: usize,
}

impl Tuning {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            poll: Duration::from_secs(settings.poll_seconds),
            page_rows: usize::try_from(settings.page_rows).unwrap_or(usize::MAX),
            batch_bytes: BATCH_BYTES,
        }
    }
}

/// How far the log is read and stored.
pub(crate) type Reached = Arc<Mutex<Option<Place>>>;

/// What the streams of a source share with each other, with its readers and its looks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    pub(crate) cycles: Cycles,
    pub(crate) reached: Reached,
    /// When tables were compared last, or read first.
    compared: Arc<Mutex<BTreeMap<TableName, Instant>>>,
    /// Tables that could not be read, since when and why.
    failed: Arc<Mutex<BTreeMap<TableName, (Instant, Unfit)>>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics while holding it.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Whether it is time to compare a table; notes that it is compared, if so. What happened before this
    /// agent began is not known, unless all of it is read now.
    fn is_due(&self, table: &TableName, settings: &Settings, resumed: bool) -> bool {
        let every = Duration::from_secs(settings.compare_minutes.saturating_mul(60));
        let mut compared = lock(&self.compared);
        let due = match compared.get(table) {
            None => resumed,
            Some(last) => last.elapsed() >= every,
        };
        if due || !compared.contains_key(table) {
            compared.insert(table.clone(), Instant::now());
        }
        due
    }

    fn fail(&self, table: &TableName, error: &SourceError) {
        let unfit = Unfit {
            what: error.to_string(),
            hint: error.hint().unwrap_or("lighterman check").to_owned(),
        };
        lock(&self.failed).insert(table.clone(), (Instant::now(), unfit));
    }

    /// Why a table could not be read a short time ago.
    fn failed(&self, table: &TableName) -> Option<Unfit> {
        let failed = lock(&self.failed);
        let (since, unfit) = failed.get(table)?;
        (since.elapsed() < open::TRY_AGAIN).then(|| unfit.clone())
    }
}

/// Why a table is read again as a matter of routine.
fn routine(table: &TableName, mode: Mode) -> String {
    match mode {
        Mode::Rowversion => {
            format!("rows of table {table} that were deleted are found by comparing")
        }
        _ => format!("nothing tells the changes of table {table}: they are found by comparing"),
    }
}

/// A transaction that was told in part before.
#[derive(Debug, Clone, Copy)]
struct Resumed {
    lsn: Lsn,
    seq: u32,
    /// Its first changes are surely those that were told, and are left out.
    drop: bool,
}

/// A cycle that is being told.
#[derive(Debug)]
struct Cycle {
    upto: Heads,
    phase: Phase,
    merge: Merge<Item>,
    /// Which tables the lists of the merge are.
    lists: Vec<usize>,
    /// The transaction that is told, and how many of its changes are.
    current: Option<At>,
    seq: u32,
    /// Something of it was handed on.
    told_any: bool,
}

/// What does the work of a stream.
#[derive(Debug)]
struct Worker {
    epoch: u32,
    settings: Settings,
    line: Line,
    tables: Vec<Watched>,
    needed: Needed,
    shared: Shared,
    tuning: Tuning,
    standing: Standing,
    /// Cycles that are told to their end, and what they came to.
    cycles: u64,
    told: Heads,
    /// Where the newest batch ended.
    handed: Place,
    /// That is inside a transaction.
    inside: bool,
    handed_at: Instant,
    /// Nothing was handed on ever.
    is_first: bool,
    resumed: Option<Resumed>,
    /// So many changes of the transaction that was told in part are still to be left out.
    skip: u32,
    cycle: Option<Cycle>,
    polled_at: Option<Instant>,
    looked_at: Instant,
}

impl Worker {
    async fn turn(&mut self) -> Result<ChangeBatch, SourceError> {
        self.standing.stored();
        loop {
            if self.cycle.is_none() {
                if self.standing.is_unsaid() && !self.inside && !self.is_first {
                    let end = self.handed;
                    return Ok(self.hand_on(Vec::new(), end, 0));
                }
                self.wait().await;
                self.begin().await?;
            }
            if let Some(batch) = self.tell().await? {
                return Ok(batch);
            }
        }
    }

    /// Until the next cycle is due.
    async fn wait(&mut self) {
        let Some(polled_at) = self.polled_at else {
            return;
        };
        let due = polled_at + self.tuning.poll;
        let soon = polled_at + CYCLE_MIN.min(self.tuning.poll);
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = async {
                self.shared.cycles.awaited().await;
                tokio::time::sleep_until(soon).await;
            } => {}
        }
    }

    async fn begin(&mut self) -> Result<(), SourceError> {
        self.polled_at = Some(Instant::now());
        if self.looked_at.elapsed() >= LOOK_EVERY {
            self.looked_at = Instant::now();
            self.look().await?;
        }
        // Before the heads: whoever reads a table now waits for the cycle behind this one.
        self.shared.cycles.begin(self.cycles + 1);
        let (session, _) = self.line.session().await?;
        let upto = Heads::take(session, self.needed, self.told).await?;
        self.cycle = Some(Cycle {
            upto,
            phase: Phase::Border,
            merge: Merge::new(0),
            lists: Vec::new(),
            current: None,
            seq: 0,
            told_any: false,
        });
        Ok(())
    }

    /// Looks for what changed since the stream was opened.
    async fn look(&mut self) -> Result<(), SourceError> {
        let (session, _) = self.line.session().await?;
        let mut found = None;
        for watched in &self.tables {
            let table = watched.table();
            if let Some(mode) = watched.mode {
                if mode::is_compared(mode) && self.shared.is_due(table, &self.settings, true) {
                    self.standing.routine(table, routine(table, mode));
                }
                continue;
            }
            if self.shared.failed(table).is_some() {
                continue;
            }
            let found = match &found {
                Some(found) => found,
                None => found.insert(Found::read(session).await?),
            };
            let choice = found.choose(session, &self.settings, &watched.captured);
            if choice.await?.is_ok() {
                return Err(SourceError::Disconnected(format!(
                    "table {table} can be told again: the stream begins anew with it"
                )));
            }
        }
        if !self.needed.cdc {
            return Ok(());
        }
        let (session, _) = self.line.session().await?;
        let instances = Instances::names(session).await?;
        for watched in &mut self.tables {
            let table = watched.captured.table.clone();
            let Reader::Cdc(pager) = &mut watched.reader else {
                continue;
            };
            let names = instances.of(&table);
            let names: Vec<&String> = names.iter().map(|one| &one.name).collect();
            if pager.known.iter().map(|(name, _)| name).eq(names) || instances.is_hidden {
                continue;
            }
            match pager.plan_again(session).await {
                Ok(None) => {}
                Ok(Some(gap)) => self.standing.unclear(&table, gap, GAP_HINT.to_owned()),
                Err(Trouble::Table(error)) => return Err(self.without(&table, &error)),
                Err(trouble) => return Err(trouble.error()),
            }
        }
        Ok(())
    }

    /// A table cannot be told on: the stream begins anew without it.
    fn without(&self, table: &TableName, error: &SourceError) -> SourceError {
        self.shared.fail(table, error);
        SourceError::Disconnected(format!(
            "table {table} cannot be read on, and the others are read on without it: {error}"
        ))
    }

    /// The next phase of the cycle; false where there is none.
    fn next_phase(&mut self) -> bool {
        let Some(cycle) = &mut self.cycle else {
            return false;
        };
        cycle.phase = match cycle.phase {
            Phase::Border => Phase::Cdc,
            Phase::Cdc => Phase::Tracking,
            Phase::Tracking => Phase::Rowversion,
            Phase::Rowversion => return false,
        };
        let phase = cycle.phase;
        let (upto, told) = (cycle.upto, self.told);
        // As a rule nothing has happened.
        let moved = match phase {
            Phase::Border => false,
            Phase::Cdc => upto.lsn > told.lsn || self.polled_first(),
            Phase::Tracking => upto.version > told.version || self.polled_first(),
            Phase::Rowversion => upto.rowversion > told.rowversion || self.polled_first(),
        };
        let of_phase = |watched: &Watched| match &watched.reader {
            Reader::Cdc(_) => phase == Phase::Cdc,
            Reader::Tracking(_) => phase == Phase::Tracking,
            Reader::Rowversion(_) => phase == Phase::Rowversion,
            Reader::Nothing => false,
        };
        let lists = self.tables.iter().enumerate();
        let lists = lists.filter(|(_, watched)| moved && of_phase(watched));
        let lists: Vec<usize> = lists.map(|(at, _)| at).collect();
        if let Some(cycle) = &mut self.cycle {
            cycle.merge = Merge::new(lists.len());
            cycle.lists = lists;
            (cycle.current, cycle.seq) = (None, 0);
        }
        true
    }

    /// Whether this stream has not told a cycle to its end: tables may have other places than the heads.
    fn polled_first(&self) -> bool {
        self.resumed.is_some() || self.handed.phase != Phase::Border || self.is_first
    }

    /// Tells on; `None` when the cycle ends and nobody needs to hear of it.
    async fn tell(&mut self) -> Result<Option<ChangeBatch>, SourceError> {
        let mut changes = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(cycle) = &mut self.cycle else {
                return Ok(None);
            };
            match cycle.merge.next(Item::order) {
                Next::Page(list) => self.page(list).await?,
                Next::First(list) => {
                    let next = cycle.merge.first(list).map(|item| item.at);
                    if bytes >= self.tuning.batch_bytes {
                        let ended = next != cycle.current;
                        let (place, seq) = (cycle.place(self.cycles, self.told, ended), cycle.seq);
                        if let Some(place) = place {
                            cycle.told_any = true;
                            return Ok(Some(self.hand_on(changes, place, seq)));
                        }
                    }
                    let Some(item) = cycle.merge.take(list) else {
                        continue;
                    };
                    if cycle.current != Some(item.at) {
                        cycle.current = Some(item.at);
                        cycle.seq = 0;
                        self.skip = 0;
                        let resumed = self.resumed.filter(|one| item.at == At::Lsn(one.lsn));
                        match resumed {
                            Some(Resumed {
                                seq, drop: true, ..
                            }) => self.skip = seq,
                            Some(Resumed {
                                seq, drop: false, ..
                            }) => cycle.seq = seq,
                            None => {}
                        }
                    }
                    cycle.seq = cycle.seq.saturating_add(1);
                    if self.skip > 0 {
                        self.skip -= 1;
                        continue;
                    }
                    if let Some(place) = cycle.place(self.cycles, self.told, false) {
                        let change = change(item, place.at(self.epoch, cycle.seq));
                        bytes += change.bytes();
                        changes.push(change);
                    }
                }
                Next::Nothing => {
                    if !self.next_phase() {
                        return Ok(self.end(changes));
                    }
                }
            }
        }
    }

    /// Reads the next page of a list.
    async fn page(&mut self, list: usize) -> Result<(), SourceError> {
        let Some(cycle) = &mut self.cycle else {
            return Ok(());
        };
        let at = cycle.lists.get(list).copied();
        let Some(watched) = at.and_then(|at| self.tables.get_mut(at)) else {
            cycle.merge.add(list, [], false);
            return Ok(());
        };
        let mut tries = 0;
        let page = loop {
            let (session, _) = self.line.session().await?;
            match watched.page(session, cycle.upto).await {
                Ok(page) => break page,
                Err(Trouble::Again(error)) if tries < TRIES => {
                    tries += 1;
                    // What it left of its transaction goes with the connection.
                    self.line.close();
                    tracing::debug!(stage = "capture", table = %watched.table(), error = %error,
                        "a page is read again");
                    tokio::time::sleep(Duration::from_millis(50) * 2_u32.pow(tries)).await;
                }
                Err(Trouble::Table(error)) => {
                    let table = watched.table().clone();
                    return Err(self.without(&table, &error));
                }
                Err(Trouble::Again(error)) => {
                    return Err(SourceError::Disconnected(error.to_string()));
                }
                Err(Trouble::All(error)) => return Err(error),
            }
        };
        if let Some(gap) = page.gap {
            let table = watched.table().clone();
            if self.skip > 0 {
                return Err(SourceError::Disconnected(format!(
                    "{gap}; the transaction that was told in part is told anew"
                )));
            }
            if let Some(resumed) = &mut self.resumed {
                resumed.drop = false;
            }
            self.standing.unclear(&table, gap, GAP_HINT.to_owned());
        }
        cycle.merge.add(list, page.items, page.more);
        Ok(())
    }

    /// The end of a cycle: a batch, where there is something to hand on.
    fn end(&mut self, changes: Vec<RowChange>) -> Option<ChangeBatch> {
        let cycle = self.cycle.take()?;
        self.resumed = None;
        self.skip = 0;
        self.cycles += 1;
        self.told = cycle.upto;
        let border = Place {
            cycles: self.cycles,
            lsn: self.told.lsn,
            version: self.told.version,
            rowversion: self.told.rowversion,
            ..Place::default()
        };
        let awaited = self.shared.cycles.complete(border);
        let told = !changes.is_empty() || cycle.told_any;
        let moved = self.told
            != Heads {
                lsn: self.handed.lsn,
                version: self.handed.version,
                rowversion: self.handed.rowversion,
            };
        let idled = moved && self.handed_at.elapsed() >= IDLE_EVERY;
        let needed = told || awaited || idled || self.is_first || self.inside;
        (needed || self.standing.is_unsaid()).then(|| self.hand_on(changes, border, 0))
    }

    fn hand_on(&mut self, changes: Vec<RowChange>, place: Place, seq: u32) -> ChangeBatch {
        self.handed = place;
        self.handed_at = Instant::now();
        self.is_first = false;
        self.inside = !place.is_border();
        self.standing.said();
        ChangeBatch {
            changes,
            end: place.at(self.epoch, seq),
        }
    }
}

impl Cycle {
    /// The place of the transaction that is told.
    fn place(&self, cycles: u64, told: Heads, ended: bool) -> Option<Place> {
        let (mut lsn, mut version, mut rowversion) = (told.lsn, told.version, told.rowversion);
        if self.phase >= Phase::Tracking {
            lsn = self.upto.lsn;
        }
        if self.phase >= Phase::Rowversion {
            version = self.upto.version;
        }
        match self.current? {
            At::Lsn(at) => lsn = at,
            At::Version(at) => version = at,
            At::Rowversion(at) => rowversion = at,
        }
        Some(Place {
            cycles,
            phase: self.phase,
            lsn,
            version,
            rowversion,
            ended,
        })
    }
}

fn change(item: Item, position: Position) -> RowChange {
    let transaction = match item.at {
        At::Lsn(lsn) => lsn.transaction(),
        At::Version(version) => version,
        At::Rowversion(_) => 0,
    };
    RowChange {
        shape: item.shape,
        op: item.op,
        before: item.before,
        after: item.after,
        position,
        committed_at: item.committed_at,
        transaction,
    }
}

/// A turn of the worker, which goes on where it was when its wait was given up.
type Turn = Pin<Box<dyn Future<Output = (Box<Worker>, Result<ChangeBatch, SourceError>)> + Send>>;

/// The stream of a database.
pub(crate) struct Stream {
    /// There is a turn or a worker, until one fails.
    worker: Option<Box<Worker>>,
    turn: Option<Turn>,
    untold: Vec<Untold>,
    server: String,
    reached: Reached,
}

impl Stream {
    fn new(worker: Worker, server: String, reached: Reached) -> Self {
        Self {
            untold: worker.standing.untold().to_vec(),
            worker: Some(Box::new(worker)),
            turn: None,
            server,
            reached,
        }
    }
}

#[async_trait]
impl ChangeStream for Stream {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        let turn = match (&mut self.turn, self.worker.take()) {
            (Some(turn), _) => turn,
            (None, Some(mut worker)) => self.turn.insert(Box::pin(async move {
                let batch = worker.turn().await;
                (worker, batch)
            })),
            (None, None) => {
                return Err(SourceError::Disconnected("the stream has ended".to_owned()));
            }
        };
        let (worker, batch) = turn.as_mut().await;
        self.turn = None;
        let batch = batch?;
        self.untold = worker.standing.untold().to_vec();
        self.worker = Some(worker);
        Ok(batch)
    }

    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError> {
        *lock(&self.reached) = Some(Place::parse(upto)?);
        Ok(())
    }

    fn untold(&self) -> &[Untold] {
        &self.untold
    }

    fn server(&self) -> Option<String> {
        Some(self.server.clone())
    }
}

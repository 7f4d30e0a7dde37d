//! What does the work of a stream: takes heads, tells up to them, and ends at a border.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{ChangeBatch, Position, RowChange, SourceError, TableName};
use tokio::time::Instant;

use crate::lsn::Lsn;
use crate::merge::{Merge, Next};
use crate::place::{Phase, Place};
use crate::session::Line;
use crate::settings::Settings;
use crate::untold::Standing;

use super::heads::{Heads, Needed};
use super::page::{At, Item, Trouble};
use super::shared::Shared;
use super::table::{Reader, Watched};
use super::{GAP_HINT, Tuning, UNCLEAR_HINT};

/// Cycles for chunks that wait begin no sooner after one another.
const CYCLE_MIN: Duration = Duration::from_millis(20);
/// A page is read again so often where the server asks for that.
const TRIES: u32 = 6;

/// A transaction that was told in part before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resumed {
    pub(super) lsn: Lsn,
    pub(super) seq: u32,
    /// Its first changes are surely those that were told, and are left out.
    pub(super) drop: bool,
}

/// A cycle that is being told.
#[derive(Debug)]
pub(super) struct Cycle {
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
    /// Tables whose rows are not sure by what is told up to a captured transaction, and why.
    unclear: BTreeMap<TableName, (Lsn, String)>,
}

/// What does the work of a stream.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) epoch: u32,
    pub(super) settings: Settings,
    pub(super) line: Line,
    pub(super) tables: Vec<Watched>,
    pub(super) needed: Needed,
    pub(super) shared: Shared,
    pub(super) tuning: Tuning,
    pub(super) standing: Standing,
    /// Cycles that are told to their end, and what they came to.
    pub(super) cycles: u64,
    pub(super) told: Heads,
    /// Where the newest batch ended.
    pub(super) handed: Place,
    /// That is inside a transaction.
    pub(super) inside: bool,
    pub(super) handed_at: Instant,
    /// Nothing was handed on ever.
    pub(super) is_first: bool,
    pub(super) resumed: Option<Resumed>,
    /// So many changes of the transaction that was told in part are still to be left out.
    pub(super) skip: u32,
    pub(super) cycle: Option<Cycle>,
    pub(super) polled_at: Option<Instant>,
    pub(super) looked_at: Instant,
}

impl Worker {
    pub(super) async fn turn(&mut self) -> Result<ChangeBatch, SourceError> {
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
        if self.looked_at.elapsed() >= self.tuning.look {
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
            unclear: BTreeMap::new(),
        });
        Ok(())
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
                            self.name_unclear(place);
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
        if let Some(unclear) = page.unclear {
            cycle.unclear.insert(watched.table().clone(), unclear);
        }
        cycle.merge.add(list, page.items, page.more);
        Ok(())
    }

    /// The end of a cycle: a batch, where there is something to hand on.
    fn end(&mut self, changes: Vec<RowChange>) -> Option<ChangeBatch> {
        let cycle = self.cycle.take()?;
        self.shared.cycled();
        for (table, (_, what)) in cycle.unclear {
            self.standing.unclear(&table, what, UNCLEAR_HINT.to_owned());
        }
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
        let heads = |place: Place| Heads {
            lsn: place.lsn,
            version: place.version,
            rowversion: place.rowversion,
        };
        // What was handed on without a change need not have been stored: where it was not, a table that was
        // emptied would be taken for one that lost changes when the stream is opened again.
        let is_stored = |place| heads(place) == self.told;
        let moved = self.told != heads(self.handed) || !self.shared.place().is_none_or(is_stored);
        let idled = moved && self.handed_at.elapsed() >= self.tuning.idle;
        let needed = told || awaited || idled || self.is_first || self.inside;
        (needed || self.standing.is_unsaid()).then(|| self.hand_on(changes, border, 0))
    }

    /// Names the tables that what is told up to a place leaves unclear, with the batch that ends there. Not
    /// before: a table that is compared while they are told would be taken for older than they are. And not
    /// later, as at the end of the cycle: whoever begins anew behind this place never sees them again.
    fn name_unclear(&mut self, place: Place) {
        let Some(cycle) = &mut self.cycle else {
            return;
        };
        let standing = &mut self.standing;
        cycle.unclear.retain(|table, (lsn, what)| {
            let told = place.has_told(*lsn);
            if told {
                let what = std::mem::take(what);
                standing.unclear(table, what, UNCLEAR_HINT.to_owned());
            }
            !told
        });
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

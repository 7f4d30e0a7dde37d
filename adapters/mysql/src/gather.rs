//! Puts changes into batches: whole transactions while they are small, pieces of one that is not.
//!
//! A row's ordinal in its transaction is how many bytes of rows the log has of that transaction up to
//! the row: known without reading the rows of other tables, the same whatever is captured, however
//! the rows are split into events and whether they are compressed, also at a replica.

use contract::{ChangeBatch, LogPos, Position, RowChange, SourceError};
use jiff::Timestamp;

use crate::errors::lost;
use crate::gtid::Gtid;
use crate::place::Place;

/// A batch ends at about this size.
const BYTES_MAX: usize = 1 << 20;
/// And at this many changes.
const CHANGES_MAX: usize = 2_000;

/// A transaction that is being told.
#[derive(Debug)]
struct Open {
    pos: LogPos,
    committed_at: Option<Timestamp>,
    /// Bytes of the rows before.
    bytes: u64,
    /// Rows up to this ordinal were told by another life of the log.
    told: u32,
    savepoints: Vec<Savepoint>,
}

/// What a transaction may be rolled back to.
#[derive(Debug)]
struct Savepoint {
    name: String,
    /// So many changes were gathered before it.
    at: usize,
    /// Some behind it are with the engine already.
    told: bool,
}

/// Where a change stands and when it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) position: Position,
    pub(crate) committed_at: Option<Timestamp>,
}

/// Changes on their way into a batch.
#[derive(Debug)]
pub(crate) struct Gather {
    epoch: u32,
    after: Option<Position>,
    /// The checkpoint lies in this transaction, at this row, in another life of the log.
    inside: Option<(Gtid, u32)>,
    open: Option<Open>,
    changes: Vec<RowChange>,
    bytes: usize,
    /// So many of `changes`, and of `bytes`, belong to finished transactions.
    whole: usize,
    whole_bytes: usize,
    /// The newest border.
    border: Option<Position>,
    /// The end of the newest batch.
    told: Option<Position>,
}

fn out_of_order(found: &str) -> SourceError {
    SourceError::Malformed(format!("read the binary log: {found}"))
}

impl Gather {
    /// Leaves out what stands at or before `after`; `inside` where that lies within a transaction of
    /// another life.
    pub(crate) fn new(epoch: u32, after: Option<Position>, inside: Option<(Gtid, u32)>) -> Self {
        Self {
            epoch,
            told: after.clone(),
            after,
            inside,
            open: None,
            changes: Vec::new(),
            bytes: 0,
            whole: 0,
            whole_bytes: 0,
            border: None,
        }
    }

    /// A transaction begins.
    pub(crate) fn begin(
        &mut self,
        place: Place,
        committed_at: Option<Timestamp>,
    ) -> Result<(), SourceError> {
        if self.open.is_some() {
            return Err(out_of_order("a transaction begins inside another"));
        }
        let mut told = 0;
        if let Some((gtid, row)) = self.inside.take() {
            if place.gtid.as_ref() != Some(&gtid) {
                return Err(lost(format!(
                    "read the binary log: our checkpoint lies within transaction {gtid}, and here \
                     another follows: {}",
                    place
                        .gtid
                        .map_or_else(|| "one without a GTID".to_owned(), |one| one.to_string())
                )));
            }
            told = row;
        }
        self.open = Some(Open {
            pos: place.log_pos(),
            committed_at,
            bytes: 0,
            told,
            savepoints: Vec::new(),
        });
        Ok(())
    }

    /// Whether a transaction is being told.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Rows of a table that is not captured, or all those of an event that were read.
    pub(crate) fn pass(&mut self, bytes: usize) -> Result<(), SourceError> {
        let open = self.open.as_mut();
        let open = open.ok_or_else(|| out_of_order("rows stand outside a transaction"))?;
        open.bytes = open.bytes.saturating_add(bytes as u64);
        Ok(())
    }

    /// So many bytes of rows the transaction has up to `bytes` behind the beginning of its event's
    /// rows.
    pub(crate) fn bytes_to(&self, bytes: usize) -> Result<u64, SourceError> {
        let open = self.open.as_ref();
        let open = open.ok_or_else(|| out_of_order("rows stand outside a transaction"))?;
        Ok(open.bytes.saturating_add(bytes as u64))
    }

    /// The place of a row that ends `bytes` behind the beginning of its event's rows; `None` when it
    /// was told before.
    pub(crate) fn place(&self, bytes: usize) -> Result<Option<At>, SourceError> {
        self.place_at(self.bytes_to(bytes)?)
    }

    /// The place of a row that ends so many bytes behind the beginning of its transaction's rows.
    pub(crate) fn place_at(&self, bytes: u64) -> Result<Option<At>, SourceError> {
        let open = self.open.as_ref();
        let open = open.ok_or_else(|| out_of_order("rows stand outside a transaction"))?;
        let seq = u32::try_from(bytes);
        let seq = seq.map_err(|_| {
            out_of_order(
                "a transaction has more than 4 GiB of rows, which the server's own positions do not \
                 reach either",
            )
        })?;
        let position = Position {
            epoch: self.epoch,
            pos: open.pos.clone(),
            seq,
        };
        let told = self.after.as_ref().is_some_and(|after| position <= *after);
        Ok((!told && seq > open.told).then_some(At {
            position,
            committed_at: open.committed_at,
        }))
    }

    /// A savepoint; one of the same name is forgotten.
    pub(crate) fn savepoint(&mut self, name: String) {
        let at = self.changes.len();
        if let Some(open) = &mut self.open {
            open.savepoints.retain(|one| one.name != name);
            open.savepoints.push(Savepoint {
                name,
                at,
                told: false,
            });
        }
    }

    /// What came since a savepoint was undone. Whether some of it is with the engine already.
    pub(crate) fn back_to(&mut self, name: &str) -> bool {
        let whole = self.whole;
        let Some(open) = &mut self.open else {
            return false;
        };
        let known = open.savepoints.iter().rposition(|one| one.name == name);
        // One that is not known stands before all of them.
        let (at, told) = match known.and_then(|n| open.savepoints.get(n)) {
            Some(found) => (found.at, found.told),
            None => (
                whole,
                self.told.as_ref().is_some_and(|told| told.pos == open.pos),
            ),
        };
        open.savepoints.truncate(known.map_or(0, |n| n + 1));
        let undone = self.changes.drain(at.min(self.changes.len())..);
        self.bytes -= undone.map(|change| change.bytes()).sum::<usize>();
        told
    }

    /// A change to be told.
    pub(crate) fn push(&mut self, change: RowChange) {
        self.bytes += change.bytes();
        self.changes.push(change);
    }

    /// The transaction is complete; the log goes on at `end`.
    pub(crate) fn commit(&mut self, end: &Place) -> Result<(), SourceError> {
        if self.open.take().is_none() {
            return Err(out_of_order("a transaction ends that did not begin"));
        }
        self.whole = self.changes.len();
        self.whole_bytes = self.bytes;
        self.reach(end);
        Ok(())
    }

    /// The transaction came to nothing, or what it came to is not told by its rows. Whether some of
    /// them are with the engine already.
    pub(crate) fn withdraw(&mut self, end: &Place) -> bool {
        let open = self.open.take();
        let told = open.zip(self.told.as_ref());
        let told = told.is_some_and(|(open, told)| told.pos == open.pos);
        self.changes.truncate(self.whole);
        self.bytes = self.whole_bytes;
        self.reach(end);
        told
    }

    /// The log was told up to here.
    pub(crate) fn reach(&mut self, end: &Place) {
        // One place has one text: what is stored of it sorts by the place, not by what else we know.
        let told = self.told.as_ref().filter(|told| end.is_at(told));
        let border = told.cloned().unwrap_or_else(|| end.at(self.epoch, 0));
        if self.border.as_ref().is_none_or(|known| *known < border) {
            self.border = Some(border);
        }
    }

    /// A batch that is large enough to go at once.
    pub(crate) fn take_full(&mut self) -> Option<ChangeBatch> {
        if self.changes.len() < CHANGES_MAX && self.bytes < BYTES_MAX {
            return None;
        }
        if self.whole == self.changes.len() {
            return self.take_whole();
        }
        // Inside a transaction: all so far, ending at the last change.
        let end = self.changes.last()?.position.clone();
        let count = self.changes.len();
        for savepoint in self.open.iter_mut().flat_map(|open| &mut open.savepoints) {
            savepoint.told |= count > savepoint.at;
            savepoint.at = 0;
        }
        self.whole = 0;
        self.whole_bytes = 0;
        self.bytes = 0;
        self.told = Some(end.clone());
        Some(ChangeBatch {
            changes: std::mem::take(&mut self.changes),
            end,
        })
    }

    /// The finished transactions gathered so far.
    pub(crate) fn take_whole(&mut self) -> Option<ChangeBatch> {
        if self.whole == 0 {
            return None;
        }
        let end = self.border.clone()?;
        let rest = self.changes.split_off(self.whole);
        for savepoint in self.open.iter_mut().flat_map(|open| &mut open.savepoints) {
            savepoint.at -= self.whole.min(savepoint.at);
        }
        self.whole = 0;
        self.bytes -= self.whole_bytes;
        self.whole_bytes = 0;
        self.told = Some(end.clone());
        Some(ChangeBatch {
            changes: std::mem::replace(&mut self.changes, rest),
            end,
        })
    }

    /// Whether a border was reached that no batch has told.
    pub(crate) fn has_moved(&self) -> bool {
        self.whole == 0 && self.changes.is_empty() && self.border > self.told
    }

    /// A batch without changes that tells the newest border; with `again`, one told before.
    pub(crate) fn take_border(&mut self, again: bool) -> Option<ChangeBatch> {
        let may = self.whole == 0 && self.changes.is_empty();
        if !may || !(self.has_moved() || again && self.border == self.told) {
            return None;
        }
        let end = self.border.clone()?;
        self.told = Some(end.clone());
        Some(ChangeBatch {
            changes: Vec::new(),
            end,
        })
    }
}

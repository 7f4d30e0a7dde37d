//! XA transactions that are prepared, kept from one stream to the next.
//!
//! A stream ends whenever the connection does, and what it had read of the log and was not stored is
//! read again by the next one. So what became of each prepared transaction is kept with its place, and
//! undone where the next stream begins before that.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use contract::{Position, SourceError};

use super::xa::Held;
use crate::binlog::gtid::Xid;
use crate::place::Place;

/// No more rows than that are kept of one transaction, for they are told at once.
const EACH_BYTES_MAX: usize = 1 << 20;
/// Nor of all of them; and as many of those that are over and not stored yet.
const BYTES_MAX: usize = 4 << 20;
/// And of no more transactions.
const ALL_MAX: usize = 1_024;

/// A place in one life of the log: life, file, offset.
type Spot = (u32, u64, u64);

fn spot(place: &Place) -> Spot {
    (place.life, place.file, place.offset)
}

/// What a source keeps between its streams.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Option<Prepared>>>);

/// What was known of a transaction before the log went on behind a place.
#[derive(Debug)]
struct Undo {
    end: Spot,
    xid: Xid,
    before: Option<Arc<Held>>,
}

/// All that are prepared.
#[derive(Debug)]
struct Prepared {
    epoch: u32,
    /// Whose log it is of.
    server: String,
    all: HashMap<Xid, Arc<Held>>,
    bytes: usize,
    /// It is complete for whoever goes on between these, both included.
    from: Spot,
    to: Spot,
    /// What happened since `from`, oldest first.
    undo: VecDeque<Undo>,
    undo_bytes: usize,
}

/// Those that a stream knows; put back where they were taken from when it ends.
#[derive(Debug)]
pub(super) struct Taken {
    prepared: Option<Prepared>,
    kept: Kept,
}

impl Kept {
    /// Takes what was left there by a stream of the same log, if it is complete at the place where
    /// this one goes on. `start` is where the log is read from.
    pub(super) fn take(
        &self,
        epoch: u32,
        after: Option<&Position>,
        start: &Place,
        server: &str,
    ) -> Result<Taken, SourceError> {
        let at = match after {
            Some(after) => spot(&Place::parse(after)?),
            None => spot(start),
        };
        let left = self.slot().take();
        let left = left.filter(|left| {
            let same = left.epoch == epoch && left.server == server && start.life == at.0;
            after.is_some() && same && left.from <= at && at <= left.to
        });
        let mut prepared = left.unwrap_or_else(|| Prepared {
            epoch,
            server: server.to_owned(),
            all: HashMap::new(),
            bytes: 0,
            from: at,
            to: at,
            undo: VecDeque::new(),
            undo_bytes: 0,
        });
        prepared.back_to(at);
        prepared.to = at;
        if start.life != at.0 {
            // The log goes on under other numbers.
            (prepared.from, prepared.to) = (spot(start), spot(start));
        }
        Ok(Taken {
            prepared: Some(prepared),
            kept: self.clone(),
        })
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Prepared>> {
        // Whoever panicked left all of it or nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.kept.slot() = self.prepared.take();
    }
}

impl Taken {
    /// How much of a transaction may be kept.
    pub(super) fn room(&self) -> usize {
        let bytes = self.prepared.as_ref().map_or(0, |known| known.bytes);
        EACH_BYTES_MAX.min(BYTES_MAX.saturating_sub(bytes))
    }

    pub(super) fn get(&self, xid: &Xid) -> Option<Arc<Held>> {
        self.prepared.as_ref()?.all.get(xid).cloned()
    }

    /// What is known of a transaction from a place in the log on.
    pub(super) fn set(&mut self, xid: Xid, held: Option<Held>, end: &Place) {
        if let Some(prepared) = &mut self.prepared {
            let end = spot(end);
            let held = held.filter(|_| prepared.all.len() < ALL_MAX);
            let before = prepared.put(&xid, held.map(Arc::new));
            prepared.undo_bytes += before.as_ref().map_or(0, |held| held.bytes());
            prepared.undo.push_back(Undo { end, xid, before });
            prepared.to = end;
            while prepared.undo.len() > ALL_MAX || prepared.undo_bytes > BYTES_MAX {
                prepared.forget();
            }
        }
    }

    /// The log was read up to here.
    pub(super) fn reach(&mut self, end: &Place) {
        if let Some(prepared) = &mut self.prepared {
            prepared.to = prepared.to.max(spot(end));
        }
    }

    /// No stream begins before this place any more.
    pub(super) fn stored(&mut self, at: &Place) {
        let at = spot(at);
        if let Some(prepared) = &mut self.prepared {
            while prepared.undo.front().is_some_and(|one| one.end <= at) {
                prepared.forget();
            }
            prepared.from = prepared.from.max(at);
        }
    }
}

impl Prepared {
    fn put(&mut self, xid: &Xid, held: Option<Arc<Held>>) -> Option<Arc<Held>> {
        let before = self.all.remove(xid);
        self.bytes -= before.as_ref().map_or(0, |held| held.bytes());
        if let Some(held) = held {
            self.bytes += held.bytes();
            self.all.insert(xid.clone(), held);
        }
        before
    }

    /// What came first can be undone no more.
    fn forget(&mut self) {
        if let Some(first) = self.undo.pop_front() {
            self.undo_bytes -= first.before.map_or(0, |held| held.bytes());
            self.from = self.from.max(first.end);
        }
    }

    /// Undoes what came behind a place.
    fn back_to(&mut self, at: Spot) {
        while let Some(last) = self.undo.pop_back_if(|last| last.end > at) {
            self.undo_bytes -= last.before.as_ref().map_or(0, |held| held.bytes());
            self.put(&last.xid, last.before);
        }
    }
}

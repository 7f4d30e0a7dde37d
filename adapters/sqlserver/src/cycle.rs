//! What a chunk of a snapshot may claim of the stream beside it.
//!
//! The stream tells in cycles, each of which first takes heads and then tells up to them. What cycles
//! told that had ended before a chunk was read is in the chunk. A cycle that begins after it was read takes
//! heads that are no older than the chunk: at its end, all that the chunk reflects is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::{Position, Sees, SourceError};
use tokio::sync::Notify;

use crate::place::{Place, end_of_cycle};

/// How far the cycles of a source's stream are: written by the stream, read by the readers beside it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cycles {
    counted: Arc<Mutex<Counted>>,
    /// A chunk waits for a cycle that has not begun.
    waits: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Rises with each stream that is opened: it may count the same cycles anew.
    life: u64,
    /// The newest cycle that may have taken its heads.
    begun: u64,
    /// Where the newest one ended that is handed on.
    completed: Place,
    /// The ends that chunks wait for: the first one, 0 = none, and the last one. Several tables may be read at
    /// once.
    awaited: u64,
    awaited_last: u64,
}

/// What stood when a chunk's reading began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    life: u64,
    completed: Place,
}

impl Cycles {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        // Nobody panics between two of its numbers.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream goes on behind this border.
    pub(crate) fn open(&self, border: Place) {
        let mut counted = self.lock();
        *counted = Counted {
            life: counted.life + 1,
            begun: border.cycles,
            completed: border,
            awaited: 0,
            awaited_last: 0,
        };
    }

    /// A cycle is about to take its heads.
    pub(crate) fn begin(&self, cycle: u64) {
        self.lock().begun = cycle;
    }

    /// All of a cycle is told. Whether a chunk waits for this.
    pub(crate) fn complete(&self, border: Place) -> bool {
        let mut counted = self.lock();
        counted.completed = border;
        let awaited = counted.awaited != 0 && counted.awaited <= border.cycles;
        if awaited {
            let more = counted.awaited_last > border.cycles;
            counted.awaited = if more { counted.awaited_last } else { 0 };
        }
        awaited
    }

    /// Waits until a chunk waits for the next cycle.
    pub(crate) async fn awaited(&self) {
        loop {
            let waits = self.waits.notified();
            {
                let counted = self.lock();
                if counted.awaited_last > counted.begun {
                    return;
                }
            }
            waits.await;
        }
    }

    /// Before a chunk is read.
    pub(crate) fn before(&self) -> Before {
        let counted = self.lock();
        Before {
            life: counted.life,
            completed: counted.completed,
        }
    }

    /// After it was read: its mark, and what it surely reflects.
    ///
    /// # Errors
    /// [`SourceError::Disconnected`] when another stream was opened meanwhile.
    pub(crate) fn after(
        &self,
        before: Before,
        epoch: u32,
    ) -> Result<(Position, Sees), SourceError> {
        let mut counted = self.lock();
        if counted.life != before.life {
            return Err(SourceError::Disconnected(
                "read a table: the stream beside it was opened anew meanwhile".to_owned(),
            ));
        }
        let behind = counted.begun + 1;
        if counted.awaited == 0 {
            counted.awaited = behind;
        }
        counted.awaited_last = behind;
        let mark = end_of_cycle(epoch, behind);
        drop(counted);
        self.waits.notify_one();
        Ok((mark, Sees::UpTo(before.completed.at(epoch, 0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;
    use crate::place::Phase;

    fn border(cycles: u64) -> Place {
        Place {
            cycles,
            ..Place::default()
        }
    }

    fn told(cycles: u64) -> Position {
        let place = Place {
            cycles,
            phase: Phase::Cdc,
            lsn: Lsn([1; 10]),
            ..Place::default()
        };
        place.at(1, 1)
    }

    #[test]
    fn a_chunk_reflects_what_ended_before_it_and_waits_for_the_cycle_behind_it() {
        let cycles = Cycles::default();
        cycles.open(border(4));
        cycles.begin(5);
        let before = cycles.before();
        // Meanwhile this cycle ends, and another one takes its heads.
        assert!(!cycles.complete(border(5)));
        cycles.begin(6);
        let (mark, sees) = cycles.after(before, 1).unwrap();
        assert!(
            !cycles.complete(border(6)),
            "its heads may be older than the chunk"
        );
        assert!(cycles.complete(border(7)) && !cycles.complete(border(8)));
        // Cycle 5 tells at 4, and its heads may be older than the chunk, or newer.
        for (at, reflected) in [(3, true), (4, false), (5, false), (6, false)] {
            assert_eq!(sees.reflects(&mark, &told(at), 0), reflected, "{at}");
        }
        // Cycle 6 took its heads before the chunk was read, cycle 7 will not have.
        assert!(border(6).at(1, 0) < mark && told(6) < mark);
        assert!(border(7).at(1, 0) > mark);
    }

    #[test]
    fn the_end_that_each_of_several_chunks_waits_for_is_handed_on() {
        let cycles = Cycles::default();
        cycles.open(border(4));
        let chunk = || cycles.after(cycles.before(), 1).unwrap().0;
        let first = chunk();
        cycles.begin(5);
        let second = chunk();
        assert!(first < second);
        assert!(cycles.complete(border(5)), "the first one waits for it");
        cycles.begin(6);
        assert!(cycles.complete(border(6)) && border(6).at(1, 0) > second);
        assert!(!cycles.complete(border(7)));
    }

    #[test]
    fn a_chunk_beside_which_a_stream_was_opened_claims_nothing() {
        let cycles = Cycles::default();
        let before = cycles.before();
        cycles.open(border(0));
        let refused = cycles.after(before, 1);
        assert!(
            matches!(refused, Err(SourceError::Disconnected(_))),
            "{refused:?}"
        );
    }
}

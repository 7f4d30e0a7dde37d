//! The room on the state folder's disk: sources are not read while it is low, so that what is in the
//! outbox can still be delivered, which needs a little of it.
//!
//! A source that is not read keeps its own log; nothing is lost by waiting. A disk that became full
//! all the same is waited out by whoever must write.

use std::sync::Arc;
use std::time::Duration;

use contract::look::bytes;
use state::{Room, StoreError};
use tokio::sync::watch;

use crate::{Common, stopped};

/// Between two looks at the disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Unless the settings say otherwise, so much of the disk is kept free,
const PERCENT: u64 = 5;
/// but no more than this,
const BYTES_MAX: u64 = 1 << 30;
/// and no less.
const BYTES_MIN: u64 = 64 << 20;

/// How much of a disk is kept free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserve {
    /// So many bytes.
    pub bytes: Option<u64>,
    /// So much of it; where both are given, what is more.
    pub percent: Option<u64>,
}

impl Reserve {
    /// The reserve on a disk of this size: with less free, sources are not read.
    pub fn of(self, total_bytes: u64) -> u64 {
        let part = |percent: u64| total_bytes / 100 * percent;
        match (self.bytes, self.percent) {
            (None, None) => part(PERCENT).clamp(BYTES_MIN, BYTES_MAX),
            (bytes, percent) => bytes.max(percent.map(part)).unwrap_or_default(),
        }
    }

    /// With so much free, they are read again: a quarter more, for what swings about the reserve is
    /// to be said once.
    pub fn well(self, total_bytes: u64) -> u64 {
        let reserve = self.of(total_bytes);
        reserve.saturating_add(reserve / 4)
    }

    /// Whether sources are not to be read, when they were not (`low`) or were until now.
    pub fn is_low(self, room: Room, low: bool) -> bool {
        let limit = if low {
            self.well(room.total_bytes)
        } else {
            self.of(room.total_bytes)
        };
        room.free_bytes < limit
    }
}

/// The disk that the state folder is on.
#[derive(Clone)]
pub struct Disk {
    /// What is kept free.
    pub reserve: Reserve,
    /// Looks at it; `None` = the system does not say, and then nothing is low.
    pub look: Arc<dyn Fn() -> Option<Room> + Send + Sync>,
}

/// Looks at the disk and tells the loops why they may not read.
pub(crate) struct Watch {
    disk: Disk,
    low: watch::Sender<Option<Arc<str>>>,
}

impl Watch {
    /// Looks once before anything is read.
    pub(crate) fn new(disk: Disk, low: watch::Sender<Option<Arc<str>>>) -> Self {
        let watch = Self { disk, low };
        watch.look();
        watch
    }

    fn look(&self) {
        let Some(room) = (self.disk.look)() else {
            return;
        };
        let reserve = self.disk.reserve;
        let was = self.low.borrow().is_some();
        let low = reserve.is_low(room, was);
        if low == was {
            return;
        }
        let (least, well) = (reserve.of(room.total_bytes), reserve.well(room.total_bytes));
        if !low {
            let _ = self.low.send(None);
            tracing::info!(
                code = "disk.enough",
                free_bytes = room.free_bytes,
                stage = "disk",
                "the state folder's disk has room again: sources are read on"
            );
            return;
        }
        tracing::error!(
            code = "disk.low",
            free_bytes = room.free_bytes,
            reserve_bytes = least,
            resume_bytes = well,
            stage = "disk",
            hint = "free disk space; the agent goes on by itself",
            "the state folder's disk is low: sources are not read, what was read is delivered"
        );
        let why = format!(
            "the state folder's disk has less than {} free; to mend it: free disk space there; the agent \
             reads on by itself when {} are free",
            bytes(least),
            bytes(well)
        );
        let _ = self.low.send(Some(Arc::from(why)));
    }

    /// Looks until told to stop.
    pub(crate) async fn run(self, common: &Common) -> Result<(), StoreError> {
        let mut short = false;
        loop {
            let low = self.low.borrow().is_some();
            if low != short {
                match common.store.keep_log_short(low).await {
                    Ok(()) => short = low,
                    // There may be room for that at the next look.
                    Err(StoreError::Full) => {}
                    Err(error) => return Err(error),
                }
            }
            if common.sleep(LOOK_EVERY).await {
                return Ok(());
            }
            failpoint::crash!("task.disk");
            self.look();
        }
    }
}

impl Common {
    /// Why sources are not to be read now; `None` = they are.
    pub(crate) fn disk_low(&self) -> Option<Arc<str>> {
        self.low.borrow().clone()
    }

    /// Waits until sources are not to be read.
    pub(crate) async fn disk_becomes_low(&self) {
        let mut low = self.low.clone();
        if low.wait_for(Option::is_some).await.is_err() {
            // Nobody looks any more.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until there is room, and remembers for `status` why. True = stop.
    pub(crate) async fn wait_for_room(
        &self,
        source_id: i64,
        why: &str,
    ) -> Result<bool, StoreError> {
        let problem = self.store.set_problem(source_id, Some(why.to_owned()));
        match problem.await {
            Ok(()) | Err(StoreError::Full) => {}
            Err(error) => return Err(error),
        }
        let (mut low, mut stop) = (self.low.clone(), self.stop.clone());
        tokio::select! {
            biased;
            () = stopped(&mut stop) => Ok(true),
            _ = low.wait_for(Option::is_none) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    #[test]
    fn the_reserve_is_what_the_settings_say_or_fits_the_disk() {
        let default = Reserve::default();
        assert_eq!(default.of(1_000 * GIB), GIB);
        assert_eq!(default.of(10 * GIB), 10 * GIB / 100 * 5);
        assert_eq!(default.of(100 * MIB), 64 * MIB);
        let of = |bytes, percent| Reserve { bytes, percent }.of(1_000 * MIB);
        assert_eq!(of(Some(MIB), None), MIB);
        assert_eq!(of(None, Some(2)), 20 * MIB);
        assert_eq!(of(Some(MIB), Some(2)), 20 * MIB);
        assert_eq!(of(Some(30 * MIB), Some(2)), 30 * MIB);
    }

    #[test]
    fn reading_goes_on_only_when_there_is_room_by_a_margin() {
        let reserve = Reserve {
            bytes: Some(100),
            percent: None,
        };
        let mut low = false;
        let frees = [150, 100, 99, 100, 124, 125, 110, 99];
        let lows = frees.map(|free_bytes| {
            let room = Room {
                free_bytes,
                total_bytes: 1_000,
            };
            low = reserve.is_low(room, low);
            low
        });
        assert_eq!(lows, [false, false, true, true, true, false, false, true]);
    }
}

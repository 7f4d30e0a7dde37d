//! The room on the state folder's disk: its setting, and what is said of it.

use std::path::Path;
use std::sync::Arc;

use contract::look::bytes;
use contract::{Finding, Section};
use engine::{Disk, Reserve};
use state::{Room, room};

/// What the settings' `[disk]` says: how much of it is kept free.
pub(crate) fn read(top: &mut Section<'_>) -> Reserve {
    let mut reserve = Reserve::default();
    if let Some(mut section) = top.section("disk") {
        let mib = section.number("reserve_mib", 1, 1 << 30);
        reserve.bytes = mib.map(|mib| mib << 20);
        reserve.percent = section.number("reserve_percent", 1, 90);
        section.finish();
    }
    reserve
}

/// The disk as the engine watches it.
pub(crate) fn watched(folder: &Path, reserve: Reserve) -> Disk {
    let folder = folder.to_owned();
    Disk {
        reserve,
        look: Arc::new(move || room(&folder)),
    }
}

/// How a disk stands.
pub(crate) struct Stands {
    room: Room,
    reserve: Reserve,
}

impl Stands {
    /// How the state folder's disk stands; `None` = the system does not say.
    pub(crate) fn of(folder: &Path, reserve: Reserve) -> Option<Self> {
        room(folder).map(|room| Self { room, reserve })
    }

    /// Whether sources are not read because of it. A running agent reads on only when there is a
    /// quarter more; until then it says so itself, of each source.
    pub(crate) fn is_low(&self) -> bool {
        self.reserve.is_low(self.room, false)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let total = self.room.total_bytes;
        serde_json::json!({
            "free_bytes": self.room.free_bytes,
            "total_bytes": total,
            "reserve_bytes": self.reserve.of(total),
            "resume_bytes": self.reserve.well(total),
            "low": self.is_low(),
        })
    }

    /// The figures, for people.
    pub(crate) fn figures(&self) -> String {
        let (free, total) = (self.room.free_bytes, self.room.total_bytes);
        let reserve = bytes(self.reserve.of(total));
        format!(
            "{} of {} are free, {reserve} are kept free",
            bytes(free),
            bytes(total)
        )
    }

    /// What `status` says first, where it is to be said.
    pub(crate) fn sentence(&self) -> Option<String> {
        self.is_low().then(|| {
            format!(
                "The state folder's disk is LOW: {}. Sources are not read, what was read is delivered; \
                 reading goes on by itself when {} are free. Free disk space.",
                self.figures(),
                bytes(self.reserve.well(self.room.total_bytes))
            )
        })
    }

    /// What `check` says.
    pub(crate) fn finding(&self, folder: &Path) -> Finding {
        const WHAT: &str = "state folder: disk";
        let fix = |finding: Finding| {
            finding.fix(format!(
                "free disk space under {}, move state_folder to a larger disk, or set [disk] \
                 reserve_mib or reserve_percent in the settings",
                folder.display()
            ))
        };
        let (free, total) = (self.room.free_bytes, self.room.total_bytes);
        let found = self.figures();
        let (reserve, well) = (self.reserve.of(total), self.reserve.well(total));
        if well >= total {
            let found =
                format!("{found}: the disk is too small for that, and no source is ever read");
            fix(Finding::fail(WHAT, found))
        } else if free < reserve {
            fix(Finding::fail(
                WHAT,
                format!("is low, and no source is read: {found}"),
            ))
        } else if free < reserve.saturating_mul(2) {
            fix(Finding::warn(WHAT, format!("will be low soon: {found}")))
        } else {
            Finding::pass(WHAT, found)
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::Level;

    use super::*;

    #[test]
    fn a_disk_is_said_to_be_low_with_what_to_do() {
        let at = |free_mib: u64, reserve_mib: u64| Stands {
            room: Room {
                free_bytes: free_mib << 20,
                total_bytes: 1_000 << 20,
            },
            reserve: Reserve {
                bytes: Some(reserve_mib << 20),
                percent: None,
            },
        };
        let level = |free, reserve| at(free, reserve).finding(Path::new("state")).level;
        assert_eq!(level(250, 100), Level::Pass);
        assert_eq!(level(150, 100), Level::Warn);
        assert_eq!(level(99, 100), Level::Fail);
        assert_eq!(level(999, 900), Level::Fail, "1125 MiB will never be free");
        assert_eq!(at(100, 100).sentence(), None);
        let said = at(99, 100).sentence().unwrap();
        assert!(
            said.contains("99 MiB of 1000 MiB are free, 100 MiB are kept free"),
            "{said}"
        );
        assert!(said.contains("when 125 MiB are free"), "{said}");
    }
}

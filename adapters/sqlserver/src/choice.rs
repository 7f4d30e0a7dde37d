//! Which way a table's changes can be learned, as a check and a preparation need it.

use contract::TableName;

use crate::catalogue::Table;
use crate::probe::{Captured, Known, OwnRights, TableRights};
use crate::settings::{Mode, Settings};

/// What is there for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct There {
    /// A capture instance that may be read.
    pub(crate) captured: bool,
    /// Change tracking that may be read.
    pub(crate) tracked: bool,
    pub(crate) rowversion: bool,
}

impl There {
    pub(crate) fn of(
        table: &Table,
        captured: &Known<Vec<Captured>>,
        tracked: &Known<Vec<i64>>,
        own: OwnRights,
        rights: TableRights,
    ) -> Self {
        let has_instance = captured
            .known()
            .is_some_and(|all| all.iter().any(|one| one.object_id == table.object_id));
        let is_tracked = tracked
            .known()
            .is_some_and(|all| all.contains(&table.object_id));
        Self {
            captured: has_instance && (own.cdc || own.owner),
            tracked: is_tracked && rights.tracking && table.primary().is_some(),
            rowversion: table.rowversion().is_some(),
        }
    }

    /// The best of what is there.
    pub(crate) fn best(self) -> Mode {
        if self.captured {
            Mode::Cdc
        } else if self.tracked {
            Mode::Tracking
        } else if self.rowversion {
            Mode::Rowversion
        } else {
            Mode::Compare
        }
    }
}

/// What a person chose, else the best of what is there.
pub(crate) fn mode(settings: &Settings, table: &TableName, there: There) -> Mode {
    let chosen = settings.modes.get(table).copied();
    chosen.unwrap_or_else(|| there.best())
}

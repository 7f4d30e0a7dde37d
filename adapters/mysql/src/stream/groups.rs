//! Transactions: a group of events, told when it is complete.

use contract::{SourceError, TableName};
use jiff::Timestamp;

use super::xa::Held;
use super::{LogStream, malformed};
use crate::binlog::gtid::{MariadbGtid, MysqlGtid};
use crate::binlog::raw::Raw;
use crate::gtid::Gtid;
use crate::heads;
use crate::place::Place;

/// So many tables are remembered by their numbers.
const MAPS_MAX: usize = 4_096;

/// A group that is open.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) gtid: Option<Gtid>,
    /// One statement, with no commit behind it.
    pub(super) standalone: bool,
    /// `BEGIN` was met: rows follow.
    pub(super) begun: bool,
    /// What happens in it counts only when another group commits it.
    pub(super) prepared: Option<Held>,
    /// When it was made, as [`Place::last`] has it.
    pub(super) made: Option<u32>,
    /// Captured tables of which it has rows.
    pub(super) tables: Vec<TableName>,
    /// Captured tables of which the server has changed rows that the log does not have.
    pub(super) silent: Vec<TableName>,
}

impl LogStream {
    pub(super) fn committed(&mut self, raw: &Raw, micros: Option<u64>) -> Option<Timestamp> {
        let at = heads::committed_at(raw, micros);
        self.committed_at = at.or(self.committed_at);
        at
    }

    pub(super) fn begin(&mut self, group: Group, at: Option<Timestamp>) -> Result<(), SourceError> {
        let place = Place {
            gtid: group.gtid.clone(),
            before: self.set.clone(),
            ..self.at.clone()
        };
        self.gather.begin(place, at)?;
        // Each statement describes its tables anew, and the server numbers them on and on.
        if self.maps.len() > MAPS_MAX {
            self.maps.clear();
        }
        self.group = Some(group);
        Ok(())
    }

    pub(super) fn maria(&mut self, gtid: &MariadbGtid, raw: &Raw) -> Result<(), SourceError> {
        let group = Group {
            gtid: Some(gtid.place.into()),
            standalone: gtid.is_standalone(),
            begun: !gtid.is_standalone(),
            prepared: gtid.is_prepared_xa().then(Held::default),
            ..Group::default()
        };
        let at = self.committed(raw, None);
        self.begin(group, at)
    }

    pub(super) fn mysql(&mut self, gtid: &MysqlGtid, raw: &Raw) -> Result<(), SourceError> {
        let group = Group {
            gtid: gtid.gtid.as_ref().map(Gtid::from),
            made: heads::made_second(gtid),
            ..Group::default()
        };
        let at = self.committed(raw, gtid.committed_at);
        self.begin(group, at)
    }

    /// A statement begins the rows of a group, and the group itself where it has no GTID.
    pub(super) fn rows_follow(&mut self, raw: &Raw, xa: bool) -> Result<(), SourceError> {
        if self.group.is_none() {
            let at = self.committed(raw, None);
            self.begin(Group::default(), at)?;
        }
        if let Some(group) = &mut self.group {
            group.begun = true;
            if xa && group.prepared.is_none() {
                group.prepared = Some(Held::default());
            }
        }
        Ok(())
    }

    /// A statement that is a group by itself ends it.
    pub(super) fn alone(&mut self) -> Result<(), SourceError> {
        match &self.group {
            Some(group) if group.standalone || !group.begun => self.commit(),
            Some(_) => Ok(()),
            None => {
                let border = self.border();
                self.gather.reach(&border);
                Ok(())
            }
        }
    }

    /// The group is complete, and counts.
    pub(super) fn commit(&mut self) -> Result<(), SourceError> {
        let group = self.complete()?;
        let border = self.border();
        self.gather.commit(&border)?;
        self.changed_silently(&group.silent);
        Ok(())
    }

    /// The group is complete, and what it has is told later or never.
    pub(super) fn withdraw(&mut self) -> Result<Group, SourceError> {
        let group = self.complete()?;
        let border = self.border();
        if self.gather.withdraw(&border) {
            self.unclear(
                &group.tables,
                "a part of a transaction was told that did not count yet",
            );
        }
        Ok(group)
    }

    /// The server has begun anew: what it was writing when it ended came to nothing, and its GTID is
    /// given to another group.
    pub(super) fn cut_off(&mut self) {
        let Some(group) = self.group.take() else {
            return;
        };
        let border = self.border();
        if self.gather.withdraw(&border) {
            let why =
                "a part of a transaction was told that the server had not finished when it ended";
            self.unclear(&group.tables, why);
        }
    }

    fn complete(&mut self) -> Result<Group, SourceError> {
        let Some(group) = self.group.take() else {
            return Err(malformed("a transaction ends that did not begin"));
        };
        self.at.last = group.made.or(self.at.last);
        if let (Some(gtid), Some(set)) = (&group.gtid, &mut self.set)
            && !set.insert(gtid)
        {
            return Err(malformed("a transaction of another kind of server"));
        }
        Ok(group)
    }

    /// Engines that cannot roll back have kept their rows, others not.
    pub(super) fn rolled_back(&mut self) -> Result<(), SourceError> {
        let group = self.withdraw()?;
        self.unclear(
            &group.tables,
            "a transaction was rolled back of which some engines keep the rows",
        );
        Ok(())
    }

    pub(super) fn changed_silently(&mut self, tables: &[TableName]) {
        let why = "rows that others refer to were deleted or got another key, and what a foreign key \
                   did here for that (ON DELETE, ON UPDATE) is not in the log";
        self.unclear(tables, why);
    }
}

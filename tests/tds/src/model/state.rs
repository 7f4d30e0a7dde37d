//! Everything the database is at a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::capture::Capture;
use super::lsn::Place;
use super::options::Options;
use super::rights::User;
use super::table::{Row, Table, View};
use super::tracking::Tracking;
use crate::wire::{Collation, ServerError, Value};

/// What happened to a row.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Insert(Row),
    Delete(Row),
    Update(Row, Row),
    /// An update that the server does as a delete and an insert.
    Deferred(Row, Row),
}

/// A change with its table and the command that did it.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) table: i32,
    pub(crate) command: i32,
    pub(crate) what: Change,
}

/// A transaction in the log, with the place of each change.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) place: Place,
    pub(crate) transaction: u64,
    pub(crate) begin: i64,
    pub(crate) end: i64,
    pub(crate) changes: Vec<(Place, Changed)>,
}

/// A transaction that is open.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) begin: i64,
    pub(crate) commands: i32,
    pub(crate) changes: Vec<(Place, Changed)>,
    pub(crate) first_rowversion: Option<u64>,
    pub(crate) touched: Vec<(i32, u64)>,
    pub(crate) reversed: bool,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its place in the log; none when it changed nothing.
    pub place: Option<Place>,
    /// Its version in Change Tracking; none when it changed no tracked table.
    pub version: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) options: Options,
    pub(crate) collation: (String, Collation),
    pub(crate) snapshot_allowed: bool,
    pub(crate) committed_snapshot: bool,
    pub(crate) updateable: bool,
    pub(crate) fork: u128,
    pub(crate) first_fork: u128,
    pub(crate) database_guid: u128,
    pub(crate) created: i64,
    /// Rises with every commit that readers can see.
    pub(crate) seq: u64,
    pub(crate) log_end: Place,
    pub(crate) dbts: u64,
    /// The server's clock: 100 nanoseconds since 0001-01-01 in UTC.
    pub(crate) now: i64,
    pub(crate) offset_minutes: i16,
    pub(crate) schemas: Vec<(i32, String)>,
    pub(crate) tables: BTreeMap<i32, Table>,
    pub(crate) last_object: i32,
    pub(crate) last_transaction: u64,
    pub(crate) open: BTreeMap<u64, Open>,
    pub(crate) log: Vec<Committed>,
    pub(crate) capture: Option<Capture>,
    pub(crate) tracking: Option<Tracking>,
    pub(crate) users: Vec<User>,
    pub(crate) roles: BTreeSet<String>,
    /// Rises with each restore: connections from before it are dead.
    pub(crate) life: u64,
}

impl State {
    pub(crate) fn next_place(&mut self) -> Place {
        self.log_end += 1;
        self.log_end
    }

    pub(crate) fn next_object(&mut self) -> i32 {
        self.last_object += 16;
        self.last_object
    }

    /// What is committed now, and what a transaction of its own did.
    pub(crate) fn view(&self, own: Option<u64>) -> View {
        View {
            seq: self.seq,
            own,
            snapshot: false,
        }
    }

    pub(crate) fn begin(&mut self) -> u64 {
        self.last_transaction += 1;
        let open = Open {
            begin: self.now,
            commands: 0,
            changes: Vec::new(),
            first_rowversion: None,
            touched: Vec::new(),
            reversed: false,
        };
        self.open.insert(self.last_transaction, open);
        self.last_transaction
    }

    pub(super) fn open(&mut self, transaction: u64) -> Result<&mut Open, ServerError> {
        self.open
            .get_mut(&transaction)
            .ok_or_else(|| ServerError::new(3902, 16, "The transaction is not open any more."))
    }

    pub(crate) fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables
            .values()
            .find(|t| super::same_name(&t.schema, schema) && super::same_name(&t.name, name))
    }

    /// The lowest rowversion of an open transaction, else the next one.
    pub(crate) fn min_active_rowversion(&self) -> u64 {
        let active = self
            .open
            .values()
            .filter_map(|open| open.first_rowversion)
            .min();
        active.unwrap_or(self.dbts + 1)
    }

    pub(crate) fn command(&mut self, transaction: u64) -> Result<i32, ServerError> {
        let open = self.open(transaction)?;
        open.commands += 1;
        Ok(open.commands)
    }

    /// The row with a key, as a transaction of its own sees it.
    pub(crate) fn row_with_key(
        &self,
        view: View,
        table: &Table,
        key: &[Value],
    ) -> Option<(u64, Row)> {
        let mut row = vec![Value::Null; table.columns.len()];
        for (at, value) in table.key().iter().zip(key) {
            row[*at] = value.clone();
        }
        let same = table.sameness(table.key(), &row, self.collation.1);
        table.by_key.get(&same)?.iter().find_map(|id| {
            let versions = table.rows.get(id)?;
            let now = versions
                .iter()
                .rev()
                .find(|version| view.sees(version.stamp))?;
            let now = now.row.as_ref()?;
            (table.sameness(table.key(), now, self.collation.1) == same)
                .then(|| (*id, Arc::clone(now)))
        })
    }
}

pub(crate) fn lock_timeout() -> ServerError {
    let mut error = ServerError::new(1222, 16, "Lock request time out period exceeded.");
    error.state = 51;
    error
}

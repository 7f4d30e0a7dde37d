//! XA transactions. Their rows stand in the log where they are prepared, and count where they are
//! committed, which is in another group, and may be days and restarts later.
//!
//! What was prepared since we began to read is kept, as far as there is room, and told with the
//! commit. Of what is not kept only the tables are known, or not even these: they are read again.

use std::sync::Arc;

use contract::{Op, Row, RowChange, SourceError, TableName, TableShape};

use super::LogStream;
use crate::binlog::gtid::Xid;
use crate::binlog::statement::XaVerb;

/// What a transaction will have done once it is committed.
#[derive(Debug, Default, Clone)]
pub(super) struct Held {
    /// Its rows, while there is room for all of them.
    rows: Vec<HeldRow>,
    bytes: usize,
    overfull: bool,
    tables: Vec<TableName>,
    silent: Vec<TableName>,
}

/// A row that waits for the commit.
#[derive(Debug, Clone)]
pub(super) struct HeldRow {
    pub(super) shape: Arc<TableShape>,
    pub(super) op: Op,
    pub(super) before: Option<Row>,
    pub(super) after: Option<Row>,
    /// So many bytes of rows its transaction has up to its end: its ordinal.
    pub(super) bytes: u64,
}

impl HeldRow {
    fn size(&self) -> usize {
        let rows = [&self.before, &self.after].into_iter().flatten();
        let cells = rows.flatten().map(contract::Value::bytes);
        cells.sum::<usize>() + size_of::<Self>()
    }
}

impl Held {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a row, where `room` is left for it.
    pub(super) fn keep(&mut self, row: HeldRow, room: usize) {
        if self.overfull {
            return;
        }
        self.bytes += row.size();
        self.rows.push(row);
        if self.bytes > room {
            self.give_up();
        }
    }

    /// Keeps its tables alone. Whether it had rows.
    pub(super) fn give_up(&mut self) -> bool {
        let had = !self.rows.is_empty();
        self.overfull |= had;
        self.rows = Vec::new();
        self.bytes = 0;
        had
    }
}

impl LogStream {
    /// The rows of a group are complete. In one phase they count at once.
    pub(super) fn xa_prepared(&mut self, xid: Xid, one_phase: bool) -> Result<(), SourceError> {
        let held = self.group.as_mut().and_then(|group| group.prepared.take());
        if one_phase {
            if let Some(held) = held {
                self.tell(held)?;
            }
            return self.commit();
        }
        let group = self.withdraw()?;
        let held = Held {
            tables: group.tables,
            silent: group.silent,
            ..held.unwrap_or_default()
        };
        let end = self.border();
        self.prepared.set(xid, Some(held), &end);
        Ok(())
    }

    pub(super) fn xa(&mut self, verb: XaVerb, xid: Option<&Xid>) -> Result<(), SourceError> {
        match verb {
            XaVerb::Start | XaVerb::End | XaVerb::Prepare => return Ok(()),
            XaVerb::Rollback => {
                return self.xa_over(xid);
            }
            XaVerb::Commit | XaVerb::CommitOnePhase => {}
        }
        // In one phase its rows are in this very group.
        let own = self
            .group
            .as_mut()
            .and_then(|group| group.prepared.take())
            .filter(|held| !held.rows.is_empty() || held.overfull);
        if let Some(held) = own.map(Arc::new).or_else(|| self.prepared.get(xid?)) {
            self.tell(Arc::unwrap_or_clone(held))?;
        } else {
            let tables = self.tables.iter().map(|one| one.table.clone());
            let tables: Vec<TableName> = tables.collect();
            let why = "an XA transaction was committed that had been prepared before we began to read, \
                       and may have rows of this table";
            self.unclear(&tables, why);
        }
        self.xa_over(xid)
    }

    /// It is committed or rolled back.
    fn xa_over(&mut self, xid: Option<&Xid>) -> Result<(), SourceError> {
        self.commit()?;
        if let Some(xid) = xid {
            let end = self.border();
            self.prepared.set(xid.clone(), None, &end);
        }
        Ok(())
    }

    fn tell(&mut self, held: Held) -> Result<(), SourceError> {
        if held.overfull {
            let why =
                "an XA transaction was committed whose rows were too many to be kept until then";
            self.unclear(&held.tables, why);
        }
        self.changed_silently(&held.silent);
        for row in held.rows {
            let Some(at) = self.gather.place_at(row.bytes)? else {
                continue;
            };
            self.gather.push(RowChange {
                shape: row.shape,
                op: row.op,
                before: row.before,
                after: row.after,
                position: at.position,
                committed_at: at.committed_at,
                transaction: 0,
            });
        }
        Ok(())
    }
}

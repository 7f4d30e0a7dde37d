//! What statements in the log do.

use std::sync::Arc;

use contract::{Op, RowChange, SourceError, TableName};

use super::{LogStream, Watched, malformed};
use crate::binlog::kept::Kept;
use crate::binlog::query::Query;
use crate::binlog::raw::Raw;
use crate::binlog::statement::{self, Concerned, Name, Statement, XaVerb};

impl LogStream {
    pub(super) fn query(&mut self, query: &Query, raw: &Raw) -> Result<(), SourceError> {
        match statement::of(query, &self.charsets) {
            Statement::Begin => self.rows_follow(raw, false),
            Statement::Xa {
                verb: XaVerb::Start,
                ..
            } => self.rows_follow(raw, true),
            Statement::Commit => self.commit(),
            Statement::Rollback => self.rolled_back(),
            Statement::Savepoint(name) => {
                self.gather.savepoint(name.unwrap_or_default());
                Ok(())
            }
            Statement::RollbackTo(name) => {
                self.back_to(&name.unwrap_or_default());
                Ok(())
            }
            Statement::Xa { verb, xid } => self.xa(verb, xid.as_ref()),
            Statement::Truncate(concerned) => self.truncate(&concerned),
            // Of what a user deletes, a commit follows.
            Statement::Emptied(table) if self.group.as_ref().is_some_and(|group| group.begun) => {
                self.dml(query, "DELETE", Some(&table))
            }
            Statement::Emptied(table) => self.truncate(&Concerned::Tables(vec![table])),
            Statement::Ddl(concerned) => {
                let kept = statement::kept(query, &self.charsets);
                self.ddl(&concerned, &kept);
                self.alone()
            }
            Statement::Dml { verb, table } => self.dml(query, &verb, table.as_ref()),
            Statement::Replaced => Err(malformed(
                "the server replaces an event, because it takes us for too old to know it",
            )),
            Statement::Unrelated => self.alone(),
        }
    }

    fn back_to(&mut self, savepoint: &str) {
        let mut undone = self.gather.back_to(savepoint);
        if let Some(held) = self
            .group
            .as_mut()
            .and_then(|group| group.prepared.as_mut())
        {
            undone |= held.give_up();
        }
        if undone {
            let tables = self.group.as_ref().map(|group| group.tables.clone());
            let why = "rows were told that a rollback to a savepoint has undone";
            self.unclear(&tables.unwrap_or_default(), why);
        }
    }

    /// Rows that were changed by a statement, and are not in the log.
    fn dml(&mut self, query: &Query, verb: &str, table: Option<&Name>) -> Result<(), SourceError> {
        let near = |schema: &str| {
            let mut all = self.tables.iter();
            all.any(|ours| self.is_same(&ours.table.schema, schema))
        };
        // A trigger, and a function that is called, can change another table, as a rule of the same
        // application: what they did is not in the log either.
        let is_near = match table {
            Some(one) => near(&one.schema),
            // Events in a text of their own.
            None if verb == "BINLOG" => true,
            None => near(&query.schema) || statement::names(query, &self.charsets, near),
        };
        if !is_near {
            return self.alone();
        }
        let ours = |one: &Name| {
            let mut all = self.tables.iter();
            all.any(|ours| self.is_named(&ours.table, one))
        };
        let of = table.map(|one| format!(" on table {}.{}", one.schema, one.table));
        let why = if table.is_none_or(ours) {
            "what it did is not in the log"
        } else {
            "what it did is not in the log, and a trigger or a function in it may have changed captured \
             tables"
        };
        Err(SourceError::Denied {
            what: format!(
                "read the binary log: {verb}{} is told as a statement, not by its rows: {why}",
                of.unwrap_or_default()
            ),
            hint: "SET GLOBAL binlog_format = 'ROW' (and in the server's configuration), end the \
                   sessions that began before, then lighterman source resync"
                .to_owned(),
        })
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        if self.folds_names {
            one.to_lowercase() == other.to_lowercase()
        } else {
            one == other
        }
    }

    /// Whether a statement's name is that of a table.
    fn is_named(&self, table: &TableName, name: &Name) -> bool {
        self.is_same(&table.schema, &name.schema) && self.is_same(&table.name, &name.table)
    }

    /// Which captured tables a statement concerns.
    fn concerned(&self, concerned: &Concerned) -> Vec<TableName> {
        let all = self.tables.iter().map(|one| &one.table);
        all.filter(|table| match concerned {
            Concerned::Tables(names) => names.iter().any(|name| self.is_named(table, name)),
            Concerned::Schema(schema) => self.is_same(schema, &table.schema),
            Concerned::Any => true,
        })
        .cloned()
        .collect()
    }

    fn ddl(&mut self, concerned: &Concerned, kept: &Kept) {
        let tables = self.concerned(concerned);
        // Foreign keys come with the tables that have them.
        let parents = match concerned {
            Concerned::Tables(names) => names
                .iter()
                .any(|name| self.cascades.effect(&name.schema, &name.table).is_some()),
            Concerned::Schema(_) | Concerned::Any => true,
        };
        self.cascades_changed |= parents || !tables.is_empty();
        // A table that is described again may be one that others refer to by now.
        self.maps.retain(|_, watched| match watched {
            Watched::Rows { known, .. } => !tables.contains(&known.shape.table) && !parents,
            Watched::Parent(_) | Watched::No => false,
        });
        for table in tables {
            let known = self.known.remove(&table);
            // By the names of today its rows may have been told that are older.
            if known.is_some_and(|known| known.of_today) {
                let why = "its columns were changed, and the log does not say their names \
                           (binlog_row_metadata is not FULL)";
                self.changed(std::slice::from_ref(&table), why);
            }
            if self.differs(&table, kept) {
                let why = "it was changed, renamed or dropped by a statement that may have left it other \
                           rows, and these are not in the log";
                self.changed(&[table], why);
            }
        }
    }

    /// Whether cells of the table that matter are others, or its rows are.
    fn differs(&self, table: &TableName, kept: &Kept) -> bool {
        let columns = match kept {
            Kept::All => return false,
            Kept::Nothing => return true,
            Kept::But(columns) => columns,
        };
        let captured = self.captured(&table.schema, &table.name);
        captured.is_none_or(|captured| {
            let reads = |name: &String| {
                let mut known = captured.columns.iter().chain(&captured.key);
                known.any(|known| known.eq_ignore_ascii_case(name))
            };
            captured.columns.is_empty() || columns.iter().any(reads)
        })
    }

    fn truncate(&mut self, concerned: &Concerned) -> Result<(), SourceError> {
        for table in self.concerned(concerned) {
            // Its columns need not be known to say that all rows are gone.
            let known = self.known.get(&table).map(|known| Arc::clone(&known.shape));
            match (known, self.gather.place(1)?) {
                (Some(shape), Some(at)) => self.gather.push(RowChange {
                    shape,
                    op: Op::Truncate,
                    before: None,
                    after: None,
                    position: at.position,
                    committed_at: at.committed_at,
                    transaction: 0,
                }),
                (_, None) => {}
                (None, Some(_)) => self.unclear(&[table], "it was emptied"),
            }
        }
        self.alone()
    }
}

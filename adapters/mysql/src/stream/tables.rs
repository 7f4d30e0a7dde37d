//! Tables as the log describes them, and their rows.

use std::sync::Arc;

use contract::{CapturedTable, Op, Row, RowChange, SourceError, TableName};
use tokio::time::Instant;

use super::xa::HeldRow;
use super::{LOOK_AGAIN, LogStream, MEANT, Watched, malformed};
use crate::binlog::raw::Raw;
use crate::binlog::rows::{RowsEvent, RowsKind};
use crate::binlog::table_map::TableEvent;
use crate::known::{Described, Known};

impl LogStream {
    pub(super) fn captured(&self, schema: &str, table: &str) -> Option<&CapturedTable> {
        let mut all = self.tables.iter();
        all.find(|one| one.table.schema == schema && one.table.name == table)
    }

    /// What the rows of these are is not known, and what comes of them is told.
    pub(super) fn unclear(&mut self, tables: &[TableName], why: &str) {
        for table in tables {
            let what = format!("{why}: table {table} is read again");
            self.standing.unclear(table, what, MEANT);
        }
        self.look_soon(tables);
    }

    /// These are other tables by now: the stream ends when they are there.
    pub(super) fn changed(&mut self, tables: &[TableName], why: &str) {
        for table in tables {
            let what = format!("{why}: table {table} is read again");
            self.standing.mark(table, what, MEANT);
        }
        self.look_soon(tables);
    }

    fn look_soon(&mut self, tables: &[TableName]) {
        if !tables.is_empty() {
            self.look_at = Instant::now() + LOOK_AGAIN;
        }
    }

    pub(super) fn table(&mut self, map: TableEvent, raw: &Raw) {
        if let Some(Watched::Rows { known, .. }) = self.maps.get(&map.id)
            && known.event == map
        {
            return;
        }
        let effect = self.cascades.effect(&map.schema, &map.table);
        let (deletes, updates) = effect.map_or((false, false), |effect| {
            (!effect.of_delete.is_empty(), !effect.of_update.is_empty())
        });
        let captured = self.captured(&map.schema, &map.table).cloned();
        let captured = captured.or_else(|| {
            // Whether what others refer to was changed, its rows say.
            updates.then(|| CapturedTable {
                table: TableName::new(map.schema.clone(), map.table.clone()),
                key: Vec::new(),
                columns: Vec::new(),
            })
        });
        match captured {
            Some(captured) => {
                self.pending = Some(Described {
                    event: map,
                    captured,
                    second: raw.header.timestamp,
                    doing: raw.doing(),
                });
            }
            None if deletes => {
                let table = TableName::new(map.schema, map.table);
                self.maps.insert(map.id, Watched::Parent(table));
            }
            None => {
                self.maps.insert(map.id, Watched::No);
            }
        }
    }

    pub(super) fn rows(&mut self, rows: &RowsEvent, raw: &Raw) -> Result<(), SourceError> {
        if rows.is_dummy() {
            return Ok(());
        }
        let Some(watched) = self.maps.get(&rows.table_id) else {
            return Err(malformed("rows of a table that was not described"));
        };
        let (known, captured) = match watched {
            Watched::No => return self.gather.pass(rows.bytes()),
            Watched::Parent(table) => {
                if rows.kind != RowsKind::Write && rows.obeys_foreign_keys() {
                    let table = table.clone();
                    let deleted = rows.kind == RowsKind::Delete;
                    self.parent(&table, deleted, !deleted);
                }
                return self.gather.pass(rows.bytes());
            }
            Watched::Rows { known, captured } => (Arc::clone(known), *captured),
        };
        let table = &known.shape.table;
        if let Some(group) = &mut self.group
            && captured
            && !group.tables.contains(table)
        {
            group.tables.push(table.clone());
        }
        let doing = raw.doing();
        let op = match rows.kind {
            RowsKind::Write => Op::Insert,
            RowsKind::Update => Op::Update,
            RowsKind::Delete => Op::Delete,
        };
        if captured && !rows.is_whole() {
            return Err(SourceError::Denied {
                what: format!(
                    "{doing}: rows of table {table} come without some of their columns, because \
                     binlog_row_image is not FULL in the session that wrote them"
                ),
                hint:
                    "SET GLOBAL binlog_row_image = 'FULL' (and in the server's configuration), end \
                       the sessions that began before, then lighterman source resync"
                        .to_owned(),
            });
        }
        let obeys = rows.obeys_foreign_keys();
        let columns = self.columns_referred_to(&known).filter(|_| obeys);
        if columns.is_some() && op == Op::Delete {
            self.parent(table, true, false);
        }
        if !captured && op != Op::Update {
            return self.gather.pass(rows.bytes());
        }
        let room = self.prepared.room();
        let mut reader = rows.rows(&known.layout, &doing)?;
        let mut moved = false;
        while let Some(row) = reader.next_row(&doing)? {
            if let (Some(columns), Op::Update) = (&columns, op) {
                moved |= differ(row.before.as_ref(), row.after.as_ref(), columns);
            }
            if !captured {
                continue;
            }
            let held = self
                .group
                .as_mut()
                .and_then(|group| group.prepared.as_mut());
            if let Some(held) = held {
                held.keep(
                    HeldRow {
                        shape: known.shape.clone(),
                        op,
                        before: row.before,
                        after: row.after,
                        bytes: self.gather.bytes_to(reader.offset())?,
                    },
                    room,
                );
                continue;
            }
            let Some(at) = self.gather.place(reader.offset())? else {
                continue;
            };
            self.gather.push(RowChange {
                shape: known.shape.clone(),
                op,
                before: row.before,
                after: row.after,
                position: at.position,
                committed_at: at.committed_at,
                transaction: 0,
            });
        }
        if moved {
            self.parent(table, false, true);
        }
        self.gather.pass(rows.bytes())
    }

    /// Where the columns stand that others refer to with a rule for their change; `None` = nobody
    /// refers to this table with a rule.
    fn columns_referred_to(&self, known: &Known) -> Option<Vec<usize>> {
        let table = &known.shape.table;
        let effect = self.cascades.effect(&table.schema, &table.name)?;
        let names = known.shape.columns.iter().enumerate();
        let referred = names.filter(|(_, name)| effect.columns.contains(name));
        Some(referred.map(|(at, _)| at).collect())
    }

    /// Rows were deleted, or got another key, that others refer to.
    fn parent(&mut self, table: &TableName, deleted: bool, moved: bool) {
        let Some(effect) = self.cascades.effect(&table.schema, &table.name) else {
            return;
        };
        let Some(group) = &mut self.group else { return };
        let of_delete = effect.of_delete.iter().filter(|_| deleted);
        let of_update = effect.of_update.iter().filter(|_| moved);
        for table in of_delete.chain(of_update) {
            if !group.silent.contains(table) {
                group.silent.push(table.clone());
            }
        }
    }
}

/// Whether one of these cells is another one now, as far as both are known.
fn differ(before: Option<&Row>, after: Option<&Row>, columns: &[usize]) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return true;
    };
    columns.iter().any(|at| before.get(*at) != after.get(*at))
}

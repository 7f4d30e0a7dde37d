//! Reads tables in key order, chunk by chunk, beside the stream.
//!
//! Each chunk is a transaction of its own that sees one moment of the database, where that allows snapshots;
//! elsewhere it reads what is committed, waits for a lock no longer than the session does, and is read again
//! then. Nothing is open between two chunks, and nothing uncommitted is ever read. What a chunk reflects is
//! told by the cycles of the stream ([`Cycles`](crate::cycle::Cycles)): the capture job of the server lags
//! behind commits, so a chunk may be newer than the stream, and an older state of a row be told once more
//! before the newer one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    CapturedTable, ChunkLimits, Op, Position, RowChange, SnapshotChunk, SnapshotReader,
    SourceError, TableName,
};

use crate::catalogue::Table;
use crate::errors::{AGAIN, Failed, NO_SNAPSHOTS, denied};
use crate::layout::Layout;
use crate::order::Order;
use crate::probe::Database;
use crate::session::{Isolation, Line, Parameter, Session, Take};
use crate::settings::Settings;
use crate::sql;
use crate::stream::Shared;

/// A chunk is read again so often where the server asks for that.
const TRIES: u32 = 6;
/// Rows of a table whose rows' size nobody knows yet.
const FIRST_ROWS: usize = 200;

/// Reads the captured tables.
pub(crate) struct TableReader {
    line: Line,
    tables: Vec<CapturedTable>,
    epoch: u32,
    shared: Shared,
    /// The table that was read last, and about how large its rows are.
    row_bytes: Option<(TableName, usize)>,
}

/// How a table is read.
struct Reading {
    layout: Layout,
    order: Order,
    isolation: Isolation,
    first_sql: String,
    next_sql: String,
}

impl Reading {
    async fn of(session: &mut Session, captured: &CapturedTable) -> Result<Self, SourceError> {
        let name = &captured.table;
        let Some(table) = Table::read(session, name).await? else {
            return Err(SourceError::SchemaChanged {
                what: format!("read table {name}: there is none, or our user may not know of it"),
                hint: format!(
                    "make it again, take it out of the mapping (lighterman map check), or GRANT SELECT ON {}",
                    sql::table(name)
                ),
            });
        };
        let Some(index) = table.order() else {
            return Err(denied(
                format!(
                    "read table {name}: it has no primary key and no unique index over columns that are never \
                     null, so it cannot be read in pieces"
                ),
                format!("ALTER TABLE {} ADD PRIMARY KEY (..)", sql::table(name)),
            ));
        };
        let order = Order::of(&table, &index.columns).map_err(|column| {
            denied(
                format!("read table {name}: its key has column {column}, which cannot be compared"),
                "give it a unique index over columns of other types",
            )
        })?;
        // Columns of the order are read as well, though nobody may have asked for them.
        let mut wanted = captured.clone();
        if !wanted.columns.is_empty() {
            wanted.columns.extend(index.columns.iter().cloned());
        }
        let layout = Layout::new(&table, &wanted, |_| true);
        let database = Database::read(session).await?;
        let statement = |behind: &str| {
            format!(
                "SELECT TOP (@P1) {} FROM {} AS T{behind} ORDER BY {}",
                layout.select("T"),
                sql::table(name),
                order.by("T")
            )
        };
        let behind = format!(" WHERE {}", order.behind("T", 2));
        Ok(Self {
            first_sql: statement(""),
            next_sql: statement(&behind),
            isolation: if database.snapshots() {
                Isolation::Snapshot
            } else {
                Isolation::ReadCommitted
            },
            layout,
            order,
        })
    }

    /// The key of a row, in this order.
    fn key(&self, row: &contract::Row) -> Result<Vec<String>, SourceError> {
        let columns = self.order.columns.iter();
        let key = columns.filter_map(|column| {
            let at = self.layout.shape.column(&column.name)?;
            row.get(at).cloned()
        });
        self.order.pack(&key.collect::<Vec<_>>())
    }
}

/// What was read of a table.
struct Read {
    layout: Layout,
    rows: Vec<contract::Row>,
    next: Option<String>,
}

impl TableReader {
    pub(crate) async fn open(
        settings: &Settings,
        tables: &[CapturedTable],
        epoch: u32,
        shared: &Shared,
    ) -> Result<Self, SourceError> {
        let mut line = Line::new(settings);
        line.session().await?;
        Ok(Self {
            line,
            tables: tables.to_vec(),
            epoch,
            shared: shared.clone(),
            row_bytes: None,
        })
    }

    async fn read(
        &mut self,
        captured: &CapturedTable,
        cursor: Option<&str>,
        limits: ChunkLimits,
    ) -> Result<Read, Failed> {
        let name = &captured.table;
        let doing = format!("read table {name}");
        let known = self.row_bytes.as_ref().filter(|(of, _)| of == name);
        let fit = known.and_then(|(_, each)| limits.bytes_max.checked_div(*each));
        let ask = fit.unwrap_or(FIRST_ROWS).clamp(1, limits.rows_max.max(1));
        let (session, _) = self.line.session().await.map_err(Failed::ours)?;
        let reading = Reading::of(session, captured).await.map_err(Failed::ours)?;
        let behind = cursor.and_then(|cursor| reading.order.read(cursor));
        if cursor.is_some() && behind.is_none() {
            tracing::warn!(stage = "snapshot", table = %name,
                "the table is another than when its snapshot began, or its key is another or stands in \
                 another order: it is read from its first row again");
        }
        let mut parameters = vec![Parameter::Int(i64::try_from(ask).unwrap_or(i64::MAX))];
        let sql = match behind.and_then(|key| reading.order.bind(&key)) {
            None => &reading.first_sql,
            Some(key) => {
                parameters.extend(key);
                &reading.next_sql
            }
        };
        session.begin_transaction(&doing, reading.isolation).await?;
        let mut rows = Vec::new();
        let mut bytes = 0_usize;
        let given = session.each(&doing, sql, &parameters, |row| {
            let row = reading.layout.row(&mut row.into_cells())?;
            bytes += row.iter().map(contract::Value::bytes).sum::<usize>();
            rows.push(row);
            // Larger rows than those before: the rest of them is asked for anew.
            Ok(if bytes >= limits.bytes_max {
                Take::Enough
            } else {
                Take::More
            })
        });
        given.await?;
        session.commit(&doing).await?;
        if let Some(each) = bytes.checked_div(rows.len()) {
            self.row_bytes = Some((name.clone(), each.max(1)));
        }
        let ended = rows.len() < ask && bytes < limits.bytes_max;
        let last = rows.last().filter(|_| !ended);
        let next = last.map(|last| reading.key(last).map(|key| reading.order.cursor(&key)));
        Ok(Read {
            layout: reading.layout,
            next: next.transpose().map_err(Failed::ours)?,
            rows,
        })
    }
}

/// Snapshots may have been turned off since it was asked whether they are allowed.
fn is_to_be_tried_again(failed: &Failed) -> bool {
    failed.is(AGAIN) || failed.is(NO_SNAPSHOTS)
}

fn change(layout: &Layout, row: contract::Row, mark: &Position) -> RowChange {
    RowChange {
        shape: Arc::clone(&layout.shape),
        op: Op::Read,
        before: None,
        after: Some(row),
        position: mark.clone(),
        committed_at: None,
        transaction: 0,
    }
}

#[async_trait]
impl SnapshotReader for TableReader {
    /// Nothing is waited for: what the stream does not tell was committed before its heads were taken, and is
    /// seen by every read behind that.
    async fn begin(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    async fn chunk(
        &mut self,
        table: &TableName,
        cursor: Option<&str>,
        limits: ChunkLimits,
    ) -> Result<SnapshotChunk, SourceError> {
        let captured = self.tables.iter().find(|one| one.table == *table);
        let captured = captured.cloned().unwrap_or_else(|| CapturedTable {
            table: table.clone(),
            key: Vec::new(),
            columns: Vec::new(),
        });
        let mut tries = 0;
        loop {
            let before = self.shared.cycles.before();
            let read = match self.read(&captured, cursor, limits).await {
                Ok(read) => read,
                Err(failed) if tries < TRIES && is_to_be_tried_again(&failed) => {
                    tries += 1;
                    // What it left of its transaction goes with the connection.
                    self.line.close();
                    tracing::debug!(stage = "snapshot", table = %table, error = %failed.error,
                        "a chunk is read again");
                    tokio::time::sleep(Duration::from_millis(50) * 2_u32.pow(tries)).await;
                    continue;
                }
                Err(failed) => {
                    self.line.close();
                    return Err(failed.error);
                }
            };
            let (mark, sees) = self.shared.cycles.after(before, self.epoch)?;
            let rows = read.rows.into_iter();
            return Ok(SnapshotChunk {
                rows: rows.map(|row| change(&read.layout, row, &mark)).collect(),
                next: read.next,
                mark,
                sees,
            });
        }
    }
}

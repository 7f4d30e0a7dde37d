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

use crate::errors::{AGAIN, Failed, NO_SNAPSHOTS};
use crate::layout::Layout;
use crate::order::Place;
use crate::reading::Reading;
use crate::session::{Line, Parameter, Take};
use crate::settings::Settings;
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
    /// How the table is read that was read last, unless that failed.
    kept: Option<Reading>,
}

/// What was read of a table.
struct Read {
    reading: Reading,
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
            kept: None,
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
        let reading = self.reading(captured).await.map_err(Failed::ours)?;
        let (session, _) = self.line.session().await.map_err(Failed::ours)?;
        let place = cursor.and_then(|cursor| reading.order.read(cursor));
        if cursor.is_some() && place.is_none() {
            tracing::warn!(code = "snapshot.table_replaced", stage = "snapshot", table = %name,
                "the table is another than when its snapshot began, or its key is another or stands in \
                 another order: it is read from its first row again");
        }
        let place = place.unwrap_or_default();
        let (sql, rest) = reading.statement(&place).ok_or_else(|| {
            Failed::ours(SourceError::Malformed(format!(
                "{doing}: a key cannot be sent back"
            )))
        })?;
        let mut parameters = vec![Parameter::Int(i64::try_from(ask).unwrap_or(i64::MAX))];
        parameters.extend(rest);
        session.begin_transaction(&doing, reading.isolation).await?;
        let mut rows = Vec::new();
        let mut bytes = 0_usize;
        let given = session.each(&doing, &sql, &parameters, |row| {
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
        let next = last.map(|last| {
            let at = Some(reading.key(last)?);
            Ok(reading.order.cursor(&Place { at, ..place }))
        });
        Ok(Read {
            next: next.transpose().map_err(Failed::ours)?,
            reading,
            rows,
        })
    }

    /// How a table is read: as it was read last, where that is still right.
    async fn reading(&mut self, captured: &CapturedTable) -> Result<Reading, SourceError> {
        let (session, _) = self.line.session().await?;
        if let Some(kept) = self.kept.take()
            && kept.is_fresh(session, &captured.table).await?
        {
            return Ok(kept);
        }
        Reading::of(session, captured).await
    }

    /// A table as it is captured.
    fn captured(&self, table: &TableName) -> CapturedTable {
        let captured = self.tables.iter().find(|one| one.table == *table);
        captured.cloned().unwrap_or_else(|| CapturedTable {
            table: table.clone(),
            key: Vec::new(),
            columns: Vec::new(),
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
    async fn ranges(
        &mut self,
        table: &TableName,
        parts: usize,
    ) -> Result<Vec<String>, SourceError> {
        let captured = self.captured(table);
        let reading = self.reading(&captured).await?;
        let (session, _) = self.line.session().await?;
        match reading.ranges(session, parts).await {
            Ok(ranges) => {
                self.kept = Some(reading);
                Ok(ranges)
            }
            // It is read as one: a row that somebody holds is waited for by the chunks.
            Err(failed) if is_to_be_tried_again(&failed) => {
                self.line.close();
                Ok(Vec::new())
            }
            Err(failed) => Err(failed.error),
        }
    }

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
        let captured = self.captured(table);
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
            let layout = &read.reading.layout;
            let rows = rows.map(|row| change(layout, row, &mark)).collect();
            self.kept = Some(read.reading);
            return Ok(SnapshotChunk {
                rows,
                next: read.next,
                mark,
                sees,
            });
        }
    }
}

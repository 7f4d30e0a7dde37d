//! Reads tables in key order, chunk by chunk.
//!
//! Each chunk is one transaction that only reads and sees one moment of the database; no lock is
//! taken but the one that every `SELECT` has, against a change of the table's own columns. What a
//! chunk reflects is told by [`visible`]: of MariaDB's InnoDB the log up to the place that its
//! snapshot has there, which is the chunk's mark, most often exactly. Otherwise the mark is the end of
//! the log after the chunk was read, and of what came to it meanwhile nobody knows whether it was
//! seen.

use std::time::Duration;

use async_trait::async_trait;
use contract::{
    CapturedTable, ChunkLimits, RowChange, Sees, SnapshotChunk, SnapshotReader, SourceError,
    TableName,
};
use tokio::time::Instant;

use crate::catalogue;
use crate::charset::Charsets;
use crate::connect::{self, Connection, Rights};
use crate::fetch::{self, Fetching, Stop};
use crate::life::Life;
use crate::order::Place;
use crate::reading::{Failed, Reading, failed};
use crate::server::Server;
use crate::settings::Settings;
use crate::values::{self, Cell, RAW};
use crate::visible::{self, Border};

/// Between two looks whether commits have ended.
const POLL: Duration = Duration::from_millis(100);
/// After so long we say what we wait for.
const SAY_AFTER: Duration = Duration::from_secs(10);
/// A table that changes under a chunk is read anew so many times.
const TRIES: usize = 3;

/// Reads the captured tables.
pub(crate) struct TableReader {
    settings: Settings,
    tables: Vec<CapturedTable>,
    epoch: u32,
    life: Life,
    /// Taken while a chunk is read: an interrupted chunk leaves a transaction open, and its
    /// connection must not be used again.
    connection: Option<Connection>,
    charsets: Charsets,
    /// Of the rows read last, about; 0 = none was read.
    row_bytes: usize,
}

/// What was read of a table.
struct Read {
    rows: Vec<RowChange>,
    /// Where it goes on, unless the table or its range ends there.
    next: Option<Place>,
}

impl TableReader {
    pub(crate) async fn open(
        settings: &Settings,
        tables: &[CapturedTable],
        epoch: u32,
        life: &Life,
    ) -> Result<Self, SourceError> {
        let mut reader = Self {
            settings: settings.clone(),
            tables: tables.to_vec(),
            epoch,
            life: life.clone(),
            connection: None,
            charsets: Charsets::default(),
            row_bytes: 0,
        };
        reader.connection = Some(reader.connection().await?);
        Ok(reader)
    }

    async fn connection(&mut self) -> Result<Connection, SourceError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let mut connection = connect::connect(&self.settings, Rights::Read).await?;
        connection.run("set the session", RAW).await?;
        connection.server = Server::read(&mut connection).await?.identity();
        self.life.of(&connection.server, "read tables")?;
        Ok(connection)
    }

    /// Reads one chunk in a transaction, and ends it.
    async fn read(
        &mut self,
        mut connection: Connection,
        table: &TableName,
        cursor: Option<&str>,
        limits: ChunkLimits,
    ) -> Result<SnapshotChunk, Failed> {
        let doing = format!("read table {table}");
        let seen = visible::begin(&mut connection, &doing).await?;
        // Asked within the transaction: a table that is written anew later than it began has nothing
        // for it, and the server says so.
        let reading = match Reading::of(&mut connection, &self.tables, table).await {
            Ok(reading) => reading,
            Err(error) => {
                connection.run(&doing, "ROLLBACK").await?;
                self.connection = Some(connection);
                return Err(error.into());
            }
        };
        let up_to = if reading.is_transactional {
            seen.up_to
        } else {
            let settled = visible::settled(&mut connection, &doing).await?;
            seen.up_to.min(settled)
        };
        let place = reading.order.place(cursor, table);
        let read = self.rows(&mut connection, &reading, place, limits, &doing);
        let (read, stop) = match read.await {
            Ok(read) => read,
            Err(Failed::Changed(error)) => {
                connection.run(&doing, "ROLLBACK").await?;
                self.connection = Some(connection);
                return Err(Failed::Changed(error));
            }
            Err(other) => return Err(other),
        };
        let nothing_behind = seen.nothing_behind.filter(|_| reading.keeps_to_snapshot);
        match stop {
            Stop::Whole => {
                connection.run(&doing, "COMMIT").await?;
            }
            // Larger rows than the ones before: the rest of them is not waited for.
            Stop::Within => {
                fetch::abandon(&self.settings, connection).await?;
                connection = self.connection().await?;
            }
        }
        // Read on any connection: it is at or after all that was seen.
        let mark = match nothing_behind {
            Some(mark) => mark,
            None => visible::end(&mut connection, &doing).await?,
        };
        let (_, life) = self.life.of(&connection.server, &doing)?;
        self.connection = Some(connection);
        let exact = nothing_behind == Some(up_to);
        self.chunk_of(&reading, read, life, mark, (!exact).then_some(up_to))
            .map_err(Failed::Other)
    }

    fn chunk_of(
        &self,
        reading: &Reading,
        read: Read,
        life: u32,
        mark: Border,
        up_to: Option<Border>,
    ) -> Result<SnapshotChunk, SourceError> {
        let mark = mark.at(self.epoch, life);
        let sees = up_to.map_or(Sees::UpToMark, |up_to| {
            Sees::UpTo(up_to.at(self.epoch, life))
        });
        let mut rows = read.rows;
        for row in &mut rows {
            row.position = mark.clone();
        }
        let cursor = |place| reading.order.cursor(place);
        let next = read.next.map(cursor).transpose().map_err(|error| {
            SourceError::Malformed(format!("read table {}: {error}", reading.table))
        })?;
        Ok(SnapshotChunk {
            rows,
            next,
            mark,
            sees,
        })
    }

    /// The rows behind `place`, by as many statements as their size asks for.
    async fn rows(
        &mut self,
        connection: &mut Connection,
        reading: &Reading,
        mut place: Place,
        limits: ChunkLimits,
        doing: &str,
    ) -> Result<(Read, Stop), Failed> {
        let rows_max = limits.rows_max.max(1);
        let mut fetching = Fetching::new(rows_max, limits.bytes_max, self.row_bytes);
        let mut rows: Vec<RowChange> = Vec::new();
        let mut cells: Vec<Cell> = Vec::new();
        loop {
            let ask = fetching.ask();
            let before = (fetching.rows, fetching.bytes);
            let sql = reading.sql(&place, ask).ok_or_else(|| {
                SourceError::Malformed(format!("{doing}: its cursor is unreadable"))
            })?;
            let prepared = fetch::prepare(connection, &sql).await;
            let statement = prepared.map_err(|error| failed(doing, &error))?;
            let sent = statement.columns();
            if cells.is_empty() {
                values::learn(connection, &mut self.charsets, &sent).await?;
                cells = reading.cells(&sent, &self.charsets, doing)?;
            }
            let given = fetch::each(connection, statement, Vec::new(), |row| {
                let (cells, key) = reading.row(row, &cells, doing)?;
                let change = reading.change(cells);
                fetching.count(change.bytes());
                rows.push(change);
                place.at = Some(key);
                Ok(fetching.full())
            });
            let given = match given.await {
                Ok(given) => given,
                Err(fetch::Failed::Server(error)) => return Err(failed(doing, &error)),
                Err(fetch::Failed::Ours(error)) => return Err(error.into()),
            };
            if let Some(each) = (fetching.bytes - before.1).checked_div(fetching.rows - before.0) {
                self.row_bytes = each;
            }
            // The statement gave all it has: the table ends there, unless that was its limit.
            let whole = given.stop == Stop::Whole && given.came == given.taken;
            let ended = whole && given.came < ask;
            if ended || fetching.full() {
                let next = (!ended).then_some(place);
                return Ok((Read { rows, next }, given.stop));
            }
        }
    }
}

#[async_trait]
impl SnapshotReader for TableReader {
    /// By whole numbers, where the order begins with some: other keys have no middle that could be
    /// told without reading them, and are one range.
    async fn ranges(
        &mut self,
        table: &TableName,
        parts: usize,
    ) -> Result<Vec<String>, SourceError> {
        let doing = format!("read the bounds of {table}");
        let mut connection = self.connection().await?;
        let reading = Reading::of(&mut connection, &self.tables, table).await?;
        let ranges = reading.ranges(&mut connection, parts, &doing).await?;
        self.connection = Some(connection);
        Ok(ranges)
    }

    /// Waits until all that stands in the log now is visible. The stream began at an end of the log
    /// no later than this one, and tells nothing of before: a commit that was in the log then, and not
    /// yet in the engine, would be told by neither. It takes no longer than a commit does, where the
    /// server tells of those on their way. Transactions that have not committed are not waited for:
    /// they will be behind.
    async fn begin(&mut self) -> Result<(), SourceError> {
        let doing = "wait for commits on their way";
        let mut connection = self.connection().await?;
        let mut any_engine = false;
        for captured in &self.tables {
            any_engine |= !catalogue::is_transactional(&mut connection, &captured.table).await?;
        }
        let end = visible::end(&mut connection, doing).await?;
        let started = Instant::now();
        let mut said = false;
        loop {
            let mut up_to = visible::begin(&mut connection, doing).await?.up_to;
            connection.run(doing, "COMMIT").await?;
            if any_engine {
                up_to = up_to.min(visible::settled(&mut connection, doing).await?);
            }
            if up_to >= end {
                break;
            }
            if !said && started.elapsed() >= SAY_AFTER {
                said = true;
                tracing::info!(
                    code = "snapshot.waits_for_commits",
                    stage = "snapshot",
                    "snapshot waits for commits that are in the log and may not be visible yet: a \
                     replica may have to confirm them"
                );
            }
            tokio::time::sleep(POLL).await;
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn chunk(
        &mut self,
        table: &TableName,
        cursor: Option<&str>,
        limits: ChunkLimits,
    ) -> Result<SnapshotChunk, SourceError> {
        let mut tries = 0;
        loop {
            // One that was silent for long may have been ended by the server meanwhile.
            let kept = self.connection.is_some();
            let connection = self.connection().await?;
            tries += 1;
            match self.read(connection, table, cursor, limits).await {
                Ok(chunk) => return Ok(chunk),
                Err(Failed::Changed(error)) if tries < TRIES => {
                    tracing::debug!(stage = "snapshot", table = %table, error = %error,
                        "the table has changed under a chunk, which is read again");
                }
                Err(Failed::Other(SourceError::Disconnected(error)))
                    if tries == 1 && kept && self.connection.is_none() =>
                {
                    tracing::debug!(stage = "snapshot", table = %table, error = %error,
                        "a chunk is read again on another connection");
                }
                Err(Failed::Changed(error) | Failed::Other(error)) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use harness::mariadb::{MariadbOptions, MariadbServer};
    use harness::proxy::{Proxy, Stall};

    use super::*;

    /// Without a limit of ours a chunk would wait for ever, and its table with it.
    #[tokio::test]
    async fn a_connection_that_lies_still_is_given_up() {
        let server = MariadbServer::start(MariadbOptions::default());
        server
            .run("CREATE DATABASE erp; CREATE TABLE erp.t (id int PRIMARY KEY) ENGINE = InnoDB")
            .await;
        let proxy = Proxy::start(server.port()).await;
        let settings = crate::settings::of_tests(proxy.port());
        let table = TableName::new("erp", "t");
        let tables = [CapturedTable {
            table: table.clone(),
            key: Vec::new(),
            columns: Vec::new(),
        }];
        let life = Life::default();
        let reader = TableReader::open(&settings, &tables, 1, &life);
        let mut reader = reader.await.unwrap();
        reader.begin().await.unwrap();
        let connection = reader.connection.as_mut().unwrap();
        connection.silence_max = Some(Duration::from_millis(300));
        proxy.stall(Stall::TO_CLIENT);
        let limits = ChunkLimits {
            rows_max: 10,
            bytes_max: 1 << 20,
        };
        let chunk =
            tokio::time::timeout(Duration::from_secs(30), reader.chunk(&table, None, limits));
        // By another connection, which the network knows.
        chunk.await.unwrap().unwrap();
    }
}

//! Rows of a prepared statement, each as it comes: how large the next one is, nobody knows, so beside
//! what was taken at most one is held in memory.

use contract::SourceError;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Row, Statement, Value};

use crate::connect::{self, Connection, Rights};
use crate::settings::Settings;

/// Rows of the first statement, before the size of rows is known, and the most of a later one.
const FETCH_FIRST: usize = 16;
const FETCH_MAX: usize = 2_000;
/// Rows of so many bytes are read and not taken, before their connection is given up.
const LET_GO_BYTES_MAX: usize = 1 << 20;

/// How much has been read, and how much may be.
#[derive(Debug)]
pub(crate) struct Fetching {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    rows_max: usize,
    bytes_max: usize,
    /// Bytes of a row, as far as is known before one is read.
    each: usize,
}

impl Fetching {
    pub(crate) fn new(rows_max: usize, bytes_max: usize, each: usize) -> Self {
        Self {
            rows: 0,
            bytes: 0,
            rows_max,
            bytes_max,
            each,
        }
    }

    /// One more row of so many bytes.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether as much has been read as may be.
    pub(crate) fn full(&self) -> bool {
        self.rows >= self.rows_max || self.bytes >= self.bytes_max
    }

    /// How many rows to ask for next: as many as fit by the size seen so far, one at least.
    pub(crate) fn ask(&self) -> usize {
        let left = self.rows_max.saturating_sub(self.rows).max(1);
        let each = match self.bytes.checked_div(self.rows) {
            Some(each) => each.max(1),
            None if self.each > 0 => self.each,
            None => return FETCH_FIRST.min(left),
        };
        let fit = self.bytes_max.saturating_sub(self.bytes) / each;
        fit.clamp(1, FETCH_MAX).min(left)
    }
}

/// Whether all rows of a statement were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Whole,
    /// The connection still has others, and must be given up.
    Within,
}

/// Why rows stopped to come.
#[derive(Debug)]
pub(crate) enum Failed {
    Server(mysql_async::Error),
    Ours(SourceError),
}

/// Has the server take in a statement. Once it is run it is forgotten again: its keys are in it.
pub(crate) async fn prepare(
    connection: &mut Connection,
    sql: &str,
) -> Result<Statement, mysql_async::Error> {
    connect::heard(connection.silence_max, connection.conn.prep(sql)).await
}

/// What a statement gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    /// Rows that were taken, and rows that came.
    pub(crate) taken: usize,
    pub(crate) came: usize,
    pub(crate) stop: Stop,
    /// How often the server warned, where all rows came.
    pub(crate) warnings: u16,
}

/// Runs a statement and hands over its rows as they come, until `take` has enough. A few more are let
/// go by: that is cheaper than another connection.
pub(crate) async fn each(
    connection: &mut Connection,
    statement: Statement,
    parameters: Vec<Value>,
    mut take: impl FnMut(Row) -> Result<bool, SourceError> + Send,
) -> Result<Given, Failed> {
    let (mut taken, mut came, mut left) = (0, 0, LET_GO_BYTES_MAX);
    let silence_max = connection.silence_max;
    {
        // Given in their order, always: what the library takes for a parameter by name is refused.
        let parameters = Params::Positional(parameters);
        let running = connection.conn.exec_iter(&statement, parameters);
        let running = connect::heard(silence_max, running).await;
        let mut rows = running.map_err(Failed::Server)?;
        let mut enough = false;
        loop {
            let row = connect::heard(silence_max, rows.next()).await;
            let Some(row) = row.map_err(Failed::Server)? else {
                break;
            };
            came += 1;
            if !enough {
                taken += 1;
                enough = take(row).map_err(Failed::Ours)?;
                continue;
            }
            let Some(rest) = left.checked_sub(bytes(&row)) else {
                return Ok(Given {
                    taken,
                    came,
                    stop: Stop::Within,
                    warnings: 0,
                });
            };
            left = rest;
        }
    }
    let warnings = connection.conn.get_warnings();
    let closed = connect::heard(silence_max, connection.conn.close(statement)).await;
    closed.map_err(Failed::Server)?;
    Ok(Given {
        taken,
        came,
        stop: Stop::Whole,
        warnings,
    })
}

/// Bytes of a row's cells.
fn bytes(row: &Row) -> usize {
    let cells = (0..row.len()).filter_map(|at| row.as_ref(at));
    let cells = cells.map(|cell| match cell {
        Value::Bytes(bytes) => bytes.len(),
        _ => size_of::<Value>(),
    });
    cells.fold(0, usize::saturating_add)
}

/// Gives up a connection whose rows are not wanted any more. The library reads them all before it
/// lets go of it, so that the server is told to stop first.
pub(crate) async fn abandon(
    settings: &Settings,
    connection: Connection,
) -> Result<(), SourceError> {
    let doing = "stop reading";
    // The number of one that has rows to give cannot be asked for: this is its lower half, and all
    // of it but where a server had more connections in its life than it has room for.
    let number = connection.conn.id();
    let mut other = connect::connect(settings, Rights::Read).await?;
    let sql = format!(
        "SELECT ID FROM information_schema.PROCESSLIST
          WHERE ID & 4294967295 = {number} AND USER = SUBSTRING_INDEX(USER(), '@', 1)"
    );
    let known = other.row::<u64>(doing, &sql).await;
    if let Ok(Some(number)) = known {
        let stop = other.run(doing, &format!("KILL QUERY {number}")).await;
        if let Err(error) = stop {
            tracing::debug!(error = %error, "the server goes on sending what nobody waits for");
        }
    }
    other.close();
    drop(connection);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_asks_for_what_fits_and_for_one_row_at_least() {
        for (rows, bytes, rows_max, bytes_max, known, ask, full) in [
            (0, 0, 1_000, 1_000, 0, 16, false),
            (0, 0, 5, 1_000, 0, 5, false),
            (0, 0, 1_000, 1_000, 100, 10, false),
            (0, 0, 1_000, 1_000, 5_000, 1, false),
            (10, 100, 1_000, 1_000, 7, 90, false),
            (10, 100, 12, 1_000, 0, 2, false),
            (10, 100, 100_000, 1_000_000, 0, 2_000, false),
            (1, 900, 1_000, 1_000, 0, 1, false),
            (1, 1_000, 1_000, 1_000, 0, 1, true),
            (1, 9_000, 1_000, 1_000, 0, 1, true),
            (10, 0, 10, 1_000, 0, 1, true),
        ] {
            let mut fetching = Fetching::new(rows_max, bytes_max, known);
            (fetching.rows, fetching.bytes) = (rows, bytes);
            assert_eq!(
                (fetching.ask(), fetching.full()),
                (ask, full),
                "{fetching:?}"
            );
        }
    }
}

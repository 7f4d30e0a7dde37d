//! Rows through a cursor, a few at a time and each as it comes: how large the next one is, nobody
//! knows, so beside what was taken at most one is held in memory.

use std::ops::ControlFlow;
use std::pin::pin;

use contract::Value;
use futures_util::TryStreamExt;
use tokio_postgres::{Client, Error, SimpleQueryMessage, SimpleQueryRow};

use crate::values::{Kind, not_utf8, value};

/// Rows of the first fetch, before the size of rows is known, and the most of a later one.
const FETCH_FIRST: usize = 16;
const FETCH_MAX: usize = 500;

/// How much has been read, and how much may be.
#[derive(Debug)]
pub(crate) struct Fetching {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    rows_max: usize,
    bytes_max: usize,
}

impl Fetching {
    pub(crate) fn new(rows_max: usize, bytes_max: usize) -> Self {
        Self {
            rows: 0,
            bytes: 0,
            rows_max,
            bytes_max,
        }
    }

    /// One more row of so many bytes.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes;
    }

    /// Whether as much has been read as may be.
    pub(crate) fn full(&self) -> bool {
        self.rows >= self.rows_max || self.bytes >= self.bytes_max
    }

    /// How many rows to fetch next: as many as fit by the size seen so far, one at least.
    pub(crate) fn ask(&self) -> usize {
        let left = self.rows_max.saturating_sub(self.rows).max(1);
        if self.rows == 0 {
            return FETCH_FIRST.min(left);
        }
        let each = (self.bytes / self.rows).max(1);
        let fit = self.bytes_max.saturating_sub(self.bytes) / each;
        fit.clamp(1, FETCH_MAX).min(left)
    }
}

/// Runs a statement and hands over its rows as they come; `Break` when not all were wanted. What
/// the server still sends then is thrown away before the connection's next answer.
pub(crate) async fn each(
    client: &Client,
    sql: &str,
    mut take: impl FnMut(SimpleQueryRow) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    let mut messages = pin!(client.simple_query_raw(sql).await?);
    while let Some(message) = messages.try_next().await? {
        if let SimpleQueryMessage::Row(row) = message
            && take(row).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// No more rows are wanted when `enough`.
pub(crate) fn stop_if(enough: bool) -> ControlFlow<()> {
    if enough {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// The cells of a row whose columns have these kinds.
pub(crate) fn cells(kinds: &[Kind], row: &SimpleQueryRow) -> Vec<Value> {
    let cell = |(n, kind): (usize, &Kind)| match row.try_get(n) {
        Ok(Some(text)) => value(*kind, text),
        Ok(None) => Value::Null,
        Err(_) => not_utf8(),
    };
    kinds.iter().enumerate().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_asks_for_what_fits_and_for_one_row_at_least() {
        for (rows, bytes, rows_max, bytes_max, ask, full) in [
            (0, 0, 1_000, 1_000, 16, false),
            (0, 0, 5, 1_000, 5, false),
            (10, 100, 1_000, 1_000, 90, false),
            (10, 100, 12, 1_000, 2, false),
            (10, 100, 100_000, 1_000_000, 500, false),
            (1, 900, 1_000, 1_000, 1, false),
            (1, 1_000, 1_000, 1_000, 1, true),
            (1, 9_000, 1_000, 1_000, 1, true),
            (10, 0, 10, 1_000, 1, true),
        ] {
            let mut fetching = Fetching::new(rows_max, bytes_max);
            (fetching.rows, fetching.bytes) = (rows, bytes);
            assert_eq!(
                (fetching.ask(), fetching.full()),
                (ask, full),
                "{fetching:?}"
            );
        }
    }
}

//! Changes as they are read, page by page, before they have a position.

use std::sync::Arc;

use contract::{Op, Row, SourceError, TableShape, Value};
use jiff::Timestamp;

use crate::errors::{AGAIN, Failed, NO_SNAPSHOTS};
use crate::lsn::Lsn;
use crate::tuple::Tuple;

use super::heads::is_of_one_table;

/// A page is about so large,
const PAGE_BYTES: usize = 1 << 20;
/// and as long as nobody knows how large its rows are, it has so many.
const FIRST_ROWS: usize = 200;

/// The transaction of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    Lsn(Lsn),
    Version(u64),
    Rowversion(u64),
}

/// A change, and where it stands among all of its phase.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) at: At,
    /// Within the transaction, where the database tells it.
    pub(crate) tuple: Option<Tuple>,
    pub(crate) shape: Arc<TableShape>,
    pub(crate) op: Op,
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
    pub(crate) committed_at: Option<Timestamp>,
}

impl Item {
    /// The one order in which they are told.
    pub(crate) fn order(&self) -> (At, Option<Tuple>) {
        (self.at, self.tuple)
    }
}

/// A page of a table.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    /// More may follow in this cycle.
    pub(crate) more: bool,
    /// Changes before these are lost, and why.
    pub(crate) gap: Option<String>,
    /// What these tell is not sure up to this transaction, and why: the table is compared once that is told.
    pub(crate) unclear: Option<(Lsn, String)>,
}

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The table cannot be told; the others can.
    Table(SourceError),
    /// The page is to be read again.
    Again(SourceError),
    /// All of it.
    All(SourceError),
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self::All(error)
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        if is_of_one_table(&failed) {
            Self::Table(failed.error)
        } else if failed.is(NO_SNAPSHOTS) {
            // Turned off since we looked: whoever opens the stream anew sees that.
            Self::All(SourceError::Disconnected(failed.error.to_string()))
        } else if failed.is(AGAIN) {
            Self::Again(failed.error)
        } else {
            Self::All(failed.error)
        }
    }
}

impl Trouble {
    pub(crate) fn error(self) -> SourceError {
        match self {
            Self::Table(error) | Self::Again(error) | Self::All(error) => error,
        }
    }
}

/// How many rows are asked for at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    rows_max: usize,
    row_bytes: usize,
}

impl Size {
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            rows_max: rows_max.max(1),
            row_bytes: 0,
        }
    }

    pub(crate) fn ask(self) -> usize {
        let fit = PAGE_BYTES.checked_div(self.row_bytes);
        fit.unwrap_or(FIRST_ROWS).clamp(1, self.rows_max)
    }

    /// Learns from a page.
    pub(crate) fn learn(&mut self, rows: usize, bytes: usize) {
        if let Some(each) = bytes.checked_div(rows) {
            self.row_bytes = each.max(1);
        }
    }
}

/// Bytes a row takes, about.
pub(crate) fn row_bytes(row: &Row) -> usize {
    row.iter().map(Value::bytes).sum()
}

//! Which rows changed, for somebody beside the loops. Capture waits for nobody: what does not fit is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::{Op, RowChange, TableName, Value};
use tokio::sync::mpsc;

/// Rows that wait to be taken, at most.
const WAITING_MAX: usize = 2_000;

/// A row that changed, by its key as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedRow {
    /// Its table.
    pub table: TableName,
    /// The values of its key's columns, in the key's order.
    pub key: Vec<Value>,
}

/// Where the rows of live changes are told.
#[derive(Debug, Clone)]
pub struct Tap {
    rows: mpsc::Sender<ChangedRow>,
    left_out: Arc<AtomicU64>,
}

impl Tap {
    /// A tap, and where its rows come out.
    pub fn new() -> (Self, mpsc::Receiver<ChangedRow>) {
        let (rows, out) = mpsc::channel(WAITING_MAX);
        let left_out = Arc::default();
        (Self { rows, left_out }, out)
    }

    /// How many rows were left out since this was last asked: they did not fit, or cannot be found by a key.
    pub fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }

    /// The rows of changes that can be read again: those that are there, by their keys.
    pub(crate) fn rows(&self, changes: &[RowChange]) -> Vec<ChangedRow> {
        let mut rows = Vec::new();
        for change in changes.iter().take(WAITING_MAX) {
            match of(change) {
                Some(row) => rows.push(row),
                None => self.leave_out(1),
            }
        }
        self.leave_out(changes.len().saturating_sub(WAITING_MAX));
        rows
    }

    /// Tells them, as far as they fit.
    pub(crate) fn tell(&self, rows: Vec<ChangedRow>) {
        for row in rows {
            if self.rows.try_send(row).is_err() {
                self.leave_out(1);
            }
        }
    }

    fn leave_out(&self, count: usize) {
        self.left_out.fetch_add(count as u64, Ordering::Relaxed);
    }
}

fn of(change: &RowChange) -> Option<ChangedRow> {
    if matches!(change.op, Op::Delete | Op::Truncate) || change.shape.key.is_empty() {
        return None;
    }
    let row = change.after.as_ref()?;
    let cells = change.shape.key.iter().map(|at| row.get(*at).cloned());
    let key: Option<Vec<Value>> = cells.collect();
    let known = key?;
    let readable = |cell: &Value| !matches!(cell, Value::Unchanged | Value::Null);
    known.iter().all(readable).then(|| ChangedRow {
        table: change.table().clone(),
        key: known,
    })
}

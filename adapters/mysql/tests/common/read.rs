//! Reading tables to their end, and cells to be compared.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; each test program uses its part"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{
    ChangeBatch, ChangeStream, ChunkLimits, Position, Row, RowChange, SnapshotChunk,
    SnapshotReader, Source, TableName, Value,
};

pub fn limits(rows_max: usize) -> ChunkLimits {
    ChunkLimits {
        rows_max,
        bytes_max: 1 << 20,
    }
}

pub async fn started(source: &dyn Source) -> Box<dyn SnapshotReader> {
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    reader
}

/// All rows of a table, by chunks of so many.
pub async fn snapshot(
    reader: &mut dyn SnapshotReader,
    table: &TableName,
    rows_max: usize,
) -> Vec<RowChange> {
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let chunk = reader.chunk(table, cursor.as_deref(), limits(rows_max));
        let chunk = chunk
            .await
            .unwrap_or_else(|error| panic!("{table} behind {cursor:?}: {error}"));
        assert!(chunk.rows.len() <= rows_max);
        rows.extend(chunk.rows);
        match chunk.next {
            Some(next) => cursor = Some(next),
            None => return rows,
        }
    }
}

/// A cell of a row as text.
pub fn cell(row: &RowChange, column: &str) -> String {
    let at = row.shape.column(column).unwrap();
    row.after.as_ref().unwrap()[at].text().unwrap_or_default()
}

/// Cells as type and text, for comparison and for messages.
pub fn show(row: &Row) -> Vec<String> {
    let cell = |value: &Value| match value.text() {
        Some(text) => format!("{} {text}", value.type_name()),
        None => value.type_name().to_owned(),
    };
    row.iter().map(cell).collect()
}

pub async fn next(stream: &mut dyn ChangeStream) -> ChangeBatch {
    let next = tokio::time::timeout(Duration::from_mins(1), stream.next()).await;
    next.unwrap_or_else(|_| panic!("the stream says nothing"))
        .unwrap()
}

/// What a capture loop keeps of some tables: the newest change of each row, and the rows.
#[derive(Default)]
pub struct Taken {
    changed: BTreeMap<(String, String), Position>,
    end: Option<Position>,
    pub rows: BTreeMap<(String, String), Vec<String>>,
}

impl Taken {
    /// Takes the stream up to a mark.
    pub async fn reach(&mut self, stream: &mut dyn ChangeStream, mark: &Position) {
        while self.end.as_ref().is_none_or(|end| end < mark) {
            let batch = next(stream).await;
            self.stream(&batch.changes);
            self.end = Some(batch.end);
        }
    }

    pub fn stream(&mut self, changes: &[RowChange]) {
        for change in changes {
            let name = change.table().name.clone();
            for key in [change.old_key(), change.key()].into_iter().flatten() {
                let place = (name.clone(), key.as_str().to_owned());
                self.rows.remove(&place);
                self.changed.insert(place, change.position.clone());
            }
            if let (Some(key), Some(row)) = (change.key(), &change.after) {
                let place = (name, key.as_str().to_owned());
                self.rows.insert(place, show(row));
            }
        }
    }

    pub fn chunk(&mut self, chunk: &SnapshotChunk) {
        for row in &chunk.rows {
            let key = row.key().unwrap().as_str().to_owned();
            let place = (row.table().name.clone(), key);
            let changed = self.changed.get(&place);
            let reflects = |position| chunk.sees.reflects(&chunk.mark, position, 0);
            if changed.is_none_or(reflects) {
                self.rows.insert(place, show(row.after.as_ref().unwrap()));
            }
        }
    }
}

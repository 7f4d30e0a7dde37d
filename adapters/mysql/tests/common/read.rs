//! Reading tables to their end, and cells to be compared.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; each test program uses its part"
)]

use contract::{ChunkLimits, Row, RowChange, SnapshotReader, Source, TableName, Value};

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

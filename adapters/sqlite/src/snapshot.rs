//! Reading tables in key order. One read transaction gives a chunk and the log's end as of the
//! same moment, so a chunk reflects exactly the changes up to its mark.

use std::path::PathBuf;

use async_trait::async_trait;
use contract::{
    CapturedTable, ChunkLimits, Op, Row, RowChange, Sees, SnapshotChunk, SnapshotReader,
    SourceError, TableName,
};

use crate::database::{self, denied, failed};
use crate::stream::position;
use crate::values::{self, ident};

pub(crate) struct TableReader {
    pub(crate) file: PathBuf,
    pub(crate) tables: Vec<CapturedTable>,
    pub(crate) epoch: u32,
}

#[async_trait]
impl SnapshotReader for TableReader {
    async fn begin(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    async fn chunk(
        &mut self,
        table: &TableName,
        cursor: Option<&str>,
        limits: ChunkLimits,
    ) -> Result<SnapshotChunk, SourceError> {
        let captured = self
            .tables
            .iter()
            .find(|captured| captured.table == *table)
            .cloned();
        let captured = captured
            .ok_or_else(|| SourceError::Malformed(format!("table {table} is not captured")))?;
        let (file, epoch) = (self.file.clone(), self.epoch);
        let cursor = cursor.map(str::to_owned);
        let read = move || read(&file, epoch, &captured, cursor.as_deref(), limits);
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| SourceError::Malformed(error.to_string()))?
    }
}

fn read(
    file: &std::path::Path,
    epoch: u32,
    captured: &CapturedTable,
    cursor: Option<&str>,
    limits: ChunkLimits,
) -> Result<SnapshotChunk, SourceError> {
    let mut db = database::open(file, false)?;
    let transaction = db.transaction().map_err(failed)?;
    let name = &captured.table.name;
    let columns = database::columns(&transaction, name).map_err(failed)?;
    if columns.is_empty() {
        return Err(denied(
            format!("read table {name}: there is no such table"),
            "correct `name` in the mapping's `tables`",
        ));
    }
    let shape = database::shape(&transaction, captured, &columns)?;
    let mark = position(epoch, database::newest(&transaction).map_err(failed)?);
    let quoted: Vec<String> = columns
        .iter()
        .map(|column| format!("quote({})", ident(&column.name)))
        .collect();
    let key: Vec<String> = shape
        .key
        .iter()
        .filter_map(|index| columns.get(*index))
        .map(|column| ident(&column.name))
        .collect();
    let after = match cursor {
        None => String::new(),
        Some(cursor) => {
            let bad = || SourceError::Malformed("the snapshot's cursor is damaged".to_owned());
            let texts: Vec<String> = serde_json::from_str(cursor).map_err(|_| bad())?;
            // The cursor holds quote() texts; anything else must not reach the SQL.
            let literals: Option<Vec<String>> =
                texts.iter().map(|text| values::sql(text)).collect();
            let literals = literals.filter(|literals| literals.len() == key.len());
            let literals = literals.ok_or_else(bad)?;
            format!("WHERE ({}) > ({})", key.join(", "), literals.join(", "))
        }
    };
    let sql = format!(
        "SELECT {} FROM {} {after} ORDER BY {} LIMIT {}",
        quoted.join(", "),
        ident(name),
        key.join(", "),
        limits.rows_max
    );
    let mut statement = transaction.prepare(&sql).map_err(failed)?;
    let mut found = statement.query([]).map_err(failed)?;
    let mut rows = Vec::new();
    let mut last: Option<Vec<String>> = None;
    let mut bytes = 0;
    let mut more = false;
    while let Some(row) = found.next().map_err(failed)? {
        let texts: Vec<String> = (0..columns.len())
            .map(|n| Ok(values::marked(row.get_ref(n)?.as_bytes()?, "\0")))
            .collect::<rusqlite::Result<_>>()
            .map_err(failed)?;
        let cells: Option<Row> = texts
            .iter()
            .zip(&columns)
            .map(|(text, c)| values::read(text, &c.declared))
            .collect();
        let cells = cells.ok_or_else(|| {
            SourceError::Malformed(format!("a row of table {name} does not read"))
        })?;
        let change = RowChange {
            shape: std::sync::Arc::clone(&shape),
            op: Op::Read,
            before: None,
            after: Some(cells),
            position: mark.clone(),
            committed_at: None,
            transaction: 0,
        };
        bytes += change.bytes();
        rows.push(change);
        last = Some(
            shape
                .key
                .iter()
                .filter_map(|index| texts.get(*index).cloned())
                .collect(),
        );
        if bytes >= limits.bytes_max || rows.len() >= limits.rows_max {
            more = true;
            break;
        }
    }
    let next = last
        .filter(|_| more)
        .and_then(|key| serde_json::to_string(&key).ok());
    Ok(SnapshotChunk {
        rows,
        next,
        mark,
        sees: Sees::UpToMark,
    })
}

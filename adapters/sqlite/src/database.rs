//! Opening the file, and what the catalogue says of a table.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{CapturedTable, SourceError, TableName, TableShape};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::values::Column;

/// How long a statement waits for the application's lock.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Steps of SQLite's machine between two looks at the clock: well below a millisecond.
const STEPS: i32 = 1_000;

pub(crate) const LOG: &str = "lighterman_log";
pub(crate) const SHAPES: &str = "lighterman_shape";
pub(crate) const PREPARE: &str = "lighterman source prepare --apply";

pub(crate) fn open(file: &Path, write: bool) -> Result<Connection, SourceError> {
    let mode = if write {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    let connection = Connection::open_with_flags(file, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| {
            denied(
                format!("open database {}: {error}", file.display()),
                "check `file` and its rights",
            )
        })?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    Ok(connection)
}

/// Stops whatever the connection runs at `until`; its error is then
/// [`rusqlite::ErrorCode::OperationInterrupted`].
pub(crate) fn stop_at(db: &mut Connection, until: Instant) -> Result<(), rusqlite::Error> {
    db.progress_handler(STEPS, Some(move || Instant::now() >= until))
}

pub(crate) fn denied(what: impl Into<String>, hint: impl Into<String>) -> SourceError {
    SourceError::Denied {
        what: what.into(),
        hint: hint.into(),
    }
}

/// Every SQLite error while running is worth another try: locks pass, and a lasting one is said
/// again and again.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(crate) fn failed(error: rusqlite::Error) -> SourceError {
    SourceError::Disconnected(format!("read database: {error}"))
}

/// The columns of a table with their declared types; empty when there is no such table.
pub(crate) fn columns(db: &Connection, table: &str) -> Result<Vec<Column>, rusqlite::Error> {
    db.prepare("SELECT name, type FROM pragma_table_info(?1) ORDER BY cid")?
        .query_map([table], |row| {
            Ok(Column {
                name: row.get(0)?,
                declared: row.get(1)?,
            })
        })?
        .collect()
}

fn primary_key(db: &Connection, table: &str) -> Result<Vec<String>, rusqlite::Error> {
    db.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

/// The shape rows of a table have, with the key the mapping declares or the primary key.
pub(crate) fn shape(
    db: &Connection,
    table: &CapturedTable,
    columns: &[Column],
) -> Result<Arc<TableShape>, SourceError> {
    let key = if table.key.is_empty() {
        primary_key(db, &table.table.name).map_err(failed)?
    } else {
        table.key.clone()
    };
    let index = |name: &String| {
        columns
            .iter()
            .position(|column| column.name == *name)
            .ok_or_else(|| SourceError::SchemaChanged {
                what: format!(
                    "table {}: key column \"{name}\" does not exist",
                    table.table.name
                ),
                hint: "correct `key` in the mapping's `tables`".to_owned(),
            })
    };
    let key: Vec<usize> = key.iter().map(index).collect::<Result<_, _>>()?;
    if key.is_empty() {
        return Err(denied(
            format!("table {} has no primary key", table.table.name),
            "name the identifying columns as `key` in the mapping's `tables`",
        ));
    }
    Ok(Arc::new(TableShape {
        table: TableName::new("main", table.table.name.clone()),
        columns: columns.iter().map(|column| column.name.clone()).collect(),
        key,
    }))
}

/// The newest shape the triggers of a table write, if it was prepared.
pub(crate) fn prepared_shape(
    db: &Connection,
    table: &str,
) -> Result<Option<(i64, Vec<Column>)>, rusqlite::Error> {
    let found: Option<(i64, String)> = db
        .query_row(
            &format!(
                "SELECT version, columns FROM {SHAPES} WHERE tab = ?1 ORDER BY version DESC LIMIT 1"
            ),
            [table],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(found.and_then(|(version, json)| Some((version, parse_columns(&json)?))))
}

pub(crate) fn has_table(db: &Connection, name: &str) -> Result<bool, rusqlite::Error> {
    db.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
        [name],
        |row| row.get(0),
    )
}

/// The newest sequence number the log ever gave out; 0 where there is no log yet.
pub(crate) fn newest(db: &Connection) -> Result<u64, rusqlite::Error> {
    if !db.table_exists(None, "sqlite_sequence")? {
        return Ok(0);
    }
    let seq: Option<i64> = db
        .query_row(
            "SELECT seq FROM sqlite_sequence WHERE name = ?1",
            [LOG],
            |row| row.get(0),
        )
        .optional()?;
    Ok(seq.unwrap_or(0).unsigned_abs())
}

pub(crate) fn columns_json(columns: &[Column]) -> String {
    let pairs: Vec<_> = columns.iter().map(|c| (&c.name, &c.declared)).collect();
    serde_json::to_string(&pairs).unwrap_or_default()
}

pub(crate) fn parse_columns(json: &str) -> Option<Vec<Column>> {
    let pairs: Vec<(String, String)> = serde_json::from_str(json).ok()?;
    Some(
        pairs
            .into_iter()
            .map(|(name, declared)| Column { name, declared })
            .collect(),
    )
}

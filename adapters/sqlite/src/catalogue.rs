//! What the database says about its tables.

use std::path::Path;
use std::time::Instant;

use contract::{ColumnInfo, SourceError, TableInfo, TableName};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction};

use crate::database::{self, LOG, SHAPES, failed};
use crate::values;

/// The only schema of a file.
const SCHEMA: &str = "main";

pub(crate) fn too_slow() -> SourceError {
    SourceError::Disconnected("read tables: the database answers too slowly".to_owned())
}

/// Describes `tables`, or every table a person could choose.
pub(crate) fn read(
    file: &Path,
    tables: &[TableName],
    until: Instant,
) -> Result<Vec<TableInfo>, SourceError> {
    let mut db = database::open(file, false)?;
    database::stop_at(&mut db, until).map_err(failed)?;
    describe(&mut db, tables).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => too_slow(),
        _ => failed(error),
    })
}

/// A table as the schema lists it.
struct Listed {
    name: String,
    without_rowid: bool,
}

fn describe(db: &mut Connection, tables: &[TableName]) -> Result<Vec<TableInfo>, rusqlite::Error> {
    // One transaction: all tables are of the same moment, and the lock is waited for once.
    let db = db.transaction()?;
    let listed: Vec<Listed> = db
        .prepare(
            "SELECT name, wr FROM pragma_table_list
              WHERE schema = ?1 AND type = 'table' ORDER BY name",
        )?
        .query_map([SCHEMA], |row| {
            Ok(Listed {
                name: row.get(0)?,
                without_rowid: row.get(1)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    if tables.is_empty() {
        for listed in listed.iter().filter(|listed| !is_internal(&listed.name)) {
            found.push(table(&db, &listed.name, listed)?);
        }
        return Ok(found);
    }
    for asked in tables.iter().filter(|asked| asked.schema == SCHEMA) {
        // SQLite's names are the same in either case; the answer uses the name that was asked for.
        let same = |listed: &&Listed| listed.name.eq_ignore_ascii_case(&asked.name);
        if let Some(listed) = listed.iter().find(same) {
            found.push(table(&db, &asked.name, listed)?);
        }
    }
    Ok(found)
}

fn is_internal(name: &str) -> bool {
    // SQLite keeps this beginning for itself.
    let own = name.get(..7);
    own.is_some_and(|own| own.eq_ignore_ascii_case("sqlite_")) || name == LOG || name == SHAPES
}

/// A column as `pragma_table_info` tells it.
struct Told {
    info: ColumnInfo,
    /// Its place in the primary key, from 1.
    place: Option<u32>,
}

fn table(db: &Transaction<'_>, name: &str, listed: &Listed) -> Result<TableInfo, rusqlite::Error> {
    let mut columns: Vec<Told> = db
        .prepare("SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1) ORDER BY cid")?
        .query_map([name], |row| {
            let (declared, not_null, place): (String, bool, u32) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Told {
                info: ColumnInfo {
                    name: row.get(0)?,
                    kind: values::kind(&declared),
                    nullable: !not_null,
                    declared,
                },
                place: (place > 0).then_some(place),
            })
        })?
        .collect::<Result<_, _>>()?;
    let uniques = uniques(db, name)?;
    // A primary key can hold nulls but for tables without row ids, and but for the one column that
    // is the row id itself: a primary key without an index.
    let row_id = !uniques.iter().any(|unique| unique.primary);
    for column in &mut columns {
        if column.place.is_some() && (listed.without_rowid || row_id) {
            column.info.nullable = false;
        }
    }
    let mut primary: Vec<&Told> = columns.iter().filter(|c| c.place.is_some()).collect();
    primary.sort_by_key(|column| column.place);
    let mut key: Vec<String> = primary.iter().map(|c| c.info.name.clone()).collect();
    if key.is_empty() {
        let never_null = |name: &String| {
            let mut columns = columns.iter();
            columns.any(|column| column.info.name == *name && !column.info.nullable)
        };
        let whole = uniques
            .into_iter()
            .find(|unique| unique.columns.iter().all(never_null));
        key = whole.map(|unique| unique.columns).unwrap_or_default();
    }
    Ok(TableInfo {
        table: TableName::new(SCHEMA, name),
        columns: columns.into_iter().map(|column| column.info).collect(),
        key,
        rows: rows(db, name)?,
    })
}

/// A unique index over plain columns of the whole table.
struct Unique {
    primary: bool,
    columns: Vec<String>,
}

fn uniques(db: &Transaction<'_>, table: &str) -> Result<Vec<Unique>, rusqlite::Error> {
    let listed: Vec<(String, String)> = db
        .prepare(
            "SELECT name, origin FROM pragma_index_list(?1)
              WHERE \"unique\" AND NOT partial ORDER BY name",
        )?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut uniques = Vec::new();
    for (index, origin) in listed {
        // An expression has no name.
        let columns: Option<Vec<String>> = db
            .prepare("SELECT name FROM pragma_index_info(?1) ORDER BY seqno")?
            .query_map([index], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        uniques.extend(columns.map(|columns| Unique {
            primary: origin == "pk",
            columns,
        }));
    }
    Ok(uniques)
}

/// The rows the table had when ANALYZE last ran; `None` when it never did.
fn rows(db: &Transaction<'_>, table: &str) -> Result<Option<u64>, rusqlite::Error> {
    if !database::has_table(db, "sqlite_stat1")? {
        return Ok(None);
    }
    // The first number counts the rows of an index; a partial index has fewer than its table.
    let rows: Option<i64> = db
        .query_row(
            "SELECT max(CAST(stat AS INTEGER)) FROM sqlite_stat1
              WHERE tbl = ?1 COLLATE NOCASE",
            [table],
            |row| row.get(0),
        )
        .optional()?
        .flatten();
    Ok(rows.and_then(|rows| u64::try_from(rows).ok()))
}

//! The change log and its triggers: what must be there, and how to undo it.
//!
//! Triggers write each row as a JSON array of `quote()` texts. `json_object` would be shorter, but
//! raises an error on a BLOB and so breaks the application's own write. Each log row names the
//! shape (column list) its trigger was made with, so rows from before an ALTER TABLE still read.

use contract::{CapturedTable, Preparation, SourceError};
use rusqlite::Connection;

use crate::database::{self, LOG, SHAPES, denied, failed};
use crate::values::{Column, ident, literal};

const OPS: [(&str, &str, bool, bool); 3] = [
    ("i", "INSERT", false, true),
    ("u", "UPDATE", true, true),
    ("d", "DELETE", true, false),
];

fn trigger_name(table: &str, op: &str) -> String {
    format!("lighterman_{table}_{op}")
}

fn trigger(table: &str, columns: &[Column], version: i64, op: (&str, &str, bool, bool)) -> String {
    let row = |alias: &str, there: bool| {
        if !there {
            return "NULL".to_owned();
        }
        let cells: Vec<String> = columns
            .iter()
            .map(|c| format!("quote({alias}.{})", ident(&c.name)))
            .collect();
        format!("json_array({})", cells.join(", "))
    };
    let (letter, event, old, new) = op;
    format!(
        "CREATE TRIGGER {name} AFTER {event} ON {table_ident} BEGIN INSERT INTO {LOG} (tab, shape, \
         op, old, new, at) VALUES ({table_text}, {version}, '{letter}', {old}, {new}, \
         strftime('%Y-%m-%dT%H:%M:%fZ', 'now')); END",
        name = ident(&trigger_name(table, letter)),
        table_ident = ident(table),
        table_text = literal(table),
        old = row("OLD", old),
        new = row("NEW", new),
    )
}

/// What is missing, and the undo of everything.
pub(crate) fn plan(db: &Connection, tables: &[CapturedTable]) -> Result<Preparation, SourceError> {
    let mut sql = Vec::new();
    let mut undo = Vec::new();
    let has_log = database::has_table(db, LOG).map_err(failed)?;
    if !has_log {
        sql.push(format!(
            "CREATE TABLE {SHAPES} (tab TEXT NOT NULL, version INTEGER NOT NULL, columns TEXT NOT \
             NULL, PRIMARY KEY (tab, version))"
        ));
        sql.push(format!(
            "CREATE TABLE {LOG} (seq INTEGER PRIMARY KEY AUTOINCREMENT, tab TEXT NOT NULL, shape \
             INTEGER NOT NULL, op TEXT NOT NULL, old TEXT, new TEXT, at TEXT NOT NULL)"
        ));
    }
    for table in tables {
        let name = &table.table.name;
        let columns = database::columns(db, name).map_err(failed)?;
        if columns.is_empty() {
            return Err(denied(
                format!("prepare table {name}: there is no such table"),
                "correct `name` in the mapping's `tables`",
            ));
        }
        database::shape(db, table, &columns)?;
        let prepared = if has_log {
            database::prepared_shape(db, name).map_err(failed)?
        } else {
            None
        };
        let version = match prepared {
            Some((version, known)) if known == columns => {
                create_missing(db, name, &columns, version, &mut sql)?;
                version
            }
            Some((version, _)) => version + 1,
            None => 1,
        };
        let is_new = prepared_differs(db, has_log, name, &columns)?;
        if is_new {
            sql.push(format!(
                "INSERT INTO {SHAPES} VALUES ({}, {version}, {})",
                literal(name),
                literal(&database::columns_json(&columns))
            ));
            for op in OPS {
                sql.push(format!(
                    "DROP TRIGGER IF EXISTS {}",
                    ident(&trigger_name(name, op.0))
                ));
                sql.push(trigger(name, &columns, version, op));
            }
        }
        for op in OPS {
            undo.push(format!(
                "DROP TRIGGER IF EXISTS {}",
                ident(&trigger_name(name, op.0))
            ));
        }
    }
    undo.push(format!("DROP TABLE IF EXISTS {LOG}"));
    undo.push(format!("DROP TABLE IF EXISTS {SHAPES}"));
    Ok(Preparation {
        sql,
        undo,
        applied: false,
    })
}

fn prepared_differs(
    db: &Connection,
    has_log: bool,
    table: &str,
    columns: &[Column],
) -> Result<bool, SourceError> {
    if !has_log {
        return Ok(true);
    }
    let prepared = database::prepared_shape(db, table).map_err(failed)?;
    Ok(prepared.is_none_or(|(_, known)| known != columns))
}

fn create_missing(
    db: &Connection,
    table: &str,
    columns: &[Column],
    version: i64,
    sql: &mut Vec<String>,
) -> Result<(), SourceError> {
    for op in OPS {
        if !has_trigger(db, table, op.0).map_err(failed)? {
            sql.push(trigger(table, columns, version, op));
        }
    }
    Ok(())
}

fn has_trigger(db: &Connection, table: &str, op: &str) -> Result<bool, rusqlite::Error> {
    db.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = ?1)",
        [trigger_name(table, op)],
        |row| row.get(0),
    )
}

/// Whether every trigger of a table is there.
pub(crate) fn has_triggers(db: &Connection, table: &str) -> Result<bool, rusqlite::Error> {
    for op in OPS {
        if !has_trigger(db, table, op.0)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs what is missing, in one transaction.
pub(crate) fn apply(db: &mut Connection, plan: &Preparation) -> Result<(), SourceError> {
    let transaction = db.transaction().map_err(failed)?;
    for statement in &plan.sql {
        transaction.execute_batch(statement).map_err(|error| {
            denied(
                format!("prepare database: {error}"),
                "the login needs to create triggers",
            )
        })?;
    }
    transaction.commit().map_err(failed)
}

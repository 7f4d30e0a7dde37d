//! What must be right before the database can be captured.

use std::path::Path;

use contract::{CapturedTable, Finding};
use rusqlite::Connection;

use crate::database::{self, LOG, PREPARE};
use crate::prepare;

pub(crate) fn check(source: &str, file: &Path, tables: &[CapturedTable]) -> Vec<Finding> {
    let what = |part: &str| format!("source {source}: {part}");
    let db = match database::open(file, true) {
        Ok(db) => db,
        Err(error) => {
            let finding = Finding::fail(what("database"), error.to_string());
            return vec![finding.fix(error.hint().unwrap_or_default())];
        }
    };
    let mut findings = Vec::new();
    if let Err(error) = look(&db, &what, tables, &mut findings) {
        findings.push(Finding::fail(
            what("database"),
            format!("read database: {error}"),
        ));
    }
    findings
}

fn look(
    db: &Connection,
    what: &dyn Fn(&str) -> String,
    tables: &[CapturedTable],
    findings: &mut Vec<Finding>,
) -> Result<(), rusqlite::Error> {
    let mode: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    findings.push(if mode == "wal" {
        Finding::pass(what("journal mode"), "is wal")
    } else {
        Finding::warn(
            what("journal mode"),
            format!(
                "is {mode}: a write of the application that meets a read of the agent waits, or fails with \
                 `database is locked` where the application has no busy timeout"
            ),
        )
        .fix("PRAGMA journal_mode = WAL; undo: PRAGMA journal_mode = DELETE")
    });
    let has_log = database::has_table(db, LOG)?;
    findings.push(if has_log {
        Finding::pass(what("change log"), "exists")
    } else {
        Finding::fail(what("change log"), "does not exist").fix(PREPARE)
    });
    for captured in tables {
        let name = &captured.table.name;
        let what = what(&format!("table {name}"));
        let columns = database::columns(db, name)?;
        if columns.is_empty() {
            findings.push(Finding::fail(what, "does not exist"));
            continue;
        }
        if let Err(error) = database::shape(db, captured, &columns) {
            let finding = Finding::fail(what.clone(), error.to_string());
            findings.push(finding.fix(error.hint().unwrap_or_default()));
        }
        for wanted in &captured.columns {
            if !columns.iter().any(|column| column.name == *wanted) {
                let found = format!("has no column \"{wanted}\", which the mapping reads");
                findings.push(Finding::fail(what.clone(), found));
            }
        }
        if has_log {
            let prepared = database::prepared_shape(db, name)?;
            let fits = prepared.is_some_and(|(_, known)| known == columns)
                && prepare::has_triggers(db, name)?;
            findings.push(if fits {
                Finding::pass(what.clone(), "is captured by triggers")
            } else {
                Finding::fail(what.clone(), "has no triggers for its present columns").fix(PREPARE)
            });
        }
        let unique: bool = db.query_row(
            "SELECT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE \"unique\" = 1 AND origin = 'u')",
            [name],
            |row| row.get(0),
        )?;
        if unique {
            findings.push(Finding::warn(
                what,
                "has a UNIQUE constraint beside its key: REPLACE INTO can remove a row by it, and \
                 SQLite fires no trigger for that unless recursive_triggers is on",
            ));
        }
    }
    Ok(())
}

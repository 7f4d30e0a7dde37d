//! Whether a state file is whole, and whether what it says is consistent.
//!
//! All of it is one moment of the file, also while an agent writes to it. Nothing is written.

mod checks;

use std::path::{Path, PathBuf};

use contract::Finding;
use contract::event::digest;
use rusqlite::Connection;

use crate::audit;
use crate::copy;
use crate::error::StoreError;
use crate::folder::{self, APPLICATION_ID};
use crate::migrate;

/// Of each kind of fault so many are named.
const NAMED_MAX: usize = 5;
/// Faults of the file itself that SQLite names.
const DAMAGE_MAX: u32 = 20;

/// What to do about a state file that cannot be trusted.
const MEND: &str = "stop the agent and run lighterman state restore <backup> with a backup that \
     verifies; without one move the state folder away and start the agent: every table is read and \
     told again";

/// What came of looking at a state file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// The file.
    pub file: PathBuf,
    /// Its format; 0 = it has none.
    pub format: i64,
    /// Its size, with what a running agent has in the log beside it.
    pub bytes: u64,
    /// What is right and what is wrong, each with what to do.
    pub findings: Vec<Finding>,
}

/// Looks at a state file, or a backup of one; the agent may run.
///
/// # Errors
/// See [`StoreError`]: it is not there, cannot be read, or is of a newer version. What is wrong with
/// it is no error but a finding.
pub fn verify(file: &Path) -> Result<Verdict, StoreError> {
    if !file.exists() {
        return Err(StoreError::Missing {
            file: file.to_owned(),
        });
    }
    let mut verdict = Verdict {
        file: file.to_owned(),
        format: 0,
        bytes: std::fs::metadata(file).map_or(0, |found| found.len()),
        findings: Vec::new(),
    };
    let db = folder::read_only(file)?;
    match look(&db, file, &mut verdict) {
        Ok(()) => {}
        Err(Failed::Read(error)) if copy::is_damage(&error) => {
            let found = format!("it is damaged: {error}");
            verdict.findings.push(wrong("state file", found));
        }
        Err(Failed::Read(error)) => return Err(error.into()),
        Err(Failed::Store(error)) => return Err(error),
    }
    Ok(verdict)
}

/// What SQLite finds damaged in a file, at most `limit` of it.
pub(crate) fn damage(db: &Connection, limit: u32) -> Result<Vec<String>, StoreError> {
    match integrity(db, limit) {
        Err(error) if copy::is_damage(&error) => Ok(vec![error.to_string()]),
        found => Ok(found?),
    }
}

fn integrity(db: &Connection, limit: u32) -> rusqlite::Result<Vec<String>> {
    let mut query = db.prepare(&format!("PRAGMA integrity_check({limit})"))?;
    let mut found: Vec<String> = query
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    found.retain(|line| line != "ok");
    Ok(found)
}

/// Why a look did not come to its end.
enum Failed {
    Read(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Read(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn wrong(what: &str, found: impl Into<String>) -> Finding {
    Finding::fail(what, found).fix(MEND)
}

fn look(db: &Connection, file: &Path, verdict: &mut Verdict) -> Result<(), Failed> {
    // One moment of it: held by this transaction, which ends with the connection.
    db.execute_batch("BEGIN")?;
    let id: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        let found = "it is not a Lighterman state file";
        verdict.findings.push(
            Finding::fail("state file", found).fix("check state_folder in the settings, or --file"),
        );
        return Ok(());
    }
    verdict.format = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let (found, known) = (verdict.format, migrate::known());
    if found > known {
        let file = file.to_owned();
        return Err(StoreError::TooNew { file, found, known }.into());
    }
    verdict.bytes = copy::size(db)?;
    let damaged = integrity(db, DAMAGE_MAX)?;
    if !damaged.is_empty() {
        let damaged = damaged.into_iter();
        verdict
            .findings
            .extend(damaged.map(|line| wrong("state file", line)));
        return Ok(());
    }
    let findings = &mut verdict.findings;
    findings.push(Finding::pass(
        "state file",
        "is whole: every page and index",
    ));
    if !schema(db, found, findings)? {
        return Ok(());
    }
    references(db, findings)?;
    if found < known {
        let older = format!(
            "is of format {found}, and this version writes {known}: what it holds is looked at when \
             it is migrated"
        );
        let fix = "lighterman state migrate; starting the agent does the same";
        findings.push(Finding::warn("format", older).fix(fix));
        return Ok(());
    }
    findings.push(Finding::pass("format", format!("is {found}, the newest")));
    for check in checks::CHECKS {
        let rows = rows(db, check.sql)?;
        push(findings, check.what, check.holds, rows);
    }
    push(
        findings,
        "checkpoints",
        "are places in the present log of their source",
        positions(db)?,
    );
    push(
        findings,
        "outbox",
        "holds every event as it was written",
        changed(db)?,
    );
    findings.push(audit::finding(db)?);
    Ok(())
}

/// Names faults, or says that there is none.
fn push(findings: &mut Vec<Finding>, what: &str, holds: &str, mut rows: Vec<String>) {
    if rows.is_empty() {
        findings.push(Finding::pass(what, holds));
        return;
    }
    let more = rows.len() > NAMED_MAX;
    rows.truncate(NAMED_MAX);
    let mut found = rows.join("; ");
    if more {
        found.push_str("; and more");
    }
    findings.push(wrong(what, found));
}

fn rows(db: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut query = db.prepare(&format!("{sql} LIMIT {}", NAMED_MAX + 1))?;
    let rows = query.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Whether the tables and indexes are those of the format: statements name their indexes.
fn schema(db: &Connection, format: i64, findings: &mut Vec<Finding>) -> Result<bool, Failed> {
    let (wanted, there) = (migrate::schema(format)?, migrate::schema_of(db)?);
    let mut faults = Vec::new();
    for (kind, name, sql) in wanted.iter() {
        match there.iter().find(|one| one.0 == *kind && one.1 == *name) {
            None => faults.push(format!("{kind} {name} is missing")),
            Some(found) if found.2 != *sql => {
                faults.push(format!("{kind} {name} is not that of format {format}"));
            }
            Some(_) => {}
        }
    }
    for (kind, name, _) in &there {
        if !wanted.iter().any(|one| one.0 == *kind && one.1 == *name) {
            faults.push(format!("{kind} {name} is not ours"));
        }
    }
    let whole = faults.is_empty();
    push(
        findings,
        "schema",
        "has the tables and indexes of its format",
        faults,
    );
    Ok(whole)
}

/// References that SQLite knows of.
fn references(db: &Connection, findings: &mut Vec<Finding>) -> Result<(), Failed> {
    let sql = "SELECT 'a row of ' || \"table\" || ' refers to a row of ' || parent || ' that is not \
               there' FROM pragma_foreign_key_check";
    let rows = rows(db, sql)?;
    push(
        findings,
        "references",
        "all lead to rows that are there",
        rows,
    );
    Ok(())
}

/// Checkpoints that are no positions, or of another life of the source's numbering.
fn positions(db: &Connection) -> Result<Vec<String>, Failed> {
    let mut query =
        db.prepare("SELECT name, epoch, checkpoint FROM source WHERE checkpoint IS NOT NULL")?;
    let mut rows = query.query([])?;
    let mut faults = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, epoch): (String, u32) = (row.get(0)?, row.get(1)?);
        let text: String = row.get(2)?;
        match text.parse::<contract::Position>() {
            Err(error) => faults.push(format!("source {name}: {error}")),
            Ok(at) if at.epoch != epoch => faults.push(format!(
                "source {name} is in epoch {epoch} and its checkpoint is of epoch {}",
                at.epoch
            )),
            Ok(_) => {}
        }
    }
    Ok(faults)
}

/// Events that are not what was written.
fn changed(db: &Connection) -> Result<Vec<String>, Failed> {
    let mut query = db.prepare("SELECT offset, digest, json FROM outbox")?;
    let mut rows = query.query([])?;
    let mut faults = Vec::new();
    while let Some(row) = rows.next()? {
        let json = row.get_ref(2)?.as_str().unwrap_or_default();
        if row.get_ref(1)?.as_str() != Ok(digest(&[json]).as_str()) {
            let offset: i64 = row.get(0)?;
            faults.push(format!("event {offset} changed on disk"));
        }
        if faults.len() > NAMED_MAX {
            break;
        }
    }
    Ok(faults)
}

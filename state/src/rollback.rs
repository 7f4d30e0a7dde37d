//! Going back to an older version: a state file that it can read, made of the backup of its time.
//!
//! The backup alone would be too old: positions that the source's log has let go of, versions that would be
//! given out a second time with other contents, facts told twice. So the backup gives what the agent had
//! worked out for itself, and what happened outside since is taken over from the present file: where the
//! sources stand, what was told of every key, what is on its way, what is held. Then every table is read
//! again and compared: what was worked out becomes right by that, and only what differs is told, behind all
//! that was told.

use std::path::{Path, PathBuf};

use contract::finding::Level;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::belongs::Belongs;
use crate::copy::{self, Pace};
use crate::error::StoreError;
use crate::folder::{self, Ownership};
use crate::restore::{self, MARK};
use crate::resync::{self, Resync};
use crate::{audit, location, migrate, verify};

/// Formats from which on what is told is remembered as it is now.
const OLDEST: i64 = 5;

/// What stays as the backup has it: what the older version worked out for itself, and what carries its own
/// chain. All else is taken over from the present file.
const FROM_BACKUP: &[&str] = &[
    "replica",
    "replica_row",
    "replica_index",
    "replica_place",
    "relation",
    "mark",
    "told",
    "group_part",
    "audit",
    "audit_anchor",
    "audit_known",
];

/// What persons asked for and was not done yet: given up.
const ASKED: &[(&str, &str)] = &[
    ("request", "done_at IS NULL"),
    ("resync_request", "TRUE"),
    ("reconcile_request", "done_at IS NULL"),
];

/// What going back comes to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RolledBack {
    /// The backup.
    pub backup: PathBuf,
    /// Format of the file that was there, and of the one that is there now.
    pub formats: (i64, i64),
    /// Where the file that was there lies now; `None` = nothing was done yet.
    pub replaced: Option<PathBuf>,
    /// The sources.
    pub sources: Vec<RolledBackSource>,
    /// The destinations.
    pub destinations: Vec<RolledBackDestination>,
    /// What persons had asked for and was not done yet: given up.
    pub requests_given_up: u64,
    /// Entries of the audit record since the backup, which stay on record.
    pub noted_since: u64,
    /// Locations that are stopped, where the older version knows of no stops.
    pub stops_lost: Vec<String>,
}

/// A source that went back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RolledBackSource {
    /// Its name.
    pub name: String,
    /// Where it stood at the backup's time.
    pub backup_checkpoint: Option<String>,
    /// Where it goes on: nothing that was read is read from its log again, and nothing is left out.
    pub checkpoint: Option<String>,
    /// Tables that are read again and compared.
    pub tables: u64,
}

/// A destination of a state that went back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RolledBackDestination {
    /// Its name.
    pub name: String,
    /// Events that were delivered since the backup: known, and not told again.
    pub delivered_since: u64,
    /// Events that wait, and leave with the ids and versions that they have.
    pub waiting: u64,
    /// Requests that were out: settled as after a crash.
    pub out: u64,
    /// Events that are held.
    pub held: u64,
}

/// What going back to a backup would come to. Nothing is touched; the agent may run.
///
/// # Errors
/// See [`StoreError`]: a backup that does not verify, a present file that cannot be read.
pub fn look_back(folder: &Path, backup: &Path) -> Result<RolledBack, StoreError> {
    let (file, format) = fits(folder, backup)?;
    let (old, now) = (folder::read_only(backup)?, folder::read_only(&file)?);
    let mut sources = Vec::new();
    for (id, mut source) in sources_of(&now)? {
        source.tables = tables(&now, id)?.len() as u64;
        source.backup_checkpoint = checkpoint(&old, &source.name)?;
        sources.push(source);
    }
    Ok(RolledBack {
        backup: backup.to_owned(),
        formats: (migrate::format(&now)?, format),
        replaced: None,
        sources,
        destinations: destinations(&now, &old)?,
        requests_given_up: asked(&now, "main")?,
        noted_since: 0,
        stops_lost: lost_stops(&old, &file)?,
    })
}

/// Puts a state of a backup's format in the place of the state file of `folder`, which is kept aside.
///
/// # Errors
/// See [`StoreError`]: an agent that runs, a backup that does not verify, a present file that cannot be
/// read or is too different, no room. The state file is as it was then; a crash in between is noticed and
/// mended by doing it once more.
pub fn roll_back(folder: &Path, backup: &Path, now: Timestamp) -> Result<RolledBack, StoreError> {
    let _ownership = Ownership::take(folder)?;
    let mut done = look_back(folder, backup)?;
    let file = crate::file_path(folder);
    let present = restore::present(folder, &file);
    let partial = {
        let from = folder::read_only(backup)?;
        copy::written(&from, &file, Pace::Alone)?
    };
    let db = folder::read_write(partial.path())?;
    db.pragma_update(None, "foreign_keys", "OFF")?;
    carry(&db, &present)?;
    if has(&db, "main", "audit")? {
        done.noted_since = audit::carry_over(&db, &present)?;
    }
    db.close().map_err(|(_, error)| error)?;
    good(partial.path(), "go back to the older version's state")?;
    Belongs::of(&file, folder)?.give(partial.path())?;
    done.replaced = restore::aside(folder, &file, now)?;
    failpoint::at!("state.rollback.aside")?;
    copy::place(partial, &file)?;
    failpoint::at!("state.rollback.placed")?;
    restore::remove(&folder.join(MARK))?;
    copy::sync_folder(folder)?;
    Ok(done)
}

/// The present file and the backup's format, where one can go back from the one to the other.
fn fits(folder: &Path, backup: &Path) -> Result<(PathBuf, i64), StoreError> {
    let refused = |why: String, hint: &str| StoreError::Refused {
        what: format!("go back to {}", backup.display()),
        why,
        hint: hint.to_owned(),
    };
    let format = good(backup, &format!("go back to {}", backup.display()))?;
    if format < OLDEST {
        return Err(refused(
            format!(
                "it is of format {format}, and only formats from {OLDEST} on can be gone back to"
            ),
            "lighterman state restore <backup> with the older version; docs/operating/state.md says what that means",
        ));
    }
    let file = restore::present(folder, &crate::file_path(folder));
    if !file.exists() {
        return Err(StoreError::Missing { file });
    }
    let present = folder::read_only(&file)?;
    let unreadable = "lighterman state restore <backup> puts the backup there as it is; \
                      docs/operating/state.md says what that means for destinations";
    if let Some(why) = verify::damage(&present, 1)?.into_iter().next() {
        return Err(refused(
            format!("the present state file is damaged: {why}"),
            unreadable,
        ));
    }
    let found = migrate::format(&present)?;
    if found < format {
        return Err(refused(
            format!("the present state file is of format {found}, and the backup of {format}"),
            "name a backup that was made before the upgrade (--backup FILE)",
        ));
    }
    Ok((file, format))
}

/// A file's format, where nothing is wrong with it.
fn good(file: &Path, what: &str) -> Result<i64, StoreError> {
    let verdict = verify::verify(file)?;
    // Who did what is no reason to stay.
    let mut wrong = verdict
        .findings
        .iter()
        .filter(|one| one.what != audit::WHAT);
    match wrong.find(|finding| finding.level == Level::Fail) {
        None => Ok(verdict.format),
        Some(wrong) => Err(StoreError::Refused {
            what: what.to_owned(),
            why: format!("{}: {}", wrong.what, wrong.found),
            hint:
                "name another backup (--backup FILE); lighterman state verify --file <backup> says \
                   which are whole"
                    .to_owned(),
        }),
    }
}

/// Takes over what happened since the backup, and has every table read again.
fn carry(db: &Connection, present: &Path) -> Result<(), StoreError> {
    db.execute(
        "ATTACH DATABASE ?1 AS present",
        [present.to_string_lossy().into_owned()],
    )?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    for table in names(db, "main")? {
        if FROM_BACKUP.contains(&table.as_str()) || !has(db, "present", &table)? {
            continue;
        }
        take_over(db, &table)?;
    }
    // What was told of them is newer than what they remember: all of it is worked out anew, also of rows that
    // are as they were at the backup's time.
    db.execute("UPDATE main.relation SET digest = ''", [])?;
    for (table, open) in ASKED {
        if has(db, "main", table)? {
            db.execute(&format!("DELETE FROM main.{table} WHERE {open}"), [])?;
        }
    }
    let sources = sources_of(db)?;
    for (id, _) in sources {
        resync::begin(db, id, &Resync::Tables(tables(db, id)?))?;
    }
    // Also of tables whose reading is not on record: what the next one does not see is gone.
    db.execute("UPDATE main.replica SET reading = reading + 1", [])?;
    db.execute_batch("COMMIT")?;
    db.execute_batch("DETACH DATABASE present")?;
    Ok(())
}

/// A table's rows are those of the present file, as far as both know its columns.
fn take_over(db: &Connection, table: &str) -> Result<(), StoreError> {
    let known = columns(db, "present", table)?;
    let own = columns(db, "main", table)?;
    let shared: Vec<String> = own
        .iter()
        .filter(|name| known.contains(name))
        .map(|name| format!("\"{name}\""))
        .collect();
    let shared = shared.join(", ");
    let counts = |schema: &str| -> Result<Option<i64>, StoreError> {
        if !has(db, schema, "sqlite_sequence")? {
            return Ok(None);
        }
        let sql = format!("SELECT seq FROM {schema}.sqlite_sequence WHERE name = ?1");
        Ok(db.query_row(&sql, [table], |row| row.get(0)).optional()?)
    };
    db.execute(&format!("DELETE FROM main.\"{table}\""), [])?;
    db.execute(
        &format!(
            "INSERT INTO main.\"{table}\" ({shared}) SELECT {shared} FROM present.\"{table}\""
        ),
        [],
    )
    .map_err(|error| StoreError::Refused {
        what: format!("take over what stands in {table}"),
        why: error.to_string(),
        hint: "the present state file is too different for that: lighterman state restore <backup> puts the \
               backup there as it is"
            .to_owned(),
    })?;
    // A number is never given out twice, also when its row has left.
    if let Some(seq) = counts("present")? {
        let sql = "UPDATE main.sqlite_sequence SET seq = ?2 WHERE name = ?1";
        if db.execute(sql, (table, seq))? == 0 {
            let sql = "INSERT INTO main.sqlite_sequence (name, seq) VALUES (?1, ?2)";
            db.execute(sql, (table, seq))?;
        }
    }
    Ok(())
}

/// The tables of a file.
fn names(db: &Connection, schema: &str) -> Result<Vec<String>, StoreError> {
    let mut query = db.prepare(&format!(
        "SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ))?;
    let names = query.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn has(db: &Connection, schema: &str, table: &str) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM {schema}.sqlite_schema WHERE type = 'table' AND name = ?1)"
    );
    Ok(db.query_row(&sql, [table], |row| row.get(0))?)
}

fn columns(db: &Connection, schema: &str, table: &str) -> Result<Vec<String>, StoreError> {
    let mut query = db.prepare("SELECT name FROM pragma_table_info(?1, ?2)")?;
    let names = query.query_map([table, schema], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn sources_of(db: &Connection) -> Result<Vec<(i64, RolledBackSource)>, StoreError> {
    let mut query = db.prepare("SELECT id, name, checkpoint FROM main.source ORDER BY name")?;
    let rows = query.query_map([], |row| {
        let source = RolledBackSource {
            name: row.get(1)?,
            backup_checkpoint: None,
            checkpoint: row.get(2)?,
            tables: 0,
        };
        Ok((row.get(0)?, source))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn checkpoint(db: &Connection, source: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT checkpoint FROM source WHERE name = ?1";
    let found = db.query_row(sql, [source], |row| row.get(0)).optional()?;
    Ok(found.flatten())
}

/// The tables that a source's rules are told from.
fn tables(db: &Connection, source: i64) -> Result<Vec<String>, StoreError> {
    let mut query = db.prepare(
        "SELECT table_name FROM main.snapshot WHERE source = ?1
         UNION SELECT table_name FROM main.rule WHERE source = ?1 AND active ORDER BY 1",
    )?;
    let rows = query.query_map([source], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn destinations(
    now: &Connection,
    old: &Connection,
) -> Result<Vec<RolledBackDestination>, StoreError> {
    let mut all = Vec::new();
    for one in restore::destinations(now)? {
        let delivered = |db: &Connection| -> Result<i64, StoreError> {
            let sql = "SELECT coalesce(sum(value), 0) FROM counter
                       WHERE scope = 'destination:' || ?1 AND name = 'delivered'";
            Ok(db.query_row(sql, [&one.name], |row| row.get(0))?)
        };
        let since = delivered(now)?.saturating_sub(delivered(old)?);
        all.push(RolledBackDestination {
            delivered_since: u64::try_from(since).unwrap_or(0),
            waiting: one.waiting,
            out: one.out,
            held: one.held,
            name: one.name,
        });
    }
    Ok(all)
}

fn asked(db: &Connection, schema: &str) -> Result<u64, StoreError> {
    let mut all = 0;
    for (table, open) in ASKED {
        if has(db, schema, table)? {
            let sql = format!("SELECT count(*) FROM {schema}.{table} WHERE {open}");
            let count: i64 = db.query_row(&sql, [], |row| row.get(0))?;
            all += count.unsigned_abs();
        }
    }
    Ok(all)
}

/// Locations that are stopped in the present file, where the older one has no place for that.
fn lost_stops(old: &Connection, present: &Path) -> Result<Vec<String>, StoreError> {
    if has(old, "main", "location_stop")? {
        return Ok(Vec::new());
    }
    Ok(location::stopped_names(present))
}

//! The schema's versions, and bringing a file up to the newest one.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use contract::look::bytes;
use rusqlite::Connection;

use crate::backup::BACKUPS;
use crate::backups;
use crate::copy::{self, Pace};
use crate::error::StoreError;
use crate::folder;

/// The schema's versions, oldest first; the file's `user_version` counts how many were applied.
/// The first sentence of each says what it is.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
];

/// One step of the schema.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Migration {
    /// The format that it leads to.
    pub format: i64,
    /// What it brings.
    pub what: String,
}

/// What a migration did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Migrated {
    /// The file's format before.
    pub from: i64,
    /// And the one this version writes.
    pub to: i64,
    /// What lies between the two, oldest first; none = the file was as it is to be.
    pub steps: Vec<Migration>,
    /// The copy that was made of it before.
    pub backup: Option<PathBuf>,
}

/// The newest format of a state file that is known here.
pub fn newest_format() -> i64 {
    known()
}

/// The newest format that is known here.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// A file's format.
pub(crate) fn format(db: &Connection) -> Result<i64, StoreError> {
    Ok(db.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// What leads from a format to the newest one.
fn steps(from: i64) -> Vec<Migration> {
    let done = usize::try_from(from).unwrap_or(0);
    let numbered = (1..).zip(MIGRATIONS).skip(done);
    numbered
        .map(|(format, sql)| {
            let what = first_sentence(sql);
            Migration { format, what }
        })
        .collect()
}

/// What a script says it is: the first sentence of its first comment, without the number.
fn first_sentence(sql: &str) -> String {
    let lines = sql.lines().map_while(|line| line.strip_prefix("--"));
    let comment: Vec<&str> = lines.map(str::trim).collect();
    let comment = comment.join(" ");
    let sentence = comment.split(". ").next().unwrap_or_default();
    let what = sentence.split_once(": ").map_or(sentence, |(_, what)| what);
    what.trim_end_matches('.').to_owned()
}

/// What is between a file and the newest format.
pub(crate) fn between(db: &Connection, file: &Path) -> Result<Migrated, StoreError> {
    let (from, to) = (format(db)?, known());
    if from > to {
        return Err(StoreError::TooNew {
            file: file.to_owned(),
            found: from,
            known: to,
        });
    }
    Ok(Migrated {
        from,
        to,
        steps: steps(from),
        backup: None,
    })
}

/// Brings a file up to the newest format, each step in a transaction of its own, so that one which
/// is cut off is gone on with. A new file has nothing to go on with, and is made in one: each takes the disk's time.
pub(crate) fn apply(db: &mut Connection, file: &Path) -> Result<Migrated, StoreError> {
    let migrated = between(db, file)?;
    let done = usize::try_from(migrated.from).unwrap_or(0);
    let steps: Vec<_> = (1_i64..).zip(MIGRATIONS).skip(done).collect();
    let fresh = migrated.from == 0;
    for together in steps.chunks(if fresh { steps.len() } else { 1 }) {
        let transaction = db.transaction()?;
        if fresh {
            transaction.pragma_update(None, "application_id", folder::APPLICATION_ID)?;
        }
        for (format, sql) in together {
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "user_version", format)?;
            failpoint::at!("state.migrate.step")?;
        }
        transaction.commit()?;
        failpoint::crash!("state.migrate.stepped");
    }
    Ok(migrated)
}

/// As [`apply`], with a verified copy of a file that has something in it made before. Without room
/// for the copy nothing is done: who cannot go back must not go on.
pub(crate) fn with_backup(db: &mut Connection, folder: &Path) -> Result<Migrated, StoreError> {
    let file = crate::file_path(folder);
    let mut migrated = between(db, &file)?;
    if migrated.steps.is_empty() {
        return Ok(migrated);
    }
    if migrated.from > 0 {
        migrated.backup = Some(copy_aside(db, folder, migrated.from)?);
    }
    apply(db, &file)?;
    if let Some(backup) = &migrated.backup {
        // Only now: copies of a migration that does not end are what there is to go back to.
        backups::prune_backups(folder);
        let size = std::fs::metadata(backup).map_or(0, |found| found.len());
        tracing::info!(
            code = "state.migrated",
            from = migrated.from,
            to = migrated.to,
            backup = %backup.display(),
            "the state file was brought to this version's format; the copy made before has {}, and \
             lighterman rollback goes back to it",
            bytes(size)
        );
    }
    Ok(migrated)
}

/// Copies of one format at most: a migration that fails again and again must not fill the disk.
const ASIDE_MAX: u32 = 9;

fn copy_aside(db: &Connection, folder: &Path, format: i64) -> Result<PathBuf, StoreError> {
    for n in 1..=ASIDE_MAX {
        let to = backups::before_migration(folder, format, n);
        if !to.exists() {
            copy::copy(db, &to, Pace::Alone)?;
            backups::given(folder);
            return Ok(to);
        }
    }
    Err(StoreError::Refused {
        what: "back up the state file before its migration".to_owned(),
        why: format!(
            "{} has {ASIDE_MAX} copies of format {format} already",
            folder.join(BACKUPS).display()
        ),
        hint: "move them away, and find out why earlier migrations did not end: they said so in \
               the log"
            .to_owned(),
    })
}

/// A table or an index: type, name and definition.
pub(crate) type Definition = (String, String, String);

/// What this version's tables and indexes are, in a file of a format.
pub(crate) fn schema(format: i64) -> Result<Cow<'static, [Definition]>, StoreError> {
    // Making a file's schema takes longer than all else that `verify` asks of a small one.
    static NEWEST: OnceLock<Vec<Definition>> = OnceLock::new();
    if format != known() {
        return Ok(Cow::Owned(made(format)?));
    }
    if let Some(newest) = NEWEST.get() {
        return Ok(Cow::Borrowed(newest));
    }
    let newest = made(format)?;
    Ok(Cow::Borrowed(NEWEST.get_or_init(|| newest)))
}

fn made(format: i64) -> Result<Vec<Definition>, StoreError> {
    let db = Connection::open_in_memory()?;
    for sql in MIGRATIONS.iter().take(usize::try_from(format).unwrap_or(0)) {
        db.execute_batch(sql)?;
    }
    schema_of(&db)
}

/// What a file's tables and indexes are.
pub(crate) fn schema_of(db: &Connection) -> Result<Vec<Definition>, StoreError> {
    let mut query = db.prepare(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_schema
         WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name",
    )?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Shows what a state file's migration comes to and, unless it is only to be shown, does it.
///
/// # Errors
/// See [`StoreError`]: an agent that runs, a file of a newer version, no room for the copy.
pub fn migrate(folder: &Path, only_show: bool) -> Result<Migrated, StoreError> {
    let file = crate::file_path(folder);
    if !file.exists() {
        return Err(StoreError::Missing { file });
    }
    if only_show {
        let db = crate::folder::read_only(&file)?;
        return between(&db, &file);
    }
    let _ownership = crate::folder::Ownership::take(folder)?;
    let (_, migrated) = crate::folder::open_migrated(folder)?;
    Ok(migrated)
}

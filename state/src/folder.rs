//! The state folder: who owns it, and opening the file in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::Store;
use crate::error::StoreError;
use crate::migrate::{self, Migrated};
use crate::restore;

/// The state file's name in the state folder.
pub const FILE_NAME: &str = "lighterman.db";
const LOCK_NAME: &str = "lighterman.lock";
const PID_NAME: &str = "lighterman.pid";

/// `LTRM`: tells our files from other SQLite databases.
pub(crate) const APPLICATION_ID: i64 = 0x4c54_524d;

/// Pages of the file in memory: of who writes, which looks keys up all over it, and of who reads beside that, of whom there
/// are several.
const CACHE_KIB: i64 = 12 * 1024;
const READER_CACHE_KIB: i64 = 1024;
/// A transaction that changes more pages than these writes some down before its end. Those that change once more behind
/// that are written twice, and what stands behind them is read and written again.
const SPILL_PAGES: i64 = 4_000;
/// The log is folded into the file when it has so many pages (64 MiB). A page that changed several times meanwhile goes
/// there once, and those that lie side by side go together.
const LOG_PAGES: i64 = 16_384;
/// As long as the disk is low: 4 MiB.
const SHORT_LOG_PAGES: i64 = 1_024;
const PAGE_BYTES: i64 = 4_096;

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Exclusive ownership of a state folder, until dropped.
#[derive(Debug)]
pub(crate) struct Ownership {
    _lock: File,
}

impl Ownership {
    /// Takes the folder, creating it if need be.
    pub(crate) fn take(folder: &Path) -> Result<Self, StoreError> {
        let io = |what: String| {
            move |error: std::io::Error| StoreError::Io {
                what,
                detail: error.to_string(),
            }
        };
        create(folder).map_err(io(format!("create state folder {}", folder.display())))?;
        without_links(folder)?;
        let path = folder.join(LOCK_NAME);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io(format!("open {}", path.display())))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(folder.join(PID_NAME)).unwrap_or_default();
                let pid = if pid.trim().is_empty() {
                    "?".to_owned()
                } else {
                    pid.trim().to_owned()
                };
                return Err(StoreError::Busy {
                    folder: folder.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(io(format!("lock {}", path.display()))(error));
            }
        }
        let pid_path = folder.join(PID_NAME);
        fs::write(&pid_path, std::process::id().to_string())
            .map_err(io(format!("write {}", pid_path.display())))?;
        Ok(Self { _lock: lock })
    }
}

/// Makes a state folder, and those above it: what will stand in it is for its user and group alone.
fn create(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o750);
    }
    builder.create(folder)
}

/// What is written here by name must be here: a link that somebody left would have us write to what it leads to.
fn without_links(folder: &Path) -> Result<(), StoreError> {
    let names = [LOCK_NAME, PID_NAME, FILE_NAME, crate::restore::MARK].map(str::to_owned);
    let beside = ["-wal", "-shm", "-journal"].map(|end| format!("{FILE_NAME}{end}"));
    for name in names.into_iter().chain(beside) {
        let path = folder.join(&name);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return Err(StoreError::Refused {
                what: format!("use state folder {}", folder.display()),
                why: format!("{name} in it is a symbolic link, and none of ours"),
                hint: format!(
                    "if one of you made it, remove nothing: name the folder that it leads to as the state folder in the \
                     settings, for without that file everything is read and told anew; if nobody knows of it, see who \
                     may write to the folder, then rm {}",
                    path.display()
                ),
            });
        }
    }
    Ok(())
}

/// Begins a new state file that other users do not read, whatever the umask and the folder let them. SQLite gives
/// what it makes beside it the same rights.
fn begin(file: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    match options.open(file) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The process id that last owned the folder, and whether it still does.
pub fn owner(folder: &Path) -> Option<(u32, bool)> {
    let pid = fs::read_to_string(folder.join(PID_NAME))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let lock = OpenOptions::new()
        .write(true)
        .open(folder.join(LOCK_NAME))
        .ok()?;
    let owned = matches!(lock.try_lock(), Err(TryLockError::WouldBlock));
    Some((pid, owned))
}

/// The state file's path.
pub fn file_path(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

/// Opens the file for writing: durable settings, integrity, migrations.
pub(crate) fn open_writer(folder: &Path) -> Result<Connection, StoreError> {
    Ok(open_migrated(folder)?.0)
}

/// As [`open_writer`], and what was migrated.
pub(crate) fn open_migrated(folder: &Path) -> Result<(Connection, Migrated), StoreError> {
    restore::is_whole(folder)?;
    let file = file_path(folder);
    let io = |error: rusqlite::Error| StoreError::Io {
        what: format!("open state file {}", file.display()),
        detail: error.to_string(),
    };
    begin(&file).map_err(|error| StoreError::Io {
        what: format!("make state file {}", file.display()),
        detail: error.to_string(),
    })?;
    let mut connection = Connection::open(&file).map_err(io)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let corrupt = |detail: String| StoreError::Corrupt {
        file: file.clone(),
        detail,
    };
    let fresh: bool = connection
        .query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
            row.get(0)
        })
        .map_err(|error| corrupt(error.to_string()))?;
    if fresh {
        // Whose file it is, its first migration writes.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    } else {
        let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if id != APPLICATION_ID {
            return Err(corrupt("it is not a Lighterman state file".to_owned()));
        }
        // It looks at each page once: what would be kept of them stays with the process for as long as it runs.
        connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        let verdict: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| corrupt(error.to_string()))?;
        if verdict != "ok" {
            return Err(corrupt(verdict));
        }
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "OFF")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "cache_spill", SPILL_PAGES)?;
    log_pages(&connection, LOG_PAGES)?;
    connection.set_prepared_statement_cache_capacity(256);
    // Our statements name their indexes. Without this, SQLite looks at each new value of a parameter
    // for a better plan, and prepares the statement again and again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let migrated = migrate::with_backup(&mut connection, folder)?;
    Ok((connection, migrated))
}

fn log_pages(connection: &Connection, pages: i64) -> Result<(), StoreError> {
    connection.pragma_update(None, "wal_autocheckpoint", pages)?;
    connection.pragma_update(None, "journal_size_limit", pages * PAGE_BYTES)?;
    Ok(())
}

impl Store {
    /// Keeps the file's log short, or lets it grow as is best: where the disk is low, the log would take the room that
    /// what has been read needs to be delivered. The next commit but one gives back what is too much of it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep_log_short(&self, short: bool) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                log_pages(db, if short { SHORT_LOG_PAGES } else { LOG_PAGES })?;
                // A commit looks how long the log is, where it writes.
                db.execute("UPDATE source SET problem = problem", [])?;
                Ok(())
            })
            .await
    }
}

/// Opens any state file for writing, as it is; it must exist.
pub(crate) fn read_write(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    opened(file, flags)
}

/// Opens any state file for reading only; it must exist.
pub(crate) fn read_only(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    opened(file, flags)
}

fn opened(file: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(file, flags).map_err(|error| StoreError::Io {
        what: format!("open state file {}", file.display()),
        detail: error.to_string(),
    })?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Opens the file for one small write beside a running agent. `None` when there is none yet.
pub(crate) fn open_beside(folder: &Path) -> Result<Option<Connection>, StoreError> {
    let file = file_path(folder);
    if !file.exists() {
        return Ok(None);
    }
    let connection = read_write(&file)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = migrate::known();
    if found > known {
        return Err(StoreError::TooNew { file, found, known });
    }
    if found < known {
        return Err(StoreError::Io {
            what: "ask the running agent".to_owned(),
            detail: format!(
                "it is of an older version (state file format {found}, not {known}); stop it and \
                 start this version"
            ),
        });
    }
    Ok(Some(connection))
}

/// Opens the file for reading only, beside a running agent. `None` when there is none yet.
pub(crate) fn open_reader(folder: &Path) -> Result<Option<Connection>, StoreError> {
    let file = file_path(folder);
    if !file.exists() {
        return Ok(None);
    }
    let connection = read_only(&file)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > migrate::known() {
        return Err(StoreError::TooNew {
            file,
            found,
            known: migrate::known(),
        });
    }
    Ok((found > 0).then_some(connection))
}

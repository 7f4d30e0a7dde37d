//! A copy of a state file that is whole or not there: one moment of it, checked as it lies on disk,
//! durable before it has its name, and never in another file's place.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use contract::look::bytes;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};
use tempfile::NamedTempFile;

use crate::error::StoreError;
use crate::room::room;
use crate::verify;

/// Pages copied in one step: about a megabyte.
const STEP_PAGES: i32 = 256;
/// A rest between two steps is never longer.
const REST_MAX: Duration = Duration::from_secs(1);
/// Left free on the disk beside the copy.
const MARGIN: u64 = 16 << 20;
/// Beginning and end of a copy's name until it is whole.
const PARTIAL: (&str, &str) = (".lighterman-", ".partial");

/// Whether somebody else needs the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Nobody does.
    Alone,
    /// An agent runs: each step is followed by as long a rest as it took.
    Beside,
}

/// Copies a file to another that does not exist: its size.
pub(crate) fn copy(db: &Connection, to: &Path, pace: Pace) -> Result<u64, StoreError> {
    let partial = written(db, to, pace)?;
    failpoint::at!("state.backup.written")?;
    checked(partial.path())?;
    place(partial, to)
}

/// A copy under a name of its own in the folder of `to`, which is gone when it is dropped.
pub(crate) fn written(db: &Connection, to: &Path, pace: Pace) -> Result<NamedTempFile, StoreError> {
    let folder = folder_of(to);
    let what = || format!("write a copy of the state file in {}", folder.display());
    std::fs::create_dir_all(folder).map_err(io(what()))?;
    remove_old(folder);
    room_for(folder, size(db)?)?;
    let partial = partial(folder)?;
    let full = |error: StoreError| match error {
        StoreError::Full => no_room(folder, None),
        other => other,
    };
    pages(db, partial.path(), pace).map_err(full)?;
    Ok(partial)
}

/// An empty file in a folder, for whoever may run this alone to read; gone when it is dropped.
pub(crate) fn partial(folder: &Path) -> Result<NamedTempFile, StoreError> {
    let what = format!("write a file in {}", folder.display());
    tempfile::Builder::new()
        .prefix(PARTIAL.0)
        .suffix(PARTIAL.1)
        .tempfile_in(folder)
        .map_err(io(what))
}

/// Gives a copy its name, unless something has it already: its size.
pub(crate) fn place(partial: NamedTempFile, to: &Path) -> Result<u64, StoreError> {
    let what = || format!("write {}", to.display());
    partial.as_file().sync_all().map_err(io(what()))?;
    let file = partial.persist_noclobber(to).map_err(|error| {
        if error.error.kind() == std::io::ErrorKind::AlreadyExists {
            exists(to)
        } else {
            io(what())(error.error)
        }
    })?;
    failpoint::at!("state.backup.named")?;
    sync_folder(folder_of(to))?;
    let found = file.metadata().map_err(io(what()))?;
    Ok(found.len())
}

/// What is said of a name that is taken.
pub(crate) fn exists(file: &Path) -> StoreError {
    StoreError::Refused {
        what: format!("write {}", file.display()),
        why: "it exists already, and a backup never takes another file's place".to_owned(),
        hint: "name another file, or a folder, in which it gets a name of its own".to_owned(),
    }
}

/// Checks that a copy is whole as it lies on disk. What it holds is another matter: that came from
/// the file it was made of.
pub(crate) fn checked(file: &Path) -> Result<(), StoreError> {
    let db = crate::folder::read_only(file)?;
    let damaged = verify::damage(&db, 1)?;
    match damaged.into_iter().next() {
        None => Ok(()),
        Some(why) => Err(StoreError::Refused {
            what: "check the copy of the state file".to_owned(),
            why,
            hint: "lighterman state verify says whether the state file itself is damaged"
                .to_owned(),
        }),
    }
}

/// Fails where a folder's disk has no room for so many bytes more.
pub(crate) fn room_for(folder: &Path, needed: u64) -> Result<(), StoreError> {
    match room(folder) {
        Some(room) if room.free_bytes < needed.saturating_add(MARGIN) => {
            Err(no_room(folder, Some((needed, room.free_bytes))))
        }
        _ => Ok(()),
    }
}

fn no_room(folder: &Path, found: Option<(u64, u64)>) -> StoreError {
    let why = found.map_or_else(
        || "the disk became full".to_owned(),
        |(needed, free)| {
            format!(
                "it needs {} and some room beside, and {} are free",
                bytes(needed),
                bytes(free)
            )
        },
    );
    StoreError::Refused {
        what: format!("write a copy of the state file in {}", folder.display()),
        why,
        hint: "free disk space there, or name a folder on another disk (state backup --to)"
            .to_owned(),
    }
}

/// What a file's pages come to.
pub(crate) fn size(db: &Connection) -> Result<u64, StoreError> {
    let number = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (pages, page) = (number("page_count")?, number("page_size")?);
    Ok(pages.unsigned_abs().saturating_mul(page.unsigned_abs()))
}

/// One moment of the file: a transaction that only reads keeps it while the agent goes on writing,
/// so that the copy is not begun anew with each change. What is written meanwhile stays in the log
/// beside the file until the copy is done.
fn pages(db: &Connection, to: &Path, pace: Pace) -> Result<(), StoreError> {
    db.execute_batch("BEGIN")?;
    let copied = within(db, to, pace);
    let ended = db.execute_batch("ROLLBACK");
    copied?;
    Ok(ended?)
}

fn within(db: &Connection, to: &Path, pace: Pace) -> Result<(), StoreError> {
    // The first read is what begins it.
    let _: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let mut copy = Connection::open(to)?;
    // It has no name yet: a half-written one is thrown away, and a whole one is made durable at once.
    copy.pragma_update(None, "journal_mode", "OFF")?;
    copy.pragma_update(None, "synchronous", "OFF")?;
    {
        let backup = Backup::new(db, &mut copy)?;
        loop {
            let began = Instant::now();
            match backup.step(STEP_PAGES)? {
                StepResult::Done => break,
                StepResult::More => {}
                // Nobody writes to what has no name, and who only reads waits for nobody.
                _ => {
                    return Err(StoreError::Sqlite(
                        "copy it: another process holds it locked".to_owned(),
                    ));
                }
            }
            if pace == Pace::Beside {
                std::thread::sleep(began.elapsed().min(REST_MAX));
            }
        }
    }
    // One file that anybody can read, without the log that a running agent has beside its own.
    let mode: String = copy.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    if mode != "delete" {
        return Err(StoreError::Invariant(format!(
            "a copy stays in journal mode {mode}"
        )));
    }
    copy.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Copies that a process left behind which was killed long ago.
fn remove_old(folder: &Path) {
    const OLD: Duration = Duration::from_hours(24);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with(PARTIAL.0) && name.ends_with(PARTIAL.1);
        // A copy that is being written is younger with each step.
        let age = entry.metadata().and_then(|found| found.modified());
        let old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > OLD));
        if is_ours && old {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    // Elsewhere a folder cannot be opened as a file, and a rename is durable by itself.
    if cfg!(unix) {
        let what = || format!("make the names in {} durable", folder.display());
        let opened = File::open(folder).map_err(io(what()))?;
        opened.sync_all().map_err(io(what()))?;
    }
    Ok(())
}

/// The folder that a file is in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(crate) fn io(what: String) -> impl FnOnce(std::io::Error) -> StoreError {
    move |error| StoreError::Io {
        what,
        detail: error.to_string(),
    }
}

/// Whether SQLite says that a file is no database, or a damaged one.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

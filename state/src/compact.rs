//! Giving back the room that a state file does not need any more.
//!
//! Only while no agent runs: the file is written anew beside itself and put in its own place, which
//! nobody may have open. A running agent gives back the pages of events that left by itself.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::belongs::Belongs;
use crate::error::StoreError;
use crate::folder::{self, Ownership};
use crate::{copy, migrate, restore};

/// What compacting came to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Compacted {
    /// The file.
    pub file: PathBuf,
    /// Its size before, with the log beside it.
    pub before_bytes: u64,
    /// And after.
    pub after_bytes: u64,
    /// Why it was not written anew, where only free pages were given back.
    pub only_free_pages: Option<String>,
}

/// Makes a state file as small as what it holds.
///
/// # Errors
/// See [`StoreError`]: an agent that runs, a file of another format, a damaged file. The file is as
/// good as before then.
pub fn compact(folder: &Path) -> Result<Compacted, StoreError> {
    let file = crate::file_path(folder);
    if !file.exists() {
        return Err(StoreError::Missing { file });
    }
    let _ownership = Ownership::take(folder)?;
    restore::is_whole(folder)?;
    let before_bytes = size(folder);
    let db = folder::read_write(&file)?;
    let known = migrate::between(&db, &file)?;
    if !known.steps.is_empty() {
        return Err(StoreError::Refused {
            what: "compact the state file".to_owned(),
            why: format!("it is of format {}, not {}", known.from, known.to),
            hint: "lighterman state migrate, then compact it".to_owned(),
        });
    }
    give_back(&db)?;
    let needed = copy::size(&db)?;
    let only_free_pages = match copy::room_for(folder, needed) {
        Ok(()) => {
            anew(db, folder, &file)?;
            None
        }
        // What could be given back without room was.
        Err(StoreError::Refused { why, .. }) => Some(why),
        Err(error) => return Err(error),
    };
    Ok(Compacted {
        before_bytes,
        after_bytes: size(folder),
        only_free_pages,
        file,
    })
}

/// Gives back the pages that hold nothing, and the log beside the file.
fn give_back(db: &Connection) -> Result<(), StoreError> {
    {
        let mut free = db.prepare("PRAGMA incremental_vacuum")?;
        let mut rows = free.query([])?;
        while rows.next()?.is_some() {}
    }
    fold_log(db)
}

/// Brings the log beside the file into it and removes it: the file alone is all there is. SQLite does
/// that only where nobody else has the file open; the next agent makes a new log.
pub(crate) fn fold_log(db: &Connection) -> Result<(), StoreError> {
    let busy = || StoreError::Refused {
        what: "close the log beside the state file".to_owned(),
        why: "another process reads the file".to_owned(),
        hint: "wait until other lighterman commands have ended, and try again".to_owned(),
    };
    match db.query_row("PRAGMA journal_mode = DELETE", [], |row| {
        row.get::<_, String>(0)
    }) {
        Ok(mode) if mode == "delete" => Ok(()),
        Ok(_) => Err(busy()),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
            Err(busy())
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes what the file holds to a new one, and puts that in its place. There is no log beside the
/// file by then, so whichever of the two a crash leaves is all there is.
fn anew(db: Connection, folder: &Path, file: &Path) -> Result<(), StoreError> {
    let partial = copy::partial(folder)?;
    let to = partial.path().to_string_lossy().into_owned();
    db.execute("VACUUM INTO ?1", [to])?;
    failpoint::at!("state.compact.written")?;
    db.close().map_err(|(_, error)| error)?;
    copy::checked(partial.path())?;
    Belongs::of(file, folder)?.give(partial.path())?;
    let what = || {
        format!(
            "put the compacted state file in the place of {}",
            file.display()
        )
    };
    partial.as_file().sync_all().map_err(copy::io(what()))?;
    partial
        .persist(file)
        .map_err(|error| copy::io(what())(error.error))?;
    failpoint::at!("state.compact.placed")?;
    copy::sync_folder(folder)
}

/// The file and the log beside it.
fn size(folder: &Path) -> u64 {
    let file = crate::file_path(folder);
    let log = restore::beside(&file, "-wal");
    [file, log]
        .iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|found| found.len())
        .sum()
}

//! Putting a backup in the state file's place, and what is true of an older state.
//!
//! What was done after the backup is not known to it: sources go on from where they stood then, and
//! whatever was on its way may have been delivered. Ids and idempotency keys come out the same, so a
//! destination that knows them takes nothing twice.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use contract::finding::Level;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::backup::stamp;
use crate::belongs::Belongs;
use crate::compact::fold_log;
use crate::copy::{self, Pace};
use crate::error::StoreError;
use crate::folder::{self, Ownership};
use crate::pause::{self, Paused};
use crate::resync::{self, Resync};
use crate::{audit, from_millis, location, migrate, verify};

/// Stands in the folder while a state file takes another's place.
pub(crate) const MARK: &str = "lighterman.restoring";

/// What was restored, and what that means.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// The backup.
    pub backup: PathBuf,
    /// The newest work that it knows of.
    pub of: Option<Timestamp>,
    /// Where the state file that was there before lies now.
    pub replaced: Option<PathBuf>,
    /// Format of the backup, and the one it was brought to.
    pub formats: (i64, i64),
    /// Its sources.
    pub sources: Vec<RestoredSource>,
    /// Its destinations.
    pub destinations: Vec<RestoredDestination>,
    /// What a person had asked for and was not done yet: given up, for it may have been done since.
    pub requests_given_up: u64,
    /// Entries of the audit record since the backup, which stay on record.
    pub noted_since: u64,
}

/// A source of a restored state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RestoredSource {
    /// Its name.
    pub name: String,
    /// Where it goes on.
    pub checkpoint: Option<String>,
    /// When it stood there.
    pub at: Option<Timestamp>,
    /// The replaced state knew a later life of its log: its tables are read again in a newer one.
    pub begins_epoch: Option<u32>,
}

/// A destination of a restored state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RestoredDestination {
    /// Its name.
    pub name: String,
    /// Events that wait; some may have been delivered since, and leave again.
    pub waiting: u64,
    /// Requests that were out: what became of them is unknown.
    pub out: u64,
    /// Events that are held.
    pub held: u64,
    /// It is paused.
    pub paused: bool,
}

/// Puts a backup in the place of the state file of `folder`, which is kept aside. With `paused`,
/// nothing leaves for any destination until a person resumes it.
///
/// # Errors
/// See [`StoreError`]: an agent that runs, a backup that does not verify or is of a newer version, no
/// room. The state file is as it was then, but for a crash between the two: that is noticed by
/// whatever opens the folder, and mended by restoring again.
pub fn restore(
    folder: &Path,
    backup: &Path,
    paused: bool,
    now: Timestamp,
) -> Result<Restored, StoreError> {
    if !backup.is_file() {
        // Before a folder is made for it.
        verify::verify(backup)?;
    }
    let _ownership = Ownership::take(folder)?;
    let verdict = verify::verify(backup)?;
    // Who did what is no reason to leave everything lost: the record is as it was in the backup.
    let mut wrong = verdict
        .findings
        .iter()
        .filter(|one| one.what != audit::WHAT);
    if let Some(wrong) = wrong.find(|finding| finding.level == Level::Fail) {
        return Err(StoreError::Refused {
            what: format!("restore {}", backup.display()),
            why: format!("{}: {}", wrong.what, wrong.found),
            hint:
                "restore an older backup; lighterman state verify --file <backup> says which are \
                   whole"
                    .to_owned(),
        });
    }
    let file = crate::file_path(folder);
    let partial = {
        let from = folder::read_only(backup)?;
        copy::written(&from, &file, Pace::Alone)?
    };
    let before = lives(folder, &file);
    let stops = location::stopped_in(&present(folder, &file));
    let mut db = folder::read_write(partial.path())?;
    migrate::apply(&mut db, partial.path())?;
    let noted_since = audit::carry_over(&db, &present(folder, &file))?;
    let restored = adapt(&db, &before, paused)?;
    // A flood that came after the backup is not over because of the restore.
    location::stop_as_well(&db, &stops)?;
    db.close().map_err(|(_, error)| error)?;
    copy::checked(partial.path())?;
    Belongs::of(&file, folder)?.give(partial.path())?;
    let replaced = aside(folder, &file, now)?;
    failpoint::at!("state.restore.aside")?;
    copy::place(partial, &file)?;
    failpoint::at!("state.restore.placed")?;
    remove(&folder.join(MARK))?;
    copy::sync_folder(folder)?;
    let (of, sources, destinations, requests_given_up) = restored;
    Ok(Restored {
        backup: backup.to_owned(),
        of,
        replaced,
        formats: (verdict.format, migrate::known()),
        sources,
        destinations,
        requests_given_up,
        noted_since,
    })
}

/// Refuses a folder in which a restore did not come to its end.
pub(crate) fn is_whole(folder: &Path) -> Result<(), StoreError> {
    if folder.join(MARK).exists() {
        return Err(StoreError::Refused {
            what: format!("open state folder {}", folder.display()),
            why: "a restore did not come to its end: the state file may lack what stood beside it"
                .to_owned(),
            hint: "lighterman state restore <backup>, or lighterman rollback, once more; what was there before lies in a \
                   folder replaced-<time> beside the state file"
                .to_owned(),
        });
    }
    Ok(())
}

/// What SQLite keeps beside a file.
pub(crate) fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The state file that is replaced; the one that an earlier restore moved away where that did not come to
/// its end.
pub(crate) fn present(folder: &Path, file: &Path) -> PathBuf {
    match (fs::read_to_string(folder.join(MARK)), file.file_name()) {
        (Ok(moved), Some(name)) if !file.exists() => Path::new(&moved).join(name),
        _ => file.to_owned(),
    }
}

/// The epoch of each source in the state file that is replaced, as far as it can be read.
fn lives(folder: &Path, file: &Path) -> Vec<(String, u32)> {
    let file = present(folder, file);
    let read = || -> Result<Vec<(String, u32)>, StoreError> {
        let db = folder::read_only(&file)?;
        let mut query = db.prepare("SELECT name, epoch FROM source")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    if file.exists() {
        read().unwrap_or_default()
    } else {
        Vec::new()
    }
}

type Adapted = (
    Option<Timestamp>,
    Vec<RestoredSource>,
    Vec<RestoredDestination>,
    u64,
);

/// Makes a state true that is older than what happened since.
fn adapt(db: &Connection, before: &[(String, u32)], paused: bool) -> Result<Adapted, StoreError> {
    let of = db
        .query_row(
            "SELECT max(at) FROM (SELECT max(updated_at) AS at FROM source
               UNION ALL SELECT max(updated_at) FROM delivery)",
            [],
            |row| row.get::<_, Option<i64>>(0),
        )
        .optional()?
        .flatten()
        .filter(|at| *at > 0);
    db.execute_batch("BEGIN IMMEDIATE")?;
    let given_up = db.execute("DELETE FROM request WHERE done_at IS NULL", [])?
        + db.execute("DELETE FROM resync_request", [])?
        + db.execute("DELETE FROM reconcile_request WHERE done_at IS NULL", [])?;
    let mut sources = sources(db)?;
    for (id, source) in &mut sources {
        let life = before.iter().find(|(name, _)| *name == source.name);
        let own: u32 = db.query_row("SELECT epoch FROM source WHERE id = ?1", [*id], |row| {
            row.get(0)
        })?;
        // What was told in that life must not be told anew by its numbers.
        if let Some((_, epoch)) = life.filter(|(_, epoch)| *epoch > own) {
            db.execute("UPDATE source SET epoch = ?2 WHERE id = ?1", (*id, epoch))?;
            resync::begin(db, *id, &Resync::All)?;
            source.begins_epoch = Some(epoch.saturating_add(1));
            source.checkpoint = None;
        }
    }
    if paused {
        for id in crate::held::destinations(db)? {
            pause::set(db, id, Some(Paused { until: None }))?;
        }
    }
    let destinations = destinations(db)?;
    db.execute_batch("COMMIT")?;
    let sources = sources.into_iter().map(|(_, source)| source).collect();
    let given_up = u64::try_from(given_up).unwrap_or(u64::MAX);
    Ok((of.map(from_millis), sources, destinations, given_up))
}

fn sources(db: &Connection) -> Result<Vec<(i64, RestoredSource)>, StoreError> {
    let mut query =
        db.prepare("SELECT id, name, checkpoint, updated_at FROM source ORDER BY name")?;
    let rows = query.query_map([], |row| {
        let at: i64 = row.get(3)?;
        let source = RestoredSource {
            name: row.get(1)?,
            checkpoint: row.get(2)?,
            at: (at > 0).then(|| from_millis(at)),
            begins_epoch: None,
        };
        Ok((row.get(0)?, source))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn destinations(db: &Connection) -> Result<Vec<RestoredDestination>, StoreError> {
    let mut query = db.prepare(
        "SELECT n.name, n.paused = 1,
           (SELECT count(*) FROM delivery d WHERE d.destination = n.id
              AND d.state IN ('queued', 'backoff', 'accepted')),
           (SELECT count(*) FROM delivery d WHERE d.destination = n.id
              AND d.state IN ('sending', 'unknown')),
           (SELECT count(*) FROM delivery d WHERE d.destination = n.id AND d.state = 'held')
         FROM destination n ORDER BY n.name",
    )?;
    let rows = query.query_map([], |row| {
        let count = |n| row.get::<_, i64>(n).map(i64::unsigned_abs);
        Ok(RestoredDestination {
            name: row.get(0)?,
            paused: row.get(1)?,
            waiting: count(2)?,
            out: count(3)?,
            held: count(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Moves the state file, and what stands beside it, into a folder of its own. A mark stands in the
/// state folder until the other file is in its place: what a crash leaves in between is no state.
pub(crate) fn aside(
    folder: &Path,
    file: &Path,
    now: Timestamp,
) -> Result<Option<PathBuf>, StoreError> {
    let names = ["", "-wal", "-shm"].map(|end| beside(file, end));
    if !names.iter().any(|name| name.exists()) {
        return Ok(None);
    }
    // One that can be read closes its log by itself; a damaged one keeps what it has.
    if let Ok(db) = folder::read_write(file)
        && let Err(error @ StoreError::Refused { .. }) = fold_log(&db)
    {
        return Err(error);
    }
    let to = replaced(folder, now)?;
    let mark = folder.join(MARK);
    let written = || {
        let mut file = fs::File::create(&mark)?;
        file.write_all(to.to_string_lossy().as_bytes())?;
        // An empty mark would not say where the state file lies.
        file.sync_all()
    };
    written().map_err(copy::io(format!("write {}", mark.display())))?;
    copy::sync_folder(folder)?;
    failpoint::at!("state.restore.marked")?;
    for name in names.iter().filter(|name| name.exists()) {
        let Some(last) = name.file_name() else {
            continue;
        };
        let what = format!("move {} to {}", name.display(), to.display());
        fs::rename(name, to.join(last)).map_err(copy::io(what))?;
    }
    copy::sync_folder(&to)?;
    Ok(Some(to))
}

/// Folders for what was replaced within one second, at most.
const SAME_SECOND_MAX: u32 = 9;

/// An empty folder for what is replaced.
fn replaced(folder: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    let mut to = folder.join(format!("replaced-{}", stamp(now)));
    // What failed a moment ago is done once more within the same second.
    for n in 2..=SAME_SECOND_MAX {
        if !to.exists() {
            break;
        }
        to.set_file_name(format!("replaced-{}-{n}", stamp(now)));
    }
    fs::create_dir(&to).map_err(copy::io(format!(
        "make {} for the state file that is replaced",
        to.display()
    )))?;
    Ok(to)
}

pub(crate) fn remove(mark: &Path) -> Result<(), StoreError> {
    match fs::remove_file(mark) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(copy::io(format!("remove {}", mark.display()))(error)),
    }
}

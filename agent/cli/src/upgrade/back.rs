//! Going back to what was before the last upgrade.

use std::path::{Path, PathBuf};

use contract::Finding;
use serde::Serialize;
use state::{RolledBack, RolledBackDestination, RolledBackSource, StateReader, StoreError};

use super::record::Record;
use super::{now, owned, release, swap, trouble};
use crate::operate::counted;
use crate::status::state_refused;
use crate::{Exit, audit, out};

/// What becomes of the binary.
#[derive(Debug, Serialize)]
#[serde(tag = "does", rename_all = "snake_case")]
enum Binary {
    /// The one before takes its place.
    GoesBack {
        binary: PathBuf,
        previous: PathBuf,
        version: String,
    },
    /// It is the one before already.
    IsBack { version: String },
    /// Nobody here knows of another one.
    Stays { why: String, then: String },
}

/// What going back comes to.
#[derive(Debug, Serialize)]
struct Back {
    only_shown: bool,
    binary: Binary,
    /// `None` = the state stays.
    state: Option<RolledBack>,
}

pub(super) fn rollback(
    folder: &Path,
    named: Option<&Path>,
    keep_state: bool,
    only_show: bool,
    json: bool,
) -> Exit {
    let record = Record::read(folder).filter(is_the_last);
    let binary = binary(record.as_ref());
    if !only_show && let Some(pid) = running(folder) {
        let found = format!("the agent runs (process {pid})");
        let fix =
            "stop it first, as with systemctl stop lighterman; --plan shows what it would come to";
        crate::refuse(&[Finding::fail("roll back", found).fix(fix)], json);
        return Exit::State;
    }
    let backup = match chosen(folder, named, record.as_ref()) {
        Ok(backup) => backup,
        Err(finding) if !keep_state => return trouble(&finding, json),
        Err(_) => PathBuf::new(),
    };
    if keep_state {
        if let Err(finding) = may_keep(folder, record.as_ref(), &binary) {
            return trouble(&finding, json);
        }
        return finish(folder, binary, None, only_show, json);
    }
    let done = if only_show {
        state::look_back(folder, &backup)
    } else {
        state::roll_back(folder, &backup, now())
    };
    match done {
        Ok(done) => finish(folder, binary, Some(done), only_show, json),
        Err(error) => {
            let what = "roll back the state";
            match error {
                StoreError::Refused { .. } => {
                    state_refused(what, &error, json);
                    Exit::Trouble
                }
                // It may have been cut off where no agent starts any more.
                StoreError::Io { .. } | StoreError::Full => {
                    let fix = "mend that, then lighterman rollback once more";
                    crate::refuse(&[Finding::fail(what, error.to_string()).fix(fix)], json);
                    Exit::State
                }
                _ => state_refused(what, &error, json),
            }
        }
    }
}

fn finish(
    folder: &Path,
    binary: Binary,
    state: Option<RolledBack>,
    only_shown: bool,
    json: bool,
) -> Exit {
    failpoint::crash!("rollback.state");
    if !only_shown
        && let Binary::GoesBack {
            binary, previous, ..
        } = &binary
    {
        // The state went back by now: said, and done again by the same command.
        if let Err(mut finding) = swap::back(binary, previous) {
            if state.is_some() {
                finding
                    .found
                    .push_str("; the state has gone back, the binary has not");
            }
            return trouble(&finding, json);
        }
    }
    if !only_shown {
        Record::remove(folder);
        note(folder, &binary, state.as_ref());
    }
    let back = Back {
        only_shown,
        binary,
        state,
    };
    if json {
        out(&serde_json::json!(back).to_string());
    } else {
        told(&back);
    }
    Exit::Ok
}

/// Notes it, where the state file has a record for that.
fn note(folder: &Path, binary: &Binary, state: Option<&RolledBack>) {
    let format = state.map_or_else(state::newest_format, |state| state.formats.1);
    if format != state::newest_format() {
        return;
    }
    let version = match binary {
        Binary::GoesBack { version, .. } | Binary::IsBack { version } => version.as_str(),
        Binary::Stays { .. } => "",
    };
    let details = serde_json::json!({
        "backup": state.map(|state| &state.backup),
        "replaced": state.and_then(|state| state.replaced.as_ref()),
        "formats": state.map(|state| state.formats),
    });
    audit::did(folder, "agent.rollback", version, details);
}

/// Who runs on a state folder, also where its file is of a newer version.
fn running(folder: &Path) -> Option<u32> {
    state::owner(folder).and_then(|(pid, owned)| owned.then_some(pid))
}

/// Whether the binary is one that the upgrade knows: else another one was put there since, by other ways, and
/// what is on record says nothing of it.
fn is_the_last(record: &Record) -> bool {
    let is = release::sum(&record.binary).unwrap_or_default();
    is == record.to.sha256 || is == record.from.sha256
}

/// What becomes of the binary.
fn binary(record: Option<&Record>) -> Binary {
    let own = swap::own().ok();
    let Some(record) = record else {
        let owner = own.as_deref().and_then(owned::owned);
        return Binary::Stays {
            why: match &owner {
                Some(owner) => format!("it belongs to a package ({} says so)", owner.by),
                None => "no upgrade by lighterman upgrade --apply is known here".to_owned(),
            },
            then: match &owner {
                Some(owner) => owner.older.to_owned(),
                None => "put the older binary in its place".to_owned(),
            },
        };
    };
    let sum = |file: &Path| release::sum(file).unwrap_or_default();
    let version = record.from.build.to_string();
    if sum(&record.binary) == record.from.sha256 {
        return Binary::IsBack { version };
    }
    if sum(&record.previous) == record.from.sha256 {
        return Binary::GoesBack {
            binary: record.binary.clone(),
            previous: record.previous.clone(),
            version,
        };
    }
    Binary::Stays {
        why: format!(
            "{} is not the one that stood there before the upgrade",
            record.previous.display()
        ),
        then: format!("put {version} in its place"),
    }
}

/// The backup to go back to.
fn chosen(
    folder: &Path,
    named: Option<&Path>,
    record: Option<&Record>,
) -> Result<PathBuf, Finding> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let recorded = record.and_then(|record| record.backup.clone());
    if let Some(backup) = recorded.filter(|backup| backup.exists()) {
        return Ok(backup);
    }
    let newest = state::newest_format();
    let mut backups = state::backups(folder).into_iter();
    let found = if let Err(StoreError::TooNew { .. }) = StateReader::open(folder) {
        // Of a newer version: whatever this one can read.
        backups.find(|one| one.format <= newest)
    } else {
        // Brought up to date by this version.
        let ours = format!("before-{}-of-format-", crate::version::VERSION);
        backups.find(|one| {
            let name = one.file.file_name().unwrap_or_default().to_string_lossy();
            one.format < newest && name.starts_with(&ours)
        })
    };
    found.map(|backup| backup.file).ok_or_else(|| {
        let found = "no upgrade is known here, and the state folder has no backup that one made";
        let fix =
            "--backup FILE names one; lighterman state restore <backup> puts one there as it is";
        Finding::fail("roll back", found).fix(fix)
    })
}

/// Whether the version before can go on with the state as it is.
fn may_keep(folder: &Path, record: Option<&Record>, binary: &Binary) -> Result<(), Finding> {
    let what = "roll back the binary alone";
    if let Binary::Stays { why, then } = binary {
        return Err(Finding::fail(what, why.clone()).fix(then.clone()));
    }
    let format = |file: &Path| {
        let verdict = state::verify(file);
        verdict.map(|verdict| verdict.format).ok()
    };
    let before = record.and_then(|record| record.backup.as_deref());
    let before = before.map(format);
    let is = format(&state::file_path(folder));
    match before {
        // There was no state then.
        None => Ok(()),
        Some(before) if before.is_some() && before == is => Ok(()),
        Some(_) => {
            let found = "the state file has another format than it had before the upgrade";
            let fix = "lighterman rollback without --keep-state takes the state back as well";
            Err(Finding::fail(what, found).fix(fix))
        }
    }
}

fn told(back: &Back) {
    let shown = back.only_shown;
    match &back.binary {
        Binary::GoesBack {
            binary, version, ..
        } => out(&format!(
            "{} {} {version} again.",
            binary.display(),
            if shown { "would be" } else { "is" }
        )),
        Binary::IsBack { version } => out(&format!("The binary is {version} already.")),
        Binary::Stays { why, then } => out(&format!(
            "The binary stays as it is: {why}. Before the agent is started: {then}."
        )),
    }
    let Some(state) = &back.state else {
        out("The state stays as it is.");
        out(next(back));
        return;
    };
    let (from, to) = state.formats;
    let formats = if from == to {
        format!("within format {to}")
    } else {
        format!("from format {from} to {to}")
    };
    out(&format!(
        "The state {} back {formats}, by {}.",
        if shown { "would go" } else { "went" },
        state.backup.display()
    ));
    if let Some(replaced) = &state.replaced {
        out(&format!(
            "What was there before lies in {}; nothing needs it any more, and it is yours to remove.",
            replaced.display()
        ));
    }
    for line in state.sources.iter().map(source) {
        out(&line);
    }
    for line in state.destinations.iter().map(destination) {
        out(&line);
    }
    if state.requests_given_up > 0 {
        out(&format!(
            "  {} that persons had asked for, and which were not done yet, are given up: ask again what is still \
             wanted.",
            counted(state.requests_given_up, "thing")
        ));
    }
    for stop in &state.stops_lost {
        out(&format!(
            "  The version before knows no stopped locations: what was told or held at {stop} stays so until it \
             changes. Release it before going back, or tell it again with lighterman replay."
        ));
    }
    out(next(back));
}

fn next(back: &Back) -> &'static str {
    if back.only_shown {
        "Nothing was touched. To do it: stop the agent, then the same command without --plan."
    } else {
        "Next: start the agent, then lighterman status."
    }
}

fn source(source: &RolledBackSource) -> String {
    let name = &source.name;
    match &source.checkpoint {
        None => {
            format!("  Source {name} has no position yet: its tables are read from the beginning.")
        }
        Some(_) => format!(
            "  Source {name} goes on where it stands now: nothing is left out. {} read again and compared with what \
             was told; only what differs is told.",
            match source.tables {
                1 => "Its table is".to_owned(),
                more => format!("Its {more} tables are"),
            }
        ),
    }
}

fn destination(destination: &RolledBackDestination) -> String {
    let (name, out) = (&destination.name, destination.out);
    let out = match out {
        0 => String::new(),
        out => format!("; {out} were out, and are settled as after a crash"),
    };
    format!(
        "  {name}: {} delivered since stay known and are not told again; {} wait and leave with the same ids and \
         versions, {} are held{out}.",
        destination.delivered_since, destination.waiting, destination.held
    )
}

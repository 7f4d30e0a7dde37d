//! `lighterman state`: looking after the state file.
//!
//! These commands read of the settings only where the state is: they work without any secret, and
//! with mappings that do not fit.

mod restored;

use std::path::PathBuf;

use clap::Subcommand;
use contract::finding::{Level, worst};
use contract::look::bytes;
use contract::{Clock, Finding};
use engine::clock::SystemClock;
use serde::Serialize;
use state::{BackedUp, Compacted, Migrated, StoreError, Verdict};

use crate::status::state_refused;
use crate::{Common, Exit, audit, beside_settings, config, line, out, refuse};

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Looks whether the state file is whole and what it says is consistent. The agent may run.
    Verify {
        #[command(flatten)]
        common: Common,
        /// Another file: a backup.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Makes a checked copy of the state file, also while the agent runs. It holds no secrets, and
    /// what customers and orders say.
    Backup {
        #[command(flatten)]
        common: Common,
        /// A file that does not exist, or a folder; else the folder `backups` in the state folder.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Puts a backup in the state file's place, which is kept aside; says what that means for sources
    /// and destinations. Only while no agent runs.
    Restore {
        #[command(flatten)]
        common: Common,
        /// The backup.
        backup: PathBuf,
        /// Every destination is paused: nothing leaves before a person resumes it.
        #[arg(long)]
        paused: bool,
    },
    /// Gives back the room that the state file does not need any more. Only while no agent runs: one
    /// that runs gives back what delivered events needed by itself.
    Compact {
        #[command(flatten)]
        common: Common,
    },
    /// Brings a state file of an older version to this one's format, with a copy made before. The
    /// agent does the same when it starts.
    Migrate {
        #[command(flatten)]
        common: Common,
        /// Only shows what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) async fn care(command: StateCommand) -> Exit {
    // All of it waits for the disk.
    match tokio::task::spawn_blocking(move || run(&command)).await {
        Ok(exit) => exit,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn run(command: &StateCommand) -> Exit {
    let (StateCommand::Verify { common, .. }
    | StateCommand::Backup { common, .. }
    | StateCommand::Restore { common, .. }
    | StateCommand::Compact { common }
    | StateCommand::Migrate { common, .. }) = command;
    let json = common.json;
    // What a person names is seen from where that person stands.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let named = match command {
        StateCommand::Verify { file, .. } => file.as_ref().map(absolute),
        StateCommand::Backup { to, .. } => to.as_ref().map(absolute),
        StateCommand::Restore { backup, .. } => Some(absolute(backup)),
        StateCommand::Compact { .. } | StateCommand::Migrate { .. } => None,
    };
    let folder = beside_settings(common).and_then(|file| config::load_state_folder(&file));
    let folder = match folder {
        Ok(folder) => folder,
        Err(findings) => return refuse(&findings, json),
    };
    let now = SystemClock.now();
    match command {
        StateCommand::Verify { .. } => {
            let file = named.unwrap_or_else(|| state::file_path(&folder));
            told(
                "verify the state file",
                json,
                state::verify(&file),
                verified,
            )
        }
        StateCommand::Backup { .. } => {
            let made = state::backup(&folder, named.as_deref(), now);
            told(
                "back up the state file",
                json,
                made.and_then(looked_at),
                backed_up,
            )
        }
        StateCommand::Restore { paused, .. } => {
            let backup = named.unwrap_or_default();
            let done = state::restore(&folder, &backup, *paused, now);
            if let Ok(done) = &done {
                let details = serde_json::json!({
                    "paused": paused,
                    "replaced": done.replaced,
                    "noted_since": done.noted_since,
                });
                let backup = done.backup.display().to_string();
                audit::did(&folder, "state.restore", &backup, details);
            }
            told("restore the state file", json, done, restored::say)
        }
        StateCommand::Compact { .. } => {
            let done = state::compact(&folder);
            if let Ok(done) = &done {
                let details = serde_json::json!({
                    "before_bytes": done.before_bytes, "after_bytes": done.after_bytes,
                });
                audit::did(&folder, "state.compact", "", details);
            }
            told("compact the state file", json, done, compacted)
        }
        StateCommand::Migrate { dry_run, .. } => {
            let done = state::migrate(&folder, *dry_run);
            if let Ok(done) = done.as_ref()
                && !dry_run
                && !done.steps.is_empty()
            {
                let details = serde_json::json!({
                    "from": done.from, "to": done.to, "backup": done.backup,
                });
                audit::did(&folder, "state.migrate", "", details);
            }
            told("migrate the state file", json, done, |done| {
                migrated(done, *dry_run)
            })
        }
    }
}

/// What is told to people, and how the command ends.
type Told = (Vec<String>, Exit);

/// Prints what came of it, or why not: whoever refuses leaves everything as it was.
fn told<T: Serialize>(
    what: &str,
    json: bool,
    done: Result<T, StoreError>,
    people: impl FnOnce(&T) -> Told,
) -> Exit {
    match done {
        Ok(done) => {
            let (lines, exit) = people(&done);
            if json {
                out(&serde_json::json!(done).to_string());
            } else {
                for line in &lines {
                    out(line);
                }
            }
            exit
        }
        Err(error) => refused(what, &error, json),
    }
}

fn refused(what: &str, error: &StoreError, json: bool) -> Exit {
    match error {
        StoreError::Busy { .. } => {
            let fix = "stop the agent first; lighterman state verify and backup work beside it";
            refuse(&[Finding::fail(what, error.to_string()).fix(fix)], json);
            Exit::State
        }
        StoreError::Refused { .. } => {
            state_refused(what, error, json);
            Exit::Trouble
        }
        _ => state_refused(what, error, json),
    }
}

fn exit_of(findings: &[Finding]) -> Exit {
    match worst(findings) {
        Level::Fail => Exit::Trouble,
        Level::Pass | Level::Warn => Exit::Ok,
    }
}

fn verified(verdict: &Verdict) -> Told {
    let exit = exit_of(&verdict.findings);
    let stands = if exit == Exit::Ok {
        "is right"
    } else {
        "is NOT right"
    };
    let mut lines = vec![format!(
        "{} {stands} ({}, format {}).",
        verdict.file.display(),
        bytes(verdict.bytes),
        verdict.format
    )];
    lines.extend(verdict.findings.iter().map(line));
    (lines, exit)
}

/// A backup and what is to be said of what it holds.
#[derive(Serialize)]
struct Looked {
    #[serde(flatten)]
    made: BackedUp,
    worst: Level,
    findings: Vec<Finding>,
}

/// Looks at a backup as whoever restores it would.
fn looked_at(made: BackedUp) -> Result<Looked, StoreError> {
    let findings = state::verify(&made.file)?.findings;
    Ok(Looked {
        made,
        worst: worst(&findings),
        findings,
    })
}

fn backed_up(looked: &Looked) -> Told {
    let beside = if looked.made.running {
        " beside the running agent"
    } else {
        ""
    };
    let mut lines = vec![format!(
        "Wrote {}{beside} ({}, format {}).",
        looked.made.file.display(),
        bytes(looked.made.bytes),
        looked.made.format
    )];
    let exit = exit_of(&looked.findings);
    if exit == Exit::Ok {
        lines
            .push("It verifies. To use it: stop the agent, lighterman state restore <file>".into());
    } else {
        lines.push("It is a true copy, but what the state file holds is NOT right:".into());
        let wrong = looked.findings.iter();
        lines.extend(wrong.filter(|one| one.level == Level::Fail).map(line));
    }
    (lines, exit)
}

fn compacted(done: &Compacted) -> Told {
    let (before, after) = (bytes(done.before_bytes), bytes(done.after_bytes));
    let mut lines = vec![format!(
        "{}: {before} before, {after} now.",
        done.file.display()
    )];
    let Some(why) = &done.only_free_pages else {
        return (lines, Exit::Ok);
    };
    lines.push(format!(
        "Only pages that hold nothing were given back. To write it anew, {why}: free disk space and \
         compact it once more."
    ));
    (lines, Exit::Trouble)
}

fn migrated(done: &Migrated, only_shown: bool) -> Told {
    let mut lines = Vec::new();
    if done.steps.is_empty() {
        lines.push(format!(
            "The state file is of format {}: nothing to do.",
            done.from
        ));
        return (lines, Exit::Ok);
    }
    let verb = if only_shown { "is" } else { "was" };
    let to = if only_shown {
        "would be brought"
    } else {
        "is brought"
    };
    lines.push(format!(
        "The state file {verb} of format {} and {to} to format {}:",
        done.from, done.to
    ));
    let steps = done.steps.iter();
    lines.extend(steps.map(|step| format!("  {}: {}", step.format, step.what)));
    match &done.backup {
        Some(backup) => lines.push(format!(
            "The file as it was before: {}. To go back: lighterman rollback, and the older version's binary.",
            backup.display()
        )),
        None if only_shown => lines.push(
            "A checked copy is made before. lighterman state migrate does it; so does lighterman run."
                .into(),
        ),
        None => {}
    }
    (lines, Exit::Ok)
}

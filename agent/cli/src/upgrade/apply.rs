//! Putting a newer version in place: backup, note of what is replaced, then the binary in one step.

use std::path::Path;

use contract::Finding;
use serde::Serialize;
use tempfile::TempPath;

use super::folder::Stands;
use super::record::{Known, Record};
use super::{Plan, now, owned, release, swap, trouble};
use crate::status::state_refused;
use crate::{Exit, audit, out, say};

/// What was done.
#[derive(Debug, Serialize)]
struct Applied<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    binary: &'a Path,
    previous: &'a Path,
    backup: Option<&'a Path>,
}

pub(super) fn apply(
    folder: &Path,
    stands: &Stands,
    plan: &Plan,
    staged: TempPath,
    json: bool,
) -> Exit {
    let binary = match swap::own() {
        Ok(binary) => binary,
        Err(finding) => return trouble(&finding, json),
    };
    if let Some(owned) = owned::owned(&binary) {
        return trouble(&owned.refused(&binary), json);
    }
    let sum = |file: &Path| release::sum(file).map_err(|found| Finding::fail("binary", found));
    let (before, after) = match (sum(&binary), sum(&staged)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(finding), _) | (_, Err(finding)) => return trouble(&finding, json),
    };
    if before == after {
        return is_there(folder, &binary, &after, plan, stands, json);
    }
    let backup = match stands.format {
        None => None,
        Some(format) => {
            let to = state::before_upgrade(folder, &plan.to.version, format, now());
            match state::backup(folder, Some(&to), now()) {
                Ok(made) => Some(made.file),
                Err(error) => {
                    state_refused("back up the state before the upgrade", &error, json);
                    return Exit::Trouble;
                }
            }
        }
    };
    let record = Record {
        at: now(),
        previous: swap::previous(&binary),
        binary: binary.clone(),
        from: Known {
            build: plan.from.clone(),
            sha256: before,
        },
        to: Known {
            build: plan.to.clone(),
            sha256: after,
        },
        backup,
    };
    let earlier = Record::read(folder);
    // First, so that whoever finds the other binary finds what it replaced.
    if stands.format.is_some()
        && let Err(finding) = record.write(folder)
    {
        return trouble(&finding, json);
    }
    failpoint::crash!("upgrade.noted");
    if let Err(mut finding) = swap::replace(&binary, staged) {
        if sum(&binary).is_ok_and(|is| is == record.to.sha256) {
            // What it replaced stays on record: there is something to go back to.
            finding.found.push_str("; the newer binary is in its place");
            let fix = "mend that, then start the agent; lighterman rollback goes back";
            finding.fix = Some(fix.to_owned());
            return trouble(&finding, json);
        }
        match earlier {
            Some(earlier) => drop(earlier.write(folder)),
            None => Record::remove(folder),
        }
        return trouble(&finding, json);
    }
    if stands.format.is_some() {
        // Only now: one that failed leaves what there is to go back to. A migration that follows does the same.
        state::prune_backups(folder);
        let details = serde_json::json!({
            "from": record.from, "to": record.to, "binary": record.binary, "backup": record.backup,
        });
        audit::did(folder, "agent.upgrade", &plan.to.version, details);
    }
    told(&record, plan, stands, json);
    Exit::Ok
}

/// An upgrade that was cut off behind its last step has come to its end: what it replaced must not be replaced by what
/// stands there now.
fn is_there(
    folder: &Path,
    binary: &Path,
    sha256: &str,
    plan: &Plan,
    stands: &Stands,
    json: bool,
) -> Exit {
    let record = Record::read(folder).filter(|record| record.to.sha256 == sha256);
    if let Some(record) = record {
        told(&record, plan, stands, json);
        return Exit::Ok;
    }
    let found = format!("{} is this very binary already", binary.display());
    let fix = "start the agent anew, if it still runs as another one";
    trouble(&Finding::fail("upgrade", found).fix(fix), json)
}

fn told(record: &Record, plan: &Plan, stands: &Stands, json: bool) {
    if json {
        let applied = Applied {
            plan,
            binary: &record.binary,
            previous: &record.previous,
            backup: record.backup.as_deref(),
        };
        out(&serde_json::json!(applied).to_string());
        return;
    }
    out(&format!("From {} to {}:", plan.from, plan.to));
    say(&plan.findings);
    out(&format!(
        "{} is {} now; the one before is {}.",
        record.binary.display(),
        plan.to,
        record.previous.display()
    ));
    if let Some(backup) = &record.backup {
        out(&format!("The state as it was: {}.", backup.display()));
    }
    match &stands.running {
        Some(running) => out(&format!(
            "The agent that runs (process {}) is still the one before: start it anew, as with systemctl restart \
             lighterman.",
            running.pid
        )),
        None => out("Next: start the agent, then lighterman status."),
    }
    out("To go back: stop the agent, lighterman rollback.");
}

//! `lighterman upgrade` and `lighterman rollback`: the agent's own binary and state, to a newer version and back.
//!
//! Nothing is ever downloaded: what is to be put in place is a file that somebody brought here.

mod apply;
mod back;
mod described;
mod folder;
mod owned;
mod plan;
mod record;
mod release;
mod swap;

use std::path::{Path, PathBuf};

use clap::Args;
use contract::finding::{Level, worst};
use contract::{Clock as _, Finding};
use engine::clock::SystemClock;
use serde::Serialize;

use crate::{Common, Exit, beside_settings, config, out, refuse, say};
use described::Described;
use folder::Stands;
use release::Release;

/// Shows what a newer version would change here, and puts it in place. What it puts in place must be signed;
/// the old binary and a backup of the state are kept, and lighterman rollback goes back to them.
#[derive(Debug, Args)]
pub(crate) struct UpgradeOptions {
    #[command(flatten)]
    common: Common,
    /// Only shows what would change. That is also what happens without --apply.
    #[arg(long, conflicts_with = "apply")]
    plan: bool,
    /// The newer version: its archive, its binary, or the folder that one of them is in, with the signature
    /// beside it. Without it, what this binary would change is shown.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Puts it in place.
    #[arg(long, requires = "from")]
    apply: bool,
    /// The public key (minisign) that it must be signed with, in place of the one that this binary knows.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Also a version that is not newer than this one.
    #[arg(long)]
    allow_older: bool,
    /// Prints what this binary is and what it says of the folder, for another one that makes the plan.
    #[arg(long, hide = true)]
    describe: bool,
}

/// Goes back to what was before the last upgrade: binary, state and position. What was delivered since stays
/// known. Only while no agent runs.
#[derive(Debug, Args)]
pub(crate) struct RollbackOptions {
    #[command(flatten)]
    common: Common,
    /// Only shows what it would come to; the agent may run.
    #[arg(long)]
    plan: bool,
    /// Another backup than the one that was made before the upgrade.
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Only the binary goes back; the state stays as it is. Where its format is the same.
    #[arg(long, conflicts_with = "backup")]
    keep_state: bool,
}

/// What a plan says.
#[derive(Debug, Serialize)]
struct Plan {
    worst: Level,
    /// This binary.
    from: Build,
    /// The one that is to be in its place; the same where none is named.
    to: Build,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    findings: Vec<Finding>,
}

/// A binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
struct Build {
    version: String,
    commit: String,
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (commit {})", self.version, self.commit)
    }
}

pub(crate) async fn upgrade(options: UpgradeOptions) -> Exit {
    let json = options.common.json;
    // What a person names is seen from where that person stands.
    let from = options.from.as_deref().map(absolute);
    let key = options.key.as_deref().map(absolute);
    let settings = match beside_settings(&options.common) {
        Ok(settings) => settings,
        Err(findings) => return refuse(&findings, json),
    };
    if options.describe {
        let described = described::own(&settings);
        return match serde_json::to_string(&described) {
            Ok(text) => {
                out(&text);
                Exit::Ok
            }
            Err(error) => refuse(&[Finding::fail("describe", error.to_string())], json),
        };
    }
    let state = match config::load_state_folder(&settings) {
        Ok(state) => state,
        Err(findings) => return refuse(&findings, json),
    };
    let stands = match Stands::of(&state).await {
        Ok(stands) => stands,
        Err(error) => return crate::status::state_refused("read the state folder", &error, json),
    };
    let own = described::own(&settings);
    let Some(from) = from else {
        let plan = Plan::of(None, &own, &stands, None);
        return plan.told(json, false);
    };
    let release = match release::open(&from, key.as_deref()) {
        Ok(release) => release,
        Err(finding) => return trouble(&finding, json),
    };
    let staged = match swap::staged(&release, options.apply) {
        Ok(staged) => staged,
        Err(finding) => return trouble(&finding, json),
    };
    let new = match described::of(&staged, &settings).await {
        Ok(new) => new,
        Err(finding) => return trouble(&finding, json),
    };
    let mut plan = Plan::of(Some(&own), &new, &stands, Some(&release));
    if let Err(finding) = plan::newer(&own, &new, options.allow_older) {
        plan.add(finding);
    }
    if !options.apply || plan.worst == Level::Fail {
        return plan.told(json, true);
    }
    apply::apply(&state, &stands, &plan, staged, json)
}

pub(crate) async fn rollback(options: RollbackOptions) -> Exit {
    let json = options.common.json;
    let backup = options.backup.as_deref().map(absolute);
    let folder = beside_settings(&options.common).and_then(|file| config::load_state_folder(&file));
    let folder = match folder {
        Ok(folder) => folder,
        Err(findings) => return refuse(&findings, json),
    };
    let (plan, keep_state) = (options.plan, options.keep_state);
    // All of it waits for the disk.
    let done = tokio::task::spawn_blocking(move || {
        back::rollback(&folder, backup.as_deref(), keep_state, plan, json)
    });
    match done.await {
        Ok(exit) => exit,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Plan {
    fn of(
        own: Option<&Described>,
        new: &Described,
        stands: &Stands,
        release: Option<&Release>,
    ) -> Self {
        let mut findings: Vec<Finding> = release.map(Release::finding).into_iter().collect();
        findings.extend(plan::compare(own, new, stands));
        Self {
            worst: worst(&findings),
            from: own.unwrap_or(new).build(),
            to: new.build(),
            file: release.map(|release| release.file.clone()),
            sha256: release.map(|release| release.sha256.clone()),
            findings,
        }
    }

    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.worst = worst(&self.findings);
    }

    /// Prints it: nothing was touched.
    fn told(&self, json: bool, named: bool) -> Exit {
        if json {
            out(&serde_json::json!(self).to_string());
        } else {
            if named {
                out(&format!("From {} to {}:", self.from, self.to));
            } else {
                out(&format!("What {} makes of this folder:", self.to));
            }
            say(&self.findings);
            out(match self.worst {
                Level::Fail => "Nothing was touched. What is FAIL comes first.",
                _ if named => {
                    "Nothing was touched. To do it: the same command with --apply, then start the agent anew."
                }
                _ => "Nothing was touched.",
            });
        }
        match self.worst {
            Level::Fail => Exit::Trouble,
            Level::Pass | Level::Warn => Exit::Ok,
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn trouble(finding: &Finding, json: bool) -> Exit {
    refuse(std::slice::from_ref(finding), json);
    Exit::Trouble
}

fn now() -> jiff::Timestamp {
    SystemClock.now()
}

//! `lighterman check`: everything the agent lives on is looked at, with the reason, the fix and the undo.
//!
//! The same is looked at by the running agent now and then (`hourly.rs`), within the same limits.

mod affected;
mod hourly;
mod machine;
mod prepare;
mod settings;
mod systems;

use std::time::Instant;

use contract::Finding;
use contract::finding::{Level, worst};

use crate::config::{Config, SourceConfig};
use crate::operate::counted;
use crate::{Exit, out, say};

pub(crate) use hourly::{Checking, hourly};
pub(crate) use prepare::{prepare, show};
pub(crate) use settings::{CheckSettings, read};

/// Settings, this machine, mappings, sources and destinations, each with the reason and the fix.
pub(crate) async fn check(loaded: Result<Config, Vec<Finding>>, json: bool) -> Exit {
    let began = Instant::now();
    let settings_bad = loaded.is_err();
    let findings = findings(loaded).await;
    let level = worst(&findings);
    let took = began.elapsed();
    if json {
        let form = serde_json::json!({
            "worst": level,
            "findings": findings,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        out(&form.to_string());
    } else {
        say(&findings);
        out(&format!(
            "{} in {:.1} s.",
            summary(&findings),
            took.as_secs_f32()
        ));
    }
    match level {
        Level::Fail if settings_bad => Exit::Settings,
        Level::Fail => Exit::Trouble,
        Level::Pass | Level::Warn => Exit::Ok,
    }
}

/// What is to be said of one source.
pub(crate) async fn of_source(source: SourceConfig) -> Vec<Finding> {
    let findings = systems::look(vec![source], Vec::new()).await;
    findings.into_iter().map(Finding::undo_apart).collect()
}

/// All that is to be said; the systems that the settings name are asked at the same time.
async fn findings(loaded: Result<Config, Vec<Finding>>) -> Vec<Finding> {
    let findings = match loaded {
        Err(findings) => findings,
        Ok(config) => {
            let mut findings = config.warnings.clone();
            findings.push(Finding::pass("settings and mappings", "are complete"));
            findings.extend(machine::look(&config));
            let systems = systems::look(config.sources, config.destinations).await;
            // Said of the files alone already.
            let new = systems.into_iter().filter(|one| !findings.contains(one));
            findings.extend(new.collect::<Vec<_>>());
            findings
        }
    };
    findings.into_iter().map(Finding::undo_apart).collect()
}

/// How many of each, in words.
pub(crate) fn summary(findings: &[Finding]) -> String {
    let of = |level| findings.iter().filter(|one| one.level == level).count() as u64;
    format!(
        "{} ok, {}, {}",
        of(Level::Pass),
        counted(of(Level::Warn), "warning"),
        counted(of(Level::Fail), "failure")
    )
}

//! The running agent checks by itself: what `lighterman check` does, within the same limits, one at a
//! time. What became worse or better since the last time is said; the last verdict is kept for `status`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, Destination, Finding, Level};
use engine::clock::SystemClock;
use state::{Checked, Store};

use super::settings::CheckSettings;
use crate::config::{self, Config};

/// So many changes are said of one check; the others stand in the verdict.
const SAID_MAX: usize = 20;

/// What is checked.
pub(crate) struct Checking {
    pub(crate) settings: CheckSettings,
    /// The destinations that are delivered to: they are asked as they are, with the logins they have.
    pub(crate) destinations: Vec<(String, Arc<dyn Destination>)>,
}

/// Checks for as long as it is let. It disturbs nothing: it waits for nobody, and nobody for it.
pub(crate) async fn hourly(file: PathBuf, checking: Checking, store: Arc<Store>) {
    let Some(every) = checking.settings.every else {
        return;
    };
    failpoint::crash!("task.check");
    tokio::time::sleep(checking.settings.first_after).await;
    loop {
        let file = file.clone();
        let loaded = tokio::task::spawn_blocking(move || config::load(&file)).await;
        if let Ok(loaded) = loaded {
            let unread = loaded.is_err();
            let loaded = loaded.map(|config| with_logins(config, &checking.destinations));
            let findings = super::findings(loaded).await;
            let at = SystemClock.now();
            let now = findings.clone();
            // What is wrong with the state file is said by whoever needs it more.
            if let Ok(before) = store.set_checked(Checked { at, findings }).await {
                tell(before.as_ref(), &now, unread);
            }
        }
        tokio::time::sleep(jittered(every)).await;
    }
}

/// Agents that were started together do not ask together.
fn jittered(every: Duration) -> Duration {
    every.mul_f32(rand::random_range(0.9..1.1))
}

/// A second login could end the one that delivers.
fn with_logins(mut config: Config, running: &[(String, Arc<dyn Destination>)]) -> Config {
    for one in &mut config.destinations {
        if let Some((_, destination)) = running.iter().find(|(name, _)| *name == one.name) {
            let destination = Arc::clone(destination);
            one.build = Arc::new(move |_: &str| Ok(Arc::clone(&destination)));
        }
    }
    config
}

/// The worst that was found of each thing.
fn levels(findings: &[Finding]) -> BTreeMap<&str, Level> {
    let mut levels = BTreeMap::new();
    for finding in findings {
        let level = levels.entry(finding.what.as_str()).or_insert(Level::Pass);
        *level = finding.level.max(*level);
    }
    levels
}

/// What is worse, and what is better, than it was; each by what was looked at.
fn changes<'f>(
    before: Option<&'f [Finding]>,
    now: &'f [Finding],
) -> (Vec<(&'f str, Level)>, Vec<&'f str>) {
    let is = levels(now);
    let Some(before) = before else {
        // Nothing is known to have been better, but what does not work must be said.
        let failed = is.into_iter().filter(|(_, level)| *level == Level::Fail);
        return (failed.collect(), Vec::new());
    };
    let was = levels(before);
    let of =
        |all: &BTreeMap<&str, Level>, what: &str| all.get(what).copied().unwrap_or(Level::Pass);
    let mut worse = Vec::new();
    for (what, level) in &is {
        if *level > of(&was, what) {
            worse.push((*what, *level));
        }
    }
    let mut better = Vec::new();
    for (what, level) in &was {
        if *level > of(&is, what) && (is.contains_key(what) || !out_of_sight(what, &is)) {
            better.push(*what);
        }
    }
    (worse, better)
}

/// Whether nothing is said of a thing because its system could not be asked.
fn out_of_sight(what: &str, is: &BTreeMap<&str, Level>) -> bool {
    let system = |what: &str| what.split(':').next().unwrap_or(what).to_owned();
    let of = system(what);
    if !of.starts_with("source ") && !of.starts_with("destination ") {
        // A mapping is looked at against its source's tables, whichever source that is.
        let mut all = is.iter();
        return all.any(|(other, level)| other.starts_with("source ") && *level == Level::Fail);
    }
    let mut seen = is.iter().filter(|(other, _)| system(other) == of);
    seen.any(|(_, level)| *level == Level::Fail)
}

/// Says it. What an API answered may name people, so that it stands in the verdict alone.
/// With settings that cannot be read nothing was looked at, so that nothing is known to be mended.
fn tell(before: Option<&Checked>, now: &[Finding], unread: bool) {
    let (worse, mut better) = changes(before.map(|one| one.findings.as_slice()), now);
    if unread {
        better.clear();
    }
    for (what, level) in worse.iter().take(SAID_MAX) {
        let found = now
            .iter()
            .find(|one| one.what == *what && one.level == *level);
        let why = found.map(|one| one.found.as_str());
        let why = why.filter(|_| !what.starts_with("destination "));
        let hint = "lighterman check says why and what to do";
        if *level == Level::Fail {
            tracing::error!(
                code = "check.worse",
                what,
                why,
                hint,
                "the agent's own check fails"
            );
        } else {
            tracing::warn!(
                code = "check.worse",
                what,
                why,
                hint,
                "the agent's own check warns"
            );
        }
    }
    for what in better.iter().take(SAID_MAX) {
        tracing::info!(
            code = "check.better",
            what,
            "what the agent's own check found is mended"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Changes<'f> = (Vec<(&'f str, Level)>, Vec<&'f str>);

    #[test]
    fn what_changed_between_two_checks_is_said_and_nothing_else() {
        let ok = |what| Finding::pass(what, "is well");
        let warn = |what| Finding::warn(what, "is odd");
        let fail = |what| Finding::fail(what, "is wrong");
        let check = |before: &[Finding], now: &[Finding], wanted: Changes<'_>| {
            assert_eq!(changes(Some(before), now), wanted);
        };
        let slot = "source erp: slot";
        check(&[ok(slot)], &[ok(slot)], (vec![], vec![]));
        check(&[warn(slot)], &[warn(slot)], (vec![], vec![]));
        check(&[], &[warn(slot)], (vec![(slot, Level::Warn)], vec![]));
        check(
            &[warn(slot)],
            &[fail(slot)],
            (vec![(slot, Level::Fail)], vec![]),
        );
        check(&[fail(slot)], &[warn(slot)], (vec![], vec![slot]));
        check(&[warn(slot)], &[], (vec![], vec![slot]));
        // Several of one thing: the worst counts.
        check(&[warn(slot)], &[ok(slot), warn(slot)], (vec![], vec![]));
        // A database that is not there says nothing of its slot, which is no good news.
        let away = "source erp: database";
        check(
            &[warn(slot)],
            &[fail(away)],
            (vec![(away, Level::Fail)], vec![]),
        );
        check(
            &[fail(away)],
            &[ok(away), warn(slot)],
            (vec![(slot, Level::Warn)], vec![away]),
        );
        let other = "source other: slot";
        check(
            &[warn(other)],
            &[fail(away)],
            (vec![(away, Level::Fail)], vec![other]),
        );
        // The first check ever.
        let now = [warn(slot), fail(away)];
        assert_eq!(changes(None, &now), (vec![(away, Level::Fail)], vec![]));
    }
}

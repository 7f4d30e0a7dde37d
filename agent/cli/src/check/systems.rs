//! Every system that the settings name is asked at the same time, each within a limit: one that does
//! not answer is a finding, and holds up no other.

use std::time::Duration;

use contract::Finding;
use contract::finding::{Level, worst};
use mappings::{Catalogue, MappingSet};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::affected;
use crate::config::{DestinationConfig, SourceConfig};
use crate::map::check::other_key;
use crate::map::live;
use crate::operate::counted;
use crate::statements;

/// The longest that a system is asked, all questions together. What an adapter allows itself is a
/// little less, so that it can say how far it came.
const SYSTEM_MAX: Duration = Duration::from_millis(18_500);

/// What each of them says, in the order of the settings.
pub(super) async fn look(
    sources: Vec<SourceConfig>,
    destinations: Vec<DestinationConfig>,
) -> Vec<Finding> {
    let mut asked = Vec::new();
    for one in sources {
        let what = format!("source {}", one.name);
        asked.push((what, Asked(tokio::spawn(source(one)))));
    }
    for one in destinations {
        let what = format!("destination {}", one.name);
        asked.push((what, Asked(tokio::spawn(destination(one)))));
    }
    let mut findings = Vec::new();
    for (what, mut task) in asked {
        match (&mut task.0).await {
            Ok(more) => findings.extend(more),
            Err(_) => findings.push(
                Finding::fail(what, "looking at it ended by a bug of ours")
                    .fix("report it, with what lighterman check prints on standard error"),
            ),
        }
    }
    findings
}

/// A question to a system; given up when nobody waits for it any more.
struct Asked(JoinHandle<Vec<Finding>>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn silent(what: &str, part: &str) -> Finding {
    let found = format!("{part} within {} s", SYSTEM_MAX.as_secs());
    Finding::fail(what, found)
        .fix("see that it runs, and that address, name resolution and firewall are right; then lighterman check, again")
}

async fn destination(one: DestinationConfig) -> Vec<Finding> {
    let what = format!("destination {}", one.name);
    let built = match (one.build)(&one.name) {
        Ok(built) => built,
        Err(found) => return vec![Finding::fail(what, found)],
    };
    let until = Instant::now() + SYSTEM_MAX;
    let asked = timeout_at(until, built.check()).await;
    asked.unwrap_or_else(|_| vec![silent(&what, "does not answer")])
}

/// The source itself, whether its mapping files fit its tables, and whether its database takes
/// their statements.
async fn source(source: SourceConfig) -> Vec<Finding> {
    let what = format!("source {}", source.name);
    let loaded = source
        .files()
        .and_then(|files| Ok((source.setup_of(&files)?.0, files)));
    let (setup, files) = match loaded {
        Ok(loaded) => loaded,
        Err(findings) => return findings,
    };
    let mut findings = vec![packs(&what, &setup.mapping)];
    let until = Instant::now() + SYSTEM_MAX;
    let Ok(said) = timeout_at(until, setup.source.check()).await else {
        findings.push(silent(&what, "does not answer"));
        return findings;
    };
    // Whoever says nothing good of itself was not reached, and is not asked again.
    let answers = said.is_empty() || said.iter().any(|one| one.level != Level::Fail);
    let well = worst(&said) != Level::Fail;
    findings.extend(said);
    if !answers {
        return findings;
    }
    let mut more = Vec::new();
    let rest = tables(&source, &setup.mapping, &files, well, &mut more);
    let rest = timeout_at(until, async {
        rest.await;
        statements::check(&*setup.source, &setup.mapping.statements()).await
    });
    let rest = rest.await;
    match rest {
        Ok(statements) => more.extend(statements),
        Err(_) => more.push(silent(&what, "does not say all that it was asked")),
    }
    findings.extend(more);
    findings
}

/// Which packs, and how much of them.
fn packs(what: &str, mapping: &MappingSet) -> Finding {
    let mut packs: Vec<(String, u64)> = Vec::new();
    for rule in mapping.rules() {
        let pack = format!("{} {}", rule.mapping.pack, rule.mapping.version);
        match packs.iter_mut().find(|(known, _)| *known == pack) {
            Some((_, rules)) => *rules += 1,
            None => packs.push((pack, 1)),
        }
    }
    let packs = packs.into_iter();
    let packs: Vec<String> = packs
        .map(|(pack, rules)| format!("{pack} ({})", counted(rules, "rule")))
        .collect();
    Finding::pass(format!("{what}: packs"), packs.join(", "))
}

/// Whether the mapping files fit the tables that there are.
async fn tables(
    source: &SourceConfig,
    mapping: &MappingSet,
    files: &crate::fit::SourceFiles,
    well: bool,
    findings: &mut Vec<Finding>,
) {
    let what = format!("source {}", source.name);
    match live::tables(source).await {
        Ok(tables) => {
            let fit = files.look(&Catalogue::new(&tables));
            if worst(&fit) != Level::Fail {
                findings.push(Finding::pass(&*what, "its tables fit the mappings"));
            }
            findings.extend(fit);
            findings.extend(affected::look(&what, mapping, &tables));
            findings.extend(tables.iter().filter_map(|info| other_key(mapping, info)));
        }
        // A source that has said what is wrong has said this, too.
        Err(more) if well => findings.extend(more),
        Err(_) => {}
    }
}

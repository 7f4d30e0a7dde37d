//! `lighterman check` and `lighterman source prepare`.

use contract::finding::{Level, worst};
use contract::{Finding, Login, Preparation, Secret};
use mappings::Catalogue;

use crate::config::{Config, SourceConfig};
use crate::map::check::other_key;
use crate::map::live;
use crate::{Exit, disk, out, say, statements};

/// Settings, mappings, sources and destinations, each with the reason and the fix.
pub(crate) async fn check(loaded: Result<Config, Vec<Finding>>, json: bool) -> Exit {
    let mut settings_bad = false;
    let findings = match loaded {
        Err(findings) => {
            settings_bad = true;
            findings
        }
        Ok(config) => {
            let mut findings = config.warnings;
            findings.push(Finding::pass("settings and mappings", "are complete"));
            let disk = disk::Stands::of(&config.state_folder, config.reserve);
            findings.extend(disk.map(|disk| disk.finding(&config.state_folder)));
            for source in &config.sources {
                match look(source).await {
                    // Said of the files alone already.
                    Ok(more) => {
                        let new = more.into_iter().filter(|one| !findings.contains(one));
                        findings.extend(new.collect::<Vec<_>>());
                    }
                    Err(more) => findings.extend(more),
                }
            }
            for destination in &config.destinations {
                match (destination.build)(&destination.name) {
                    Ok(built) => findings.extend(built.check().await),
                    Err(found) => findings.push(Finding::fail(&destination.name, found)),
                }
            }
            findings
        }
    };
    let level = worst(&findings);
    if json {
        out(&serde_json::json!({ "worst": level, "findings": findings }).to_string());
    } else {
        say(&findings);
    }
    match level {
        Level::Fail if settings_bad => Exit::Settings,
        Level::Fail => Exit::Trouble,
        Level::Pass | Level::Warn => Exit::Ok,
    }
}

/// The source itself, whether its mapping files fit its tables, and whether its database takes
/// their statements.
pub(crate) async fn look(source: &SourceConfig) -> Result<Vec<Finding>, Vec<Finding>> {
    let files = source.files()?;
    let (setup, _) = source.setup_of(&files)?;
    let mut findings = setup.source.check().await;
    let reached = worst(&findings) != Level::Fail;
    match live::tables(source).await {
        Ok(tables) => {
            let fit = files.look(&Catalogue::new(&tables));
            if worst(&fit) != Level::Fail {
                let what = format!("source {}", source.name);
                findings.push(Finding::pass(what, "its tables fit the mappings"));
            }
            findings.extend(fit);
            findings.extend(
                tables
                    .iter()
                    .filter_map(|info| other_key(&setup.mapping, info)),
            );
        }
        // A source that cannot be reached has said so.
        Err(more) if reached => findings.extend(more),
        Err(_) => {}
    }
    findings.extend(statements::check(&*setup.source, &setup.mapping.statements()).await);
    Ok(findings)
}

/// The password of the user that `source prepare --user` names.
const PREPARE_PASSWORD: &str = "LIGHTERMAN_PREPARE_PASSWORD";

/// Prints what must be done at each source, with the undo; does it only with `apply`; as `user`
/// where one is named.
pub(crate) async fn prepare(
    config: &Config,
    apply: bool,
    user: Option<String>,
    json: bool,
) -> Exit {
    let login = user.map(|user| Login {
        user,
        password: std::env::var(PREPARE_PASSWORD).ok().map(Secret::new),
    });
    let mut all = Vec::new();
    let mut failed = false;
    for source in &config.sources {
        let prepared = match source.setup() {
            Ok((setup, _)) => {
                let done = match &login {
                    None => setup.source.prepare(apply).await,
                    Some(login) => setup.source.prepare_as(login, apply).await,
                };
                done.map_err(|error| {
                    let what = format!("source {}", source.name);
                    let finding = Finding::fail(what, error.to_string());
                    vec![finding.fix(error.hint().unwrap_or("lighterman check says more"))]
                })
            }
            Err(findings) => Err(findings),
        };
        match prepared {
            Ok(preparation) => {
                if !json {
                    show(&source.name, &preparation);
                }
                all.push(serde_json::json!({ "source": source.name, "preparation": preparation }));
            }
            Err(findings) => {
                failed = true;
                if json {
                    all.push(serde_json::json!({ "source": source.name, "findings": findings }));
                } else {
                    say(&findings);
                }
            }
        }
    }
    if json {
        out(&serde_json::Value::Array(all).to_string());
    }
    if failed { Exit::Trouble } else { Exit::Ok }
}

/// Prints them, with the undo.
pub(crate) fn show(name: &str, preparation: &Preparation) {
    if preparation.sql.is_empty() {
        out(&format!("-- source {name}: nothing to do"));
    } else {
        let done = if preparation.applied {
            "done"
        } else {
            "to do; --apply does it"
        };
        out(&format!("-- source {name}: {done}"));
        for statement in &preparation.sql {
            out(&line(statement));
        }
    }
    out("-- to undo all of it:");
    for statement in &preparation.undo {
        out(&format!("-- {}", line(statement)));
    }
}

/// A statement to run, by the tool or by a person, or the heading of some.
fn line(statement: &str) -> String {
    let end = if statement.ends_with(':') { "" } else { ";" };
    format!("{statement}{end}")
}

//! `lighterman source resync`: tables are read again and compared with what was told. The way out
//! when a source's log no longer reaches back, and for a table that a person does not trust.

use contract::finding::nearest;
use contract::{Clock, Finding, TableName};
use engine::clock::SystemClock;
use state::{Resync, Store, StoreError, ask_resync};

use crate::config::{Config, SourceConfig};
use crate::status::state_refused;
use crate::{Exit, out, refuse};

/// What became of it.
enum Done {
    /// The state file says so; the source's epoch.
    Begun(u32),
    /// The running agent was asked.
    Asked,
    /// There is no such source in the state file.
    NeverRan,
    /// An epoch by its number can be begun only where no agent runs.
    TooLate,
}

pub(crate) async fn resync(
    config: &Config,
    name: Option<String>,
    tables: &[String],
    epoch: Option<u32>,
    json: bool,
) -> Exit {
    let source = match one_source(config, name.as_deref()) {
        Ok(source) => source,
        Err(finding) => return refuse(&[finding], json),
    };
    let what = match wanted(source, tables) {
        Ok(what) => what,
        Err(findings) => return refuse(&findings, json),
    };
    let done = match epoch.filter(|least| *least > 0) {
        Some(least) => numbered(config, &source.name, least).await,
        None => begin(config, &source.name, &what).await,
    };
    match done {
        Ok(Done::TooLate) => {
            let found = "an agent runs, which goes on with the epoch it has";
            let fix = "stop it, and ask again; or leave the number out, for the next epoch";
            refuse(&[Finding::fail("resync --new-epoch", found).fix(fix)], json);
            Exit::Trouble
        }
        Ok(done) => {
            note(config, &source.name, &what, &done);
            say(&source.name, &what, &done, json);
            Exit::Ok
        }
        Err(error) => state_refused("open the state folder", &error, json),
    }
}

/// The source that is named, or the only one.
pub(crate) fn one_source<'c>(
    config: &'c Config,
    name: Option<&str>,
) -> Result<&'c SourceConfig, Finding> {
    let known: Vec<&str> = config
        .sources
        .iter()
        .map(|source| source.name.as_str())
        .collect();
    let found = match name {
        Some(name) => config.sources.iter().find(|source| source.name == name),
        None => config.sources.first().filter(|_| known.len() == 1),
    };
    found.ok_or_else(|| {
        let found = format!("name one of the sources: {}", known.join(", "));
        Finding::fail("source", found)
    })
}

/// Has tables of a source read again; whether it ever ran.
pub(crate) async fn again(
    config: &Config,
    source: &str,
    tables: Vec<String>,
) -> Result<bool, StoreError> {
    let done = begin(config, source, &Resync::Tables(tables)).await?;
    Ok(!matches!(done, Done::NeverRan))
}

/// What is read again: the tables named, each of which a mapping must read.
fn wanted(source: &SourceConfig, tables: &[String]) -> Result<Resync, Vec<Finding>> {
    if tables.is_empty() {
        return Ok(Resync::All);
    }
    let (setup, _) = source.setup()?;
    let captured = setup.mapping.tables();
    let captured: Vec<&TableName> = captured.iter().map(|captured| &captured.table).collect();
    let full: Vec<String> = captured.iter().map(ToString::to_string).collect();
    let mut names: Vec<String> = Vec::new();
    let mut findings = Vec::new();
    for table in tables {
        let bare = captured.iter().filter(|known| known.name == *table);
        let bare: Vec<String> = bare.map(ToString::to_string).collect();
        let name = match (full.contains(table), bare.as_slice()) {
            (true, _) => table.clone(),
            (false, [only]) => only.clone(),
            (false, _) => {
                let found = format!("no mapping of source {} reads table {table}", source.name);
                let bare = captured.iter().map(|known| known.name.as_str());
                let names = full.iter().map(String::as_str).chain(bare);
                let fix = nearest(table, names).map_or_else(
                    || format!("one of {}", full.join(", ")),
                    |near| format!("did you mean {near}?"),
                );
                findings.push(Finding::fail("resync", found).fix(fix));
                continue;
            }
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if findings.is_empty() {
        Ok(Resync::Tables(names))
    } else {
        Err(findings)
    }
}

/// Does it where no agent runs, and asks the one that does.
async fn begin(config: &Config, name: &str, what: &Resync) -> Result<Done, StoreError> {
    let folder = config.state_folder.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
    let opened = opened.map_err(|error| StoreError::Invariant(error.to_string()))?;
    match opened {
        Ok(store) => {
            let epoch = store.resync(name, what.clone()).await?;
            Ok(epoch.map_or(Done::NeverRan, Done::Begun))
        }
        Err(StoreError::Busy { .. }) => {
            let asked = ask_resync(&config.state_folder, name, what, SystemClock.now())?;
            Ok(if asked { Done::Asked } else { Done::NeverRan })
        }
        Err(error) => Err(error),
    }
}

/// Begins an epoch by its number, where no agent runs.
async fn numbered(config: &Config, name: &str, least: u32) -> Result<Done, StoreError> {
    let folder = config.state_folder.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
    match opened.map_err(|error| StoreError::Invariant(error.to_string()))? {
        Ok(store) => Ok(Done::Begun(store.begin_epoch(name, least).await?)),
        Err(StoreError::Busy { .. }) => Ok(Done::TooLate),
        Err(error) => Err(error),
    }
}

fn note(config: &Config, name: &str, what: &Resync, done: &Done) {
    let epoch = match done {
        Done::Begun(epoch) => Some(*epoch),
        Done::Asked => None,
        Done::NeverRan | Done::TooLate => return,
    };
    let tables = match what {
        Resync::All => None,
        Resync::Tables(tables) => Some(tables),
    };
    let details = serde_json::json!({ "tables": tables, "epoch": epoch });
    crate::audit::did(&config.state_folder, "source.resync", name, details);
}

fn say(name: &str, what: &Resync, done: &Done, json: bool) {
    let (tables, shown) = match what {
        Resync::All => (None, "every table".to_owned()),
        Resync::Tables(tables) => (Some(tables), tables.join(", ")),
    };
    if json {
        let (epoch, asked) = match done {
            Done::Begun(epoch) => (Some(*epoch), false),
            Done::Asked => (None, true),
            Done::NeverRan | Done::TooLate => (None, false),
        };
        let form = serde_json::json!({
            "source": name, "tables": tables, "epoch": epoch, "asked": asked
        });
        return out(&form.to_string());
    }
    out(&match done {
        Done::NeverRan | Done::TooLate => format!("source {name} has never run: nothing to do"),
        Done::Asked => format!(
            "source {name}: the running agent is asked to read {shown} again and compare; \
             lighterman status shows how far it is"
        ),
        Done::Begun(epoch) => match what {
            Resync::All => format!(
                "source {name} begins epoch {epoch}: every table is read again and compared when \
                 the agent runs"
            ),
            Resync::Tables(_) => {
                format!("source {name}: {shown} is read again and compared when the agent runs")
            }
        },
    });
}

//! With a source: its rows as they are now, and the sums of its tables.

use std::path::PathBuf;
use std::time::Duration;

use contract::finding::nearest;
use contract::{EventKind, EventType, Finding};
use engine::SourceSetup;
use serde_json::json;
use state::{ReconcileClass, ReconcileCount, StateReader};

use super::rows::{Ground, Made, Stopped};
use super::sums::{self, Sum};
use super::{Options, rows, words};
use crate::config::Config;
use crate::operate::Failed;
use crate::{Exit, out, refuse};

impl From<Stopped> for Failed {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::State(error) => error.into(),
            Stopped::Source(table, error) => {
                let hint = error.hint().map(|hint| format!("; {hint}"));
                let hint = hint.unwrap_or_default();
                Self::Said(
                    format!("read {table}: {error}{hint}"),
                    "lighterman check says what the source needs",
                )
            }
        }
    }
}

pub(super) async fn reconcile(
    config: &Config,
    name: &str,
    options: &Options,
    csv: Option<PathBuf>,
) -> Exit {
    let json = options.common.json;
    let known = || config.sources.iter().map(|one| one.name.as_str());
    let Some(source) = config.sources.iter().find(|one| one.name == name) else {
        let found = format!("there is no source {name:?}");
        let fix = nearest(name, known()).map_or_else(
            || format!("one of {}", known().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean {near}?"),
        );
        return refuse(&[Finding::fail("source", found).fix(fix)], json);
    };
    let setup = match source.setup() {
        Ok((setup, _)) => setup,
        Err(findings) => return refuse(&findings, json),
    };
    let types = match wanted(name, &setup, &options.types) {
        Ok(types) => types,
        Err(finding) => return refuse(&[finding], json),
    };
    let compared = async {
        let ground = Ground {
            folder: &config.state_folder,
            name,
            kind: source.kind,
            epoch: captured(config, name)?,
            setup: &setup,
            types: &types,
            first: options.count(),
            wait: Duration::from_secs(options.wait),
        };
        let mut made = rows::compare(&ground).await?;
        // Added up by the database whatever is sampled: that is one statement for each table.
        let sums = sums::compare(&ground, &mut made.notes).await?;
        Ok::<_, Failed>((made, sums))
    };
    let (made, sums) = match compared.await {
        Ok(compared) => compared,
        Err(failed) => return failed.refuse("reconcile", json),
    };
    if let Some(file) = &csv
        && let Err(error) = words::csv(file, &made.differences)
    {
        let finding = Finding::fail(format!("write {}", file.display()), error.to_string());
        let fix = "name a file that can be written";
        refuse(&[finding.fix(fix)], json);
        return Exit::Trouble;
    }
    if json {
        let types: Vec<&ReconcileCount> = made.counts.values().collect();
        let form = json!({ "source": name, "types": types, "sums": sums,
            "differences": made.differences, "notes": made.notes });
        out(&json!({ "reconcile": form }).to_string());
    } else {
        say(name, options, &made, &sums);
    }
    let differs = |count: &ReconcileCount| count.differing() + count.unknown > 0;
    let wrong = |sum: &Sum| sum.class == Some(ReconcileClass::Different);
    if made.counts.values().any(differs) || sums.iter().any(wrong) {
        Exit::Trouble
    } else {
        Exit::Ok
    }
}

/// The types that are compared; empty = all.
fn wanted(name: &str, setup: &SourceSetup, names: &[String]) -> Result<Vec<EventType>, Finding> {
    let known: Vec<EventType> = setup
        .mapping
        .rules()
        .map(|rule| rule.event_type)
        .filter(|one| one.kind() == EventKind::State)
        .collect();
    let mut all = Vec::new();
    for wanted in names {
        let Some(found) = known.iter().find(|known| known.name() == wanted) else {
            let names = known.iter().map(|known| known.name());
            let fix = nearest(wanted, names.clone()).map_or_else(
                || format!("one of {}", names.collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean {near}?"),
            );
            let found = format!("no rule of source {name} tells a state {wanted:?}");
            return Err(Finding::fail("reconcile", found).fix(fix));
        };
        all.push(*found);
    }
    Ok(all)
}

/// The life of the source's numbering, where it is captured and its tables have been read: else what was not
/// told yet would look like a difference.
fn captured(config: &Config, name: &str) -> Result<u32, Failed> {
    let reader = StateReader::open(&config.state_folder)?;
    let said = |found: String, fix| Err(Failed::Said(found, fix));
    if reader.running().is_none() {
        return said(
            "no agent runs: what changed since it stopped was not told".to_owned(),
            "start it (lighterman run), and ask again when lighterman status says that the source is captured",
        );
    }
    let all = reader.sources()?;
    let Some(source) = all.iter().find(|one| one.name == name) else {
        return said(
            format!("source {name} has never run"),
            "look into the agent's log why",
        );
    };
    if let Some(problem) = &source.problem {
        return said(
            format!("source {name} is not captured now: {problem}"),
            "lighterman status says what to do about it",
        );
    }
    if source.snapshot_done < source.snapshot_tables {
        return said(
            format!("tables of source {name} are still being read"),
            "ask again when lighterman status says that they are done",
        );
    }
    Ok(source.epoch)
}

fn say(name: &str, options: &Options, made: &Made, sums: &[Sum]) {
    let first = options.count().map_or_else(String::new, |first| {
        format!(" of the first {first} rows of each table")
    });
    for count in made.counts.values() {
        out(&format!(
            "{name}: {} of {} keys of {}{first} were told as their rows say now{}",
            count.agree,
            count.looked_at,
            count.event_type,
            words::source_classes(count)
        ));
    }
    words::list(&made.differences);
    let mut tables: Vec<&str> = sums.iter().map(|sum| sum.table.as_str()).collect();
    tables.dedup();
    for table in tables {
        let of: Vec<&Sum> = sums.iter().filter(|sum| sum.table == table).collect();
        let wrong = of.iter().filter(|sum| sum.class.is_some());
        if wrong.clone().next().is_none() {
            let columns: Vec<&str> = of.iter().skip(1).map(|sum| sum.what.as_str()).collect();
            let rows = of.first().map_or("", |sum| sum.ours.as_str());
            let and = if columns.is_empty() {
                ""
            } else {
                ", and sums of "
            };
            out(&format!(
                "{name}: of {table} {rows} rows are kept, as many as it has{and}{}",
                columns.join(", ")
            ));
        }
        for sum in wrong {
            let lag = match sum.class {
                Some(ReconcileClass::Different) => "",
                _ => " (still on its way)",
            };
            out(&format!(
                "{name}: of {table}, {} is {} as it is kept and {} as the database says{lag}",
                sum.what, sum.ours, sum.theirs
            ));
        }
    }
    for note in &made.notes {
        out(&format!("Not compared: {note}."));
    }
    let differing = made.counts.values().any(|count| count.differing() > 0);
    let wrong = sums
        .iter()
        .any(|sum| sum.class == Some(ReconcileClass::Different));
    if differing || wrong {
        out(&format!(
            "lighterman source resync --source {name} --table TABLE has a table read again and tells what differs."
        ));
    }
}

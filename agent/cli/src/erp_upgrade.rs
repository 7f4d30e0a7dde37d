//! `lighterman source prepare-upgrade` and `after-upgrade`: the ERP behind a source is upgraded.
//!
//! An upgrade alters tables, and some databases refuse to alter one that is captured. Before it, all that
//! was captured is delivered and what the tables look like is kept; after it, what is another is said, with
//! the events that it touches and what is to be done.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::finding::worst;
use contract::{Clock, Finding, Level, TableInfo};
use engine::clock::SystemClock;
use mappings::{Catalogue, MappingSet};
use state::{Shape, Shapes, StateReader, StoreError, keep_shapes};

use crate::audit::did;
use crate::config::{Config, SourceConfig};
use crate::map::live;
use crate::resync::{again, one_source};
use crate::status::state_refused;
use crate::{Exit, out, refuse, say};

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is to be known of a source before its ERP is upgraded.
pub(crate) async fn before(config: &Config, name: Option<&str>, wait: u64, json: bool) -> Exit {
    let source = match one_source(config, name) {
        Ok(source) => source,
        Err(finding) => return refuse(&[finding], json),
    };
    let (mapping, tables) = match looked(source).await {
        Ok(found) => found,
        Err(findings) => return trouble(&findings, json),
    };
    let mut findings = match delivered(config, &source.name, Duration::from_secs(wait)).await {
        Ok(findings) => findings,
        Err(error) => return state_refused("read the state folder", &error, json),
    };
    let shapes = Shapes {
        taken_at: SystemClock.now(),
        tables: shapes_of(&mapping, &tables),
    };
    match keep(config, source, &shapes) {
        Ok(true) => {
            let found = format!(
                "what {} tables look like is kept; lighterman source after-upgrade compares",
                shapes.tables.len()
            );
            findings.push(Finding::pass(format!("source {}", source.name), found));
        }
        Ok(false) => {
            let found = "has never run: there is nothing to keep".to_owned();
            findings.push(Finding::warn(format!("source {}", source.name), found));
        }
        Err(error) => return state_refused("write into the state folder", &error, json),
    }
    let undo = match source.setup() {
        Ok((setup, _)) => setup.source.prepare(false).await,
        Err(findings) => return trouble(&findings, json),
    };
    let undo = match undo {
        Ok(preparation) => preparation.undo,
        Err(error) => {
            findings.push(Finding::fail(
                format!("source {}", source.name),
                error.to_string(),
            ));
            Vec::new()
        }
    };
    if json {
        let form = serde_json::json!({
            "worst": worst(&findings), "findings": findings, "undo": undo, "kept": shapes,
        });
        out(&form.to_string());
    } else {
        say(&findings);
        steps(&source.name, &undo);
    }
    judged(&findings)
}

fn steps(name: &str, undo: &[String]) {
    out("\nNow:");
    out("1. Stop the agent: lighterman stops by itself what is out; its positions are durable.");
    if undo.is_empty() {
        out("2. Nothing of ours stands in the database.");
    } else {
        out(
            "2. Only if the upgrade refuses to alter tables that are captured, take our objects out (tables are then \
             read again whole):",
        );
        for statement in undo {
            out(&format!("   {statement};"));
        }
    }
    out("3. Upgrade the ERP.");
    out(&format!("4. lighterman source after-upgrade {name}"));
}

/// Whether everything that was captured of a source is delivered, waiting for it for some time.
async fn delivered(
    config: &Config,
    name: &str,
    wait: Duration,
) -> Result<Vec<Finding>, StoreError> {
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let reader = StateReader::open(&config.state_folder)?;
        let (sources, destinations) = (reader.sources()?, reader.destinations()?);
        let running = reader.running().is_some();
        let waiting: Vec<_> = destinations.iter().filter(|one| one.backlog > 0).collect();
        if !waiting.is_empty() && running && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        let mut findings = Vec::new();
        for one in &waiting {
            let found = format!("{} events wait still", one.backlog);
            let fix = "they are delivered during and after the upgrade, too; or wait: --wait 600";
            findings.push(Finding::warn(format!("destination {}", one.name), found).fix(fix));
        }
        let source = sources.iter().find(|one| one.name == name);
        let what = format!("source {name}");
        match source {
            None => {}
            Some(source) => {
                let position = source.checkpoint.as_deref().unwrap_or("none yet");
                let found = format!("everything up to position {position} is stored");
                findings.push(Finding::pass(&what, found));
                if source.held > 0 {
                    let found = format!("{} changes are held by its mapping", source.held);
                    findings.push(
                        Finding::warn(&what, found).fix("lighterman held list --cause mapping"),
                    );
                }
            }
        }
        if waiting.is_empty() {
            findings.push(Finding::pass(
                "delivery",
                "everything that was captured is delivered",
            ));
        }
        return Ok(findings);
    }
}

/// What is another after the upgrade.
pub(crate) async fn after(config: &Config, name: Option<&str>, apply: bool, json: bool) -> Exit {
    let source = match one_source(config, name) {
        Ok(source) => source,
        Err(finding) => return refuse(&[finding], json),
    };
    let kept = StateReader::open(&config.state_folder).and_then(|it| it.shapes(&source.name));
    let kept = match kept {
        Ok(Some(kept)) => kept,
        Ok(None) => {
            let found = "nothing was kept of its tables before an upgrade";
            let fix = "lighterman check says whether the mapping fits; lighterman source resync reads all tables \
                       again";
            let what = format!("source {}", source.name);
            return trouble(&[Finding::fail(what, found).fix(fix)], json);
        }
        Err(error) => return state_refused("read the state folder", &error, json),
    };
    let (mapping, tables) = match looked(source).await {
        Ok(found) => found,
        Err(findings) => return trouble(&findings, json),
    };
    let now = shapes_of(&mapping, &tables);
    let (mut findings, affected) = differences(&mapping, &kept.tables, &now);
    if let Ok(files) = source.files() {
        findings.extend(files.look(&Catalogue::new(&tables)));
    }
    if findings.is_empty() {
        let found = format!("its tables are as they were at {}", kept.taken_at);
        findings.push(Finding::pass(format!("source {}", source.name), found));
    }
    // Nothing is done at the database while something fails.
    let apply = apply && worst(&findings) != Level::Fail;
    let missing = match to_prepare(config, source, apply, json).await {
        Ok(missing) => missing,
        Err(finding) => {
            findings.push(finding);
            Vec::new()
        }
    };
    let apply = apply && worst(&findings) != Level::Fail;
    if apply && !affected.is_empty() {
        match again(config, &source.name, affected.clone()).await {
            Ok(_) => {
                let details = serde_json::json!({ "tables": affected });
                did(&config.state_folder, "source.resync", &source.name, details);
                findings.push(Finding::pass(
                    format!("source {}", source.name),
                    format!("{} is read again and compared", affected.join(", ")),
                ));
            }
            Err(error) => return state_refused("open the state folder", &error, json),
        }
        // What is compared next time is what there is now.
        let shapes = Shapes {
            taken_at: SystemClock.now(),
            tables: now,
        };
        if let Err(error) = keep(config, source, &shapes) {
            return state_refused("write into the state folder", &error, json);
        }
    }
    if json {
        let form = serde_json::json!({
            "worst": worst(&findings), "findings": findings, "read_again": affected,
            "prepare": missing, "applied": apply,
        });
        out(&form.to_string());
    } else {
        say(&findings);
        if !apply {
            to_do(&source.name, &missing, &affected);
        }
    }
    let left = !(apply || missing.is_empty() && affected.is_empty());
    match judged(&findings) {
        Exit::Ok if left => Exit::Trouble,
        exit => exit,
    }
}

fn to_do(name: &str, missing: &[String], affected: &[String]) {
    if missing.is_empty() && affected.is_empty() {
        return;
    }
    out("\nTo do, or --apply does it:");
    for statement in missing {
        out(&format!("   {statement};"));
    }
    if !missing.is_empty() {
        out("   lighterman source prepare --apply");
    }
    for table in affected {
        out(&format!(
            "   lighterman source resync --source {name} --table {table}"
        ));
    }
}

/// Statements that the database needs still; they are run with `apply`.
async fn to_prepare(
    config: &Config,
    source: &SourceConfig,
    apply: bool,
    json: bool,
) -> Result<Vec<String>, Finding> {
    let what = format!("source {}", source.name);
    let setup = match source.setup() {
        Ok((setup, _)) => setup,
        Err(findings) => {
            let first = findings.into_iter().next();
            return Err(first.unwrap_or_else(|| Finding::fail(what, "cannot be set up")));
        }
    };
    let prepared = setup.source.prepare(apply).await;
    let prepared = prepared.map_err(|error| {
        let fix = error
            .hint()
            .unwrap_or("lighterman check says more")
            .to_owned();
        Finding::fail(what, error.to_string()).fix(fix)
    })?;
    if !prepared.applied {
        return Ok(prepared.sql);
    }
    if !prepared.sql.is_empty() {
        let details = serde_json::json!({ "sql": prepared.sql });
        did(
            &config.state_folder,
            "source.prepare",
            &source.name,
            details,
        );
        if !json {
            crate::check::show(&source.name, &prepared);
        }
    }
    Ok(Vec::new())
}

/// A source's mapping, and its tables as they are.
async fn looked(source: &SourceConfig) -> Result<(MappingSet, Vec<TableInfo>), Vec<Finding>> {
    let (setup, _) = source.setup()?;
    let tables = live::tables(source).await?;
    Ok(((*setup.mapping).clone(), tables))
}

/// What the tables that a mapping reads look like.
fn shapes_of(mapping: &MappingSet, tables: &[TableInfo]) -> BTreeMap<String, Shape> {
    let read = mapping.all_tables();
    let read = |info: &&TableInfo| read.iter().any(|one| one.table == info.table);
    tables
        .iter()
        .filter(read)
        .map(|info| {
            let columns = info.columns.iter().map(|column| {
                let declared = match column.declared.as_str() {
                    "" => column.kind.name(),
                    declared => declared,
                };
                (column.name.clone(), declared.to_owned())
            });
            let shape = Shape {
                columns: columns.collect(),
                key: info.key.clone(),
            };
            (info.table.to_string(), shape)
        })
        .collect()
}

/// What is another, and the tables that are to be read again for it: those of which something is another
/// that an event is made of.
fn differences(
    mapping: &MappingSet,
    before: &BTreeMap<String, Shape>,
    now: &BTreeMap<String, Shape>,
) -> (Vec<Finding>, Vec<String>) {
    let (mut findings, mut affected) = (Vec::new(), Vec::new());
    for table in mapping.all_tables() {
        let name = table.table.to_string();
        let Some(was) = before.get(&name) else {
            continue;
        };
        let events: Vec<String> = mapping
            .rules()
            .filter(|rule| rule.tables.contains(&table.table))
            .map(|rule| rule.id)
            .collect();
        let events = events.join(", ");
        let what = format!("table {name}");
        let Some(is) = now.get(&name) else {
            let found = format!("is gone; the events {events} read it");
            let fix = "find out what the ERP calls it now, and say so in the mapping";
            findings.push(Finding::fail(what, found).fix(fix));
            continue;
        };
        let (used, unused) = changes(was, is, &table.columns);
        if !used.is_empty() {
            let found = format!("{}; the events {events} read it", used.join(", "));
            let fix = "look at what the columns mean now; the table is to be read again";
            findings.push(Finding::warn(&what, found).fix(fix));
            affected.push(name);
        }
        if !unused.is_empty() {
            let found = format!("{}; no event reads that", unused.join(", "));
            findings.push(Finding::pass(&what, found));
        }
    }
    (findings, affected)
}

/// What of a table is another: what the mapping reads, and what it does not.
fn changes(was: &Shape, is: &Shape, read: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut used, mut unused) = (Vec::new(), Vec::new());
    let mut all: Vec<&String> = was.columns.keys().chain(is.columns.keys()).collect();
    all.sort();
    all.dedup();
    for column in all {
        let change = match (was.columns.get(column), is.columns.get(column)) {
            (Some(was), Some(is)) if was != is => format!("{column} was {was} and is {is}"),
            (Some(_), None) => format!("{column} is gone"),
            (None, Some(_)) => format!("{column} is new"),
            _ => continue,
        };
        if read.contains(column) {
            used.push(change);
        } else {
            unused.push(change);
        }
    }
    if was.key != is.key {
        used.push(format!(
            "its key was [{}] and is [{}]",
            was.key.join(", "),
            is.key.join(", ")
        ));
    }
    (used, unused)
}

fn keep(config: &Config, source: &SourceConfig, shapes: &Shapes) -> Result<bool, StoreError> {
    let kept = keep_shapes(&config.state_folder, &source.name, shapes)?;
    if kept {
        let details = serde_json::json!({ "tables": shapes.tables.len() });
        did(
            &config.state_folder,
            "source.upgrade",
            &source.name,
            details,
        );
    }
    Ok(kept)
}

fn trouble(findings: &[Finding], json: bool) -> Exit {
    refuse(findings, json);
    Exit::Trouble
}

fn judged(findings: &[Finding]) -> Exit {
    match worst(findings) {
        Level::Fail => Exit::Trouble,
        Level::Pass | Level::Warn => Exit::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(columns: &[(&str, &str)], key: &[&str]) -> Shape {
        Shape {
            columns: columns
                .iter()
                .map(|(name, declared)| ((*name).to_owned(), (*declared).to_owned()))
                .collect(),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn what_the_mapping_reads_is_told_apart_from_what_it_does_not() {
        let was = shape(
            &[("sku", "text"), ("qty", "integer"), ("note", "text")],
            &["sku"],
        );
        let is = shape(
            &[("sku", "text"), ("qty", "numeric(19,5)"), ("bin", "text")],
            &["sku", "bin"],
        );
        let read = ["sku".to_owned(), "qty".to_owned()];
        let (used, unused) = changes(&was, &is, &read);
        assert_eq!(
            used,
            [
                "qty was integer and is numeric(19,5)",
                "its key was [sku] and is [sku, bin]"
            ]
        );
        assert_eq!(unused, ["bin is new", "note is gone"]);
        assert_eq!(changes(&was, &was, &read), (vec![], vec![]));
    }
}

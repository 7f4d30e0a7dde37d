//! `lighterman map shadow`: what came of it so far.

use contract::Finding;
use mappings::{Catalogue, MappingSet};
use serde_json::{Value as Json, json};
use state::{ShadowDifference, ShadowRun, StateReader};

use super::super::diff::text;
use crate::config::{Config, SourceConfig};
use crate::status::state_refused;
use crate::{Common, Exit, load, out, refuse};

pub(crate) fn shadow(common: &Common, name: Option<&str>, limit: usize) -> Exit {
    let config = match load(common) {
        Ok(config) => config,
        Err(findings) => return refuse(&findings, common.json),
    };
    let sources: Vec<&SourceConfig> = match meant(&config, name) {
        Ok(sources) => sources,
        Err(finding) => return refuse(&[finding], common.json),
    };
    let read = || {
        let reader = StateReader::open(&config.state_folder)?;
        let runs = reader.shadows()?;
        let mut all = Vec::new();
        for source in &sources {
            let run = runs.iter().find(|run| run.source == source.name).cloned();
            all.push((
                *source,
                run,
                reader.shadow_differences(&source.name, limit)?,
            ));
        }
        Ok(all)
    };
    let all = match read() {
        Ok(all) => all,
        Err(error) => return state_refused("open the state folder", &error, common.json),
    };
    let problem = |run: &Option<ShadowRun>| run.as_ref().is_none_or(|run| run.problem.is_some());
    let exit = if all.iter().any(|(_, run, _)| problem(run)) {
        Exit::Trouble
    } else {
        Exit::Ok
    };
    if common.json {
        let form = all.iter().map(|(source, run, differences)| {
            json!({
                "source": source.name,
                "run": run,
                "differences": differences,
                "unseen_tables": unseen(source),
            })
        });
        out(&json!({ "shadows": form.collect::<Vec<_>>() }).to_string());
        return exit;
    }
    for (source, run, differences) in &all {
        said(source, run.as_ref(), differences);
    }
    exit
}

fn meant<'c>(config: &'c Config, name: Option<&str>) -> Result<Vec<&'c SourceConfig>, Finding> {
    let sources: Vec<&SourceConfig> = config
        .sources
        .iter()
        .filter(|source| name.is_none_or(|name| source.name == name) && !source.shadow.is_empty())
        .collect();
    if sources.is_empty() {
        let found = match name {
            Some(name) => format!("there is no source {name} with `shadow_mappings`"),
            None => "no source has `shadow_mappings`".to_owned(),
        };
        let fix = "shadow_mappings = [\"new/mapping.yaml\"] in the source's block; the running agent takes it up";
        return Err(Finding::fail("map shadow", found).fix(fix));
    }
    Ok(sources)
}

/// Tables that only the new mapping reads: nobody captures them before it is in force.
fn unseen(source: &SourceConfig) -> Vec<String> {
    let load = || -> Result<Vec<String>, Vec<Finding>> {
        let set = MappingSet::new(source.shadow_files()?.load(&Catalogue::default())?)?;
        let (setup, _) = source.setup()?;
        let known = setup.mapping.tables();
        let tables = set.tables().into_iter().map(|captured| captured.table);
        let new = tables.filter(|table| !known.iter().any(|one| one.table == *table));
        Ok(new.map(|table| table.to_string()).collect())
    };
    load().unwrap_or_default()
}

fn said(source: &SourceConfig, run: Option<&ShadowRun>, differences: &[ShadowDifference]) {
    let Some(run) = run else {
        out(&format!(
            "{}: nothing was compared yet: an agent that runs with these settings does it",
            source.name
        ));
        return;
    };
    let counts = &run.counts;
    out(&format!(
        "{}: {} beside the mapping in force, since {:.0}, last at {:.0}",
        run.source, run.files, run.since, run.looked_at
    ));
    if let Some(problem) = &run.problem {
        out(&format!("  not compared now: {problem}"));
    }
    out(&format!(
        "  {} changed rows: {} events the same, {} changed, {} added, {} removed, {} newly held, {} no longer held",
        counts.rows,
        counts.same,
        counts.changed,
        counts.added,
        counts.removed,
        counts.held,
        counts.freed
    ));
    if counts.left_out > 0 {
        out(&format!(
            "  {} changes were not compared: rows that are gone, of tables that are only joined, or more than there \
             was time for",
            counts.left_out
        ));
    }
    let tables = unseen(source);
    if !tables.is_empty() {
        out(&format!(
            "  changes of {} are not seen before the new mapping is in force: only it reads them",
            tables.join(", ")
        ));
    }
    for one in differences {
        difference(one);
    }
    out(
        "  nothing of it was sent; to switch, let `mappings` name these files, and take `shadow_mappings` out",
    );
}

fn difference(one: &ShadowDifference) {
    let sign = match one.class.as_str() {
        "changed" => "~",
        "added" => "+",
        "removed" => "-",
        "freed" => "no longer held",
        other => other,
    };
    let reason = match &one.details {
        Json::String(reason) => format!(": {reason}"),
        _ => String::new(),
    };
    out(&format!("{sign} {}{reason}", one.what));
    if let Json::Object(fields) = &one.details {
        for (field, values) in fields {
            let (old, new) = (text(&values["old"]), text(&values["new"]));
            out(&format!("    {field}: {old} -> {new}"));
        }
    }
}

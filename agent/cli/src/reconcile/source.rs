//! With a source: asked of the running agent, for what changed since one stopped was not told.

use std::path::PathBuf;

use contract::finding::nearest;
use contract::{EventKind, EventType, Finding};
use mappings::MappingSet;
use state::{ReconcileClass, ReconcileOrder, ReconcileRun, ReconcileWith, StateReader};

use super::asking::{newest, there};
use super::serve_source::captured;
use super::{Options, words};
use crate::config::Config;
use crate::operate::Failed;
use crate::{Exit, out, refuse};

pub(super) struct Work<'a> {
    pub(super) config: &'a Config,
    pub(super) name: &'a str,
    pub(super) options: &'a Options,
    pub(super) csv: Option<PathBuf>,
}

impl Work<'_> {
    pub(super) async fn run(&self) -> Exit {
        let json = self.options.common.json;
        let known = || self.config.sources.iter().map(|one| one.name.as_str());
        let found = self.config.sources.iter();
        let Some(source) = found.into_iter().find(|one| one.name == self.name) else {
            let found = format!("there is no source {:?}", self.name);
            let fix = nearest(self.name, known()).map_or_else(
                || format!("one of {}", known().collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean {near}?"),
            );
            return refuse(&[Finding::fail("source", found).fix(fix)], json);
        };
        let setup = match source.setup() {
            Ok((setup, _)) => setup,
            Err(findings) => return refuse(&findings, json),
        };
        let types = match self.wanted(&setup.mapping) {
            Ok(types) => types,
            Err(finding) => return refuse(&[finding], json),
        };
        let compared = self.compared(&types).await;
        compared.unwrap_or_else(|failed| failed.refuse("reconcile", json))
    }

    async fn compared(&self, types: &[EventType]) -> Result<Exit, Failed> {
        let folder = &self.config.state_folder;
        let with = ReconcileWith::Source(self.name.to_owned());
        let number = if self.options.last {
            newest(folder, &with)?
        } else {
            let reader = StateReader::open(folder)?;
            if reader.running().is_none() {
                return Err(Failed::Said(
                    "no agent runs: what changed since it stopped was not told".to_owned(),
                    "start it (lighterman run), and ask again when lighterman status says that the source is captured",
                ));
            }
            captured(&reader, self.name)?
                .map_err(|problem| Failed::Said(problem, "lighterman status says more"))?;
            let order = ReconcileOrder {
                types: types.iter().map(|one| one.name().to_owned()).collect(),
                sample: self.options.count(),
                seed: 0,
                wait_seconds: self.options.wait,
                list: false,
            };
            there(folder, &with, &order).await?
        };
        let reader = StateReader::open(folder)?;
        let Some(run) = reader.reconcile_run(number)? else {
            return Err(Failed::Said(
                "no rule of the source tells a state: there is nothing to compare".to_owned(),
                "lighterman map check says what its rules tell",
            ));
        };
        let differences = reader.reconcile_differences(number)?;
        if let Some(file) = &self.csv {
            words::csv(file, &differences, &run.sums).map_err(|error| {
                Failed::Said(
                    format!("write {}: {error}", file.display()),
                    "name a file that can be written; --last --csv writes what was found without asking again",
                )
            })?;
        }
        if self.options.common.json {
            let form = words::source_json(&run, &differences);
            out(&serde_json::json!({ "reconcile": form }).to_string());
        } else {
            say(self.name, &run);
            words::list(&differences);
            sums(self.name, &run);
        }
        let trouble = words::differing(&run) + words::unknown(&run) > 0;
        Ok(if trouble { Exit::Trouble } else { Exit::Ok })
    }

    /// The types that are compared; empty = all.
    fn wanted(&self, mapping: &MappingSet) -> Result<Vec<EventType>, Finding> {
        let known: Vec<EventType> = mapping
            .rules()
            .map(|rule| rule.event_type)
            .filter(|one| one.kind() == EventKind::State)
            .collect();
        let mut all = Vec::new();
        for wanted in &self.options.types {
            let Some(found) = known.iter().find(|known| known.name() == wanted) else {
                let names = known.iter().map(|known| known.name());
                let fix = nearest(wanted, names.clone()).map_or_else(
                    || format!("one of {}", names.collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean {near}?"),
                );
                let found = format!("no rule of source {} tells a state {wanted:?}", self.name);
                return Err(Finding::fail("reconcile", found).fix(fix));
            };
            all.push(*found);
        }
        Ok(all)
    }
}

fn say(name: &str, run: &ReconcileRun) {
    let first = run.sample.map_or_else(String::new, |first| {
        format!(" of the first {first} rows of each table")
    });
    for count in words::of_types(run) {
        out(&format!(
            "{name}: {} of {} keys of {}{first} were told as their rows say now{}",
            count.agree,
            count.looked_at,
            count.event_type,
            words::source_classes(count)
        ));
    }
}

fn sums(name: &str, run: &ReconcileRun) {
    let mut tables: Vec<&str> = run.sums.iter().map(|sum| sum.table.as_str()).collect();
    tables.dedup();
    for table in tables {
        let of = run.sums.iter().filter(|sum| sum.table == table);
        let wrong = of.clone().filter(|sum| sum.class.is_some());
        if wrong.clone().next().is_none() {
            let columns: Vec<&str> = of.clone().skip(1).map(|sum| sum.what.as_str()).collect();
            let rows = of.clone().next().map_or("", |sum| sum.ours.as_str());
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
    for note in words::notes(run) {
        out(&format!("Not compared: {note}."));
    }
    if words::differing(run) > 0 {
        out(&format!(
            "lighterman source resync --source {name} --table TABLE has a table read again and tells what differs."
        ));
    }
}

//! With a destination: here and now where no agent runs, else by the one that does, whose limits it then shares.

use std::path::PathBuf;
use std::sync::Arc;

use contract::{Clock, EventType, Finding, clock};
use engine::ReadingGate;
use engine::clock::SystemClock;
use state::{
    Command, ReconcileDifference, ReconcileOrder, ReconcileRun, ReconcileWith, StateReader, Store,
    StoreError,
};

use super::asking::{newest, there};
use super::compare::{DIFFERENCES_MAX, Ground, Made, compare};
use super::{Options, seed, types, words};
use crate::audit::did;
use crate::config::{Config, DestinationConfig};
use crate::operate::{Failed, counted, done};
use crate::{Exit, out};

/// The types that are compared.
pub(super) fn wanted(one: &DestinationConfig, names: &[String]) -> Result<Vec<EventType>, Finding> {
    let known = types(&one.event_types);
    if known.is_empty() {
        let found = format!("destination {} is told facts only", one.name);
        let fix = "lighterman trace --key shows what became of one";
        return Err(Finding::fail("reconcile", found).fix(fix));
    }
    let mut all = Vec::new();
    for name in names {
        let Some(found) = known.iter().find(|known| known.name() == name) else {
            let names: Vec<&str> = known.iter().map(|known| known.name()).collect();
            let near = contract::finding::nearest(name, names.iter().copied());
            let fix = near.map_or_else(
                || format!("one of {}", names.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            let found = format!("destination {} is told no state {name:?}", one.name);
            return Err(Finding::fail("reconcile", found).fix(fix));
        };
        all.push(*found);
    }
    Ok(if all.is_empty() { known } else { all })
}

pub(super) struct Work<'a> {
    pub(super) config: &'a Config,
    pub(super) one: &'a DestinationConfig,
    pub(super) options: &'a Options,
    pub(super) csv: Option<PathBuf>,
}

impl Work<'_> {
    fn with(&self) -> ReconcileWith {
        ReconcileWith::Destination(self.one.name.clone())
    }

    pub(super) async fn run(&self, types: &[EventType]) -> Result<Exit, Failed> {
        let number = if self.options.last {
            newest(&self.config.state_folder, &self.with())?
        } else {
            self.compared(types).await?
        };
        let reader = StateReader::open(&self.config.state_folder)?;
        let Some(run) = reader.reconcile_run(number)? else {
            return Err(Failed::Said(
                "nothing was told yet that could be compared".to_owned(),
                "lighterman status says how far the first load is",
            ));
        };
        let differences = reader.reconcile_differences(number)?;
        if let Some(file) = &self.csv {
            words::csv(file, &differences, &[]).map_err(|error| {
                Failed::Said(
                    format!("write {}: {error}", file.display()),
                    "name a file that can be written; --last --csv writes what was found without asking again",
                )
            })?;
        }
        let repair = self.repair(number, &reader).await?;
        self.say(&run, &differences, repair.as_ref());
        let trouble = words::differing(&run) + words::unknown(&run) > 0;
        Ok(if trouble { Exit::Trouble } else { Exit::Ok })
    }

    fn say(
        &self,
        run: &ReconcileRun,
        differences: &[ReconcileDifference],
        repair: Option<&Repair>,
    ) {
        if self.options.common.json {
            let mut form = words::json(run, differences);
            if let (Some(form), Some(repair)) = (form.as_object_mut(), repair) {
                form.insert("would_repair".to_owned(), repair.would.into());
                form.insert("repaired".to_owned(), repair.done.into());
            }
            return out(&serde_json::json!({ "reconcile": form }).to_string());
        }
        words::say(run, differences);
        if differences.len() >= DIFFERENCES_MAX {
            out(&format!(
                "Of more than {DIFFERENCES_MAX} keys that do not agree only so many are kept one by one."
            ));
        }
        if let Some(file) = &self.csv {
            out(&format!(
                "{} keys are in {}.",
                differences.len(),
                file.display()
            ));
        }
        match repair {
            None if words::differing(run) > words::untold(run) => out(&format!(
                "lighterman reconcile --destination {} --last --repair says what telling them again would do.",
                run.with.name()
            )),
            None => {}
            Some(Repair {
                would: _,
                done: Some(done),
            }) => out(&format!(
                "{} told again: run this once more when they are delivered.",
                counted(*done, "key")
            )),
            Some(Repair { would, done: None }) => out(&format!(
                "{} would be told again. Nothing was done: --last --repair --yes does it.",
                counted(*would, "key")
            )),
        }
    }

    async fn repair(&self, number: i64, reader: &StateReader) -> Result<Option<Repair>, Failed> {
        if !self.options.repair {
            return Ok(None);
        }
        let would = reader.reconcile_repairable(number)?;
        if !self.options.yes || would == 0 {
            let done = self.options.yes.then_some(0);
            return Ok(Some(Repair { would, done }));
        }
        let command = Command::Mend {
            run: number,
            tenant: self.config.tenant.clone(),
        };
        let done = done(self.config, &self.one.name, command).await?;
        let details = serde_json::json!({ "run": number, "keys": done });
        let folder = &self.config.state_folder;
        did(folder, "reconcile.repair", &self.one.name, details);
        Ok(Some(Repair {
            would,
            done: Some(done),
        }))
    }

    /// Compares here and now where no agent runs, else has the one that does do it: the comparison's number.
    async fn compared(&self, types: &[EventType]) -> Result<i64, Failed> {
        let mut order = ReconcileOrder {
            types: types.iter().map(|one| one.name().to_owned()).collect(),
            sample: self.options.count(),
            seed: self.options.seed.unwrap_or_else(seed),
            wait_seconds: self.options.wait,
            list: !self.options.no_list,
        };
        let now = SystemClock.now();
        if let Some(until) = self.one.settings.paused_until(now) {
            return Err(Failed::Said(
                format!(
                    "{} is within a pause of its settings until {until:.0}: nothing is asked of it now",
                    self.one.name
                ),
                "compare when the pause is over, or take the pause out of the settings",
            ));
        }
        let folder = self.config.state_folder.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
        match opened.map_err(|error| StoreError::Invariant(error.to_string()))? {
            Ok(store) => {
                // Nobody delivers what is on its way.
                order.wait_seconds = 0;
                self.here(Arc::new(store), types, &order).await
            }
            Err(StoreError::Busy { .. }) => {
                there(&self.config.state_folder, &self.with(), &order).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn here(
        &self,
        store: Arc<Store>,
        types: &[EventType],
        order: &ReconcileOrder,
    ) -> Result<i64, Failed> {
        let one = self.one;
        let destination = (one.build)(&one.name).map_err(|found| {
            Failed::Said(found, "lighterman check says what the destination needs")
        })?;
        let all = StateReader::open(&self.config.state_folder)?.destinations()?;
        let until = all
            .iter()
            .find(|known| known.name == one.name)
            .and_then(|known| known.throttled_until);
        let rest = until.map(|until| clock::until(SystemClock.now(), until));
        let rest = rest.unwrap_or_default();
        let traits = destination.traits();
        let Some(gate) = ReadingGate::alone(&one.name, traits, &one.settings, rest) else {
            return Err(Failed::Said(
                format!(
                    "{} has a quota of requests a day, and only the running agent counts it",
                    one.name
                ),
                "start the agent (lighterman run), and ask again beside it",
            ));
        };
        let ground = Ground {
            folder: self.config.state_folder.clone(),
            tenant: self.config.tenant.clone(),
            name: one.name.clone(),
            destination,
            settings: one.settings.clone(),
        };
        let (run, differences): Made = compare(&ground, &gate, types, order, false).await?;
        Ok(store.reconciled(run, differences).await?)
    }
}

/// What telling again would do, and did.
struct Repair {
    would: u64,
    done: Option<u64>,
}

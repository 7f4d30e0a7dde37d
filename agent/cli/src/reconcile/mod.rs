//! `lighterman reconcile`: what was told, compared with what a destination says it holds, or with what a
//! source's rows say now.
//!
//! Nothing is written to a source, and nothing to a destination but by `--repair --yes`, which tells what
//! differs again.

mod asking;
mod compare;
mod destination;
mod rows;
mod serve;
mod serve_source;
mod settings;
mod source;
mod sums;
mod untold;
mod words;

use std::path::{Path, PathBuf};

use clap::Args;
use contract::{EventKind, EventType, Finding};
use rand::RngExt;
use state::{StateReader, StoreError};

use crate::operate::named;
use crate::{Common, Exit, load, refuse};

pub(crate) use serve::{Served, Serving, serve};
pub(crate) use serve_source::ServedSource;
pub(crate) use settings::{Of, Schedule, read};

/// How long what is on its way is waited for, unless a person says otherwise.
const WAIT_SECONDS: u64 = 60;

/// Compares what was told with what a destination holds, key by key, or with a source's rows as they are now,
/// and says where they differ. Changes nothing; --repair tells a destination again what differs there, and
/// leaves alone what was never told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// With this destination.
    #[arg(long, required_unless_present = "source")]
    destination: Option<String>,
    /// With the rows of this source, mapped now, and the sums of the tables that rules join and add up.
    #[arg(long, conflicts_with_all = ["destination", "seed", "repair", "no_list"])]
    source: Option<String>,
    /// Of this event type; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// So many keys, chosen evenly; of a source, the first rows of each table. 1,000 unless --full or this
    /// says otherwise.
    #[arg(long, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(settings::SAMPLE_MAX)))]
    sample: Option<u32>,
    /// Every key, or every row; of a destination that lists what it has, also what it was never told.
    #[arg(long, conflicts_with_all = ["sample", "seed"])]
    full: bool,
    /// With --full: does not ask the destination for what it was never told.
    #[arg(long, requires = "full")]
    no_list: bool,
    /// Chooses the same keys as the comparison that said this number.
    #[arg(long)]
    seed: Option<u32>,
    /// So many seconds what is on its way is waited for.
    #[arg(long, default_value_t = WAIT_SECONDS, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    wait: u64,
    /// Compares nothing: shows what the newest comparison came to, also one of the settings.
    #[arg(long, conflicts_with_all = ["sample", "full", "seed", "types", "wait"])]
    last: bool,
    /// Writes all keys that do not agree into this file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Counts what would be told again: what is missing, different, or there though told to be gone.
    #[arg(long)]
    repair: bool,
    /// With --repair: does it.
    #[arg(long, requires = "repair")]
    yes: bool,
}

impl Options {
    /// So many keys or rows; `None` = all.
    fn count(&self) -> Option<u32> {
        (!self.full).then(|| self.sample.unwrap_or(settings::SAMPLE))
    }
}

/// The states among event types; of facts nobody holds a newest one.
fn types(event_types: &[EventType]) -> Vec<EventType> {
    let all = if event_types.is_empty() {
        EventType::ALL.to_vec()
    } else {
        event_types.to_vec()
    };
    let state = |one: &EventType| one.kind() == EventKind::State;
    all.into_iter().filter(state).collect()
}

/// Reads from the state file, beside whoever writes it.
async fn reading<T: Send + 'static>(
    folder: &Path,
    what: impl FnOnce(&StateReader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let folder = folder.to_owned();
    let read = tokio::task::spawn_blocking(move || what(&StateReader::open(&folder)?));
    read.await
        .map_err(|error| StoreError::Invariant(error.to_string()))?
}

fn seed() -> u32 {
    rand::rng().random()
}

pub(crate) async fn reconcile(options: &Options) -> Exit {
    let json = options.common.json;
    // As it was written, seen from where it was written.
    let csv = match options.csv.as_ref().map(std::path::absolute).transpose() {
        Ok(csv) => csv,
        Err(error) => return refuse(&[Finding::fail("--csv", error.to_string())], json),
    };
    let config = match load(&options.common) {
        Ok(config) => config,
        Err(findings) => return refuse(&findings, json),
    };
    if let Some(name) = &options.source {
        let work = source::Work {
            config: &config,
            name,
            options,
            csv,
        };
        return work.run().await;
    }
    let name = options.destination.as_deref();
    if let Err(findings) = named(&config, name) {
        return refuse(&findings, json);
    }
    let found = config
        .destinations
        .iter()
        .find(|one| Some(one.name.as_str()) == name);
    let Some(one) = found else {
        return Exit::Settings;
    };
    let types = match destination::wanted(one, &options.types) {
        Ok(types) => types,
        Err(finding) => return refuse(&[finding], json),
    };
    let work = destination::Work {
        config: &config,
        one,
        options,
        csv,
    };
    work.run(&types)
        .await
        .unwrap_or_else(|failed| failed.refuse("reconcile", json))
}

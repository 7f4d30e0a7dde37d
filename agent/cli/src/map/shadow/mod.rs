//! Another mapping beside the one in force, on live changes: both are tried on the rows that changed, as they are
//! at the source then, and what differs is counted and kept. Nothing of it is sent, and capture waits for none of it.

mod look;
mod show;

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use contract::{Clock, Finding, TableInfo, Value};
use engine::clock::SystemClock;
use engine::{ChangedRow, SourceSetup, Tap};
use mappings::{Catalogue, MappingSet};
use state::{ShadowCounts, Store, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::live;
use crate::beside::unwound;
use crate::config::SourceConfig;
use look::Both;

pub(super) use show::shadow;

/// Between two looks at rows that changed: what changes several times in it is looked at once.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After the source did not answer, or the mapping could not be loaded.
const REST: Duration = Duration::from_secs(30);
/// Rows of one look, and rows that wait for one.
const ROWS_MAX: usize = 50;
const WAITING_MAX: usize = 2_000;

/// A source whose settings name another mapping.
pub(crate) struct Shadow {
    source: SourceConfig,
    /// With the mapping in force.
    setup: watch::Receiver<SourceSetup>,
    tap: Tap,
    changed: mpsc::Receiver<ChangedRow>,
}

impl Shadow {
    /// What tells it of changed rows, and itself; nothing where the settings name no other mapping.
    pub(crate) fn of(
        source: &SourceConfig,
        setup: &watch::Receiver<SourceSetup>,
    ) -> Option<(Tap, Self)> {
        if source.shadow.is_empty() {
            return None;
        }
        let (tap, changed) = Tap::new();
        let shadow = Self {
            source: source.clone(),
            setup: setup.clone(),
            tap: tap.clone(),
            changed,
        };
        Some((tap, shadow))
    }
}

/// Compares, for as long as it is polled: each source by itself.
pub(crate) async fn shadows(shadows: Vec<Shadow>, store: Arc<Store>) {
    let names = shadows.iter().map(|one| one.source.name.clone()).collect();
    if let Err(error) = store.shadow_only(names).await {
        said("", &error);
    }
    let mut tasks = JoinSet::new();
    for shadow in shadows {
        let store = Arc::clone(&store);
        tasks.spawn(async move { shadow.run(&store).await });
    }
    while let Some(ended) = tasks.join_next().await {
        unwound(ended);
    }
}

/// Whoever writes for capture and delivery says more of the state file.
fn said(source: &str, error: &StoreError) {
    tracing::warn!(code = "mapping.shadow_not_compared", source, error = %error,
        hint = error.hint(), "what the other mapping would tell is not kept now");
}

/// Rows that wait to be looked at, each once.
#[derive(Default)]
struct Waiting {
    rows: VecDeque<(String, ChangedRow)>,
    known: BTreeSet<String>,
}

impl Waiting {
    /// False where there is no room.
    fn put(&mut self, row: ChangedRow) -> bool {
        let key: Vec<String> = row.key.iter().filter_map(Value::text).collect();
        let name = format!("{} {key:?}", row.table);
        if self.known.contains(&name) {
            return true;
        }
        if self.rows.len() >= WAITING_MAX {
            return false;
        }
        self.known.insert(name.clone());
        self.rows.push_back((name, row));
        true
    }

    /// The oldest, and those behind it of the same table.
    fn take(&mut self, most: usize) -> Vec<ChangedRow> {
        let Some(table) = self.rows.front().map(|(_, row)| row.table.clone()) else {
            return Vec::new();
        };
        let mut taken: Vec<ChangedRow> = Vec::new();
        let mut rest = VecDeque::with_capacity(self.rows.len());
        for (name, row) in std::mem::take(&mut self.rows) {
            if taken.len() < most && row.table == table {
                self.known.remove(&name);
                taken.push(row);
            } else {
                rest.push_back((name, row));
            }
        }
        self.rows = rest;
        taken
    }
}

impl Shadow {
    async fn run(mut self, store: &Store) {
        let mut both: Option<Both> = None;
        let mut waiting = Waiting::default();
        // Said once, not each time.
        let mut problem: Option<String> = None;
        loop {
            SystemClock.sleep(LOOK_EVERY).await;
            failpoint::crash!("task.shadow");
            let mut counts = ShadowCounts {
                left_out: self.tap.left_out(),
                ..ShadowCounts::default()
            };
            while let Ok(row) = self.changed.try_recv() {
                counts.left_out += u64::from(!waiting.put(row));
            }
            let turned = self.turn(store, &mut both, &mut waiting, counts).await;
            let found = match turned {
                Ok(()) => {
                    problem = None;
                    continue;
                }
                Err(Failed::State(error)) => {
                    said(&self.source.name, &error);
                    SystemClock.sleep(REST).await;
                    continue;
                }
                Err(Failed::Found(findings)) => {
                    let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
                    found.join("; ")
                }
            };
            both = None;
            if problem.as_ref() != Some(&found) {
                tracing::warn!(
                    code = "mapping.shadow_not_compared",
                    source = self.source.name,
                    error = found,
                    "the mapping in shadow_mappings is not compared now"
                );
            }
            problem = Some(found);
            SystemClock.sleep(REST).await;
        }
    }

    /// One look; what it was found with begins anew where either mapping is another one.
    async fn turn(
        &self,
        store: &Store,
        both: &mut Option<Both>,
        waiting: &mut Waiting,
        mut counts: ShadowCounts,
    ) -> Result<(), Failed> {
        let name = &self.source.name;
        let in_force = Arc::clone(&self.setup.borrow().mapping);
        let written = written(&self.source.shadow);
        if both
            .as_ref()
            .is_none_or(|both| !both.is_of(&in_force, &written))
        {
            let made = self.both(in_force, written).await;
            let made = match made {
                Ok(made) => made,
                Err(findings) => {
                    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
                    let files = self.files();
                    // Why stands somewhere, also where none was ever begun; what was found stays.
                    store
                        .shadow_begins(name, "", &files, SystemClock.now())
                        .await?;
                    let text = Some(text.join("; "));
                    let now = SystemClock.now();
                    store
                        .shadow_found(name, counts, Vec::new(), text, now)
                        .await?;
                    return Err(Failed::Found(findings));
                }
            };
            store
                .shadow_begins(name, &made.digest(), &self.files(), SystemClock.now())
                .await?;
            tracing::info!(
                code = "mapping.shadow_begun",
                source = name.as_str(),
                "another mapping is tried on live changes, and nothing of it is sent"
            );
            *both = Some(made);
        }
        let Some(both) = both else {
            return Ok(());
        };
        // Half of what the source may be asked for in the time, with all that a row is joined with, for both mappings.
        let reads = u64::from(self.source.reads_per_second) * LOOK_EVERY.as_secs() / 2;
        let rows = usize::try_from(reads).unwrap_or(ROWS_MAX) / both.reach().max(1);
        let most = rows.clamp(1, ROWS_MAX);
        let rows = waiting.take(most);
        let mut differences = Vec::new();
        let mut problem = Ok(());
        if !rows.is_empty() {
            match both.look(&rows).await {
                Ok(found) => {
                    counts.rows += found.counts.rows;
                    counts.left_out += found.counts.left_out;
                    counts.same += found.counts.same;
                    counts.changed += found.counts.changed;
                    counts.added += found.counts.added;
                    counts.removed += found.counts.removed;
                    counts.held += found.counts.held;
                    counts.freed += found.counts.freed;
                    differences = found.differences;
                }
                Err(findings) => {
                    counts.left_out += rows.len() as u64;
                    problem = Err(Failed::Found(findings));
                }
            }
        }
        let text = problem.as_ref().err().map(Failed::text);
        store
            .shadow_found(name, counts, differences, text, SystemClock.now())
            .await?;
        problem
    }

    fn files(&self) -> String {
        let files = self
            .source
            .shadow
            .iter()
            .map(|file| file.display().to_string());
        files.collect::<Vec<_>>().join(", ")
    }

    async fn both(
        &self,
        in_force: Arc<MappingSet>,
        written: Vec<Option<SystemTime>>,
    ) -> Result<Both, Vec<Finding>> {
        let files = self.source.shadow_files()?;
        // A broken file asks nothing of the database.
        MappingSet::new(files.load(&Catalogue::default())?)?;
        let tables: Vec<TableInfo> = live::tables(&self.source).await?;
        let new = MappingSet::new(files.load(&Catalogue::new(&tables))?)?;
        Both::new(&self.source, in_force, new, tables, written)
    }
}

/// When files were written last.
fn written(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    let at = |file: &PathBuf| {
        std::fs::metadata(file)
            .and_then(|file| file.modified())
            .ok()
    };
    files.iter().map(at).collect()
}

/// Why a look failed.
enum Failed {
    State(StoreError),
    Found(Vec<Finding>),
}

impl Failed {
    fn text(&self) -> String {
        match self {
            Self::State(error) => error.to_string(),
            Self::Found(findings) => {
                let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
                texts.join("; ")
            }
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::State(error)
    }
}

//! With a source, by the running agent: it alone knows what is captured, and what it has stored.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, EventType};
use engine::SourceSetup;
use engine::clock::SystemClock;
use engine::observe::SourceMeter;
use state::{
    ReconcileClass, ReconcileCount, ReconcileOrder, ReconcileRun, ReconcileWith, StateReader,
    StoreError,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::compare::Made;
use super::rows::{self, Ground, Stopped};
use super::settings::Schedule;
use super::{reading, sums};

/// A source that may be compared with.
pub(crate) struct ServedSource {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    /// As it is captured.
    pub(crate) setup: watch::Receiver<SourceSetup>,
    /// What the capture loop says of itself.
    pub(crate) meter: Arc<SourceMeter>,
    pub(crate) schedule: Option<Schedule>,
}

/// The life of the source's numbering, where it is captured and its tables have been read: else what was not
/// told yet would look like a difference. Else why it cannot be compared.
///
/// # Errors
/// See [`StoreError`].
pub(super) fn captured(
    reader: &StateReader,
    name: &str,
) -> Result<Result<u32, String>, StoreError> {
    let all = reader.sources()?;
    let Some(source) = all.iter().find(|one| one.name == name) else {
        return Ok(Err(format!("source {name} has never run")));
    };
    Ok(match &source.problem {
        Some(problem) => Err(format!("source {name} is not captured now: {problem}")),
        None if source.snapshot_done < source.snapshot_tables => {
            Err(format!("tables of source {name} are still being read"))
        }
        None => Ok(source.epoch),
    })
}

impl ServedSource {
    /// Compares, or says why that cannot be.
    pub(super) async fn compare(
        &self,
        folder: &Path,
        order: &ReconcileOrder,
        scheduled: bool,
    ) -> Result<Result<Made, String>, StoreError> {
        let name = self.name.clone();
        let epoch = reading(folder, move |reader| captured(reader, &name)).await?;
        let epoch = match epoch {
            Ok(epoch) => epoch,
            Err(problem) => return Ok(Err(problem)),
        };
        let setup = self.setup.borrow().clone();
        let types: Vec<EventType> = order
            .types
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        let ground = Ground {
            folder,
            name: &self.name,
            kind: self.kind,
            epoch,
            meter: Arc::clone(&self.meter),
            setup: &setup,
            types: &types,
            first: order.sample,
            wait: Duration::from_secs(order.wait_seconds),
        };
        match self.made(&ground, order, scheduled).await {
            Ok(made) => {
                let name = self.name.clone();
                let now = reading(folder, move |reader| captured(reader, &name)).await?;
                let same = Arc::ptr_eq(&self.setup.borrow().mapping, &setup.mapping)
                    && now.is_ok_and(|now| now == epoch);
                if same || super::words::differing(&made.0) == 0 {
                    return Ok(Ok(made));
                }
                // What other rules told meanwhile, or another reading, is no difference.
                Ok(Err(format!(
                    "the mapping or the reading of source {} changed while it was compared",
                    self.name
                )))
            }
            Err(Stopped::State(error)) => Err(error),
            Err(Stopped::Source(table, error)) => {
                let hint = error.hint().map(|hint| format!("; {hint}"));
                let hint = hint.unwrap_or_default();
                Ok(Err(format!("read {table}: {error}{hint}")))
            }
        }
    }

    async fn made(
        &self,
        ground: &Ground<'_>,
        order: &ReconcileOrder,
        scheduled: bool,
    ) -> Result<Made, Stopped> {
        let (began_at, began) = (SystemClock.now(), Instant::now());
        let mut made = rows::compare(ground).await?;
        // Added up by the database whatever is sampled: that is one statement for each table.
        let sums = sums::compare(ground, &mut made.notes).await?;
        let mut types: Vec<ReconcileCount> = made.counts.into_values().collect();
        if !sums.is_empty() || !made.notes.is_empty() {
            let mut added = ReconcileCount {
                event_type: ReconcileCount::SUMS.to_owned(),
                notes: made.notes,
                ..ReconcileCount::default()
            };
            for sum in &sums {
                // Sums that are late are no difference.
                added.add(sum.class.map(|class| match class {
                    ReconcileClass::Different => ReconcileClass::Different,
                    _ => ReconcileClass::ExpectedLag,
                }));
            }
            types.push(added);
        }
        let run = ReconcileRun {
            with: ReconcileWith::Source(self.name.clone()),
            began_at,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            scheduled,
            sample: order.sample,
            seed: order.seed,
            types,
            sums,
        };
        Ok((run, made.differences))
    }
}

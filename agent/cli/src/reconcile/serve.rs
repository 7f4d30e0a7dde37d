//! Comparisons by the running agent: those that a person asks for, and those of the settings.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{Clock, Destination, EventType, clock};
use engine::DeliverySettings;
use engine::clock::SystemClock;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use state::{
    ReconcileAnswer, ReconcileAsked, ReconcileOrder, ReconcileRun, ReconcileWith, StateReader,
    Store, StoreError,
};
use tokio::task::JoinSet;

use super::compare::{Ground, Made, compare};
use super::serve_source::{ServedSource, captured};
use super::settings::Schedule;
use super::{WAIT_SECONDS, seed, types, words};
use crate::beside::unwound;

/// Between two looks for what is asked or due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After one of the settings that was due and could not be made yet.
const REST: Duration = Duration::from_secs(30);
/// After a comparison that could not be made.
const AGAIN: Duration = Duration::from_mins(10);

/// A destination that may be compared with.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) event_types: Vec<EventType>,
    pub(crate) settings: DeliverySettings,
    pub(crate) schedule: Option<Schedule>,
}

/// What is compared beside the loops.
pub(crate) struct Serving {
    pub(crate) folder: PathBuf,
    pub(crate) tenant: String,
    pub(crate) destinations: Vec<Served>,
    pub(crate) sources: Vec<ServedSource>,
}

/// Compares, for as long as it is polled: one comparison of each destination and source at a time.
pub(crate) async fn serve(serving: Serving, store: Arc<Store>) {
    let mut tasks = JoinSet::new();
    let mut sides = Vec::new();
    for served in serving.destinations {
        let ground = Ground {
            folder: serving.folder.clone(),
            tenant: serving.tenant.clone(),
            name: served.name,
            destination: served.destination,
            settings: served.settings,
        };
        let zone = ground.settings.zone.clone();
        let with = ReconcileWith::Destination(ground.name.clone());
        let types = types(&served.event_types);
        let side = Side::Destination(Box::new(ground), types);
        sides.push((with, side, served.schedule, zone));
    }
    for served in serving.sources {
        let zone = served.setup.borrow().pace.zone.clone();
        let with = ReconcileWith::Source(served.name.clone());
        let schedule = served.schedule.clone();
        sides.push((with, Side::Source(served), schedule, zone));
    }
    let reader = Arc::default();
    for (with, side, schedule, zone) in sides {
        let one = One {
            folder: serving.folder.clone(),
            reader: Arc::clone(&reader),
            with,
            side,
            schedule,
            zone,
            store: Arc::clone(&store),
            since: SystemClock.now(),
            not_before: None,
        };
        tasks.spawn(one.serve());
    }
    while let Some(ended) = tasks.join_next().await {
        unwound(ended);
    }
}

/// With what is compared, and what that takes.
enum Side {
    Destination(Box<Ground>, Vec<EventType>),
    Source(ServedSource),
}

struct One {
    folder: PathBuf,
    /// Stays open, one for all of them: opening it reads the whole schema, and each looks every second.
    reader: Arc<Mutex<Option<StateReader>>>,
    with: ReconcileWith,
    side: Side,
    schedule: Option<Schedule>,
    /// The zone of its times.
    zone: TimeZone,
    store: Arc<Store>,
    since: Timestamp,
    /// Nothing of the settings is compared before this.
    not_before: Option<Timestamp>,
}

impl One {
    async fn reading<T: Send + 'static>(
        &self,
        what: impl FnOnce(&StateReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (folder, kept) = (self.folder.clone(), Arc::clone(&self.reader));
        let read = tokio::task::spawn_blocking(move || {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let reader = match kept.take().filter(StateReader::exists) {
                Some(reader) => reader,
                None => StateReader::open(&folder)?,
            };
            let found = what(&reader)?;
            // One that failed is not used again.
            *kept = Some(reader);
            Ok(found)
        });
        read.await
            .map_err(|error| StoreError::Invariant(error.to_string()))?
    }

    async fn serve(mut self) {
        loop {
            SystemClock.sleep(LOOK_EVERY).await;
            failpoint::crash!("task.reconcile");
            match self.turn().await {
                Ok(()) => {}
                // Whoever writes for capture and delivery says what is wrong with the state file.
                Err(error) => {
                    let (destination, source) = named(&self.with);
                    tracing::warn!(
                        code = "reconcile.failed",
                        destination,
                        source,
                        stage = "reconcile",
                        error = %error,
                        hint = error.hint(),
                        "a comparison could not be made; it is tried again"
                    );
                    SystemClock.sleep(AGAIN).await;
                }
            }
        }
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        let with = self.with.clone();
        let asked = self.reading(move |reader| reader.reconcile_asked(&with));
        if let Some(asked) = asked.await? {
            return self.answer(asked).await;
        }
        let now = SystemClock.now();
        if self.not_before.is_some_and(|at| now < at) || !self.is_due().await? {
            return Ok(());
        }
        let began = tokio::time::Instant::now();
        let mut made = Ok(None);
        if !self.is_paused().await? {
            let order = ReconcileOrder {
                types: Vec::new(),
                sample: self.schedule.as_ref().and_then(|one| one.sample),
                seed: seed(),
                wait_seconds: WAIT_SECONDS,
                list: self.schedule.as_ref().is_none_or(|one| one.list),
            };
            made = self.compare(&order, true).await?;
        }
        let rest = match made {
            Ok(Some(_)) => return Ok(()),
            // Looking takes its time where much is told.
            Ok(None) => REST,
            Err(problem) => {
                let (destination, source) = named(&self.with);
                tracing::warn!(
                    code = "reconcile.failed",
                    destination,
                    source,
                    stage = "reconcile",
                    error = problem,
                    hint = "lighterman status says how things stand",
                    "a comparison could not be made; it is tried again"
                );
                // What took long is not begun anew at once: it is read from the ERP.
                AGAIN.max(began.elapsed().saturating_mul(10))
            }
        };
        self.not_before = Some(clock::after(SystemClock.now(), rest));
        Ok(())
    }

    async fn answer(&self, asked: ReconcileAsked) -> Result<(), StoreError> {
        self.store
            .begin_reconcile(asked.id, SystemClock.now())
            .await?;
        // Whoever asked waits for a word, and what failed is not begun again by itself.
        let made = self.compare(&asked.order, false).await;
        let answer = match made.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(run) => ReconcileAnswer {
                problem: run
                    .is_none()
                    .then(|| "the agent does not deliver to it yet".to_owned()),
                run,
            },
            Err(problem) => ReconcileAnswer {
                run: None,
                problem: Some(problem),
            },
        };
        self.store
            .answer_reconcile(asked.id, answer, SystemClock.now())
            .await
    }

    /// Not within a pause of the settings.
    async fn is_due(&self) -> Result<bool, StoreError> {
        let Some(schedule) = &self.schedule else {
            return Ok(false);
        };
        let now = SystemClock.now();
        let paused = match &self.side {
            Side::Destination(ground, _) => ground.settings.paused_until(now),
            Side::Source(served) => served.setup.borrow().pace.paused_until(now),
        };
        if paused.is_some() {
            return Ok(false);
        }
        let with = self.with.clone();
        let last = self.reading(move |reader| reader.reconciled_by_schedule(&with));
        Ok(schedule.is_due(&self.zone, last.await?, self.since, now))
    }

    /// Whether a person has stopped the destination, or the source is not captured yet.
    async fn is_paused(&self) -> Result<bool, StoreError> {
        let name = self.with.name().to_owned();
        if let Side::Source(_) = self.side {
            let captured = self.reading(move |reader| captured(reader, &name));
            return Ok(captured.await?.is_err());
        }
        let paused = self.reading(move |reader| {
            let all = reader.destinations()?;
            Ok(all
                .iter()
                .any(|one| one.name == name && one.paused.is_some()))
        });
        paused.await
    }

    /// One comparison: its number, where it was made; or why it cannot be.
    async fn compare(
        &self,
        order: &ReconcileOrder,
        scheduled: bool,
    ) -> Result<Result<Option<i64>, String>, StoreError> {
        let (run, differences): Made = match &self.side {
            Side::Destination(ground, known) => {
                let Some(gate) = ground.settings.reading.gate() else {
                    return Ok(Ok(None));
                };
                let wanted = |one: &&EventType| {
                    order.types.is_empty() || order.types.iter().any(|name| name == one.name())
                };
                let types: Vec<EventType> = known.iter().filter(wanted).copied().collect();
                compare(ground, &gate, &types, order, scheduled).await?
            }
            Side::Source(served) => match served.compare(&self.folder, order, scheduled).await? {
                Ok(made) => made,
                Err(problem) => return Ok(Err(problem)),
            },
        };
        // A source is only compared after its first load: that nothing of it makes an event is an answer.
        let is_made = matches!(self.side, Side::Source(_)) && !run.types.is_empty();
        if scheduled && words::looked_at(&run) == 0 && !is_made {
            // The first load has not begun: it is still due.
            return Ok(Ok(None));
        }
        let said = run.clone();
        let number = self.store.reconciled(run, differences).await?;
        say(&said);
        Ok(Ok(Some(number)))
    }
}

/// The destination's name, or the source's.
fn named(with: &ReconcileWith) -> (Option<&str>, Option<&str>) {
    match with {
        ReconcileWith::Destination(name) => (Some(name), None),
        ReconcileWith::Source(name) => (None, Some(name)),
    }
}

/// Says what a comparison came to.
fn say(run: &ReconcileRun) {
    let (count, elapsed_ms) = (words::looked_at(run), run.took_ms);
    let (differing, unknown) = (words::differing(run), words::unknown(run));
    let (side, name) = run.with.words();
    let hint = format!("lighterman reconcile --{side} {name} --last");
    match (&run.with, differing + unknown > 0) {
        (ReconcileWith::Destination(destination), true) => tracing::warn!(
            code = "reconcile.differs",
            destination,
            stage = "reconcile",
            count,
            differing,
            unknown,
            elapsed_ms,
            hint,
            "the destination holds something else than it was told"
        ),
        (ReconcileWith::Destination(destination), false) => tracing::info!(
            code = "reconcile.agrees",
            destination,
            stage = "reconcile",
            count,
            elapsed_ms,
            "what was compared with the destination agrees"
        ),
        (ReconcileWith::Source(source), true) => tracing::warn!(
            code = "reconcile.source_differs",
            source,
            stage = "reconcile",
            count,
            differing,
            unknown,
            elapsed_ms,
            hint,
            "the source's rows say something else than was told"
        ),
        (ReconcileWith::Source(source), false) => tracing::info!(
            code = "reconcile.source_agrees",
            source,
            stage = "reconcile",
            count,
            elapsed_ms,
            "what was compared with the source's rows agrees"
        ),
    }
}

//! Comparisons by the running agent: those that a person asks for, and those of the settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, Destination, EventType, clock};
use engine::DeliverySettings;
use engine::clock::SystemClock;
use jiff::Timestamp;
use state::{ReconcileAnswer, ReconcileAsked, ReconcileOrder, Store, StoreError};
use tokio::task::JoinSet;

use super::compare::{Ground, Made, compare};
use super::settings::Schedule;
use super::{WAIT_SECONDS, seed, types, words};

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
}

/// Compares, for as long as it is polled: one comparison of each destination at a time.
pub(crate) async fn serve(serving: Serving, store: Arc<Store>) {
    let mut tasks = JoinSet::new();
    for served in serving.destinations {
        let ground = Ground {
            folder: serving.folder.clone(),
            tenant: serving.tenant.clone(),
            name: served.name,
            destination: served.destination,
            settings: served.settings,
        };
        let one = One {
            types: types(&served.event_types),
            ground,
            schedule: served.schedule,
            store: Arc::clone(&store),
            since: SystemClock.now(),
            not_before: None,
        };
        tasks.spawn(one.serve());
    }
    while tasks.join_next().await.is_some() {}
}

struct One {
    ground: Ground,
    types: Vec<EventType>,
    schedule: Option<Schedule>,
    store: Arc<Store>,
    since: Timestamp,
    /// Nothing of the settings is compared before this.
    not_before: Option<Timestamp>,
}

impl One {
    async fn serve(mut self) {
        loop {
            SystemClock.sleep(LOOK_EVERY).await;
            match self.turn().await {
                Ok(()) => {}
                // Whoever writes for capture and delivery says what is wrong with the state file.
                Err(error) => {
                    tracing::warn!(
                        code = "reconcile.failed",
                        destination = self.ground.name,
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
        let name = self.ground.name.clone();
        let asked = self
            .ground
            .read(move |reader| reader.reconcile_asked(&name));
        if let Some(asked) = asked.await? {
            return self.answer(asked).await;
        }
        let now = SystemClock.now();
        if self.not_before.is_some_and(|at| now < at) || !self.is_due().await? {
            return Ok(());
        }
        let mut made = None;
        if !self.is_paused().await? {
            let order = ReconcileOrder {
                types: Vec::new(),
                sample: self.schedule.as_ref().and_then(|one| one.sample),
                seed: seed(),
                wait_seconds: WAIT_SECONDS,
            };
            made = self.compare(&order, true).await?;
        }
        if made.is_none() {
            // Looking takes its time where much is told.
            self.not_before = Some(clock::after(SystemClock.now(), REST));
        }
        Ok(())
    }

    async fn answer(&self, asked: ReconcileAsked) -> Result<(), StoreError> {
        self.store
            .begin_reconcile(asked.id, SystemClock.now())
            .await?;
        let answer = match self.compare(&asked.order, false).await? {
            Some(run) => ReconcileAnswer {
                run: Some(run),
                problem: None,
            },
            None => ReconcileAnswer {
                run: None,
                problem: Some("the agent does not deliver to it yet".to_owned()),
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
        let (now, settings) = (SystemClock.now(), &self.ground.settings);
        if settings.paused_until(now).is_some() {
            return Ok(false);
        }
        let name = self.ground.name.clone();
        let last = self
            .ground
            .read(move |reader| reader.reconciled_by_schedule(&name));
        Ok(schedule.is_due(&settings.zone, last.await?, self.since, now))
    }

    /// Whether a person has stopped the destination.
    async fn is_paused(&self) -> Result<bool, StoreError> {
        let name = self.ground.name.clone();
        let paused = self.ground.read(move |reader| {
            let all = reader.destinations()?;
            Ok(all
                .iter()
                .any(|one| one.name == name && one.paused.is_some()))
        });
        paused.await
    }

    /// One comparison: its number, where it was made.
    async fn compare(
        &self,
        order: &ReconcileOrder,
        scheduled: bool,
    ) -> Result<Option<i64>, StoreError> {
        let Some(gate) = self.ground.settings.reading.gate() else {
            return Ok(None);
        };
        let wanted = |one: &&EventType| {
            order.types.is_empty() || order.types.iter().any(|name| name == one.name())
        };
        let types: Vec<EventType> = self.types.iter().filter(wanted).copied().collect();
        let (run, differences): Made =
            compare(&self.ground, &gate, &types, order, scheduled).await?;
        let (destination, count) = (run.destination.clone(), words::looked_at(&run));
        let (differing, unknown) = (words::differing(&run), words::unknown(&run));
        if scheduled && count == 0 {
            // The first load has not begun: it is still due.
            return Ok(None);
        }
        let elapsed_ms = run.took_ms;
        let number = self.store.reconciled(run, differences).await?;
        if differing + unknown > 0 {
            tracing::warn!(
                code = "reconcile.differs",
                destination,
                stage = "reconcile",
                count,
                differing,
                unknown,
                elapsed_ms,
                hint = format!("lighterman reconcile --destination {destination} --last"),
                "the destination holds something else than it was told"
            );
        } else {
            tracing::info!(
                code = "reconcile.agrees",
                destination,
                stage = "reconcile",
                count,
                elapsed_ms,
                "what was compared with the destination agrees"
            );
        }
        Ok(Some(number))
    }
}

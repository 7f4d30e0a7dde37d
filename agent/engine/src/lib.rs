//! The two loops: capture brings changes into the outbox, deliver brings events out of it.
//!
//! [`run`] starts one capture loop per source, one deliver loop per destination and the pruner,
//! and returns when it is told to stop or when the store is in doubt. The loops share nothing but
//! the store. The engine names no adapter: it is given sources and destinations as the contract's
//! traits.

mod ask;
mod capture;
mod chance;
pub mod clock;
mod deliver;
mod disk;
mod look;
pub mod observe;
mod pace;
mod related;
mod replicas;
pub mod retry;
mod rules;
mod snapshot;
mod tap;
mod translate;

use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, Destination, EventType, Source};
use mappings::MappingSet;
use observe::Meters;
use state::{Retention, Route, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

pub use ask::ask_once;
pub use chance::Chance;
pub use deliver::{DeliverySettings, ReadingDoor, ReadingGate};
pub use disk::{Disk, Reserve};
pub use pace::{Pace, Pause};
pub use retry::RetryPolicy;
pub use tap::{ChangedRow, Tap};

/// A source and the mappings of its rows; replaced as a whole when mappings are reloaded.
#[derive(Clone)]
pub struct SourceSetup {
    /// The source, built for the tables the mappings ask for.
    pub source: Arc<dyn Source>,
    /// Its mappings.
    pub mapping: Arc<MappingSet>,
    /// Keys that may be asked of its database in a second, for events with `read`.
    pub reads_per_second: u32,
    /// How its tables are read.
    pub pace: Pace,
}

/// A configured source.
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// What it is now; a new value restarts its session from the checkpoint.
    pub setup: watch::Receiver<SourceSetup>,
    /// Who is told which rows changed, where somebody wants to know.
    pub tap: Option<Tap>,
}

/// A configured destination.
pub struct DestinationPlan {
    /// Its name.
    pub name: String,
    /// The adapter.
    pub destination: Arc<dyn Destination>,
    /// Event types it gets; empty = all.
    pub event_types: Vec<EventType>,
    /// How long it waits after failures.
    pub retry: RetryPolicy,
    /// How it is delivered to, whatever its type.
    pub settings: DeliverySettings,
}

/// Everything the engine runs.
pub struct Plan {
    /// Our customer.
    pub tenant: String,
    /// The sources.
    pub sources: Vec<SourcePlan>,
    /// The destinations.
    pub destinations: Vec<DestinationPlan>,
    /// How long finished events stay readable.
    pub retention: Retention,
    /// The disk that the state folder is on; `None` = nobody looks at it.
    pub disk: Option<Disk>,
    /// What the loops count.
    pub meters: Arc<Meters>,
    /// Where the chance in waits comes from.
    pub chance: Chance,
}

/// Why the engine stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store is in doubt; nothing may be written or acknowledged any more.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug: a loop panicked. The state file explains where it stood.
    #[error("{0} stopped unexpectedly")]
    Loop(String),
}

/// What every loop holds.
pub(crate) struct Common {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenant: Arc<str>,
    pub(crate) routes: Arc<[Route]>,
    /// Told after each commit that put events in the outbox.
    pub(crate) stored: Vec<Arc<Notify>>,
    /// Why sources are not to be read: the disk is low.
    pub(crate) low: watch::Receiver<Option<Arc<str>>>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) chance: Chance,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Common {
    /// Waits, unless told to stop. True = stop.
    pub(crate) async fn sleep(&self, time: Duration) -> bool {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stopped(&mut stop) => true,
            () = self.clock.sleep(time) => false,
        }
    }
}

/// Waits until told to stop, or until whoever could tell is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Between two looks for events to prune.
const PRUNE_EVERY: Duration = Duration::from_secs(30);

/// Runs until `stop` turns true; then capture ends at once and requests that are out get
/// `drain_max` to end.
///
/// # Errors
/// [`EngineError`] when the store is in doubt or a loop ended by a bug. Sources and destinations
/// that fail never end the engine.
pub async fn run(
    plan: Plan,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
    drain_max: Duration,
) -> Result<(), EngineError> {
    let mut routes = Vec::with_capacity(plan.destinations.len());
    let mut stored = Vec::with_capacity(plan.destinations.len());
    for destination in &plan.destinations {
        let id = store.destination(&destination.name).await?;
        routes.push(Route {
            destination: id,
            event_types: destination.event_types.clone(),
        });
        stored.push(Arc::new(Notify::new()));
    }
    let (low_sender, low) = watch::channel(None);
    let watch = plan.disk.map(|disk| disk::Watch::new(disk, low_sender));
    let common = Arc::new(Common {
        store,
        clock,
        tenant: Arc::from(plan.tenant),
        routes: Arc::from(routes),
        stored,
        low,
        meters: plan.meters,
        chance: plan.chance,
        stop: stop.clone(),
    });
    // A loop that ends with an error stops all others through this.
    let (halt, halted) = watch::channel(false);
    let mut loops: JoinSet<(String, Result<(), StoreError>)> = JoinSet::new();
    for (n, destination) in plan.destinations.into_iter().enumerate() {
        let Some(route) = common.routes.get(n) else {
            continue;
        };
        let id = route.destination;
        let Some(wake) = common.stored.get(n).map(Arc::clone) else {
            continue;
        };
        let common = Arc::clone(&common);
        let name = format!("destination {}", destination.name);
        let run = deliver::run(common, destination, id, wake, drain_max);
        loops.spawn(async move { (name, run.await) });
    }
    for source in plan.sources {
        let common = Arc::clone(&common);
        let name = format!("source {}", source.name);
        let mut halted = halted.clone();
        loops.spawn(async move {
            let outcome = tokio::select! {
                biased;
                () = stopped(&mut halted) => Ok(()),
                outcome = capture::run(common, source) => outcome,
            };
            (name, outcome)
        });
    }
    let pruner = Arc::clone(&common);
    let retention = plan.retention;
    loops.spawn(async move { ("pruner".to_owned(), prune(&pruner, retention).await) });

    if let Some(watch) = watch {
        let common = Arc::clone(&common);
        loops.spawn(async move { ("disk".to_owned(), watch.run(&common).await) });
    }

    let mut error = None;
    while let Some(ended) = loops.join_next().await {
        let failed = match ended {
            Ok((_, Ok(()))) => continue,
            Ok((name, Err(failed))) => {
                tracing::error!(code = "state.in_doubt",
                    error = %failed, hint = failed.hint(), loop_name = name,
                    "the agent stops: its store is in doubt");
                EngineError::Store(failed)
            }
            Err(failed) => EngineError::Loop(failed.to_string()),
        };
        let _ = halt.send(true);
        error.get_or_insert(failed);
        // What is out may still be answered, but nothing can be recorded: end now.
        loops.abort_all();
    }
    error.map_or(Ok(()), Err)
}

async fn prune(common: &Common, retention: Retention) -> Result<(), StoreError> {
    failpoint::crash!("task.pruner");
    loop {
        if common.sleep(PRUNE_EVERY).await {
            return Ok(());
        }
        let mut after = 0;
        loop {
            match common
                .store
                .prune(retention, after, common.clock.now())
                .await
            {
                Ok(Some(next)) => after = next,
                // A full disk is said by whoever must write; pruning waits for its next turn.
                Ok(None) | Err(StoreError::Full) => break,
                Err(error) => return Err(error),
            }
            if *common.stop.borrow() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }
}

//! The agent of a simulation: the real loops over the real store, whose commits are steps in virtual time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{
    Chance, DeliverySettings, DestinationPlan, Disk, EngineError, Plan, Reserve, RetryPolicy,
    SourcePlan, SourceSetup,
};
use rand::RngExt;
use state::{Guards, MassDrop, Resync, Room, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::VirtualClock;
use crate::committing::commits;
use crate::depot::Depot;
use crate::mapping::of_version;
use crate::shop::SimDestination;
use crate::source::SimSource;
use crate::world::{Shared, lock};

/// A running agent; dropping it without `stop` is a crash: whatever was not durable is gone.
pub struct Agent {
    pub engine: JoinHandle<Result<(), EngineError>>,
    pub store: Arc<Store>,
    committing: JoinHandle<()>,
    stop: watch::Sender<bool>,
    setup: watch::Sender<SourceSetup>,
}

fn setup(world: &Shared) -> SourceSetup {
    let (version, pace) = {
        let world = lock(world);
        (world.version, world.pace.clone())
    };
    SourceSetup {
        source: Arc::new(SimSource(Arc::clone(world))),
        mapping: of_version(version),
        reads_per_second: 1_000,
        pace,
    }
}

fn destinations(world: &Shared, batch: usize) -> Vec<DestinationPlan> {
    let retry = RetryPolicy {
        first: Duration::from_millis(100),
        max: Duration::from_secs(2),
    };
    let has_depot = lock(world).has_depot;
    let shop = {
        let locked = lock(world);
        SimDestination {
            world: Arc::clone(world),
            batch_events_max: batch,
            resend: locked.resend,
            per_day: locked.per_day,
            requests_max: locked.requests_max,
        }
    };
    let mut plans = vec![DestinationPlan {
        name: "shop".to_owned(),
        destination: Arc::new(shop),
        event_types: Vec::new(),
        retry,
        settings: DeliverySettings {
            dependency_wait: Duration::from_secs(3),
            guards: Guards {
                mass_drop: Some(MassDrop {
                    percent: 30,
                    least: 3,
                    minutes: 1,
                }),
                ..Guards::default()
            },
            ..DeliverySettings::default()
        },
    }];
    if has_depot {
        plans.push(DestinationPlan {
            name: "depot".to_owned(),
            destination: Arc::new(Depot(Arc::clone(world))),
            event_types: Vec::new(),
            retry,
            settings: DeliverySettings {
                guards: Guards::off(),
                ..DeliverySettings::default()
            },
        });
    }
    plans
}

pub fn start(world: &Shared, folder: &Path, clock: &Arc<VirtualClock>, batch: usize) -> Agent {
    let (store, steps) = Store::open_in_steps(folder).unwrap();
    let store = Arc::new(store);
    let (retention, seed) = {
        let mut world = lock(world);
        world.shop.starts();
        world.committing.in_doubt = false;
        world.look_into(folder);
        world.note("start");
        (world.retention, world.rng.random())
    };
    let committing = tokio::spawn(commits(steps, Arc::clone(world)));
    let (setup_sender, setup) = watch::channel(setup(world));
    let (stop_sender, stop) = watch::channel(false);
    let plan = Plan {
        tenant: "t".to_owned(),
        sources: vec![SourcePlan {
            name: "erp".to_owned(),
            setup,
            tap: None,
        }],
        destinations: destinations(world, batch),
        retention,
        disk: Some(disk(world)),
        meters: Arc::default(),
        chance: Chance::seeded(seed),
    };
    let clock = Arc::clone(clock);
    let store_of_run = Arc::clone(&store);
    let run = engine::run(plan, store_of_run, clock, stop, Duration::from_secs(2));
    Agent {
        engine: tokio::spawn(run),
        store,
        committing,
        stop: stop_sender,
        setup: setup_sender,
    }
}

impl Agent {
    /// Another mapping comes while it runs.
    pub fn reload(&self, world: &Shared) {
        let _ = self.setup.send(setup(world));
    }

    /// It ends without notice: what is not durable is gone.
    pub async fn crash(self, world: &Shared) {
        self.engine.abort();
        let _ = self.engine.await;
        // A kill may come behind what the loops asked for last.
        let more = lock(world).rng.random_range(0..6);
        for _ in 0..more {
            tokio::task::yield_now().await;
        }
        self.committing.abort();
        let _ = self.committing.await;
        gone(self.store, world).await;
    }

    /// It has ended by itself.
    pub async fn after_end(self, world: &Shared) {
        self.committing.abort();
        let _ = self.committing.await;
        gone(self.store, world).await;
    }

    /// It ends as it is asked to: true = without an error.
    pub async fn stop(self, world: &Shared) -> bool {
        let _ = self.stop.send(true);
        let ended = self.engine.await;
        gone(self.store, world).await;
        // With the store, what commits for it ends by itself.
        let _ = self.committing.await;
        matches!(ended, Ok(Ok(())))
    }
}

/// Loops and their store handles end with their tasks; then the folder is free again.
async fn gone(mut store: Arc<Store>, world: &Shared) {
    lock(world).file = None;
    loop {
        match Arc::try_unwrap(store) {
            Ok(store) => break drop(store),
            Err(shared) => store = shared,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A disk that is low in some seconds of every few, while there are faults.
fn disk(world: &Shared) -> Disk {
    let world = Arc::clone(world);
    let look = move || {
        let world = lock(&world);
        let low = world.faults && world.began.elapsed().as_secs() % 4 == 2;
        Some(Room {
            free_bytes: if low { 10 } else { 1_000 },
            total_bytes: 1_000,
        })
    };
    Disk {
        reserve: Reserve {
            bytes: Some(100),
            percent: None,
        },
        look: Arc::new(look),
    }
}

/// Whatever a crash leaves is whole and consistent.
pub fn verifies(folder: &Path) {
    let verdict = state::verify(&state::file_path(folder)).unwrap();
    let worst = contract::finding::worst(&verdict.findings);
    assert_eq!(worst, contract::Level::Pass, "{:#?}", verdict.findings);
}

/// As `lighterman source resync` does while no agent runs.
pub async fn resync(folder: &Path) {
    let (store, mut steps) = Store::open_in_steps(folder).unwrap();
    let commits = tokio::spawn(async move {
        while steps.ready().await {
            steps.step(None);
        }
    });
    store.resync("erp", Resync::All).await.unwrap();
    drop(store);
    commits.await.unwrap();
}

/// As it does beside a running agent.
pub fn ask_resync(folder: &Path, what: &Resync) {
    state::ask_resync(folder, "erp", what, jiff::Timestamp::UNIX_EPOCH).unwrap();
}

//! Seeded simulation: the real loops and the real store against a fake source, destination and
//! clock. One seed is one run: changes, disconnects, lost answers, forgotten outcomes, snapshot
//! chunks that do not see what the log already told, crashes at random moments, and other mappings
//! after them. Afterwards the faults end and the receiver must come to equal the source as the last
//! mapping sees it.
//!
//! `SIM_SEEDS=1000 cargo test -p engine --test sim` runs more, from `SIM_FROM` on; `SIM_SEED=7` runs
//! one. A seed says what happens outside, not how the store's real thread keeps up with virtual time:
//! some runs wait for it, others hurry (`SIM_HURRY=0` to 100 says how often, in percent).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::unused_async,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod operator;
mod remains;
mod shop;
mod world;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use contract::Resend;
use engine::{
    DeliverySettings, DestinationPlan, Disk, Pace, Pause, Plan, Reserve, RetryPolicy, SourcePlan,
    SourceSetup,
};
use mappings::{Mapping, MappingSet};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shop::SimDestination;
use state::{Guards, MassDrop, Resync, Retention, Room, Store};
use tokio::sync::{Notify, watch};
use world::{Shared, SimSource, VirtualClock, World, lock};

const MAPPING: &str = r#"
mapping: 1
pack: sim
pack_version: "1"
source: postgres
company: ACME
tables:
  item: {name: item, key: [sku]}
  move: {name: move, key: [id]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
  - id: move
    emit: inventory.movement.v1
    from: move
    key: {movement_id: id}
    fields: {kind: "'adjustment'", sku: "'x'", location: "'x'", uom: "'EA'", quantity: qty}
  - id: stock
    emit: inventory.availability.v1
    from: item
    add:
      moved: {from: move, match: "move.sku = item.sku", sum: move.qty}
    key: {sku: item.sku, location: "'MAIN'"}
    fields: {uom: "'EA'", on_hand: moved.sum, allocated: 0, active: true}
  - id: total
    emit: inventory.availability.v1
    from: move
    join:
      item: {match: "item.sku = move.sku", missing: leave_out}
    group: sum
    key: {sku: "'ALL'", location: "right(item.sku, 1)"}
    fields: {uom: "'EA'", on_hand: move.qty, allocated: 0, active: true}
"#;

/// Versions of the mapping, each of which may come in place of any other: other bodies, keys and
/// conditions, and products made of one row or of two.
const VERSIONS: usize = 3;

fn mapping(version: usize) -> String {
    let one = "    key: {sku: sku}\n    fields: {name: name, stock_uom";
    let other = match version {
        0 => return MAPPING.to_owned(),
        1 => {
            "    where: \"sku not like '%7'\"\n    key: {sku: \"'K' || sku\"}\n    \
             fields: {name: \"name || '+'\", stock_uom"
        }
        _ => {
            "    where: \"right(item.sku, 1) <> '8'\"\n    \
             join: {twin: {match: \"twin.sku = item.sku\", missing: hold}}\n    \
             key: {sku: item.sku}\n    fields: {name: \"twin.name || '+'\", stock_uom"
        }
    };
    let changed = MAPPING.replace(one, other);
    assert_ne!(changed, MAPPING);
    if version == 1 {
        return changed;
    }
    changed.replace("  move: {", "  twin: {name: item, key: [sku]}\n  move: {")
}

/// A running agent; dropping it without `stop` is a crash: whatever was not durable is gone.
struct Agent {
    engine: tokio::task::JoinHandle<Result<(), engine::EngineError>>,
    store: Arc<Store>,
    _stop: watch::Sender<bool>,
    _setup: watch::Sender<SourceSetup>,
}

fn start(
    world: &Shared,
    folder: &std::path::Path,
    began: tokio::time::Instant,
    batch: usize,
    version: usize,
) -> Agent {
    let store = Arc::new(Store::open(folder).unwrap());
    let (resend, per_day, requests_max, retention) = {
        let mut world = lock(world);
        world.shop.came.clear();
        let (resend, per_day) = (world.resend, world.per_day);
        (resend, per_day, world.requests_max, world.retention)
    };
    let mapping = Mapping::load("sim.yaml", &mapping(version)).unwrap();
    let setup = SourceSetup {
        source: Arc::new(SimSource(Arc::clone(world), folder.to_owned())),
        mapping: Arc::new(MappingSet::new(vec![mapping]).unwrap()),
        reads_per_second: 1_000,
        pace: lock(world).pace.clone(),
    };
    let (setup_sender, setup) = watch::channel(setup);
    let (stop_sender, stop) = watch::channel(false);
    let plan = Plan {
        tenant: "t".to_owned(),
        sources: vec![SourcePlan {
            name: "erp".to_owned(),
            setup,
            tap: None,
        }],
        destinations: vec![DestinationPlan {
            name: "shop".to_owned(),
            destination: Arc::new(SimDestination {
                world: Arc::clone(world),
                batch_events_max: batch,
                resend,
                per_day,
                requests_max,
                folder: folder.to_owned(),
            }),
            event_types: Vec::new(),
            retry: RetryPolicy {
                first: Duration::from_millis(100),
                max: Duration::from_secs(2),
            },
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
        }],
        retention,
        disk: Some(disk(world, began)),
        meters: Arc::default(),
    };
    let clock = Arc::new(VirtualClock(began));
    let run = engine::run(
        plan,
        Arc::clone(&store),
        clock,
        stop,
        Duration::from_secs(2),
    );
    Agent {
        engine: tokio::spawn(run),
        store,
        _stop: stop_sender,
        _setup: setup_sender,
    }
}

/// A disk that is low in some seconds of every few, while there are faults.
fn disk(world: &Shared, began: tokio::time::Instant) -> Disk {
    let world = Arc::clone(world);
    let look = move || {
        let low = lock(&world).faults && began.elapsed().as_secs() % 4 == 2;
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
fn verifies(folder: &std::path::Path) {
    let verdict = state::verify(&state::file_path(folder)).unwrap();
    let worst = contract::finding::worst(&verdict.findings);
    assert_eq!(worst, contract::Level::Pass, "{:#?}", verdict.findings);
}

async fn crash(agent: Agent) {
    agent.engine.abort();
    let _ = agent.engine.await;
    // Loops and their store handles end with their tasks; then the folder is free again.
    let mut store = agent.store;
    loop {
        match Arc::try_unwrap(store) {
            Ok(store) => break drop(store),
            Err(shared) => store = shared,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// As `lighterman source resync` does while no agent runs.
async fn resync(folder: &std::path::Path) {
    let store = Store::open(folder).unwrap();
    store.resync("erp", Resync::All).await.unwrap();
}

/// As it does beside a running agent.
fn ask_resync(folder: &std::path::Path, what: &Resync) {
    state::ask_resync(folder, "erp", what, jiff::Timestamp::UNIX_EPOCH).unwrap();
}

/// The log is lost while no agent runs, and a person orders that everything is read again: now, or
/// of the agent that finds it lost.
async fn lose_log(world: &Shared, folder: &std::path::Path) {
    let now = {
        let mut world = lock(world);
        world.lose_log();
        world.chance(50)
    };
    if now {
        resync(folder).await;
    } else {
        ask_resync(folder, &Resync::All);
    }
}

/// Lets virtual time pass, and the store's real thread keep up with it: virtual time stands still
/// while a blocking task runs.
async fn pass(time: Duration) {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_micros(500)))
        .await
        .unwrap();
    tokio::time::sleep(time).await;
}

/// Lets virtual time pass; in a hurry the store's real thread falls behind, as on a busy machine:
/// timers fire, answers come and the agent crashes between any two of its commits.
async fn pass_or_hurry(time: Duration, hurries: bool) {
    if hurries {
        tokio::time::sleep(time).await;
    } else {
        pass(time).await;
    }
}

async fn simulate(seed: u64) {
    let world: Shared = Arc::new((Mutex::new(World::new(seed)), Notify::new()));
    let folder = tempfile::tempdir().unwrap();
    let began = tokio::time::Instant::now();
    let mut hurry = StdRng::seed_from_u64(seed);
    let hurries = number("SIM_HURRY").unwrap_or([0, 0, 50, 100][hurry.random_range(0..4)]);
    let mut hurries = move || u64::from(hurry.random_range(0..100_u32)) < hurries;
    let (steps, batch) = {
        let mut world = lock(&world);
        world.seed_rows();
        world.pace.parallel = world.rng.random_range(1..3);
        if world.chance(20) {
            world.pace.rows_per_second = Some(50);
        }
        (200, if seed.is_multiple_of(2) { 1 } else { 5 })
    };
    if seed % 2 == 1 {
        // Older states of a key stay in the outbox, beside what a replay may tell.
        lock(&world).retention = Retention::default();
    }
    if seed % 10 == 5 {
        lock(&world).requests_max = 1;
    }
    if seed % 3 == 2 {
        let mut world = lock(&world);
        world.resend = Resend::Verify;
        world.received.once = true;
    }
    let mut agent = start(&world, folder.path(), began, batch, 0);
    for _ in 0..steps {
        let (pause, crashes) = {
            let mut world = lock(&world);
            world.commit();
            (world.rng.random_millis(), world.chance(4))
        };
        world.1.notify_one();
        pass_or_hurry(pause, hurries()).await;
        if let Some(tables) = lock(&world).resync() {
            ask_resync(folder.path(), &tables);
        }
        operator::now_and_then(&world, folder.path(), began);
        if crashes {
            crash(agent).await;
            verifies(folder.path());
            operator::judge(&world, folder.path());
            if lock(&world).chance(20) {
                lose_log(&world, folder.path()).await;
            }
            let version = {
                let mut world = lock(&world);
                if world.chance(60) {
                    world.version = world.rng.random_version();
                }
                world.version
            };
            agent = start(&world, folder.path(), began, batch, version);
        }
    }
    {
        let mut world = lock(&world);
        world.faults = false;
        world.settle(100);
    }
    world.1.notify_one();
    // Now that little happens, readings come far before the next mapping cuts them short.
    let others = lock(&world).rng.random_range(0..5);
    for _ in 0..others {
        let pause = 20 * lock(&world).rng.random_millis();
        pass_or_hurry(pause, hurries()).await;
        crash(agent).await;
        let version = lock(&world).rng.random_version();
        lock(&world).version = version;
        agent = start(&world, folder.path(), began, batch, version);
    }
    // And no mapping comes after the last gap, which would find what it left.
    if lock(&world).chance(50) {
        crash(agent).await;
        lose_log(&world, folder.path()).await;
        let version = lock(&world).version;
        agent = start(&world, folder.path(), began, batch, version);
    }
    // Ten minutes of virtual time: longer than any back-off or deadline. The store's real thread, which
    // virtual time does not wait for, keeps up with each step, however busy the machine.
    let mut phase = 0;
    for step in 0..6_000 {
        // Equal, and it stays so: keys that no row tells end last.
        let equal = lock(&world).differences().is_empty();
        // What may never be does not go away.
        if !lock(&world).received.violations.is_empty() {
            break;
        }
        if agent.engine.is_finished() {
            break;
        }
        if equal && remains::is_quiet(folder.path()) {
            phase += 1;
            match phase {
                // Now that every table is read, rows go and come back.
                1 => {
                    {
                        let mut world = lock(&world);
                        for _ in 0..15 {
                            world.commit();
                        }
                        world.settle(100);
                    }
                    world.1.notify_one();
                }
                // All of it is told again.
                2 => operator::replays(folder.path(), began),
                _ => break,
            }
        }
        let _ = agent.store.source("erp").await;
        pass(Duration::from_millis(100)).await;
        if step % 20 == 0 {
            operator::mends(folder.path(), began);
        }
    }
    operator::judge(&world, folder.path());
    let differences = lock(&world).differences();
    let ended = agent.engine.is_finished();
    crash(agent).await;
    verifies(folder.path());
    let (version, arrived) = {
        let world = lock(&world);
        (world.version, world.arrived(&differences))
    };
    assert!(
        differences.is_empty() && !ended,
        "seed {seed}: SIM_SEED={seed} cargo test -p engine --test sim\nmapping {}, engine ended: \
         {ended}\n{}\n{}{}",
        version,
        differences.join("\n"),
        remains::remains(folder.path(), &differences),
        arrived
    );
}

trait RandomMillis {
    fn random_millis(&mut self) -> Duration;
    fn random_version(&mut self) -> usize;
}

impl RandomMillis for StdRng {
    fn random_millis(&mut self) -> Duration {
        Duration::from_millis(self.random_range(0..80))
    }

    fn random_version(&mut self) -> usize {
        self.random_range(0..VERSIONS)
    }
}

/// Reads all tables at a pace; when that began, and when chunks of how many rows were read.
fn chunks_at(pace: Pace) -> (tokio::time::Instant, Vec<(tokio::time::Instant, usize)>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world: Shared = Arc::new((Mutex::new(World::new(1)), Notify::new()));
        let folder = tempfile::tempdir().unwrap();
        let began = tokio::time::Instant::now();
        {
            let mut world = lock(&world);
            world.seed_rows();
            world.faults = false;
            world.pace = pace;
        }
        let agent = start(&world, folder.path(), began, 5, 0);
        while !lock(&world).differences().is_empty() {
            assert!(
                began.elapsed() < Duration::from_hours(3),
                "it reads nothing"
            );
            pass(Duration::from_millis(500)).await;
        }
        crash(agent).await;
        (began, std::mem::take(&mut lock(&world).chunks))
    })
}

#[test]
fn tables_are_read_no_faster_than_the_settings_say() {
    for parallel in [1, 2] {
        let rate = 6;
        let (began, chunks) = chunks_at(Pace {
            rows_per_second: Some(rate),
            parallel,
            ..Pace::default()
        });
        let mut rows = 0.0;
        for (at, more) in chunks {
            let seconds = at.duration_since(began).as_secs_f64();
            // Each reader may be one chunk of three rows ahead.
            let most = seconds * f64::from(rate) + f64::from(u32::try_from(parallel).unwrap() * 3);
            rows += f64::from(u32::try_from(more).unwrap());
            assert!(
                rows <= most,
                "{rows} rows after {seconds} s with {parallel} readers"
            );
        }
        assert!(rows >= 90.0, "all rows are read: {rows}");
    }
}

#[test]
fn no_table_is_read_while_the_settings_say_pause() {
    // The clock of a simulation begins at midnight.
    let time = |text: &str| text.parse().unwrap();
    let (began, chunks) = chunks_at(Pace {
        pauses: vec![Pause {
            from: time("23:00"),
            to: time("01:30"),
        }],
        ..Pace::default()
    });
    let first = chunks[0].0.duration_since(began);
    assert!(first >= Duration::from_mins(90), "read after {first:?}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A day's quota is not passed, however often the agent crashes.
#[test]
fn a_days_quota_outlives_crashes() {
    const PER_DAY: u32 = 40;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world: Shared = Arc::new((Mutex::new(World::new(1)), Notify::new()));
        let folder = tempfile::tempdir().unwrap();
        let began = tokio::time::Instant::now();
        {
            let mut world = lock(&world);
            world.seed_rows();
            world.faults = false;
            world.per_day = Some(PER_DAY);
        }
        for _ in 0..8 {
            let agent = start(&world, folder.path(), began, 1, 0);
            for _ in 0..40 {
                pass(Duration::from_millis(100)).await;
            }
            crash(agent).await;
        }
        let agent = start(&world, folder.path(), began, 1, 0);
        for _ in 0..600 {
            pass(Duration::from_millis(100)).await;
        }
        crash(agent).await;
        let requests = lock(&world).shop.requests;
        assert!(requests <= PER_DAY as usize, "{requests} requests left");
        assert!(requests > PER_DAY as usize / 2, "{requests} requests left");
        assert_eq!(lock(&world).received.violations, Vec::<String>::new());
    });
}

#[test]
fn receiver_comes_to_equal_the_source() {
    let seeds = if let Some(seed) = number("SIM_SEED") {
        seed..seed + 1
    } else {
        let from = number("SIM_FROM").unwrap_or(0);
        from..from + number("SIM_SEEDS").unwrap_or(40)
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(simulate(seed));
    }
}

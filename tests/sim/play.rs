//! One run: the steps of a seed, then peace, in which the receivers must come to equal the source.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::Resend;
use engine::EngineError;
use judge::{Class, Verdict};
use rand::RngExt;
use state::{Resync, Retention, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinError;

use crate::agent::{Agent, ask_resync, resync, start, verifies};
use crate::clock::VirtualClock;
use crate::database::Size;
use crate::folder;
use crate::operator;
use crate::remains;
use crate::step::{After, Step, What};
use crate::world::{Shared, World, lock};

/// How long peace may last until all is told: longer than any back-off or deadline, and than the wall
/// clock may be off.
const PEACE_MAX: Duration = Duration::from_mins(25);

/// Turns of peace in which nothing is to be done and something differs.
const STUCK_MAX: u32 = 600;

/// What came of a run.
pub struct Ran {
    /// What was done, and found.
    pub verdict: Verdict,
    /// Of all that happened, in its order.
    pub digest: u64,
    /// The last of what happened, or all.
    pub lines: Vec<String>,
    /// What is known about a failure.
    pub about: String,
}

/// A runtime whose time passes when nothing can go on.
pub fn in_virtual_time<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run)
}

/// Runs these steps of a seed.
pub fn run(seed: u64, steps: &[Step], whole: bool) -> Ran {
    let kept: Arc<Mutex<Option<Shared>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let run = AssertUnwindSafe(move || {
        in_virtual_time(async move {
            let world: Shared = Arc::new((Mutex::new(World::new(seed)), Notify::new()));
            lock(&world).history.whole = whole;
            *keep.lock().unwrap() = Some(Arc::clone(&world));
            simulate(seed, steps, world).await
        })
    });
    let ended = std::panic::catch_unwind(run);
    let world = kept.lock().unwrap().take().unwrap();
    // Whoever panicked held it, perhaps; what it says is still worth reading.
    let mut world = match world.0.lock() {
        Ok(world) => world,
        Err(poisoned) => poisoned.into_inner(),
    };
    let about = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_default();
        world.wrong(Class::Unexplained, format!("panic: {text}"));
        text
    });
    let commits = world.commits;
    world.verdict.did("commits", commits);
    let requests = u64::try_from(world.shop.requests).unwrap();
    world.verdict.did("requests", requests);
    let history = std::mem::take(&mut world.history);
    Ran {
        verdict: std::mem::take(&mut world.verdict),
        digest: history.digest(),
        lines: history.lines(),
        about,
    }
}

struct Play {
    world: Shared,
    folder: tempfile::TempDir,
    clock: Arc<VirtualClock>,
    batch: usize,
}

/// What a seed says of the whole run.
fn settings(seed: u64, world: &mut World) -> usize {
    for what in [
        "seeds",
        "transactions",
        "commits",
        "requests",
        "crashes",
        "stops",
        "mappings",
        "store_faults",
        "clock_jumps",
        "ended_full",
        "ended_in_doubt",
    ] {
        world.verdict.did(what, 0);
    }
    world.verdict.did("seeds", 1);
    if world.chance(75) {
        world.size = Size::SMALL;
    }
    world.seed_rows();
    world.pace.parallel = world.rng.random_range(1..3);
    if world.chance(20) {
        world.pace.rows_per_second = Some(50);
    }
    world.has_depot = world.chance(30);
    if seed % 2 == 1 {
        // Older states of a key stay in the outbox, beside what a replay may tell.
        world.retention = Retention::default();
    }
    if seed % 10 == 5 {
        world.requests_max = 1;
    }
    if seed % 3 == 2 {
        world.resend = Resend::Verify;
        world.received.once = true;
    }
    if seed.is_multiple_of(2) { 1 } else { 5 }
}

async fn simulate(seed: u64, steps: &[Step], world: Shared) -> String {
    let batch = settings(seed, &mut lock(&world));
    let began = lock(&world).began;
    let play = Play {
        folder: folder::fresh(),
        clock: Arc::new(VirtualClock::new(began)),
        batch,
        world,
    };
    let mut agent = play.start();
    for step in steps {
        agent = play.step(agent, step).await;
        if !lock(&play.world).verdict.is_clean() {
            break;
        }
    }
    // Whatever was left out of the steps, peace comes.
    let agent = play.calm(agent).await;
    play.peace(agent).await
}

impl Play {
    fn start(&self) -> Agent {
        start(&self.world, self.folder.path(), &self.clock, self.batch)
    }

    async fn step(&self, agent: Agent, step: &Step) -> Agent {
        lock(&self.world).note(&format!("step {} {:?}", step.n, step.what));
        let mut agent = self.does(agent, step).await;
        self.world.1.notify_one();
        agent = self.pass(agent, step.pause).await;
        // Between any two turns of any task.
        let yields = step.seed % 13;
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        agent
    }

    /// Time passes, in which the agent may end: by a death that was ordered, or because its store is in
    /// doubt. Then it is started again, as a service manager does.
    async fn pass(&self, agent: Agent, time: Duration) -> Agent {
        let deadline = tokio::time::Instant::now() + time;
        let mut agent = agent;
        loop {
            let dies = Arc::clone(&lock(&self.world).committing.dies);
            let died = tokio::select! {
                biased;
                () = dies.notified() => true,
                ended = &mut agent.engine => {
                    self.why_it_ended(&ended);
                    false
                }
                () = tokio::time::sleep_until(deadline) => return agent,
            };
            if !lock(&self.world).verdict.is_clean() {
                // It spins, or ended without a reason: no more of it.
                return if died {
                    agent
                } else {
                    self.restart_ended(agent).await
                };
            }
            agent = if died {
                self.crash(agent, After::default(), 0).await
            } else {
                self.restart_ended(agent).await
            };
        }
    }

    /// An agent that ends by itself has a reason: a store in doubt, or a full disk while it starts.
    fn why_it_ended(&self, ended: &Result<Result<(), EngineError>, JoinError>) {
        let mut world = lock(&self.world);
        let full = matches!(ended, Ok(Err(EngineError::Store(StoreError::Full))));
        if full {
            world.verdict.did("ended_full", 1);
        } else if world.committing.in_doubt {
            world.verdict.did("ended_in_doubt", 1);
        } else {
            world.wrong(
                Class::Unexplained,
                format!("the agent ended by itself: {ended:?}"),
            );
        }
    }

    async fn restart_ended(&self, agent: Agent) -> Agent {
        agent.after_end(&self.world).await;
        verifies(self.folder.path());
        self.start()
    }

    async fn does(&self, agent: Agent, step: &Step) -> Agent {
        let folder = self.folder.path();
        let mut agent = agent;
        match step.what {
            What::Commits(times) => {
                let mut world = lock(&self.world);
                world.verdict.did("transactions", u64::from(times));
                world.by(step.seed, |world| {
                    for _ in 0..times {
                        world.commit();
                    }
                });
            }
            What::Person => operator::does(&self.world, step.seed, folder, &self.clock),
            What::Resync => {
                let tables = lock(&self.world).by(step.seed, World::resync);
                ask_resync(folder, &tables);
            }
            What::Crash(after) => agent = self.crash(agent, after, step.seed).await,
            What::Stop(after) => agent = self.stop(agent, after, step.seed).await,
            What::CrashAt(n, death) => lock(&self.world).committing.death = Some((n, death)),
            What::Reload(version) => {
                self.takes_mapping(version);
                agent.reload(&self.world);
            }
            What::StoreFault(n, fault) => lock(&self.world).committing.fault = Some((n, fault)),
            What::SlowStore(millis) => {
                lock(&self.world).committing.slow = Duration::from_millis(millis.into());
            }
            What::Clock(ahead) => {
                lock(&self.world).verdict.did("clock_jumps", 1);
                self.clock.set_ahead(ahead);
            }
            What::Mood(mood, millis) => {
                let until = tokio::time::Instant::now() + Duration::from_millis(millis.into());
                lock(&self.world).shop.mood = Some((mood, until));
            }
            What::Calm => agent = self.calm(agent).await,
        }
        agent
    }

    fn takes_mapping(&self, version: usize) {
        let mut world = lock(&self.world);
        world.verdict.did("mappings", 1);
        world.version = version;
    }

    async fn crash(&self, agent: Agent, after: After, seed: u64) -> Agent {
        lock(&self.world).verdict.did("crashes", 1);
        agent.crash(&self.world).await;
        self.starts_again(after, seed).await
    }

    async fn stop(&self, agent: Agent, after: After, seed: u64) -> Agent {
        // A death that came after the last look.
        let dies = Arc::clone(&lock(&self.world).committing.dies);
        if tokio::time::timeout(Duration::ZERO, dies.notified())
            .await
            .is_ok()
        {
            return self.crash(agent, after, seed).await;
        }
        lock(&self.world).verdict.did("stops", 1);
        // A store that fails or a death that comes meanwhile is one more way to end.
        {
            let committing = &mut lock(&self.world).committing;
            committing.death = None;
            committing.fault = None;
        }
        if !agent.stop(&self.world).await && !lock(&self.world).committing.in_doubt {
            let text = "a stop ended with an error".to_owned();
            lock(&self.world).wrong(Class::Unexplained, text);
        }
        self.starts_again(after, seed).await
    }

    async fn starts_again(&self, after: After, seed: u64) -> Agent {
        let folder = self.folder.path();
        verifies(folder);
        {
            let committing = &mut lock(&self.world).committing;
            committing.death = None;
            // A notice that nobody waited for.
            committing.dies = Arc::default();
        }
        if after.loses_log {
            // And a person orders that everything is read again: now, or of the agent that finds it lost.
            let now = lock(&self.world).by(seed, |world| {
                world.lose_log();
                world.chance(50)
            });
            if now {
                resync(folder).await;
            } else {
                ask_resync(folder, &Resync::All);
            }
        }
        if let Some(version) = after.version {
            self.takes_mapping(version);
        }
        if after.depot {
            let mut world = lock(&self.world);
            world.has_depot = !world.has_depot;
        }
        let agent = self.start();
        operator::judge(&self.world);
        agent
    }

    /// Faults end.
    async fn calm(&self, agent: Agent) -> Agent {
        {
            let mut world = lock(&self.world);
            world.faults = false;
            world.settle(100);
            world.shop.mood = None;
            world.committing.slow = Duration::ZERO;
            world.committing.fault = None;
            world.committing.death = None;
        }
        self.clock.set_ahead(0);
        self.world.1.notify_one();
        self.pass(agent, Duration::from_millis(1)).await
    }

    /// Waits until all is told; what is known, where something is wrong.
    async fn peace(&self, agent: Agent) -> String {
        let folder = self.folder.path();
        let began = tokio::time::Instant::now();
        let mut agent = agent;
        let (mut phase, mut turn, mut stuck) = (0, 0, 0);
        while began.elapsed() < PEACE_MAX && lock(&self.world).verdict.is_clean() {
            // Equal, and it stays so: keys that no row tells end last.
            let (quiet, equal) = {
                let world = lock(&self.world);
                let names = if world.has_depot {
                    "shop depot"
                } else {
                    "shop"
                };
                let quiet = remains::is_quiet(world.file(), names);
                (quiet, quiet && (phase < 2 || world.is_equal()))
            };
            // What is quiet for so long stays as it is.
            stuck = if quiet && !equal { stuck + 1 } else { 0 };
            if stuck > STUCK_MAX {
                break;
            }
            if equal {
                phase += 1;
                match phase {
                    // Now that every table is read, rows go and come back.
                    1 => {
                        let mut world = lock(&self.world);
                        for _ in 0..15 {
                            world.commit();
                        }
                        world.settle(100);
                        drop(world);
                        self.world.1.notify_one();
                    }
                    // All of it is told again.
                    2 => operator::replays(&self.world, folder, &self.clock),
                    _ => break,
                }
            }
            if turn % 10 == 0 {
                operator::mends(&self.world, folder, &self.clock);
            }
            turn += 1;
            agent = self.pass(agent, Duration::from_millis(200)).await;
        }
        operator::judge(&self.world);
        let held = operator::held(lock(&self.world).file());
        lock(&self.world).judge(held);
        {
            // What is held or unfinished explains nothing here: all of it was to be mended.
            let mut world = lock(&self.world);
            if phase < 3 && world.verdict.is_clean() {
                let differences = world.differences().join("; ");
                let text = format!("no rest: phase {phase} of 3; {differences}");
                world.wrong(Class::Unexplained, text);
            }
        }
        agent.crash(&self.world).await;
        verifies(folder);
        let world = lock(&self.world);
        if world.verdict.is_clean() {
            return String::new();
        }
        let differences = world.differences();
        format!(
            "mapping {}\n{}\n{}{}",
            world.version,
            differences.join("\n"),
            remains::remains(folder, &differences),
            world.arrived(&differences)
        )
    }
}

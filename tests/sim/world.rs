//! The simulated outside: a source with a log, a receiver with faults, and what must hold of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use contract::{Resend, Row};
use engine::Pace;
use judge::{Class, PositionSeen, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use state::Retention;
use tokio::sync::Notify;

use crate::committing::Committing;
use crate::database::{Effects, Logged, Size};
use crate::history::History;
use crate::received::Received;
use crate::shop::Shop;

/// Everything outside the agent.
pub struct World {
    pub rng: StdRng,
    pub began: tokio::time::Instant,
    pub size: Size,
    pub log: Vec<Logged>,
    /// Rows as readers see them: a transaction may stand in the log before it is visible here.
    pub rows: BTreeMap<String, Row>,
    /// In the log, not yet visible: transaction and what it did.
    pub stalled: Vec<(u64, Effects)>,
    pub next_transaction: u64,
    pub next_position: u64,
    /// Released by an acknowledgement: everything up to here is gone from the log.
    pub released: u64,
    pub faults: bool,
    /// How its tables are read.
    pub pace: Pace,
    /// When chunks were read, and how many rows each had.
    pub chunks: Vec<(tokio::time::Instant, usize)>,
    /// Which mapping is in force.
    pub version: usize,
    pub received: Received,
    /// A second destination, which comes and goes: what it took, and whether it is there.
    pub depot: Received,
    pub has_depot: bool,
    pub facts: BTreeSet<String>,
    /// What each fact's row ever said; also of those that are gone.
    pub quantities: BTreeMap<String, BTreeSet<i64>>,
    /// What was acknowledged, beside the checkpoint of that moment.
    pub acknowledged: Vec<PositionSeen>,
    pub shop: Shop,
    /// What may be done about requests that were lost.
    pub resend: Resend,
    /// Requests that the API takes in a day.
    pub per_day: Option<u32>,
    /// Requests that it takes at once.
    pub requests_max: usize,
    /// How long finished events stay in the outbox.
    pub retention: Retention,
    /// How the store's commits fare.
    pub committing: Committing,
    pub commits: u64,
    pub history: History,
    /// What was done, and what may never be and was.
    pub verdict: Verdict,
    /// The running agent's state file, to look into.
    pub file: Option<Connection>,
}

/// The world, and who is told when its log has grown.
pub type Shared = Arc<(Mutex<World>, Notify)>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.0.lock().unwrap()
}

impl World {
    /// Needs the runtime whose time is its time.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            began: tokio::time::Instant::now(),
            size: Size::LARGE,
            log: Vec::new(),
            rows: BTreeMap::new(),
            stalled: Vec::new(),
            next_transaction: 1,
            next_position: 1,
            released: 0,
            faults: true,
            pace: Pace::default(),
            chunks: Vec::new(),
            version: 0,
            received: Received::default(),
            depot: Received::default(),
            has_depot: false,
            facts: BTreeSet::new(),
            quantities: BTreeMap::new(),
            acknowledged: Vec::new(),
            shop: Shop::default(),
            resend: Resend::Safe,
            per_day: None,
            requests_max: 6,
            retention: Retention {
                keep: Duration::from_mins(1),
                rows_max: 100,
            },
            committing: Committing::default(),
            commits: 0,
            history: History::default(),
            verdict: Verdict::default(),
            file: None,
        }
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Does something by the chance of a seed of its own: what else is done does not change it.
    pub fn by<T>(&mut self, seed: u64, what: impl FnOnce(&mut Self) -> T) -> T {
        let others = std::mem::replace(&mut self.rng, StdRng::seed_from_u64(seed));
        let done = what(self);
        self.rng = others;
        done
    }

    /// Notes what happened, for a person and for the comparison of two runs.
    pub fn note(&mut self, what: &str) {
        let at = self.began.elapsed().as_millis();
        self.history.note(at, what);
    }

    pub fn wrong(&mut self, class: Class, text: String) {
        self.note(&format!("WRONG {text}"));
        self.verdict.found(class, text);
    }

    /// Looks into the state file of the agent that is about to run.
    pub fn look_into(&mut self, folder: &Path) {
        self.file = Some(crate::remains::open(folder));
    }

    /// The running agent's state file.
    pub fn file(&self) -> &Connection {
        self.file.as_ref().unwrap()
    }
}

/// Lets others go first, so often as chance says: which of the tasks that are ready goes on is the
/// seed's choice.
pub async fn let_others(world: &Shared) {
    let times = lock(world).rng.random_range(0..4);
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

//! The comparison itself: what was told last of each key, beside what the destination says it holds.
//!
//! A difference counts only where nothing of the key is on its way: what is, is looked at again once it was
//! delivered, and stays "expected lag" where that takes too long.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, Compared, Destination, EventOp, EventType, Gate, clock};
use engine::DeliverySettings;
use engine::clock::SystemClock;
use jiff::Timestamp;
use state::{
    ReconcileClass, ReconcileCount, ReconcileDifference, ReconcileOrder, ReconcileRun,
    ReconcileWith, StateReader, StoreError, ToldKey,
};
use tokio::time::Instant;

use super::{reading, words};

/// Keys read from the state file together.
const PAGE: u32 = 200;
/// Keys that wait for another look; with more than these, that comes before others are read.
const OPEN_MAX: usize = 2_000;
/// What a destination was told so lately it may not show yet.
const SETTLED: Duration = Duration::from_secs(10);
/// Between two looks at what is on its way.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Differences that are kept one by one; all of them are counted.
pub(super) const DIFFERENCES_MAX: usize = 20_000;
/// With so many keys that cannot be compared, and none that can, it ends.
const UNKNOWN_MAX: u64 = 100;

/// A destination to compare with.
pub(super) struct Ground {
    pub(super) folder: PathBuf,
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) destination: Arc<dyn Destination>,
    pub(super) settings: DeliverySettings,
}

/// What a comparison came to.
pub(super) type Made = (ReconcileRun, Vec<ReconcileDifference>);

impl Ground {
    /// Reads from the state file, beside whoever writes it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&StateReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        reading(&self.folder, what).await
    }
}

/// A key that is to be looked at again.
struct Open {
    lane: i64,
    /// What was found: of which telling, and how.
    found: Option<(Mark, Difference)>,
}

type Mark = (String, Option<i64>);

/// What was told, and what is there.
#[derive(Debug, Clone)]
struct Difference {
    class: ReconcileClass,
    ours: String,
    theirs: String,
}

/// A comparison under way.
pub(super) struct Comparison<'a> {
    pub(super) ground: &'a Ground,
    pub(super) gate: &'a dyn Gate,
    wait: Duration,
    /// Events in one call.
    batch: usize,
    pub(super) counts: BTreeMap<EventType, ReconcileCount>,
    pub(super) differences: Vec<ReconcileDifference>,
    open: Vec<Open>,
}

/// Compares keys of these types. `wait`: for what is on its way.
///
/// # Errors
/// Why the state file cannot be read.
pub(super) async fn compare(
    ground: &Ground,
    gate: &dyn Gate,
    types: &[EventType],
    order: &ReconcileOrder,
    scheduled: bool,
) -> Result<Made, StoreError> {
    let began_at = SystemClock.now();
    let began = Instant::now();
    let count = |one: &EventType| {
        let count = ReconcileCount {
            event_type: one.name().to_owned(),
            ..ReconcileCount::default()
        };
        (*one, count)
    };
    let mut comparison = Comparison {
        ground,
        gate,
        wait: Duration::from_secs(order.wait_seconds),
        batch: ground.destination.traits().batch_events_max.clamp(1, 100),
        counts: types.iter().map(count).collect(),
        differences: Vec::new(),
        open: Vec::new(),
    };
    comparison.all(types, order).await?;
    comparison.untold(types, order).await?;
    let told = |count: &ReconcileCount| count.looked_at > 0;
    let made = ReconcileRun {
        with: ReconcileWith::Destination(ground.name.clone()),
        began_at,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        scheduled,
        sample: order.sample,
        seed: order.seed,
        sums: Vec::new(),
        types: if comparison.counts.values().any(told) {
            comparison.counts.into_values().filter(told).collect()
        } else {
            comparison.counts.into_values().collect()
        },
    };
    Ok((made, comparison.differences))
}

impl Comparison<'_> {
    async fn all(&mut self, types: &[EventType], order: &ReconcileOrder) -> Result<(), StoreError> {
        if let Some(count) = order.sample {
            let (types, seed) = (types.to_vec(), order.seed);
            let chosen = self
                .ground
                .read(move |reader| reader.told_sample(&types, count, seed));
            for lanes in chosen.await?.chunks(PAGE as usize) {
                if !self.page(lanes).await? {
                    break;
                }
            }
            return self.settle().await;
        }
        let mut after = 0;
        loop {
            let types = types.to_vec();
            let page = self
                .ground
                .read(move |reader| reader.told_lanes(&types, after, PAGE));
            let lanes = page.await?;
            let Some(last) = lanes.last() else {
                return self.settle().await;
            };
            after = *last;
            if !self.page(&lanes).await? {
                return self.settle().await;
            }
        }
    }

    /// Some keys; false where nothing can be compared at all.
    async fn page(&mut self, lanes: &[i64]) -> Result<bool, StoreError> {
        let told = self.told(lanes).await?;
        let (on_their_way, clear): (Vec<_>, Vec<_>) = told
            .into_iter()
            .partition(|told| told.undelivered.is_some());
        self.open.extend(on_their_way.iter().map(|told| Open {
            lane: told.lane,
            found: None,
        }));
        self.look(clear, false).await?;
        if self.open.len() > OPEN_MAX {
            self.settle().await?;
        }
        let sum = |of: fn(&ReconcileCount) -> u64| self.counts.values().map(of).sum::<u64>();
        let unknown = sum(|count| count.unknown);
        Ok(unknown < UNKNOWN_MAX || unknown < sum(|count| count.looked_at))
    }

    /// Compares keys of which nothing is on its way, and counts what is sure.
    async fn look(&mut self, told: Vec<ToldKey>, last: bool) -> Result<(), StoreError> {
        let compared = self.ask(&told).await;
        let mut differing = Vec::new();
        for (told, compared) in told.into_iter().zip(compared) {
            match compared {
                Compared::Same => self.count(&told, None),
                Compared::CannotTell { cause } => {
                    let difference = Difference {
                        class: ReconcileClass::Unknown,
                        ours: words::ours(&told.outgoing),
                        theirs: cause,
                    };
                    self.count(&told, Some(difference));
                }
                Compared::Differs { holds, would } => {
                    let difference = difference(&told, &holds, would);
                    differing.push((told, difference));
                }
            }
        }
        let lanes: Vec<i64> = differing.iter().map(|(told, _)| told.lane).collect();
        let mut now: BTreeMap<i64, ToldKey> = BTreeMap::new();
        for some in lanes.chunks(PAGE as usize) {
            let told = self.told(some).await?;
            now.extend(told.into_iter().map(|told| (told.lane, told)));
        }
        for (told, difference) in differing {
            let Some(newer) = now.remove(&told.lane) else {
                continue;
            };
            let same = newer.mark == told.mark && newer.undelivered.is_none();
            let found = same.then(|| (newer.mark.clone(), difference.clone()));
            if same && (last || settled(&newer, SystemClock.now()).is_zero()) {
                self.count(&newer, Some(difference));
            } else {
                let lane = told.lane;
                self.open.push(Open { lane, found });
            }
        }
        Ok(())
    }

    /// Asks the destination; one answer for each, in order.
    async fn ask(&mut self, told: &[ToldKey]) -> Vec<Compared> {
        let mut all = Vec::with_capacity(told.len());
        let time = self.ground.destination.traits().request_timeout;
        let mut n = 0;
        while n < told.len() {
            self.ground.rest_within_pauses().await;
            let some = told.iter().skip(n).take(self.batch);
            let batch: Vec<_> = some.map(|told| told.outgoing.clone()).collect();
            let began = Instant::now();
            let mut answers = self.ground.destination.compare(&batch, self.gate).await;
            answers.truncate(batch.len());
            answers.resize_with(batch.len(), || Compared::CannotTell {
                cause: "the adapter reported nothing".to_owned(),
            });
            let unclear = |one: &Compared| matches!(one, Compared::CannotTell { .. });
            if batch.len() > 1 && began.elapsed() > time / 2 && answers.iter().any(unclear) {
                // At the pace at which we may ask, that was more than one call has time for.
                self.batch = (batch.len() / 2).max(1);
                continue;
            }
            n += batch.len();
            all.extend(answers);
        }
        all
    }

    /// Looks at what is on its way until it was delivered, or that takes too long.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let began = Instant::now();
        let deadline = began + self.wait;
        loop {
            if self.open.is_empty() {
                self.wait = self.wait.saturating_sub(began.elapsed());
                return Ok(());
            }
            let last = Instant::now() >= deadline;
            let open = std::mem::take(&mut self.open);
            let mut now: BTreeMap<i64, ToldKey> = BTreeMap::new();
            for some in open.chunks(PAGE as usize) {
                let lanes: Vec<i64> = some.iter().map(|one| one.lane).collect();
                let told = self.told(&lanes).await?;
                now.extend(told.into_iter().map(|told| (told.lane, told)));
            }
            let mut ready = Vec::new();
            for one in open {
                let Some(told) = now.remove(&one.lane) else {
                    continue;
                };
                let seen = one
                    .found
                    .as_ref()
                    .is_some_and(|(mark, _)| *mark == told.mark);
                let rests = seen && !settled(&told, SystemClock.now()).is_zero();
                if told.undelivered.is_some() || (rests && !last) {
                    self.open.push(one);
                } else {
                    ready.push(told);
                }
            }
            self.look(ready, last).await?;
            if last {
                // All of one comparison's waits together are no longer than that.
                self.wait = Duration::ZERO;
                return self.lagging().await;
            }
            if !self.open.is_empty() {
                SystemClock.sleep(LOOK_EVERY).await;
            }
        }
    }

    /// What is still on its way is no difference.
    async fn lagging(&mut self) -> Result<(), StoreError> {
        let lanes: Vec<i64> = self.open.drain(..).map(|one| one.lane).collect();
        for some in lanes.chunks(PAGE as usize) {
            for told in self.told(some).await? {
                let state = told.undelivered.as_deref();
                let difference = Difference {
                    class: ReconcileClass::ExpectedLag,
                    ours: words::ours(&told.outgoing),
                    theirs: format!("not asked: the newest telling is {}", words::stands(state)),
                };
                self.count(&told, Some(difference));
            }
        }
        Ok(())
    }

    async fn told(&self, lanes: &[i64]) -> Result<Vec<ToldKey>, StoreError> {
        let (name, tenant) = (self.ground.name.clone(), self.ground.tenant.clone());
        let lanes = lanes.to_vec();
        let now = SystemClock.now();
        self.ground
            .read(move |reader| reader.told_keys(&name, &tenant, &lanes, now))
            .await
    }

    fn count(&mut self, told: &ToldKey, difference: Option<Difference>) {
        let event_type = told.outgoing.event_type;
        let count = self.counts.entry(event_type).or_default();
        count.add(difference.as_ref().map(|one| one.class));
        let Some(difference) = difference else {
            return;
        };
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(ReconcileDifference {
                lane: told.lane,
                event_type: event_type.name().to_owned(),
                key: told.outgoing.key.clone(),
                class: difference.class,
                ours: words::short(&difference.ours),
                theirs: words::short(&difference.theirs),
                since: told.told_at,
            });
        }
    }
}

/// How long until a destination may be expected to show what it was told.
fn settled(told: &ToldKey, now: Timestamp) -> Duration {
    told.told_at.map_or(Duration::ZERO, |at| {
        clock::until(now, clock::after(at, SETTLED))
    })
}

fn difference(told: &ToldKey, holds: &str, would: String) -> Difference {
    let gone = told.outgoing.op == EventOp::Delete;
    let class = match (gone, holds.is_empty()) {
        (true, _) => ReconcileClass::Extra,
        (false, true) => ReconcileClass::Missing,
        (false, false) => ReconcileClass::Different,
    };
    let theirs = match class {
        // What would be there says why it is not.
        ReconcileClass::Missing if !would.is_empty() => would.clone(),
        _ => holds.to_owned(),
    };
    let ours = match class {
        ReconcileClass::Different if !would.is_empty() => would,
        _ => words::ours(&told.outgoing),
    };
    Difference {
        class,
        ours,
        theirs,
    }
}

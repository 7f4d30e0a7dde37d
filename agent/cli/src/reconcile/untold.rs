//! What a destination has that it was never told: its own list, beside all that was told.
//!
//! It is only reported. What stands there may be somebody else's, so nothing of it is ever taken away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{Clock, EventType, Gate, ListedEntry, ListedPage, NotListed, clock};
use engine::clock::SystemClock;
use state::{Names, ReconcileClass, ReconcileDifference, ReconcileOrder, StoreError};

use super::compare::{Comparison, DIFFERENCES_MAX, Ground};
use super::words;

/// Keys read from the state file together.
const PAGE: u32 = 500;
/// Most pages of one list, and most entries that are ours.
const PAGES_MAX: u32 = 50_000;
const ENTRIES_MAX: usize = 5_000_000;
/// A page that does not come is asked for so often.
const TRIES: u32 = 5;
/// The longest wait that an API may ask for before another try.
const WAIT_MAX: Duration = Duration::from_mins(10);

const KEY_BY_KEY: &str =
    "what it has of keys that were never told cannot be asked, for it is only read key by key";
const SAMPLED: &str = "what it has of keys that were never told is asked with --full only";
const NOT_WANTED: &str =
    "what it has of keys that were never told was not asked, as that was left out";
const LOADING: &str =
    "what it has of keys that were never told is asked when the first load is done";

impl Comparison<'_> {
    /// What the destination has and was never told.
    pub(super) async fn untold(
        &mut self,
        types: &[EventType],
        order: &ReconcileOrder,
    ) -> Result<(), StoreError> {
        let mut lane = 0;
        for event_type in types {
            let told = self.counts.get(event_type);
            let told = told.is_some_and(|count| count.looked_at > 0);
            let note = if !self.ground.destination.lists(*event_type) {
                Some(KEY_BY_KEY.to_owned())
            } else if order.sample.is_some() {
                Some(SAMPLED.to_owned())
            } else if !order.list {
                Some(NOT_WANTED.to_owned())
            } else if !told || self.ground.is_loading().await? {
                Some(LOADING.to_owned())
            } else {
                let room = DIFFERENCES_MAX.saturating_sub(self.differences.len());
                let found = untold(self.ground, self.gate, *event_type, room).await?;
                let count = self.counts.entry(*event_type).or_default();
                count.add_untold(found.count);
                for one in found.first {
                    // No telling mends it.
                    lane -= 1;
                    self.differences.push(ReconcileDifference {
                        lane,
                        event_type: event_type.name().to_owned(),
                        key: one.name,
                        class: ReconcileClass::Extra,
                        ours: "never told".to_owned(),
                        theirs: words::short(&one.holds),
                        since: None,
                    });
                }
                found.note
            };
            let count = self.counts.entry(*event_type).or_default();
            count.notes.extend(note);
        }
        Ok(())
    }
}

/// What was found.
struct Untold {
    /// How many, and the first of them.
    count: u64,
    first: Vec<ListedEntry>,
    /// Why that is not all.
    note: Option<String>,
}

/// Asks for all that there is of a type. `room`: so many are kept one by one.
///
/// # Errors
/// Why the state file cannot be read, or what is listed not be kept meanwhile.
async fn untold(
    ground: &Ground,
    gate: &dyn Gate,
    event_type: EventType,
    room: usize,
) -> Result<Untold, StoreError> {
    let names = Shared(Arc::new(Mutex::new(Names::new()?)));
    told(ground, event_type, &names).await?;
    let mut listing = Listing {
        ground,
        gate,
        event_type,
        entries: 0,
    };
    let note = listing.all(&names).await?;
    if names.with(|names| names.untold_count()).await? > 0 {
        // What was told while it was listed is told.
        told(ground, event_type, &names).await?;
    }
    let (count, first) = names
        .with(move |names| Ok((names.untold_count()?, names.untold(room)?)))
        .await?;
    Ok(Untold { count, first, note })
}

struct Listing<'a> {
    ground: &'a Ground,
    gate: &'a dyn Gate,
    event_type: EventType,
    entries: usize,
}

impl Listing<'_> {
    /// Every page; and why it is not every one, where that is so.
    async fn all(&mut self, names: &Shared) -> Result<Option<String>, StoreError> {
        let not_all = |why: String| Ok(Some(format!("not all that it has could be listed: {why}")));
        let mut after: Option<String> = None;
        for page in 1..=PAGES_MAX {
            let listed = match self.page(after.as_deref()).await {
                Ok(listed) => listed,
                Err(cause) => return not_all(format!("page {page}: {cause}")),
            };
            self.entries += listed.entries.len();
            let entries = listed.entries;
            names.with(move |names| names.listed(&entries)).await?;
            match listed.next {
                None => return Ok(None),
                Some(next) if after.as_ref() == Some(&next) => {
                    return not_all(format!("page {page} leads to itself"));
                }
                Some(_) if self.entries > ENTRIES_MAX => {
                    return not_all(format!("there are more than {ENTRIES_MAX}"));
                }
                Some(next) => after = Some(next),
            }
        }
        not_all(format!("there are more than {PAGES_MAX} pages"))
    }

    /// A page, asked for again where that may help.
    async fn page(&self, after: Option<&str>) -> Result<ListedPage, String> {
        let mut tries = 1;
        loop {
            self.ground.rest_within_pauses().await;
            let destination = &self.ground.destination;
            let NotListed { cause, again } =
                match destination.list(self.event_type, after, self.gate).await {
                    Ok(listed) => return Ok(listed),
                    Err(not) => not,
                };
            match again {
                Some(wait) if tries < TRIES => SystemClock.sleep(wait.min(WAIT_MAX)).await,
                _ => return Err(cause),
            }
            tries += 1;
        }
    }
}

impl Ground {
    /// Nothing is asked in the pauses of the settings.
    pub(super) async fn rest_within_pauses(&self) {
        loop {
            let now = SystemClock.now();
            let Some(until) = self.settings.paused_until(now) else {
                return;
            };
            SystemClock.sleep(clock::until(now, until)).await;
        }
    }

    /// Whether tables are still being read: what was not told yet is not what never will be.
    async fn is_loading(&self) -> Result<bool, StoreError> {
        let sources = self.read(state::StateReader::sources).await?;
        let mut sources = sources.iter();
        Ok(sources.any(|one| one.snapshot_done < one.snapshot_tables))
    }
}

/// All that was told of a type, as the destination calls it.
async fn told(ground: &Ground, event_type: EventType, names: &Shared) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let (name, tenant) = (ground.name.clone(), ground.tenant.clone());
        let now = SystemClock.now();
        let page = ground.read(move |reader| {
            let lanes = reader.told_lanes(&[event_type], after, PAGE)?;
            let told = reader.told_keys(&name, &tenant, &lanes, now)?;
            Ok((lanes.last().copied(), told))
        });
        let (last, told) = page.await?;
        let Some(last) = last else {
            return Ok(());
        };
        after = last;
        let told: Vec<_> = told.into_iter().map(|told| told.outgoing).collect();
        let called = ground.destination.called(&told);
        let called: Vec<String> = called.into_iter().flatten().collect();
        names.with(move |names| names.told(&called)).await?;
    }
}

/// Names, where whoever uses them may wait for a disk.
#[derive(Clone)]
struct Shared(Arc<Mutex<Names>>);

impl Shared {
    async fn with<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Names) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let names = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            // A statement that failed left nothing half done.
            what(&mut names.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await
            .map_err(|error| StoreError::Invariant(error.to_string()))?
    }
}

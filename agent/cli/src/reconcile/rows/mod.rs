//! A source's rows, mapped now, beside what was told of them: what capture lost or told otherwise is found.
//!
//! Rows are read as a first load reads them, at its pace, and mapped by the rules in force. A difference
//! counts only where two looks see the same row and the same telling, each after the agent has stored all
//! that the row reflects.

mod again;

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use contract::{
    ChunkLimits, Clock, EventKind, EventType, LogPos, Op, Position, RowChange, SnapshotReader,
    SourceError, TableName, clock,
};
use engine::SourceSetup;
use engine::clock::SystemClock;
use mappings::trial::Trial;
use mappings::{MappingSet, RuleInfo};
use state::{
    ReconcileClass, ReconcileCount, ReconcileDifference, StateReader, StoreError, ToldBody,
};
use tokio::time::Instant;

use super::compare::DIFFERENCES_MAX;
use super::words;

/// Rows of one chunk, and their bytes.
const ROWS: usize = 500;
const BYTES: usize = 4 << 20;
/// Keys that wait for another look; with more than these, that comes before others are read.
const OPEN_MAX: usize = 2_000;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The longest rest between two chunks where no rate is set.
const REST_MAX: Duration = Duration::from_secs(1);
/// Keys of one rule that are remembered, to find those that no row tells any more.
const KEYS_MAX: usize = 4_000_000;
/// Why rows could not be compared.
pub(super) enum Stopped {
    State(StoreError),
    Source(TableName, SourceError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::State(error)
    }
}

/// What a comparison of rows is about.
pub(super) struct Ground<'a> {
    pub(super) folder: &'a std::path::Path,
    pub(super) name: &'a str,
    /// The kind of source.
    pub(super) kind: &'a str,
    pub(super) epoch: u32,
    pub(super) setup: &'a SourceSetup,
    /// Only of these types; empty = of all.
    pub(super) types: &'a [EventType],
    /// Only the first rows of each table; `None` = all.
    pub(super) first: Option<u32>,
    pub(super) wait: Duration,
}

/// What it came to.
#[derive(Default)]
pub(super) struct Made {
    pub(super) counts: BTreeMap<EventType, ReconcileCount>,
    pub(super) differences: Vec<ReconcileDifference>,
    /// What could not be looked at, and why.
    pub(super) notes: Vec<String>,
}

type Place = (EventType, String);

/// What a row makes now: its body, `None` where no row makes the key.
type Now = Option<String>;

/// A key whose row and telling do not fit yet.
struct Suspect {
    place: Place,
    cursor: Option<String>,
    /// What the newest look saw: the row's body, and which telling.
    seen: (Now, Option<String>),
}

/// A chunk of rows, mapped.
struct Mapped {
    bodies: BTreeMap<Place, Now>,
    /// Rows that the mapping holds: type, key where it is known, and why.
    held: Vec<(EventType, Option<String>, String)>,
    rows: usize,
    next: Option<String>,
    mark: Position,
}

struct Comparison<'a> {
    ground: &'a Ground<'a>,
    reader: Box<dyn SnapshotReader>,
    table: TableName,
    set: Arc<MappingSet>,
    suspects: Vec<Suspect>,
    made: &'a mut Made,
}

impl Ground<'_> {
    pub(super) async fn state<T: Send + 'static>(
        &self,
        what: impl FnOnce(&StateReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let folder = self.folder.to_owned();
        let read = tokio::task::spawn_blocking(move || what(&StateReader::open(&folder)?));
        read.await
            .map_err(|error| StoreError::Invariant(error.to_string()))?
    }

    /// Waits until the agent has stored all up to a position; false where it does not in time.
    pub(super) async fn stored(
        &self,
        mark: &Position,
        deadline: Instant,
    ) -> Result<bool, StoreError> {
        // Its positions count the looks of one process: ours say nothing of the agent's.
        if self.kind == "sqlserver" {
            SystemClock.sleep(2 * REST_MAX).await;
            return Ok(Instant::now() < deadline);
        }
        let wanted = mark.to_string();
        loop {
            let name = self.name.to_owned();
            let checkpoint = self.state(move |reader| {
                let all = reader.sources()?;
                Ok(all
                    .into_iter()
                    .find(|one| one.name == name)
                    .and_then(|one| one.checkpoint))
            });
            // Positions are texts in the order of the log.
            if checkpoint.await?.is_some_and(|at| at >= wanted) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            SystemClock.sleep(LOOK_EVERY).await;
        }
    }
}

/// Compares the rows of a source with what was told of them.
///
/// # Errors
/// Why its rows or the state file cannot be read.
pub(super) async fn compare(ground: &Ground<'_>) -> Result<Made, Stopped> {
    let mut made = Made::default();
    let mut tables: BTreeMap<String, (TableName, Vec<RuleInfo>)> = BTreeMap::new();
    for rule in ground.setup.mapping.rules() {
        let wanted = ground.types.is_empty() || ground.types.contains(&rule.event_type);
        if !wanted || rule.event_type.kind() == EventKind::Fact {
            continue;
        }
        if rule.relates {
            made.notes.push(format!(
                "rule {} needs rows of several tables: only the sums of its tables are compared",
                rule.id
            ));
            continue;
        }
        let of = tables
            .entry(rule.table.to_string())
            .or_insert_with(|| (rule.table.clone(), Vec::new()));
        of.1.push(rule);
    }
    for (table, rules) in tables.into_values() {
        let failed = |error| Stopped::Source(table.clone(), error);
        let source = &ground.setup.source;
        let reader = source.snapshot(ground.epoch).await.map_err(failed)?;
        let ids: Vec<String> = rules.iter().map(|rule| rule.id.clone()).collect();
        for rule in &rules {
            let count = made.counts.entry(rule.event_type).or_default();
            rule.event_type.name().clone_into(&mut count.event_type);
        }
        let mut comparison = Comparison {
            ground,
            reader,
            table: table.clone(),
            set: Arc::new(ground.setup.mapping.only(&ids)),
            suspects: Vec::new(),
            made: &mut made,
        };
        comparison.all(&rules).await?;
    }
    Ok(made)
}

fn hashed(place: &Place) -> u64 {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    hasher.finish()
}

impl Comparison<'_> {
    async fn all(&mut self, rules: &[RuleInfo]) -> Result<(), Stopped> {
        let mut cursor = None;
        let mut left = self.ground.first.map(|first| first as usize);
        let mut seen: Option<HashSet<u64>> = left.is_none().then(HashSet::new);
        let mut marks: Option<(Position, Position)> = None;
        loop {
            self.rest_within_pauses().await;
            let began = Instant::now();
            let rows = left.map_or(ROWS, |left| left.min(ROWS));
            let mapped = self.chunk(cursor.as_deref(), rows).await?;
            let first = marks
                .take()
                .map_or_else(|| mapped.mark.clone(), |marks| marks.0);
            marks = Some((first, mapped.mark.clone()));
            if let Some(keys) = &mut seen {
                keys.extend(mapped.bodies.keys().map(hashed));
                let held = mapped.held.iter();
                keys.extend(
                    held.filter_map(|(event_type, key, _)| {
                        Some(hashed(&(*event_type, key.clone()?)))
                    }),
                );
                let unknown = mapped.held.iter().any(|(_, key, _)| key.is_none());
                if unknown || keys.len() > KEYS_MAX {
                    let why = if unknown {
                        "a row is held whose key is not known"
                    } else {
                        "there are too many"
                    };
                    self.made.notes.push(format!(
                        "table {}: keys that no row tells any more were not looked for: {why}",
                        self.table
                    ));
                    seen = None;
                }
            }
            let (count, next) = (mapped.rows, mapped.next.clone());
            let deadline = Instant::now() + self.ground.wait;
            self.judge(cursor.clone(), mapped, deadline).await?;
            if self.suspects.len() > OPEN_MAX {
                self.settle().await?;
            }
            left = left.map(|left| left.saturating_sub(count));
            if next.is_none() || left == Some(0) {
                break;
            }
            cursor = next;
            self.rest(count, began).await;
        }
        self.settle().await?;
        if let (Some(keys), Some((first, last))) = (seen, marks) {
            self.ended(rules, &keys, (&first, &last)).await?;
        }
        Ok(())
    }

    /// Rows as they are now, mapped.
    async fn chunk(&mut self, cursor: Option<&str>, rows: usize) -> Result<Mapped, Stopped> {
        let limits = ChunkLimits {
            rows_max: self.ground.setup.pace.rows_per_second.map_or(rows, |rate| {
                rows.min(usize::try_from(rate).unwrap_or(rows).max(1))
            }),
            bytes_max: BYTES,
        };
        let chunk = self.reader.chunk(&self.table, cursor, limits).await;
        let chunk = chunk.map_err(|error| Stopped::Source(self.table.clone(), error))?;
        let changes: Vec<RowChange> = (1..).zip(chunk.rows).map(inserted).collect();
        let outcome = Trial::new(Arc::clone(&self.set)).take_changes(&changes);
        let mut bodies = BTreeMap::new();
        for event in &outcome.events {
            let envelope = &event.envelope;
            let body = event.body.as_ref().map(contract::Body::json);
            bodies.insert((envelope.event_type, envelope.key.text()), body);
        }
        Ok(Mapped {
            bodies,
            held: outcome
                .held
                .into_iter()
                .map(|held| (held.event_type, held.event_key, held.reason))
                .collect(),
            rows: changes.len(),
            next: chunk.next,
            mark: chunk.mark,
        })
    }

    /// The first look at the keys of a chunk.
    async fn judge(
        &mut self,
        cursor: Option<String>,
        mapped: Mapped,
        deadline: Instant,
    ) -> Result<(), Stopped> {
        for (event_type, key, reason) in mapped.held {
            let place = (event_type, key.unwrap_or_default());
            let theirs = format!("the mapping holds the row: {reason}");
            self.count(&place, Some((ReconcileClass::Unknown, "", &theirs)));
        }
        let places: Vec<Place> = mapped.bodies.keys().cloned().collect();
        let told = self.told(&places).await?;
        let fits = |told: &Option<ToldBody>, now: &Now| agrees(told.as_ref(), now);
        let all = mapped.bodies.iter().zip(&told);
        let first: Vec<bool> = all.map(|((_, now), told)| fits(told, now)).collect();
        let told = if first.iter().all(|fits| *fits) {
            told
        } else {
            // What the rows reflect may not have been stored yet.
            self.ground.stored(&mapped.mark, deadline).await?;
            self.told(&places).await?
        };
        for ((place, now), told) in mapped.bodies.into_iter().zip(told) {
            if agrees(told.as_ref(), &now) {
                self.count(&place, None);
            } else {
                let version = told.map(|told| told.version);
                self.suspects.push(Suspect {
                    place,
                    cursor: cursor.clone(),
                    seen: (now, version),
                });
            }
        }
        Ok(())
    }

    async fn told(&self, places: &[Place]) -> Result<Vec<Option<ToldBody>>, StoreError> {
        let (name, places) = (self.ground.name.to_owned(), places.to_vec());
        self.ground
            .state(move |reader| reader.told_bodies(&name, &places))
            .await
    }

    fn differs(&mut self, place: &Place, now: Option<&str>, told: Option<&str>) {
        let (class, ours, theirs) = match (now, told) {
            (Some(now), Some(told)) => {
                let (ours, theirs) = words::fields(told, now);
                (ReconcileClass::Different, ours, theirs)
            }
            (Some(_), None) => {
                let theirs = "a row says it".to_owned();
                (ReconcileClass::Missing, "not told".to_owned(), theirs)
            }
            (None, _) => {
                let theirs = "no row says it".to_owned();
                (ReconcileClass::Extra, "told".to_owned(), theirs)
            }
        };
        self.count(place, Some((class, &ours, &theirs)));
    }

    fn count(&mut self, place: &Place, found: Option<(ReconcileClass, &str, &str)>) {
        let (event_type, key) = place;
        let count = self.made.counts.entry(*event_type).or_default();
        count.add(found.map(|(class, _, _)| class));
        let Some((class, ours, theirs)) = found else {
            return;
        };
        if self.made.differences.len() < DIFFERENCES_MAX {
            self.made.differences.push(ReconcileDifference {
                lane: 0,
                event_type: event_type.name().to_owned(),
                key: key.clone(),
                class,
                ours: words::short(ours),
                theirs: words::short(theirs),
                since: None,
            });
        }
    }

    async fn rest_within_pauses(&self) {
        loop {
            let now = SystemClock.now();
            let Some(until) = self.ground.setup.pace.paused_until(now) else {
                return;
            };
            SystemClock.sleep(clock::until(now, until)).await;
        }
    }

    /// As a first load rests.
    async fn rest(&self, rows: usize, began: Instant) {
        let took = began.elapsed();
        let rest = match self.ground.setup.pace.rows_per_second {
            None => took.min(REST_MAX),
            Some(rate) => {
                let micros = (rows as u64).saturating_mul(1_000_000) / u64::from(rate.max(1));
                Duration::from_micros(micros).saturating_sub(took)
            }
        };
        SystemClock.sleep(rest).await;
    }
}

/// Whether what was told is what a row makes.
fn agrees(told: Option<&ToldBody>, now: &Now) -> bool {
    let told = told.and_then(|told| told.body.as_deref());
    match (told, now) {
        (None, None) => true,
        (Some(told), Some(now)) => {
            let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            told == now || json(told) == json(now)
        }
        _ => false,
    }
}

/// A row as the mapping takes it: as if it had just been made.
fn inserted((seq, change): (u32, RowChange)) -> RowChange {
    RowChange {
        op: Op::Insert,
        before: None,
        position: Position {
            epoch: 1,
            pos: LogPos::from_number(1),
            seq,
        },
        committed_at: None,
        transaction: 1,
        ..change
    }
}

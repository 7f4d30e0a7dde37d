//! A source's rows, mapped now, beside what was told of them: what capture lost or told otherwise is found.
//!
//! Rows are read as a first load reads them, at its pace, and mapped by the rules in force. A difference
//! counts only where two looks see the same row and the same telling, each after the agent has stored all
//! that the row reflects.

mod again;
mod ground;
mod judge;

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use contract::{
    ChunkLimits, Clock, EventKind, EventType, LogPos, Op, Position, RowChange, SnapshotReader,
    TableName, clock,
};
use engine::clock::SystemClock;
use mappings::trial::Trial;
use mappings::{MappingSet, RuleInfo};
use tokio::time::Instant;

pub(super) use ground::{Ground, Made, Stopped};

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

    async fn rest_within_pauses(&mut self) {
        loop {
            let now = SystemClock.now();
            let Some(until) = self.ground.setup.pace.paused_until(now) else {
                return;
            };
            SystemClock.sleep(clock::until(now, until)).await;
        }
    }

    /// As a first load rests.
    async fn rest(&mut self, rows: usize, began: Instant) {
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

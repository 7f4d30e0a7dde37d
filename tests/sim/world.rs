//! The simulated outside: a source with a log, a receiver with faults, and what they must agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    ChangeBatch, ChangeStream, ChunkLimits, Clock, EventKind, Finding, LogPos, Op, Outgoing,
    Position, Preparation, Resend, Row, RowChange, Sees, SnapshotChunk, SnapshotReader, Source,
    SourceError, TableInfo, TableName, TableShape, Value,
};
use engine::Pace;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use state::{Resync, Retention, StateReader};
use tokio::sync::Notify;

use crate::shop::Shop;

/// Virtual time: tokio's paused clock, which jumps when nothing is running.
pub struct VirtualClock(pub tokio::time::Instant);

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        contract::clock::after(Timestamp::UNIX_EPOCH, self.0.elapsed())
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Marks rows of table `move` among all rows.
const MOVE: &str = "M:";
/// Different rows that change.
const KEYS: u32 = 30;
/// Rows that never change: no log ever tells of them.
const STILL: u32 = 15;

/// One committed transaction in the source's log.
struct Logged {
    changes: Vec<RowChange>,
    /// Log position of its end.
    end: u64,
}

/// What a transaction does to rows: the new row, or none.
type Effects = Vec<(String, Option<Row>)>;

/// Everything outside the agent.
pub struct World {
    pub rng: StdRng,
    log: Vec<Logged>,
    /// Rows as readers see them: a transaction may stand in the log before it is visible here.
    rows: BTreeMap<String, Row>,
    /// In the log, not yet visible: transaction and what it did.
    stalled: Vec<(u64, Effects)>,
    next_transaction: u64,
    next_position: u64,
    /// Released by an acknowledgement: everything up to here is gone from the log.
    released: u64,
    pub faults: bool,
    /// How its tables are read.
    pub pace: Pace,
    /// When chunks were read, and how many rows each had.
    pub chunks: Vec<(tokio::time::Instant, usize)>,
    /// Which mapping is in force.
    pub version: usize,
    pub received: Received,
    pub facts: BTreeSet<String>,
    pub shop: Shop,
    /// What may be done about requests that were lost.
    pub resend: Resend,
    /// Requests that the API takes in a day.
    pub per_day: Option<u32>,
    /// Requests that it takes at once.
    pub requests_max: usize,
    /// How long finished events stay in the outbox.
    pub retention: Retention,
}

/// What the receiver holds, applying in arrival order.
#[derive(Default)]
pub struct Received {
    pub state: BTreeMap<String, (Position, Option<String>)>,
    pub facts: BTreeMap<String, usize>,
    /// What was said last of each fact.
    quantities: BTreeMap<String, String>,
    ids: BTreeMap<String, (String, i64)>,
    pub violations: Vec<String>,
    /// What was applied is never sent again, for it can be read whether it was.
    pub once: bool,
    /// What came of states, in its order: key, version, body or the reason of its end.
    history: Vec<(String, Position, String)>,
    pub arrivals: usize,
}

pub type Shared = Arc<(Mutex<World>, Notify)>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.0.lock().unwrap()
}

pub fn item_shape() -> Arc<TableShape> {
    Arc::new(TableShape {
        table: TableName::new("public", "item"),
        columns: vec!["sku".to_owned(), "name".to_owned()],
        key: vec![0],
    })
}

fn move_shape() -> Arc<TableShape> {
    Arc::new(TableShape {
        table: TableName::new("public", "move"),
        columns: vec!["id".to_owned(), "qty".to_owned(), "sku".to_owned()],
        key: vec![0],
    })
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
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
            facts: BTreeSet::new(),
            shop: Shop::default(),
            resend: Resend::Safe,
            per_day: None,
            requests_max: 6,
            retention: Retention {
                keep: Duration::from_mins(1),
                rows_max: 100,
            },
        }
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Rows that were there before the agent: no log tells of them.
    pub fn seed_rows(&mut self) {
        for n in 0..KEYS + STILL {
            let sku = format!("S{n}");
            self.rows.insert(
                sku.clone(),
                vec![Value::Text(sku), Value::Text("seed".to_owned())],
            );
            let id = format!("old{n}");
            let sku = Value::Text(format!("S{n}"));
            let row = vec![Value::Text(id.clone()), Value::Int(1), sku];
            self.rows.insert(format!("{MOVE}{id}"), row);
            self.facts.insert(id);
        }
    }

    /// Commits a random transaction; sometimes it is in the log before readers see it.
    pub fn commit(&mut self) {
        self.settle(30);
        let transaction = self.next_transaction;
        self.next_transaction += 1;
        let start = self.next_position;
        self.next_position += 2;
        let mut effects: Effects = Vec::new();
        let mut changes: Vec<RowChange> = Vec::new();
        let busy: BTreeSet<String> = self
            .stalled
            .iter()
            .flat_map(|(_, e)| e.iter().map(|(sku, _)| sku.clone()))
            .collect();
        for _ in 0..self.rng.random_range(1..6) {
            let seq = u32::try_from(changes.len()).unwrap() + 1;
            let position = Position {
                epoch: 1,
                pos: LogPos::from_number(start),
                seq,
            };
            let make = |shape, op, before, after| RowChange {
                shape,
                op,
                before,
                after,
                position: position.clone(),
                committed_at: Some(Timestamp::UNIX_EPOCH),
                transaction,
            };
            if self.chance(8) {
                // Rewritten without a change, perhaps before anyone has read it.
                let id = format!("{MOVE}old{}", self.rng.random_range(0..KEYS));
                let row = self.rows.get(&id).cloned();
                changes.push(make(move_shape(), Op::Update, row.clone(), row));
                continue;
            }
            if self.chance(25) {
                let id = format!("{transaction}-{seq}");
                let qty = Value::Int(self.rng.random_range(1..10));
                let sku = format!("S{}", self.rng.random_range(0..KEYS));
                let row = vec![Value::Text(id.clone()), qty, Value::Text(sku)];
                self.facts.insert(id.clone());
                changes.push(make(move_shape(), Op::Insert, None, Some(row.clone())));
                effects.push((format!("{MOVE}{id}"), Some(row)));
                continue;
            }
            let sku = format!("S{}", self.rng.random_range(0..KEYS));
            // A row a stalled transaction still holds is locked for others.
            if busy.contains(&sku) {
                continue;
            }
            let now = effects
                .iter()
                .rev()
                .find(|(known, _)| *known == sku)
                .map_or_else(|| self.rows.get(&sku).cloned(), |(_, row)| row.clone());
            let old = vec![Value::Text(sku.clone()), Value::Unchanged];
            if now.is_some() && self.chance(20) {
                changes.push(make(item_shape(), Op::Delete, Some(old), None));
                effects.push((sku, None));
            } else {
                let name = format!("v{}", self.rng.random_range(0..1_000_000));
                let row = vec![Value::Text(sku.clone()), Value::Text(name)];
                let op = if now.is_some() {
                    Op::Update
                } else {
                    Op::Insert
                };
                changes.push(make(item_shape(), op, None, Some(row.clone())));
                effects.push((sku, Some(row)));
            }
        }
        self.log.push(Logged {
            changes,
            end: start + 1,
        });
        self.stalled.push((transaction, effects));
        self.settle(40);
    }

    /// What is asked to be read again, by chance.
    pub fn resync(&mut self) -> Option<Resync> {
        if !self.chance(2) {
            return None;
        }
        Some(match self.rng.random_range(0..4) {
            0 => Resync::All,
            1 => Resync::Tables(vec!["public.item".to_owned()]),
            2 => Resync::Tables(vec!["public.move".to_owned()]),
            _ => Resync::Tables(vec!["public.item".to_owned(), "public.move".to_owned()]),
        })
    }

    /// The log is lost, with changes that it told nobody of: rows came, changed and went.
    pub fn lose_log(&mut self) {
        self.settle(100);
        for _ in 0..self.rng.random_range(0..30) {
            let n = self.rng.random_range(0..KEYS + STILL);
            let sku = format!("S{n}");
            match self.rng.random_range(0..8) {
                0 | 1 => drop(self.rows.remove(&sku)),
                2 | 3 => {
                    let name = Value::Text(format!("g{}", self.rng.random_range(0..1_000_000)));
                    self.rows.insert(sku.clone(), vec![Value::Text(sku), name]);
                }
                4 => {
                    let id = format!("gap{}", self.facts.len());
                    let row = vec![Value::Text(id.clone()), Value::Int(3), Value::Text(sku)];
                    self.rows.insert(format!("{MOVE}{id}"), row);
                    self.facts.insert(id);
                }
                5 => {
                    // Nobody can tell of it any more, if nobody did so far.
                    let moves = self.rows.keys().filter(|id| id.starts_with(MOVE));
                    let moves: Vec<String> = moves.cloned().collect();
                    let id = moves[self.rng.random_range(0..moves.len())].clone();
                    self.rows.remove(&id);
                    self.facts.remove(&id[MOVE.len()..]);
                }
                _ => {
                    let qty = self.rng.random_range(10..20);
                    let moves = self.rows.keys().filter(|id| id.starts_with(MOVE));
                    let moves: Vec<String> = moves.cloned().collect();
                    let id = &moves[self.rng.random_range(0..moves.len())];
                    if let Some(row) = self.rows.get_mut(id) {
                        row[1] = Value::Int(qty);
                    }
                }
            }
        }
        self.log.clear();
        self.next_position += 2;
        self.released = self.next_position;
        self.next_position += 1;
    }

    /// Makes stalled transactions visible, each by chance.
    pub fn settle(&mut self, percent: u32) {
        let mut still = Vec::new();
        for (transaction, effects) in std::mem::take(&mut self.stalled) {
            if self.rng.random_range(0..100) >= percent {
                still.push((transaction, effects));
                continue;
            }
            for (sku, row) in effects {
                match row {
                    Some(row) => self.rows.insert(sku, row),
                    None => self.rows.remove(&sku),
                };
            }
        }
        self.stalled = still;
    }

    /// What differs between source and receiver, in words.
    pub fn differences(&self) -> Vec<String> {
        let mut found = self.received.violations.clone();
        for (id, row) in &self.rows {
            let Some(id) = id.strip_prefix(MOVE) else {
                continue;
            };
            let says = self.received.quantities.get(&format!("ACME|{id}"));
            let Value::Int(qty) = row[1] else { continue };
            if says.is_some_and(|says| *says != format!("\"{qty}\"")) {
                found.push(format!(
                    "fact {id} is {qty} at the source, {says:?} at the receiver"
                ));
            }
        }
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for (sku, row) in self.rows.iter().filter(|(sku, _)| !sku.starts_with(MOVE)) {
            let name = row[1].text().unwrap();
            match self.version {
                0 => drop(wanted.insert(format!("ACME|{sku}"), name)),
                1 if sku.ends_with('7') => {}
                1 => drop(wanted.insert(format!("ACME|K{sku}"), format!("{name}+"))),
                _ if sku.ends_with('8') => {}
                _ => drop(wanted.insert(format!("ACME|{sku}"), format!("{name}+"))),
            }
        }
        for (key, name) in &wanted {
            let has = self.received.state.get(key);
            let body = has
                .and_then(|(_, body)| body.as_deref())
                .unwrap_or("nothing");
            if !body.contains(&format!("\"name\":\"{name}\"")) {
                found.push(format!(
                    "{key} is {name} at the source, {body} at the receiver"
                ));
            }
        }
        found.extend(self.sums_that_differ());
        for (key, (_, body)) in &self.received.state {
            let sku = key.strip_prefix("ACME|").unwrap();
            if body.is_some() && !sku.contains('|') && !wanted.contains_key(key) {
                found.push(format!(
                    "{key} is gone at the source, still at the receiver"
                ));
            }
        }
        for id in &self.facts {
            if !self.received.facts.contains_key(&format!("ACME|{id}")) {
                found.push(format!("fact {id} is lost"));
            }
        }
        found
    }
}

impl World {
    /// What arrived of the keys that differ.
    pub fn arrived(&self, differences: &[String]) -> String {
        let mut text = "arrived:\n".to_owned();
        for (key, position, says) in &self.received.history {
            let of = |difference: &String| difference.contains(&format!("{key} "));
            if differences.iter().take(3).any(of) {
                let _ = writeln!(text, "  {key} {position} {says}");
            }
        }
        text
    }

    /// Events made of several rows: moves added up by item, and over all items that are there.
    fn sums_that_differ(&self) -> Vec<String> {
        let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
        for sku in self.rows.keys().filter(|sku| !sku.starts_with(MOVE)) {
            wanted.insert(format!("ACME|{sku}|MAIN"), 0);
        }
        let moves = self.rows.iter().filter(|(id, _)| id.starts_with(MOVE));
        for (_, row) in moves {
            let (Value::Int(qty), Some(sku)) = (&row[1], row[2].text()) else {
                continue;
            };
            if let Some(sum) = wanted.get_mut(&format!("ACME|{sku}|MAIN")) {
                *sum += qty;
                let group = format!("ACME|ALL|{}", &sku[sku.len() - 1..]);
                *wanted.entry(group).or_default() += qty;
            }
        }
        let mut found = Vec::new();
        for (key, sum) in &wanted {
            let has = self.received.state.get(key);
            let body = has
                .and_then(|(_, body)| body.as_deref())
                .unwrap_or("nothing");
            if !body.contains(&format!("\"on_hand\":\"{sum}\"")) {
                found.push(format!(
                    "{key} is {sum} at the source, {body} at the receiver"
                ));
            }
        }
        for (key, (_, body)) in &self.received.state {
            let sum = key.matches('|').count() == 2;
            if sum && body.is_some() && !wanted.contains_key(key) {
                found.push(format!(
                    "{key} has no rows at the source, {body:?} at the receiver"
                ));
            }
        }
        found
    }
}

/// A source, and the state folder in which it looks whether an acknowledgement is true.
pub struct SimSource(pub Shared, pub PathBuf);

struct SimStream {
    world: Shared,
    epoch: u32,
    /// Delivered up to here.
    at: Position,
    started: bool,
    folder: PathBuf,
}

struct SimReader(Shared, u32);

#[async_trait]
impl Source for SimSource {
    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn prepare(&self, _: bool) -> Result<Preparation, SourceError> {
        Ok(Preparation::default())
    }

    async fn stream(
        &self,
        epoch: u32,
        after: Option<&Position>,
    ) -> Result<Box<dyn ChangeStream>, SourceError> {
        let released = lock(&self.0).released;
        let at = after
            .cloned()
            .unwrap_or(Position::border(epoch, LogPos::from_number(released)));
        if at.pos.number().unwrap() < released {
            return Err(SourceError::PositionLost {
                what: format!("the log was released up to {released}, the checkpoint is {at}"),
                hint: String::new(),
            });
        }
        Ok(Box::new(SimStream {
            world: Arc::clone(&self.0),
            epoch,
            at,
            started: false,
            folder: self.1.clone(),
        }))
    }

    async fn catalogue(&self, tables: &[TableName]) -> Result<Vec<TableInfo>, SourceError> {
        let info = |table: &TableName| TableInfo {
            table: table.clone(),
            columns: Vec::new(),
            key: Vec::new(),
            rows: Some(1_000_000),
        };
        Ok(tables.iter().map(info).collect())
    }

    async fn snapshot(&self, epoch: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        Ok(Box::new(SimReader(Arc::clone(&self.0), epoch)))
    }
}

#[async_trait]
impl ChangeStream for SimStream {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        loop {
            {
                let mut world = lock(&self.world);
                if world.faults && world.chance(2) {
                    return Err(SourceError::Disconnected("simulated".to_owned()));
                }
                // Pieces of a transaction and several transactions per batch, both by chance.
                let most = world.rng.random_range(1..8);
                let mut changes: Vec<RowChange> = Vec::new();
                let mut end = None;
                for logged in &world.log {
                    for change in &logged.changes {
                        let mut change = change.clone();
                        change.position.epoch = self.epoch;
                        if change.position > self.at && changes.len() < most {
                            end = Some(change.position.clone());
                            changes.push(change);
                        }
                    }
                    let border = Position::border(self.epoch, LogPos::from_number(logged.end));
                    let whole = logged.changes.last().is_none_or(|last| {
                        let mut last = last.position.clone();
                        last.epoch = self.epoch;
                        last <= self.at || changes.last().is_some_and(|c| c.position == last)
                    });
                    if !whole || changes.len() >= most {
                        if whole && border > self.at {
                            end = Some(border);
                        }
                        break;
                    }
                    if border > self.at {
                        end = Some(border);
                    }
                }
                if let Some(end) = end {
                    self.at = end.clone();
                    self.started = true;
                    return Ok(ChangeBatch { changes, end });
                }
                if !self.started {
                    self.started = true;
                    return Ok(ChangeBatch {
                        changes: Vec::new(),
                        end: self.at.clone(),
                    });
                }
            }
            self.world.1.notified().await;
        }
    }

    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError> {
        let stored = StateReader::open(&self.folder).unwrap().sources().unwrap();
        let checkpoint = stored[0].checkpoint.clone().unwrap_or_default();
        if checkpoint < upto.to_string() {
            let found = format!("I1: {upto} is acknowledged, the checkpoint is {checkpoint:?}");
            lock(&self.world).received.violations.push(found);
        }
        if upto.seq == 0 {
            let mut world = lock(&self.world);
            let upto = upto.pos.number().unwrap();
            world.released = world.released.max(upto);
            world.log.retain(|logged| logged.end > upto);
        }
        Ok(())
    }
}

#[async_trait]
impl SnapshotReader for SimReader {
    async fn begin(&mut self) -> Result<(), SourceError> {
        // As PostgreSQL: wait until every transaction that may be in the log is visible.
        let before = lock(&self.0).next_transaction;
        loop {
            if lock(&self.0)
                .stalled
                .iter()
                .all(|(transaction, _)| *transaction >= before)
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            lock(&self.0).settle(50);
        }
    }

    async fn ranges(&mut self, table: &TableName, _: usize) -> Result<Vec<String>, SourceError> {
        let mut world = lock(&self.0);
        let n = world.rng.random_range(10..30);
        let bound = if table.name == "move" {
            format!("{MOVE}old{n}")
        } else {
            format!("S{n}")
        };
        Ok(vec![format!("|{bound}"), format!("{bound}|")])
    }

    async fn chunk(
        &mut self,
        table: &TableName,
        cursor: Option<&str>,
        _: ChunkLimits,
    ) -> Result<SnapshotChunk, SourceError> {
        let pause = lock(&self.0).rng.random_range(0..100);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut world = lock(&self.0);
        if world.faults && world.chance(10) {
            return Err(SourceError::Disconnected("simulated".to_owned()));
        }
        let end = world.log.last().map_or(world.released, |logged| logged.end);
        let mark = Position::border(self.1, LogPos::from_number(end));
        let in_progress: Vec<u64> = world.stalled.iter().map(|(t, _)| *t).collect();
        let sees = Sees::Transactions {
            xmin: in_progress
                .first()
                .copied()
                .unwrap_or(world.next_transaction),
            xmax: world.next_transaction,
            in_progress,
        };
        let moves = table.name == "move";
        // Behind the one key, up to the other.
        let (behind, until) = cursor.and_then(|c| c.split_once('|')).unwrap_or_default();
        let wanted: Vec<(String, Row)> = world
            .rows
            .iter()
            .filter(|(sku, _)| sku.starts_with(MOVE) == moves)
            .filter(|(sku, _)| sku.as_str() > behind)
            .filter(|(sku, _)| until.is_empty() || sku.as_str() <= until)
            .take(3)
            .map(|(sku, row)| (sku.clone(), row.clone()))
            .collect();
        let next = (wanted.len() == 3).then(|| format!("{}|{until}", wanted[2].0));
        world
            .chunks
            .push((tokio::time::Instant::now(), wanted.len()));
        let shape = if moves { move_shape() } else { item_shape() };
        let rows = wanted
            .into_iter()
            .map(|(_, row)| RowChange {
                shape: Arc::clone(&shape),
                op: Op::Read,
                before: None,
                after: Some(row),
                position: mark.clone(),
                committed_at: None,
                transaction: 0,
            })
            .collect();
        Ok(SnapshotChunk {
            rows,
            next,
            mark,
            sees,
        })
    }
}

/// By what a repetition is recognised: a correction has the key of its fact, a replay the id of
/// what it repeats.
fn name_of(outgoing: &Outgoing) -> String {
    format!("{} {}", outgoing.id, outgoing.idempotency_key)
}

impl Received {
    /// Whether an event has come.
    pub fn has(&self, outgoing: &Outgoing) -> bool {
        self.ids.contains_key(&name_of(outgoing))
    }

    pub fn take(&mut self, outgoing: &Outgoing) {
        self.arrivals += 1;
        let again = state::is_replayed(outgoing);
        let json: serde_json::Value = serde_json::from_slice(&outgoing.json).unwrap();
        let digest = json["body_digest"].to_string();
        let arrived = (digest.clone(), outgoing.offset);
        let known = self.ids.insert(name_of(outgoing), arrived);
        if let Some((known, offset)) = known {
            // A fact that is replayed keeps its key, and counts once.
            if offset != outgoing.offset && outgoing.kind() == EventKind::State {
                self.violations
                    .push(format!("I2: {} stands in the outbox twice", outgoing.id));
            }
            if self.once {
                self.violations.push(format!(
                    "{} was sent again though it was there",
                    outgoing.id
                ));
            }
            if known != digest {
                self.violations
                    .push(format!("I3: {} came with two bodies", outgoing.id));
            }
            // A repetition, recognised by its id: a receiver applies it once.
            return;
        }
        if outgoing.kind() == EventKind::Fact {
            let quantity = json["body"]["quantity"].to_string();
            self.quantities.insert(outgoing.key.clone(), quantity);
            let told = self.facts.entry(outgoing.key.clone()).or_default();
            if json["op"] == "correction" {
                *told = (*told).max(1);
                return;
            }
            *told += 1;
            if *told > 1 {
                self.violations
                    .push(format!("fact {} came with two ids", outgoing.key));
            }
            return;
        }
        let version = &json["version"];
        let position = Position {
            epoch: u32::try_from(version["epoch"].as_u64().unwrap()).unwrap(),
            pos: LogPos::try_new(version["pos"].as_str().unwrap()).unwrap(),
            seq: u32::try_from(version["seq"].as_u64().unwrap()).unwrap(),
        };
        if let Some((known, _)) = self.state.get(&outgoing.key)
            && (position < *known || position == *known && !again)
        {
            let key = &outgoing.key;
            self.violations
                .push(format!("I4: {key}: {position} came after {known}"));
        }
        let body = json.get("body").map(ToString::to_string);
        let says = body.clone().unwrap_or_else(|| json["reason"].to_string());
        self.history
            .push((outgoing.key.clone(), position.clone(), says));
        self.state.insert(outgoing.key.clone(), (position, body));
    }
}

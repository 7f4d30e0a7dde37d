//! What is known of a run: three kinds of facts, told by those who saw them.

use std::collections::BTreeSet;

/// What an event says of its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// How things are now; a newer one of the key takes its place.
    State(String),
    /// The key ended.
    Gone,
    /// Something that happened; the key is the fact's own.
    Fact(String),
    /// What was said of a fact is another now.
    Correction(String),
}

impl What {
    /// Whether a newer one of the key takes its place.
    pub fn is_state(&self) -> bool {
        matches!(self, Self::State(_) | Self::Gone)
    }
}

/// What one change of a source makes of one key, by the mapping that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The source's name.
    pub source: String,
    /// The event's type.
    pub event_type: String,
    /// The event's key.
    pub key: String,
    /// What it says.
    pub what: What,
}

/// One event as a receiver took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The event's id.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// Its key.
    pub key: String,
    /// Its version, written so that the order of texts is the order of versions. Empty where the receiver is not
    /// told of one.
    pub order: String,
    /// What it says.
    pub what: What,
    /// It comes from a read of a table, not from the log.
    pub read: bool,
}

/// What a receiver does with an event whose id it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// It recognises it and takes nothing: what is in the ledger had its effect, so a repetition there had it twice.
    Recognised,
    /// It passes on whatever comes, and its readers recognise ids: a repetition is none of our faults.
    PassedOn,
}

/// Someone who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// What it does with repetitions.
    pub repeats: Repeats,
    /// The types that it is told; empty = all.
    pub event_types: BTreeSet<String>,
    pub(crate) took: Vec<Received>,
}

impl Receiver {
    /// One that is told of every type.
    pub fn new(name: &str, repeats: Repeats) -> Self {
        Self {
            name: name.to_owned(),
            repeats,
            event_types: BTreeSet::new(),
            took: Vec::new(),
        }
    }

    pub(crate) fn takes(&self, event_type: &str) -> bool {
        self.event_types.is_empty() || self.event_types.contains(event_type)
    }
}

/// What the agent holds for a person at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldItem {
    /// For whom it is held; `None` = a mapping holds it, for all.
    pub receiver: Option<String>,
    /// The event's type, as far as it is known.
    pub event_type: String,
    /// The event's key, or the row's where no event was made.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// A position that the agent told a source, beside what was durable at that moment. Both are written so that the
/// order of texts is the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionSeen {
    /// The source's name.
    pub source: String,
    /// What the source was told that it may forget.
    pub told: String,
    /// The checkpoint on the disk.
    pub durable: String,
}

/// The agent's own account of the events of one receiver, at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Events that were to be delivered to it.
    pub enqueued: u64,
    /// Delivered.
    pub delivered: u64,
    /// A newer one took their place.
    pub superseded: u64,
    /// A person gave them up.
    pub discarded: u64,
    /// Held for a person.
    pub held: u64,
    /// Anything else: at the end of a run, none.
    pub waiting: u64,
}

/// All that is known of a run.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub(crate) committed: Vec<Committed>,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) held: Vec<HeldItem>,
    pub(crate) positions: Vec<PositionSeen>,
    pub(crate) balances: Vec<(String, Balance)>,
    pub(crate) forgotten: BTreeSet<(String, String)>,
    pub(crate) reads_ahead: bool,
    pub(crate) mended: bool,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A read of a table may show what its log has not told yet: SQL Server's capture job writes the log that is read
    /// some time after the commit. What the log tells then, up to what was read, is counted (`shown_early`) and no fault.
    pub fn reads_ahead(&mut self) {
        self.reads_ahead = true;
    }

    /// A source committed a change. In the order of commits of each key.
    pub fn committed(&mut self, change: Committed) {
        self.committed.push(change);
    }

    /// Someone is told: also who never takes anything is known by this.
    pub fn receiver(&mut self, receiver: Receiver) {
        self.receivers.push(receiver);
    }

    /// A receiver took an event. In the order it took them. A receiver that was not named before is one that is told
    /// everything and passes on repetitions.
    pub fn received(&mut self, receiver: &str, event: Received) {
        let named = |known: &Receiver| known.name == receiver;
        let place = self.receivers.iter().position(named);
        let place = place.unwrap_or_else(|| {
            let new = Receiver::new(receiver, Repeats::PassedOn);
            self.receivers.push(new);
            self.receivers.len() - 1
        });
        self.receivers[place].took.push(event);
    }

    /// The agent holds something at the end.
    pub fn held(&mut self, item: HeldItem) {
        self.held.push(item);
    }

    /// A source was told a position.
    pub fn position(&mut self, seen: PositionSeen) {
        self.positions.push(seen);
    }

    /// What the agent says of the events of a receiver at the end.
    pub fn balance(&mut self, receiver: &str, balance: Balance) {
        self.balances.push((receiver.to_owned(), balance));
    }

    /// What went wrong is over, and a person has had all that was held sent again: each receiver's account must be
    /// known, and nothing may be held any more.
    pub fn mended(&mut self) {
        self.mended = true;
    }

    /// The source itself lost a fact (its backup was put back, its log dropped and the row deleted): it may have
    /// been told, and need not be. States need no such word: what a source went back to is committed anew.
    pub fn forgotten(&mut self, event_type: &str, key: &str) {
        self.forgotten
            .insert((event_type.to_owned(), key.to_owned()));
    }

    /// The first so many changes were committed once more, in their order: a log that is read again from its beginning
    /// tells them as newer than all that was told before.
    pub fn again(&mut self, first: usize) {
        let again: Vec<_> = self.committed.iter().take(first).cloned().collect();
        self.committed.extend(again);
    }

    /// How many changes were committed.
    pub fn commits(&self) -> usize {
        self.committed.len()
    }
}

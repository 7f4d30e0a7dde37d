//! What relations remember, and where: a trait that the store implements on its file, and
//! [`crate::MemoryReplicas`] in memory.

use contract::{Origin, Position, TableName, Value};
use jiff::Timestamp;

/// A replica's cell; `None` = the table has no such column.
pub type Cell = Option<Value>;

/// A row of a replica: its key and the needed columns, in the replica's layout. A row that was
/// stored before the layout grew is shorter.
#[derive(Clone, PartialEq)]
pub struct ReplicaRow {
    /// The row's key at the source, see [`contract::RowKey`].
    pub key: String,
    /// The cells.
    pub cells: Vec<Cell>,
}

/// Leaves out the cells: their values must not reach a log by `{:?}`.
impl std::fmt::Debug for ReplicaRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row of {} cells", self.cells.len())
    }
}

/// Why something is to be worked out anew, and as of when.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// The newest change behind it.
    pub position: Position,
    /// Its transaction.
    pub transaction: u64,
    /// When it was committed, where the source says.
    pub committed_at: Option<Timestamp>,
    /// Live or snapshot.
    pub origin: Origin,
    /// The event's own row changed, not only one it relates to.
    pub own: bool,
    /// Not before.
    pub due: Option<Timestamp>,
    /// Later changes do not put it off beyond this.
    pub latest: Option<Timestamp>,
    /// Its row is gone, and it is waited for whether it comes back elsewhere.
    pub gone: bool,
    /// Why a key ended, if it did.
    pub reason: Option<&'static str>,
    /// The key that a row told before it told this one.
    pub renamed_from: Option<String>,
}

impl Mark {
    /// Both: the newer one, with what either knows.
    pub fn with(&mut self, newer: Self) {
        let own = self.own || newer.own;
        let latest = self.latest.or(newer.latest);
        let due = self.due.max(newer.due);
        let due = match latest {
            Some(latest) => due.map(|due| due.min(latest)),
            None => due,
        };
        // Whatever became of a row that was gone is waited for no longer than any other.
        let news = self.gone && newer.own;
        let (due, latest) = if news {
            (newer.due, newer.latest)
        } else {
            (due, latest)
        };
        let gone = self.gone || newer.gone;
        // A key that ended for one row and is told by another has not ended.
        let reason = match (self.reason, newer.reason) {
            (Some(known), Some(_)) => Some(known),
            _ => None,
        };
        let renamed_from = newer.renamed_from.clone().or(self.renamed_from.take());
        if newer.position >= self.position {
            *self = newer;
        }
        self.renamed_from = renamed_from;
        self.own = own;
        self.gone = gone;
        self.due = due;
        self.latest = latest;
        self.reason = reason;
    }
}

/// What is marked: a row of a rule's own table, or an event's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Marked {
    /// A row, by its key.
    Row,
    /// An event's key.
    Key,
}

/// What a row told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The key of the event it belongs to.
    pub event_key: String,
    /// Its part cannot be worked out: it is held.
    pub held: bool,
    /// For a grouped event, the row's part of it; for a fact, the digest of what was told.
    pub part: String,
}

/// Rows of one event that agree in all that is not added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subgroup {
    /// What they agree in; the empty text for rows that are held.
    pub same: String,
    /// How many they are.
    pub rows: i64,
    /// The sums of what is added up.
    pub sums: String,
}

/// An opened replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedTable {
    /// Its number in the store.
    pub id: i64,
    /// Its columns; those asked for, perhaps among others.
    pub columns: Vec<String>,
    /// Columns are new: the table must be read again.
    pub grown: bool,
}

/// The memory of relations. Lists come in the order of their keys, bytewise.
pub trait Replicas {
    /// Why the memory cannot be read or written.
    type Error;

    /// The replica of a table, made or widened to hold `columns`.
    fn open_table(
        &mut self,
        table: &TableName,
        columns: &[String],
    ) -> Result<OpenedTable, Self::Error>;
    /// An index on a replica, by what it is on; true where it is new and empty.
    fn open_index(&mut self, table: i64, on: &str) -> Result<(i64, bool), Self::Error>;
    /// A rule; true where it is new or was another before.
    fn open_rule(&mut self, rule: &str, digest: &str) -> Result<(i64, bool), Self::Error>;
    /// Forgets replicas, indexes and rules that were not opened.
    fn close_others(
        &mut self,
        tables: &[i64],
        indexes: &[i64],
        rules: &[i64],
    ) -> Result<(), Self::Error>;

    /// A row.
    fn row(&mut self, table: i64, key: &str) -> Result<Option<Vec<Cell>>, Self::Error>;
    /// Stores a row with its places in indexes, in place of what stood there.
    fn put(
        &mut self,
        table: i64,
        key: &str,
        cells: &[Cell],
        places: &[(i64, String)],
    ) -> Result<(), Self::Error>;
    /// Adds a stored row to an index.
    fn index(&mut self, index: i64, value: &str, table: i64, key: &str) -> Result<(), Self::Error>;
    /// A row was found in the present reading of its table, and stays as it is stored.
    fn seen(&mut self, table: i64, key: &str) -> Result<(), Self::Error>;
    /// Whether the present reading of a table has yet to see a stored row.
    fn is_unseen(&mut self, table: i64, key: &str) -> Result<bool, Self::Error>;
    /// Of the next `limit` rows behind a key, those that the present reading did not see, and the
    /// last row looked at; none = all have been.
    fn unseen(
        &mut self,
        table: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>), Self::Error>;
    /// Removes a row.
    fn remove(&mut self, table: i64, key: &str) -> Result<(), Self::Error>;
    /// Rows behind a key.
    fn rows(
        &mut self,
        table: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ReplicaRow>, Self::Error>;
    /// Rows with a value in an index, behind a key.
    fn find(
        &mut self,
        index: i64,
        value: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ReplicaRow>, Self::Error>;

    /// Marks something; a mark that is there becomes [`Mark::with`] the new one.
    fn mark(&mut self, rule: i64, what: Marked, key: &str, mark: &Mark) -> Result<(), Self::Error>;
    /// The marks of a rule that are due, taken away.
    fn take_marks(
        &mut self,
        rule: i64,
        what: Marked,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(String, Mark)>, Self::Error>;
    /// A mark, left where it is.
    fn marked(&mut self, rule: i64, what: Marked, key: &str) -> Result<Option<Mark>, Self::Error>;
    /// The marks of a rule behind a key, due or not, left where they are.
    fn marks(
        &mut self,
        rule: i64,
        what: Marked,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Mark)>, Self::Error>;
    /// Takes a mark away.
    fn unmark(&mut self, rule: i64, what: Marked, key: &str) -> Result<(), Self::Error>;
    /// When the next mark that waits is due.
    fn next_due(&mut self) -> Result<Option<Timestamp>, Self::Error>;
    /// Whether there are marks at all.
    fn has_marks(&mut self) -> Result<bool, Self::Error>;

    /// What a row told.
    fn told(&mut self, rule: i64, row: &str) -> Result<Option<Told>, Self::Error>;
    /// Remembers, or forgets, what a row told.
    fn tell(&mut self, rule: i64, row: &str, told: Option<&Told>) -> Result<(), Self::Error>;
    /// Rows behind a key that told something.
    fn told_rows(
        &mut self,
        rule: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Self::Error>;
    /// The rows that told an event's key.
    fn tellers(
        &mut self,
        rule: i64,
        event_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Told)>, Self::Error>;

    /// The rows of a grouped event.
    fn group(&mut self, rule: i64, event_key: &str) -> Result<Vec<Subgroup>, Self::Error>;
    /// Stores one part of a group; removes it where it has no rows.
    fn put_group(&mut self, rule: i64, event_key: &str, part: &Subgroup)
    -> Result<(), Self::Error>;
}

//! What a comparison came to.

use jiff::Timestamp;
use serde::Serialize;

/// With what is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileWith {
    /// With what a destination holds.
    Destination(String),
    /// With what a source's rows say.
    Source(String),
}

impl ReconcileWith {
    /// The word for its side, and its name.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Destination(name) => ("destination", name),
            Self::Source(name) => ("source", name),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.words().1
    }

    pub(super) fn of(side: &str, name: String) -> Self {
        if side == "source" {
            Self::Source(name)
        } else {
            Self::Destination(name)
        }
    }
}

/// How a key compares that does not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileClass {
    /// The destination has nothing of it.
    Missing,
    /// The destination has what was told to be gone, or what was never told.
    Extra,
    /// The destination has something else.
    Different,
    /// What was told is still on its way, or held.
    ExpectedLag,
    /// It could not be compared.
    Unknown,
}

impl ReconcileClass {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Missing,
        Self::Extra,
        Self::Different,
        Self::ExpectedLag,
        Self::Unknown,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
            Self::ExpectedLag => "expected_lag",
            Self::Unknown => "unknown",
        }
    }

    /// By its name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Whether it is no agreement.
    pub fn is_difference(self) -> bool {
        match self {
            Self::Missing | Self::Extra | Self::Different => true,
            Self::ExpectedLag | Self::Unknown => false,
        }
    }
}

/// How many keys of an event type were compared, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReconcileCount {
    /// The type, or [`SUMS`](Self::SUMS).
    pub event_type: String,
    /// Keys in all.
    pub looked_at: u64,
    /// The destination holds what was told.
    pub agree: u64,
    /// By class.
    pub missing: u64,
    /// By class.
    pub extra: u64,
    /// By class.
    pub different: u64,
    /// By class: expected lag.
    pub lagging: u64,
    /// By class.
    pub unknown: u64,
    /// Among the extra ones: keys that were never told.
    pub untold: u64,
    /// What was not looked for, and why: sentences.
    pub notes: Vec<String>,
}

impl ReconcileCount {
    /// What stands for the type where sums of tables were compared.
    pub const SUMS: &'static str = "sums";

    /// Counts a key; no class = it agrees.
    pub fn add(&mut self, class: Option<ReconcileClass>) {
        self.looked_at += 1;
        *match class {
            None => &mut self.agree,
            Some(ReconcileClass::Missing) => &mut self.missing,
            Some(ReconcileClass::Extra) => &mut self.extra,
            Some(ReconcileClass::Different) => &mut self.different,
            Some(ReconcileClass::ExpectedLag) => &mut self.lagging,
            Some(ReconcileClass::Unknown) => &mut self.unknown,
        } += 1;
    }

    /// Counts keys that the destination has and that were never told.
    pub fn add_untold(&mut self, count: u64) {
        self.looked_at += count;
        self.extra += count;
        self.untold += count;
    }

    /// Keys that the destination holds otherwise.
    pub fn differing(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// A key that does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileDifference {
    /// The key's place, by which it is told again; negative where it was never told, each another one.
    #[serde(skip)]
    pub lane: i64,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The key.
    pub key: String,
    /// How.
    pub class: ReconcileClass,
    /// What was told.
    pub ours: String,
    /// What the destination holds, or why that is not known.
    pub theirs: String,
    /// When the destination was told of it last.
    pub since: Option<Timestamp>,
}

/// A number of a source's table: what is kept of it, and what the database says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileSum {
    /// The table.
    pub table: String,
    /// `rows`, or the column that is added up.
    pub what: String,
    /// What is kept.
    pub ours: String,
    /// What the database says.
    pub theirs: String,
    /// How they compare; none = they agree.
    pub class: Option<ReconcileClass>,
}

/// A comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileRun {
    /// With what.
    #[serde(flatten)]
    pub with: ReconcileWith,
    /// When it began.
    pub began_at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// The settings asked for it, not a person.
    pub scheduled: bool,
    /// So many keys at most; `None` = every one.
    pub sample: Option<u32>,
    /// By which keys were chosen.
    pub seed: u32,
    /// By event type.
    pub types: Vec<ReconcileCount>,
    /// Of a source's tables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sums: Vec<ReconcileSum>,
}

/// The newest comparison of an event type with a destination or a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileStatus {
    /// With what.
    #[serde(flatten)]
    pub with: ReconcileWith,
    /// When it began.
    pub began_at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// The settings asked for it, not a person.
    pub scheduled: bool,
    /// What it came to.
    pub count: ReconcileCount,
}

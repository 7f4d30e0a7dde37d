//! Tests that stand in a mapping file: rows that are given, events that are expected.

use contract::{Key, Node, Place, TableName, Value};

/// One test of a mapping file.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// What it shows.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// The company whose rows are given, where the file has several.
    pub company: Option<String>,
    /// Answers to the file's settings that this test is run with.
    pub settings: Vec<(Key, Node)>,
    /// What happens, one transaction after the other.
    pub steps: Vec<Step>,
}

/// One transaction, and what must come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where it stands.
    pub place: Place,
    /// Rows that are new or changed.
    pub rows: Vec<GivenRow>,
    /// Rows that are removed, by their key columns.
    pub deleted: Vec<GivenRow>,
    /// It follows the step before it at once: nothing that waits is due in between.
    pub at_once: bool,
    /// What a rule's `read` answers from now on, to all questions together.
    pub answers: Vec<GivenAnswers>,
    /// Exactly these events, in any order.
    pub expect: Vec<Expected>,
    /// Parts of the reasons of what is held; each held change needs one.
    pub held: Vec<String>,
}

/// A row of a test.
#[derive(Clone, PartialEq)]
pub struct GivenRow {
    /// The table.
    pub table: TableName,
    /// Its key columns.
    pub key: Vec<String>,
    /// Columns and values. A text stands for any type that it can be read as.
    pub cells: Vec<(String, Value)>,
}

impl std::fmt::Debug for GivenRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} row", self.table)
    }
}

/// Rows that the statement of a rule's `read` gives.
#[derive(Clone, PartialEq)]
pub struct GivenAnswers {
    /// The event's id.
    pub event: String,
    /// Columns and values of each row, among them the question's parameters by their names.
    pub rows: Vec<Vec<(String, Value)>>,
}

impl std::fmt::Debug for GivenAnswers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answers of {}", self.rows.len(), self.event)
    }
}

/// An event that is expected: its key and body fields as far as they are named.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Where it stands.
    pub place: Place,
    /// Fields and their values; also `event` (the rule), `op`, `reason`, `warnings` and
    /// `renamed_from`.
    pub fields: Vec<(String, Node)>,
}

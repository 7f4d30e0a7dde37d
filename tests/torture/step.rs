//! A history: what happens, step by step. Any part of it can be left out and the rest still be played, so that a
//! failing one can be made smaller.

use crate::fault::Fault;

/// What is done to one row, or to two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// An item comes, or is called otherwise.
    PutItem {
        sku: String,
        name: String,
    },
    DropItem {
        sku: String,
    },
    /// Its key changes, where the new one is free.
    RenameItem {
        from: String,
        to: String,
    },
    PutStock {
        sku: String,
        warehouse: &'static str,
        quantity: String,
    },
    DropStock {
        sku: String,
        warehouse: &'static str,
    },
    /// It happened: never changed, never deleted, its id never used again.
    Move {
        id: u32,
        sku: String,
        warehouse: &'static str,
        quantity: String,
    },
    PutOrder {
        id: u32,
        status: &'static str,
    },
    DropOrder {
        id: u32,
    },
}

/// A change of a table that its mapping does not need. Columns have numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ddl {
    Add {
        table: &'static str,
        column: u32,
    },
    Rename {
        table: &'static str,
        from: u32,
        to: u32,
    },
    Drop {
        table: &'static str,
        column: u32,
    },
}

/// One step of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Commit(Vec<Statement>),
    /// Done and taken back, in one transaction.
    Rollback(Vec<Statement>),
    Alter(Ddl),
    /// Until so many more events have arrived; not for long.
    Wait(u64),
    Fault(Fault),
}

/// How many rows a history changes.
pub fn changes(steps: &[Step]) -> u64 {
    let count = |step: &Step| match step {
        Step::Commit(statements) => statements.len() as u64,
        _ => 0,
    };
    steps.iter().map(count).sum()
}

//! A statement that stays at hand for as long as a desk works: to look for it among the prepared ones takes
//! about as long as to run a small one, and some are run for each event.

use std::cell::RefCell;
use std::fmt;

use rusqlite::{CachedStatement, Connection, Statement};

use crate::error::StoreError;

pub(crate) struct Kept<'a> {
    db: &'a Connection,
    sql: &'static str,
    /// Once it was asked for.
    statement: RefCell<Option<CachedStatement<'a>>>,
}

impl<'a> Kept<'a> {
    pub(crate) fn new(db: &'a Connection, sql: &'static str) -> Self {
        Self {
            db,
            sql,
            statement: RefCell::new(None),
        }
    }

    /// Runs it. It must not be run within itself.
    pub(crate) fn run<T>(
        &self,
        ask: impl FnOnce(&mut Statement<'a>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut known = self.statement.borrow_mut();
        if let Some(statement) = known.as_mut() {
            return Ok(ask(statement)?);
        }
        let statement = known.insert(self.db.prepare_cached(self.sql)?);
        Ok(ask(statement)?)
    }
}

impl fmt::Debug for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql)
    }
}

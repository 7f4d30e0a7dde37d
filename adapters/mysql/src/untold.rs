//! Captured tables whose changes the log does not tell now, or leaves unclear.

use contract::{CapturedTable, SourceError, TableName, Untold};

use crate::catalogue;
use crate::connect::Connection;

/// What is untold, and until when.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    untold: Vec<Untold>,
    /// Of these, those that the log goes on telling.
    unclear: Vec<TableName>,
    /// The engine has not been told yet.
    unsaid: bool,
}

impl Standing {
    pub(crate) fn untold(&self) -> &[Untold] {
        &self.untold
    }

    pub(crate) fn is_unsaid(&self) -> bool {
        self.unsaid
    }

    /// A batch has carried it.
    pub(crate) fn said(&mut self) {
        self.unsaid = false;
    }

    /// What was told of a table leaves open what its rows are: it is read again. What comes is told as
    /// before.
    pub(crate) fn unclear(&mut self, table: &TableName, what: String, hint: &str) {
        if !self.unclear.contains(table) && self.mark(table, what, hint) {
            self.unclear.push(table.clone());
        }
    }

    /// A table is not told: it is read again, at the latest when it is told again. Whether that is new.
    pub(crate) fn mark(&mut self, table: &TableName, what: String, hint: &str) -> bool {
        self.unclear.retain(|one| one != table);
        if self.untold.iter().any(|one| one.table == *table) {
            return false;
        }
        self.untold.push(Untold {
            table: table.clone(),
            what,
            hint: hint.to_owned(),
            routine: false,
        });
        self.unsaid = true;
        true
    }

    /// Looks which of the captured tables are there. One that was untold and is to be told again. What
    /// was only unclear is over once the engine has heard of it: the next time it is said anew.
    pub(crate) async fn look(
        &mut self,
        sql: &mut Connection,
        tables: &[CapturedTable],
    ) -> Result<Option<TableName>, SourceError> {
        let names = tables.iter().map(|one| &one.table);
        let mut found: Vec<&TableName> = Vec::new();
        for name in names.clone() {
            if catalogue::is_there(sql, name).await? {
                found.push(name);
            }
        }
        let there = |table: &TableName| found.contains(&table);
        // One that went meanwhile is told again only when it comes back.
        self.unclear.retain(there);
        if !self.unsaid {
            let over = std::mem::take(&mut self.unclear);
            self.untold.retain(|one| !over.contains(&one.table));
        }
        // What the engine has not heard of yet stays.
        if !self.unsaid
            && let Some(again) = self.untold.iter().find(|one| there(&one.table))
        {
            return Ok(Some(again.table.clone()));
        }
        for name in names {
            if !there(name) {
                self.mark(
                    name,
                    format!("table {name} does not exist any more"),
                    "make it again, or take it out of the mapping (lighterman map check)",
                );
            }
        }
        Ok(None)
    }
}

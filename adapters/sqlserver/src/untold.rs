//! Captured tables that are not told, or whose rows what was told leaves unclear.

use contract::{TableName, Untold};

/// What is untold, and until when.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    untold: Vec<Untold>,
    /// Of these, those that are told on: named once.
    passing: Vec<TableName>,
    /// No batch has come with it yet.
    unsaid: bool,
}

impl Standing {
    pub(crate) fn untold(&self) -> &[Untold] {
        &self.untold
    }

    /// Whether a batch must come, for the engine to hear of it.
    pub(crate) fn is_unsaid(&self) -> bool {
        self.unsaid
    }

    /// A table is not told as long as this stream is open.
    pub(crate) fn lasting(&mut self, table: &TableName, what: String, hint: String) {
        self.passing.retain(|one| one != table);
        self.put(table, what, hint, false);
    }

    /// Changes of a table are lost, and it is told on: it is read again.
    pub(crate) fn unclear(&mut self, table: &TableName, what: String, hint: String) {
        if self.put(table, what, hint, false) {
            self.passing.push(table.clone());
        }
    }

    /// A table is read again because it is time to.
    pub(crate) fn routine(&mut self, table: &TableName, what: String) {
        if self.put(table, what, String::new(), true) {
            self.passing.push(table.clone());
        }
    }

    fn put(&mut self, table: &TableName, what: String, hint: String, routine: bool) -> bool {
        self.unsaid = true;
        let untold = Untold {
            table: table.clone(),
            what,
            hint,
            routine,
        };
        match self.untold.iter_mut().find(|one| one.table == *table) {
            // What is wrong outweighs a routine.
            Some(known) if known.routine => {
                *known = untold;
                false
            }
            Some(_) => false,
            None => {
                self.untold.push(untold);
                true
            }
        }
    }

    /// A batch came with it.
    pub(crate) fn said(&mut self) {
        self.unsaid = false;
    }

    /// The engine has stored the batch that it came with: the next time, it is said anew.
    pub(crate) fn stored(&mut self) {
        if !self.unsaid {
            let over = std::mem::take(&mut self.passing);
            self.untold.retain(|one| !over.contains(&one.table));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_said_with_a_batch_and_can_be_said_anew() {
        let table = TableName::new("dbo", "t");
        let mut standing = Standing::default();
        for _ in 0..2 {
            standing.routine(&table, "time".to_owned());
            standing.unclear(&table, "gap".to_owned(), "nothing".to_owned());
            standing.stored();
            assert!(standing.is_unsaid());
            assert_eq!(standing.untold().len(), 1, "nobody has heard of it");
            assert!(!standing.untold()[0].routine);
            standing.said();
            standing.stored();
            assert_eq!(standing.untold(), []);
        }
        standing.lasting(&table, "gone".to_owned(), "make it".to_owned());
        standing.said();
        standing.stored();
        assert_eq!(standing.untold().len(), 1);
    }
}

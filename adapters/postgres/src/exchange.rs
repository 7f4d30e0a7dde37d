//! Keys that change places within a transaction.
//!
//! Where the key's index is checked only when the transaction ends, two rows can have one key until
//! then. A row that leaves a key then ends what another has already told under it: from the log
//! alone nobody can say which of them a later change of that key is of.

use std::collections::HashSet;

use contract::{Op, Row, RowKey, TableShape};

/// Keys remembered of one transaction; of more nothing is known.
const KEYS_MAX: usize = 100_000;

/// The keys that rows took on in the transaction that is being told.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    taken: HashSet<(u32, RowKey)>,
}

impl Exchange {
    /// Another transaction begins.
    pub(crate) fn begin(&mut self) {
        self.taken.clear();
    }

    /// Whether a change takes a row away from a key that another row may have by now.
    pub(crate) fn note(
        &mut self,
        relation: u32,
        shape: &TableShape,
        op: Op,
        before: Option<&Row>,
        after: Option<&Row>,
    ) -> bool {
        let key = |row: Option<&Row>| row.and_then(|row| RowKey::of(shape, row));
        let (old, new) = (key(before), key(after));
        if op == Op::Update && (old.is_none() || old == new) {
            return false;
        }
        let left = old.is_some_and(|old| {
            self.taken.len() >= KEYS_MAX || self.taken.contains(&(relation, old))
        });
        if let Some(new) = new.filter(|_| self.taken.len() < KEYS_MAX) {
            self.taken.insert((relation, new));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use contract::{TableName, Value};

    use super::*;

    #[test]
    fn a_key_that_is_left_after_another_took_it_is_noted() {
        let shape = TableShape {
            table: TableName::new("s", "t"),
            columns: vec!["id".to_owned()],
            key: vec![0],
        };
        let row = |id: i64| vec![Value::Int(id)];
        let mut exchange = Exchange::default();
        let mut note = |old: Option<i64>, new: Option<i64>| {
            let op = match (old, new) {
                (None, _) => Op::Insert,
                (_, None) => Op::Delete,
                _ => Op::Update,
            };
            let (old, new) = (old.map(row), new.map(row));
            exchange.note(1, &shape, op, old.as_ref(), new.as_ref())
        };
        // By way of a third key, no two rows have one at the same time.
        assert!(!note(Some(1), Some(9)));
        assert!(!note(Some(2), Some(1)));
        assert!(!note(Some(3), Some(3)), "the key did not change");
        // Straight away they do.
        assert!(!note(Some(5), Some(6)));
        assert!(note(Some(6), Some(5)));
        assert!(!note(None, Some(8)));
        assert!(note(Some(8), None));
    }
}

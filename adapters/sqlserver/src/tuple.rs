//! The one order of captured changes: (commit LSN, command, seqval, operation).
//!
//! It orders the rows of a page, says where the next page begins, and merges the pages of several
//! tables. `seqval` alone is no order (commands may have it the other way round), a command alone is none
//! either (one `UPDATE` changes many rows), and where an update is told as a removal and an insertion, both
//! have everything but the operation in common.

use contract::{Op, Row, RowKey, TableShape, Value};
use jiff::Timestamp;

use crate::lsn::Lsn;
use crate::made::{Made, WasMade};

/// What a captured row is (`__$operation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Operation {
    Delete = 1,
    Insert = 2,
    /// The row before an update.
    Before = 3,
    After = 4,
}

impl Operation {
    pub(crate) fn of(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Delete),
            2 => Some(Self::Insert),
            3 => Some(Self::Before),
            4 => Some(Self::After),
            _ => None,
        }
    }
}

/// Where a captured row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tuple {
    pub(crate) lsn: Lsn,
    pub(crate) command: i32,
    pub(crate) seqval: Lsn,
    pub(crate) operation: Operation,
}

impl Tuple {
    /// Before all rows behind a place in the log.
    pub(crate) fn behind(lsn: Lsn) -> Self {
        Self {
            lsn,
            command: i32::MAX,
            seqval: Lsn([0xff; 10]),
            operation: Operation::After,
        }
    }

    /// What the two rows of an update have in common.
    fn update(&self) -> (Lsn, i32, Lsn) {
        (self.lsn, self.command, self.seqval)
    }
}

/// A row as it was captured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Captured {
    pub(crate) tuple: Tuple,
    pub(crate) row: Row,
    pub(crate) committed_at: Option<Timestamp>,
}

/// A change, made of one captured row or of two.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) tuple: Tuple,
    pub(crate) op: Op,
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
    pub(crate) committed_at: Option<Timestamp>,
}

/// Puts the row before an update to the one after it. The first waits for the second, which may stand on
/// the next page: half an update is never told.
///
/// It also remembers the keys that were made: their removal by the same command, or where commands are not
/// told by the same transaction, leaves it open whether the row is there at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairing {
    waiting: Vec<Captured>,
    /// The order of commands is told. Where it is not, all of a transaction stands for one command.
    commands: bool,
    made: Made,
    /// The newest transaction that removed a key which it had made: what became of that row is not sure.
    unclear: Option<Lsn>,
}

impl Pairing {
    /// For rows that tell the order of commands, or not.
    pub(crate) fn new(commands: bool) -> Self {
        Self {
            commands,
            ..Self::default()
        }
    }

    /// The newest transaction, of what was taken since the last time, that leaves a row unclear: once it is
    /// told, the table must be compared.
    pub(crate) fn take_unclear(&mut self) -> Option<Lsn> {
        self.unclear.take()
    }

    /// Whether a removed row stays, as one with its key was made by the same command. A row that one command
    /// makes may be removed by another of the transaction: where commands are not told, none stays.
    fn is_kept(&mut self, tuple: Tuple, shape: &TableShape, row: &Row) -> bool {
        // As a rule nothing was made, and no key is needed.
        if !self.made.has_any(tuple) {
            return false;
        }
        let Some(key) = RowKey::of(shape, row) else {
            return false;
        };
        let was_made = self.made.has(tuple, &key);
        if was_made != WasMade::No {
            self.unclear = Some(tuple.lsn);
        }
        self.commands && was_made == WasMade::Yes
    }

    fn add(&mut self, tuple: Tuple, shape: &TableShape, row: &Row) {
        if self.made.takes_more(tuple)
            && let Some(key) = RowKey::of(shape, row)
        {
            self.made.add(tuple, key);
        }
    }

    /// Takes the next row of a table, in order.
    ///
    /// # Errors
    /// When the rows are not those that change data capture writes.
    pub(crate) fn take(
        &mut self,
        captured: Captured,
        shape: &TableShape,
    ) -> Result<Option<Change>, String> {
        let tuple = captured.tuple;
        let ours = |waiting: &Captured| waiting.tuple.update() == tuple.update();
        if !self.waiting.iter().all(ours) {
            return Err(format!(
                "an update at LSN {} has a row before it and none after it",
                self.waiting.first().map_or(tuple.lsn, |one| one.tuple.lsn)
            ));
        }
        let change = |op, before, after| Change {
            tuple,
            op,
            before,
            after,
            committed_at: captured.committed_at,
        };
        let row = captured.row;
        Ok(match tuple.operation {
            Operation::Delete if self.is_kept(tuple, shape, &row) => None,
            Operation::Delete => Some(change(Op::Delete, Some(row), None)),
            Operation::Insert => {
                self.add(tuple, shape, &row);
                Some(change(Op::Insert, None, Some(row)))
            }
            Operation::Before => {
                self.waiting.push(Captured { row, ..captured });
                None
            }
            Operation::After => {
                // One of several is known by its key, where that did not change.
                let same = |one: &Captured| has_key_of(shape, &one.row, &row);
                let found = self.waiting.iter().position(same);
                let at = found.unwrap_or(0);
                let mut before = (at < self.waiting.len()).then(|| self.waiting.remove(at).row);
                if found.is_none() {
                    let kept = before.as_ref();
                    if kept.is_some_and(|former| self.is_kept(tuple, shape, former)) {
                        before = None;
                    }
                    self.add(tuple, shape, &row);
                }
                Some(change(Op::Update, before, Some(row)))
            }
        })
    }

    /// Whether a row waits for the one after it.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// Whether two rows have the same key. As a rule the cells are the same, and no texts are made of them.
fn has_key_of(shape: &TableShape, one: &Row, other: &Row) -> bool {
    let known = |value: &Value| !matches!(value, Value::Null | Value::Unchanged);
    let mut cells = shape.key.iter().map(|at| (one.get(*at), other.get(*at)));
    let same = cells.all(|pair| matches!(pair, (Some(a), Some(b)) if a == b && known(a)));
    if same && !shape.key.is_empty() {
        return true;
    }
    let key = RowKey::of(shape, one);
    key.is_some() && key == RowKey::of(shape, other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::TableName;

    fn shape() -> TableShape {
        TableShape {
            table: TableName::new("dbo", "t"),
            columns: vec!["id".to_owned(), "n".to_owned()],
            key: vec![0],
        }
    }

    fn captured(command: i32, seqval: u8, operation: i64, id: i64) -> Captured {
        Captured {
            tuple: Tuple {
                lsn: Lsn([1; 10]),
                command,
                seqval: Lsn([seqval; 10]),
                operation: Operation::of(operation).unwrap(),
            },
            row: vec![Value::Int(id), Value::Int(operation)],
            committed_at: None,
        }
    }

    /// What happened, with the row's number before and after.
    type Told = (Op, Option<i64>, Option<i64>);

    fn told(rows: Vec<Captured>) -> Result<Vec<Told>, String> {
        let id = |row: &Option<Row>| match row.as_ref().and_then(|row| row.first()) {
            Some(Value::Int(id)) => Some(*id),
            _ => None,
        };
        let mut pairing = Pairing::new(true);
        let mut all = Vec::new();
        for row in rows {
            if let Some(change) = pairing.take(row, &shape())? {
                all.push((change.op, id(&change.before), id(&change.after)));
            }
        }
        assert!(!pairing.is_waiting());
        Ok(all)
    }

    /// Trap 2, and scenarios 3 and 4.
    #[test]
    fn trap_2_commands_order_before_seqvals_and_a_removal_before_its_insertion() {
        let mut rows = [
            captured(2, 1, 2, 5),
            captured(1, 9, 4, 3),
            captured(1, 9, 3, 3),
            captured(2, 1, 1, 5),
        ];
        rows.sort_by_key(|row| row.tuple);
        assert_eq!(
            told(rows.to_vec()).unwrap(),
            [
                (Op::Update, Some(3), Some(3)),
                (Op::Delete, Some(5), None),
                (Op::Insert, None, Some(5))
            ]
        );
    }

    /// `SET id = id + 1`, captured from the first row on, as pairs and as removals and insertions.
    #[test]
    fn a_command_does_not_remove_the_rows_it_made() {
        let pairs = vec![
            captured(1, 1, 3, 1),
            captured(1, 1, 4, 2),
            captured(1, 2, 3, 2),
            captured(1, 2, 4, 3),
        ];
        assert_eq!(
            told(pairs).unwrap(),
            [(Op::Update, Some(1), Some(2)), (Op::Update, None, Some(3))]
        );
        let parts = vec![
            captured(1, 1, 1, 1),
            captured(1, 1, 2, 2),
            captured(1, 2, 1, 2),
            captured(1, 2, 2, 3),
        ];
        assert_eq!(
            told(parts.clone()).unwrap(),
            [
                (Op::Delete, Some(1), None),
                (Op::Insert, None, Some(2)),
                (Op::Insert, None, Some(3))
            ]
        );
        let mut pairing = Pairing::new(true);
        for part in parts {
            pairing.take(part, &shape()).unwrap();
        }
        let unclear = pairing.take_unclear();
        assert_eq!(unclear, Some(Lsn([1; 10])), "it is compared to be sure");
        assert_eq!(pairing.take_unclear(), None);
        // Another command may remove it, and where commands are not told, any may.
        let other = vec![captured(1, 1, 2, 2), captured(2, 2, 1, 2)];
        assert_eq!(told(other.clone()).unwrap().len(), 2);
        let mut pairing = Pairing::new(false);
        let changes = other.into_iter().map(|one| {
            pairing.take(
                Captured {
                    tuple: Tuple {
                        command: 0,
                        ..one.tuple
                    },
                    ..one
                },
                &shape(),
            )
        });
        assert_eq!(changes.filter_map(Result::unwrap).count(), 2);
        let unclear = pairing.take_unclear();
        assert_eq!(unclear, Some(Lsn([1; 10])), "any may have been the last");
    }

    /// The other way round it is what it looks like: a removal whose row was made behind it is told first.
    #[test]
    fn a_transaction_that_removes_a_row_and_makes_it_again_leaves_nothing_unclear() {
        let of = |lsn, seqval, operation| {
            let mut one = captured(0, seqval, operation, 5);
            one.tuple.lsn = Lsn([lsn; 10]);
            one
        };
        let mut pairing = Pairing::new(false);
        for row in [
            of(1, 1, 1),
            of(1, 2, 2),
            of(1, 3, 3),
            of(1, 3, 4),
            of(2, 1, 1),
        ] {
            pairing.take(row, &shape()).unwrap();
        }
        assert_eq!(pairing.take_unclear(), None, "another transaction may");
    }

    /// More keys than are remembered: nothing is left out, and the table is compared.
    #[test]
    fn a_command_that_made_too_many_rows_leaves_the_table_unclear() {
        let mut pairing = Pairing::new(true);
        for id in 0..20_000 {
            assert!(
                pairing
                    .take(captured(1, 1, 2, id), &shape())
                    .unwrap()
                    .is_some()
            );
        }
        assert_eq!(pairing.take_unclear(), None);
        let last = pairing.take(captured(1, 2, 1, 19_999), &shape()).unwrap();
        assert!(last.is_some_and(|change| change.op == Op::Delete));
        assert!(pairing.take_unclear().is_some());
    }

    /// Trap 3, and scenario 5.
    #[test]
    fn trap_3_half_an_update_is_held_back() {
        let mut pairing = Pairing::default();
        assert_eq!(pairing.take(captured(1, 1, 3, 1), &shape()), Ok(None));
        assert!(pairing.is_waiting());
        let update = pairing
            .take(captured(1, 1, 4, 1), &shape())
            .unwrap()
            .unwrap();
        assert_eq!((update.op, update.before.is_some()), (Op::Update, true));
        assert!(!pairing.is_waiting());
        // A row before that nothing follows is never dropped in silence.
        let alone = told(vec![captured(1, 1, 3, 1), captured(2, 1, 2, 2)]);
        assert!(alone.is_err(), "{alone:?}");
    }

    /// Where several rows of one command share a seqval, each is known by its key.
    #[test]
    fn rows_of_one_update_find_each_other_by_key() {
        let rows = vec![
            captured(1, 1, 3, 7),
            captured(1, 1, 3, 8),
            captured(1, 1, 4, 8),
            captured(1, 1, 4, 7),
        ];
        let pairs = told(rows).unwrap();
        assert_eq!(
            pairs,
            [
                (Op::Update, Some(8), Some(8)),
                (Op::Update, Some(7), Some(7))
            ]
        );
    }
}

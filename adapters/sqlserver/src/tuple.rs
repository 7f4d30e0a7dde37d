//! The one order of captured changes: (commit LSN, command, seqval, operation).
//!
//! It orders the rows of a page, says where the next page begins, and merges the pages of several
//! tables. `seqval` alone is no order (commands may have it the other way round), a command alone is none
//! either (one `UPDATE` changes many rows), and where an update is told as a removal and an insertion, both
//! have everything but the operation in common.

use std::collections::VecDeque;

use contract::{Op, Row, RowKey, TableShape};
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
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairing {
    waiting: Vec<Captured>,
    /// `None` = the order of commands is not told, so that a row may be made and removed again.
    made: Option<Made>,
    /// A key that a command made was removed by it: what became of that row is not sure.
    is_unclear: bool,
}

impl Pairing {
    /// For rows that tell the order of commands, or not.
    pub(crate) fn new(commands: bool) -> Self {
        Self {
            made: commands.then(Made::default),
            ..Self::default()
        }
    }

    /// Whether what was taken since the last time leaves a row unclear, so that the table must be compared.
    pub(crate) fn take_unclear(&mut self) -> bool {
        std::mem::take(&mut self.is_unclear)
    }

    /// Whether a removed key is that of a row which the same command made: then it stays.
    fn is_kept(&mut self, tuple: Tuple, key: Option<&RowKey>) -> bool {
        let (Some(made), Some(key)) = (&mut self.made, key) else {
            return false;
        };
        let was_made = made.has(tuple, key);
        self.is_unclear |= was_made != WasMade::No;
        was_made == WasMade::Yes
    }

    fn add(&mut self, tuple: Tuple, key: Option<RowKey>) {
        if let (Some(made), Some(key)) = (&mut self.made, key) {
            made.add(tuple, key);
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
        let key = RowKey::of(shape, &captured.row);
        Ok(match tuple.operation {
            Operation::Delete if self.is_kept(tuple, key.as_ref()) => None,
            Operation::Delete => Some(change(Op::Delete, Some(captured.row), None)),
            Operation::Insert => {
                self.add(tuple, key);
                Some(change(Op::Insert, None, Some(captured.row)))
            }
            Operation::Before => {
                self.waiting.push(captured);
                None
            }
            Operation::After => {
                // One of several is known by its key, where that did not change.
                let same = |one: &Captured| key.is_some() && RowKey::of(shape, &one.row) == key;
                let at = self.waiting.iter().position(same).unwrap_or(0);
                let mut before = (at < self.waiting.len()).then(|| self.waiting.remove(at).row);
                let former = before.as_ref().and_then(|row| RowKey::of(shape, row));
                if former != key {
                    if self.is_kept(tuple, former.as_ref()) {
                        before = None;
                    }
                    self.add(tuple, key);
                }
                Some(change(Op::Update, before, Some(captured.row)))
            }
        })
    }

    /// Whether a row waits for the one after it.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// Merges sorted lists that come page by page.
#[derive(Debug)]
pub(crate) struct Merge<T> {
    lists: Vec<List<T>>,
}

#[derive(Debug)]
struct List<T> {
    page: VecDeque<T>,
    /// More pages may come.
    open: bool,
}

/// What a merge needs or has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next page of this list.
    Page(usize),
    /// The first of this list is the next of all.
    First(usize),
    /// Nothing is left.
    Nothing,
}

impl<T> Merge<T> {
    pub(crate) fn new(lists: usize) -> Self {
        let list = || List {
            page: VecDeque::new(),
            open: true,
        };
        Self {
            lists: std::iter::repeat_with(list).take(lists).collect(),
        }
    }

    /// Adds a page to a list; `more` = others may follow.
    pub(crate) fn add(&mut self, list: usize, page: impl IntoIterator<Item = T>, more: bool) {
        if let Some(list) = self.lists.get_mut(list) {
            list.page.extend(page);
            list.open = more;
        }
    }

    /// What comes next: no list is passed over that may still have what comes before.
    pub(crate) fn next<K: Ord>(&self, order: impl Fn(&T) -> K) -> Next {
        let wanting = |list: &List<T>| list.open && list.page.is_empty();
        if let Some(at) = self.lists.iter().position(wanting) {
            return Next::Page(at);
        }
        let firsts = self.lists.iter().enumerate();
        let firsts = firsts.filter_map(|(at, list)| Some((order(list.page.front()?), at)));
        firsts
            .min()
            .map_or(Next::Nothing, |(_, at)| Next::First(at))
    }

    pub(crate) fn first(&self, list: usize) -> Option<&T> {
        self.lists.get(list)?.page.front()
    }

    pub(crate) fn take(&mut self, list: usize) -> Option<T> {
        self.lists.get_mut(list)?.page.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use contract::{TableName, Value};
    use proptest::prelude::*;

    use super::*;

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
        assert!(pairing.take_unclear(), "the table is compared to be sure");
        assert!(!pairing.take_unclear());
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
        assert!(!pairing.take_unclear());
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
        assert!(!pairing.take_unclear());
        let last = pairing.take(captured(1, 2, 1, 19_999), &shape()).unwrap();
        assert!(last.is_some_and(|change| change.op == Op::Delete));
        assert!(pairing.take_unclear());
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

    proptest! {
        /// Trap 4: one order over all tables, however their pages are cut.
        #[test]
        fn trap_4_a_merge_is_one_sorted_list(
            lists in proptest::collection::vec(proptest::collection::vec(0..50_u32, 0..20), 0..5),
            page in 1..4_usize,
        ) {
            let lists: Vec<Vec<u32>> = lists.into_iter().map(|mut list| { list.sort_unstable(); list }).collect();
            let mut expected: Vec<(u32, usize)> = Vec::new();
            for (at, list) in lists.iter().enumerate() {
                expected.extend(list.iter().map(|n| (*n, at)));
            }
            expected.sort_unstable();
            let mut rest: Vec<&[u32]> = lists.iter().map(Vec::as_slice).collect();
            let mut merge = Merge::new(lists.len());
            let mut found = Vec::new();
            loop {
                match merge.next(|n: &u32| *n) {
                    Next::Page(list) => {
                        let (now, later) = rest[list].split_at(page.min(rest[list].len()));
                        rest[list] = later;
                        merge.add(list, now.iter().copied(), now.len() == page);
                    }
                    Next::First(list) => found.push((merge.take(list).unwrap(), list)),
                    Next::Nothing => break,
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}

//! Puts changes into batches: whole transactions while they are small, pieces of one that is not.
//!
//! Positions: a change stands at its transaction's commit record and its ordinal among all row
//! changes the log tells of that transaction, captured or not, so that a later run counts alike
//! whatever is captured then. A finished transaction ends at a border: the end of its commit
//! record.

use contract::{ChangeBatch, Position, RowChange, SourceError};
use jiff::Timestamp;

use crate::lsn;

/// A batch ends at about this size.
const BYTES_MAX: usize = 1 << 20;
/// And at this many changes.
const CHANGES_MAX: usize = 2_000;

/// Where a change stands and what made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: Position,
    pub(crate) transaction: u64,
    pub(crate) committed_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Transaction {
    commit: u64,
    id: u64,
    committed_at: Option<Timestamp>,
    seq: u32,
}

/// Changes on their way into a batch.
#[derive(Debug)]
pub(crate) struct Gather {
    epoch: u32,
    after: Option<Position>,
    open: Option<Transaction>,
    changes: Vec<RowChange>,
    bytes: usize,
    /// So many of `changes`, and of `bytes`, belong to finished transactions.
    whole: usize,
    whole_bytes: usize,
    /// The newest border.
    border: Option<Position>,
    /// The end of the newest batch.
    told: Option<Position>,
}

fn out_of_order(found: &str) -> SourceError {
    SourceError::Malformed(format!("read log: {found}"))
}

impl Gather {
    /// Leaves out what stands at or before `after`.
    pub(crate) fn new(epoch: u32, after: Option<Position>) -> Self {
        Self {
            epoch,
            told: after.clone(),
            after,
            open: None,
            changes: Vec::new(),
            bytes: 0,
            whole: 0,
            whole_bytes: 0,
            border: None,
        }
    }

    /// A transaction begins; `commit` is where its commit record starts.
    pub(crate) fn begin(
        &mut self,
        commit: u64,
        id: u64,
        committed_at: Option<Timestamp>,
    ) -> Result<(), SourceError> {
        if self.open.is_some() {
            return Err(out_of_order("a transaction begins inside another"));
        }
        self.open = Some(Transaction {
            commit,
            id,
            committed_at,
            seq: 0,
        });
        Ok(())
    }

    /// The transaction that is being told.
    pub(crate) fn transaction(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.id)
    }

    /// The place of the transaction's next change; `None` when it was told before.
    pub(crate) fn place(&mut self) -> Result<Option<Place>, SourceError> {
        let Some(open) = &mut self.open else {
            return Err(out_of_order("a change stands outside a transaction"));
        };
        open.seq = open
            .seq
            .checked_add(1)
            .ok_or_else(|| out_of_order("a transaction has more than 4,294,967,295 changes"))?;
        let position = lsn::inside(self.epoch, open.commit, open.seq);
        if self.after.as_ref().is_some_and(|after| position <= *after) {
            return Ok(None);
        }
        Ok(Some(Place {
            position,
            transaction: open.id,
            committed_at: open.committed_at,
        }))
    }

    /// A change to be told.
    pub(crate) fn push(&mut self, change: RowChange) {
        self.bytes += change.bytes();
        self.changes.push(change);
    }

    /// The transaction is complete; its commit record ends at `end`.
    pub(crate) fn commit(&mut self, end: u64) -> Result<(), SourceError> {
        if self.open.take().is_none() {
            return Err(out_of_order("a transaction ends that did not begin"));
        }
        self.whole = self.changes.len();
        self.whole_bytes = self.bytes;
        self.reach(end);
        Ok(())
    }

    /// The server has told everything up to `end`.
    pub(crate) fn keepalive(&mut self, end: u64) {
        if self.open.is_none() {
            self.reach(end);
        }
    }

    fn reach(&mut self, end: u64) {
        let border = lsn::border(self.epoch, end);
        if self.border.as_ref().is_none_or(|known| *known < border) {
            self.border = Some(border);
        }
    }

    /// A batch that is large enough to go at once.
    pub(crate) fn take_full(&mut self) -> Option<ChangeBatch> {
        if self.changes.len() < CHANGES_MAX && self.bytes < BYTES_MAX {
            return None;
        }
        if self.whole == self.changes.len() {
            return self.take_whole();
        }
        // Inside a transaction: all so far, ending at the last change.
        let end = self.changes.last()?.position.clone();
        self.whole = 0;
        self.whole_bytes = 0;
        self.bytes = 0;
        self.told = Some(end.clone());
        Some(ChangeBatch {
            changes: std::mem::take(&mut self.changes),
            end,
        })
    }

    /// The finished transactions gathered so far.
    pub(crate) fn take_whole(&mut self) -> Option<ChangeBatch> {
        if self.whole == 0 {
            return None;
        }
        let end = self.border.clone()?;
        let rest = self.changes.split_off(self.whole);
        self.whole = 0;
        self.bytes -= self.whole_bytes;
        self.whole_bytes = 0;
        self.told = Some(end.clone());
        Some(ChangeBatch {
            changes: std::mem::replace(&mut self.changes, rest),
            end,
        })
    }

    /// Whether a border was reached that no batch has told.
    pub(crate) fn has_moved(&self) -> bool {
        self.whole == 0 && self.changes.is_empty() && self.border > self.told
    }

    /// A batch without changes that tells the newest border; with `again`, one told before.
    pub(crate) fn take_border(&mut self, again: bool) -> Option<ChangeBatch> {
        let may = self.whole == 0 && self.changes.is_empty();
        if !may || !(self.has_moved() || again && self.border == self.told) {
            return None;
        }
        let end = self.border.clone()?;
        self.told = Some(end.clone());
        Some(ChangeBatch {
            changes: Vec::new(),
            end,
        })
    }

    /// The end of the newest batch.
    pub(crate) fn told(&self) -> Option<&Position> {
        self.told.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use contract::{Op, TableName, TableShape, Value};
    use proptest::prelude::*;

    use super::*;

    fn change(place: Place, size: usize) -> RowChange {
        RowChange {
            shape: Arc::new(TableShape {
                table: TableName::new("s", "t"),
                columns: vec!["a".to_owned()],
                key: vec![0],
            }),
            op: Op::Insert,
            before: None,
            after: Some(vec![Value::Text("x".repeat(size))]),
            position: place.position,
            committed_at: place.committed_at,
            transaction: place.transaction,
        }
    }

    /// Transactions as (changes, of which captured every n-th, size), told from `after` on.
    fn told(
        transactions: &[(u32, u32, usize)],
        after: Option<Position>,
        eager: bool,
    ) -> Vec<ChangeBatch> {
        let mut gather = Gather::new(1, after);
        let mut batches = Vec::new();
        for (n, (changes, every, size)) in transactions.iter().enumerate() {
            let commit = 100 * (n as u64 + 1);
            gather.begin(commit, n as u64, None).unwrap();
            for seq in 1..=*changes {
                let place = gather.place().unwrap();
                if let Some(place) = place.filter(|_| seq % every == 0) {
                    gather.push(change(place, *size));
                }
                batches.extend(gather.take_full());
                if eager {
                    batches.extend(gather.take_whole());
                }
            }
            // The next commit record starts right at the end of this one.
            gather.commit(commit + 100).unwrap();
            batches.extend(gather.take_full());
        }
        batches.extend(gather.take_whole());
        batches.extend(gather.take_border(false));
        batches
    }

    fn positions(batches: &[ChangeBatch]) -> Vec<Position> {
        let changes = batches.iter().flat_map(|batch| &batch.changes);
        changes.map(|change| change.position.clone()).collect()
    }

    fn any_transactions() -> impl Strategy<Value = Vec<(u32, u32, usize)>> {
        let size = prop_oneof![Just(1), Just(100_000)];
        prop::collection::vec((0u32..30, 1u32..4, size), 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn ends_grow_and_cover_their_changes(
            transactions in any_transactions(),
            eager: bool,
        ) {
            let mut last: Option<Position> = None;
            for batch in told(&transactions, None, eager) {
                for change in &batch.changes {
                    prop_assert!(last.as_ref().is_none_or(|last| *last < change.position));
                    last = Some(change.position.clone());
                }
                prop_assert!(last.as_ref().is_none_or(|last| *last <= batch.end));
                last = Some(batch.end);
            }
        }

        /// A stop after any batch and a start at its end: nothing twice, nothing missing.
        #[test]
        fn resumes_at_every_end(transactions in any_transactions(), eager: bool) {
            let all = told(&transactions, None, eager);
            for stop in 0..all.len() {
                let mut both = positions(&all[..=stop]);
                let rest = told(&transactions, Some(all[stop].end.clone()), !eager);
                both.extend(positions(&rest));
                prop_assert_eq!(both, positions(&all));
            }
        }
    }

    #[test]
    fn a_large_transaction_goes_in_pieces() {
        let batches = told(&[(5_000, 1, 1)], None, false);
        let ends: Vec<_> = batches
            .iter()
            .map(|b| (b.changes.len(), b.end.seq))
            .collect();
        assert_eq!(ends, [(2_000, 2_000), (2_000, 4_000), (1_000, 0)]);
        let wide = told(&[(30, 1, 100_000)], None, false);
        assert!(wide.len() > 2 && wide[0].end.seq > 0);
    }

    #[test]
    fn small_transactions_share_a_batch() {
        let batches = told(&[(3, 1, 1), (3, 1, 1)], None, false);
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].changes.len(), 6);
        assert_eq!(batches[0].end, lsn::border(1, 300));
    }

    #[test]
    fn a_keepalive_moves_the_border_only_between_transactions() {
        let mut gather = Gather::new(1, Some(lsn::border(1, 50)));
        gather.keepalive(50);
        assert!(!gather.has_moved());
        gather.begin(100, 1, None).unwrap();
        gather.keepalive(100);
        assert!(!gather.has_moved());
        gather.commit(110).unwrap();
        gather.keepalive(120);
        assert_eq!(gather.take_border(false).unwrap().end, lsn::border(1, 120));
        assert_eq!(gather.take_border(false), None);
        assert_eq!(gather.take_border(true).unwrap().end, lsn::border(1, 120));
    }

    #[test]
    fn disorder_is_refused() {
        let mut gather = Gather::new(1, None);
        assert!(gather.place().is_err());
        assert!(gather.commit(1).is_err());
        gather.begin(1, 1, None).unwrap();
        assert!(gather.begin(2, 2, None).is_err());
    }
}

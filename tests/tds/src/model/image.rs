//! The rows of a change table that a change gives.

use std::collections::BTreeSet;

use super::capture::{Captured, Instance};
use super::state::{Change, State};
use super::table::Row;
use crate::wire::{Length, Type, Value};

/// The mask of the columns with these ordinals (from 1): the first ordinal is bit 0 of the LAST byte.
pub fn update_mask(ordinals: &BTreeSet<usize>, columns: usize) -> Vec<u8> {
    let mut mask = vec![0; columns.div_ceil(8)];
    for ordinal in ordinals {
        let bit = ordinal - 1;
        if let Some(byte) = mask.iter_mut().rev().nth(bit / 8) {
            *byte |= 1 << (bit % 8);
        }
    }
    mask
}

impl Instance {
    pub(super) fn rows_of(
        &self,
        state: &State,
        change: &Change,
    ) -> Vec<(i32, Vec<u8>, Vec<Value>)> {
        let count = self.columns.len();
        let all: BTreeSet<usize> = (1..=count).collect();
        let full = update_mask(&all, count);
        match change {
            Change::Insert(new) => vec![(2, full, self.image(new, Image::Insert, state))],
            Change::Delete(old) => vec![(1, full, self.image(old, Image::Delete, state))],
            Change::Deferred(old, new) => vec![
                (1, full.clone(), self.image(old, Image::Delete, state)),
                (2, full, self.image(new, Image::Insert, state)),
            ],
            Change::Update(old, new) => {
                let changed: BTreeSet<usize> = self
                    .columns
                    .iter()
                    .enumerate()
                    .filter(|(_, column)| {
                        !column.computed && old.get(column.at) != new.get(column.at)
                    })
                    .map(|(at, _)| at + 1)
                    .collect();
                if changed.is_empty() && !state.options.capture_untouched {
                    return Vec::new();
                }
                let mask = update_mask(&changed, count);
                vec![
                    (
                        3,
                        mask.clone(),
                        self.image(old, Image::Before(&changed), state),
                    ),
                    (4, mask, self.image(new, Image::After(&changed), state)),
                ]
            }
        }
    }

    /// The captured values of a row. What SQL Server leaves out is NULL: computed columns always; text,
    /// ntext and image before a change and in a delete; (max) columns before a change that leaves them
    /// alone. Whether a (max) column that was left alone is there after the change is an option.
    fn image(&self, row: &Row, image: Image<'_>, state: &State) -> Vec<Value> {
        let one = |(at, column): (usize, &Captured)| {
            let value = row.get(column.at).cloned().unwrap_or(Value::Null);
            let old = matches!(column.kind, Type::Text | Type::NText | Type::Image);
            let long = matches!(
                column.kind,
                Type::VarChar(Length::Max)
                    | Type::NVarChar(Length::Max)
                    | Type::VarBinary(Length::Max)
            );
            let left_out = column.computed
                || match image {
                    Image::Insert => false,
                    Image::Delete => old,
                    Image::Before(changed) => old || (long && !changed.contains(&(at + 1))),
                    Image::After(changed) => {
                        (old || long)
                            && !changed.contains(&(at + 1))
                            && !state.options.long_untouched_kept
                    }
                };
            if left_out { Value::Null } else { value }
        };
        self.columns.iter().enumerate().map(one).collect()
    }
}

#[derive(Clone, Copy)]
enum Image<'a> {
    Insert,
    Delete,
    Before(&'a BTreeSet<usize>),
    After(&'a BTreeSet<usize>),
}

//! Merges the changes of several tables, page by page, into the one order.

use std::collections::VecDeque;

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
    use proptest::prelude::*;

    use super::*;

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

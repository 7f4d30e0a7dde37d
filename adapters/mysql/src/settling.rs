//! What stands in the log and may not be visible yet, learnt by looking at it again and again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::visible::Border;

/// Between two ends of the log that are remembered, and how many there are.
const SPACING: Duration = Duration::from_millis(500);
const SEEN_MAX: usize = 2_048;
/// So many transactions are known by their names. With more, nothing is sure.
const LISTED_MAX: usize = 4_096;

/// Looks at one server, by one connection.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// Ends of the log and when they were seen, the oldest first.
    seen: VecDeque<(Instant, Border)>,
    /// Transactions that the server listed as unfinished, and a place in the log that each one's
    /// commit is surely behind.
    listed: HashMap<String, Border>,
    /// The log's end before they were listed.
    looked: Option<Border>,
    /// The first place of a snapshot that was seen in the newest file, and the last one that had moved
    /// on from the first of its file.
    first: Option<Border>,
    moved: Border,
    /// Whether engines commit in the log's order, where that was asked.
    pub(crate) in_order: Option<bool>,
}

impl Settling {
    /// The log reaches here now.
    pub(crate) fn reach(&mut self, place: Border, now: Instant) {
        let is_due = |(at, _): &(Instant, Border)| now.saturating_duration_since(*at) >= SPACING;
        if self.seen.back().is_none_or(is_due) {
            if self.seen.len() >= SEEN_MAX {
                self.seen.pop_front();
            }
            self.seen.push_back((now, place));
        }
    }

    /// A snapshot has this place. The last one that came of a commit: the first that is seen in a file
    /// may be the file's head, where the server puts it while commits of the file before wait.
    pub(crate) fn moved(&mut self, place: Border) -> Border {
        match self.first {
            Some(first) if first.file == place.file && first < place => self.moved = place,
            Some(first) if first.file == place.file && first == place => {}
            _ => self.first = Some(place),
        }
        self.moved
    }

    /// How far the log reached `ago`, as far as that is known.
    pub(crate) fn settled(&mut self, ago: Duration, now: Instant) -> Border {
        let is_old = |(at, _): &(Instant, Border)| now.saturating_duration_since(*at) >= ago;
        while self.seen.get(1).is_some_and(is_old) {
            self.seen.pop_front();
        }
        let oldest = self.seen.front().filter(|one| is_old(one));
        oldest.map_or(Border::START, |(_, place)| *place)
    }

    /// The server listed these as unfinished, after the log reached `end`. Up to where nothing of them
    /// can be: one that was not listed a while ago has committed behind what the log was then.
    pub(crate) fn unfinished(&mut self, end: Border, names: HashSet<String>) -> Border {
        let before = self.looked.replace(end).unwrap_or(Border::START);
        if names.len() > LISTED_MAX {
            self.listed.clear();
            self.looked = None;
            return Border::START;
        }
        let listed = names.into_iter().map(|name| {
            let behind = self.listed.get(&name).copied().unwrap_or(before);
            (name, behind)
        });
        self.listed = listed.collect();
        self.listed
            .values()
            .fold(end, |up_to, behind| up_to.min(*behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Border {
        Border { file: 1, offset }
    }

    #[test]
    fn what_is_unfinished_is_behind_the_last_look_without_it() {
        let mut settling = Settling::default();
        let mut look = |end, names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned());
            settling.unfinished(at(end), names.collect())
        };
        assert_eq!(look(10, &["old"]), Border::START, "since when is not known");
        assert_eq!(look(20, &[]), at(20));
        assert_eq!(look(30, &["a"]), at(20));
        assert_eq!(look(40, &["a", "b"]), at(20));
        assert_eq!(look(50, &["b"]), at(30));
        assert_eq!(look(60, &[]), at(60));
    }

    #[test]
    fn the_first_place_of_a_file_proves_nothing() {
        let mut settling = Settling::default();
        let of = |file, offset| Border { file, offset };
        for (place, moved) in [
            (of(1, 500), Border::START),
            (of(1, 500), Border::START),
            (of(1, 600), of(1, 600)),
            (of(2, 300), of(1, 600)),
            (of(2, 300), of(1, 600)),
            (of(2, 301), of(2, 301)),
            (of(2, 900), of(2, 900)),
        ] {
            assert_eq!(settling.moved(place), moved, "{place:?}");
        }
    }

    #[test]
    fn what_the_log_had_some_time_ago_is_remembered_within_bounds() {
        let mut settling = Settling::default();
        let start = Instant::now();
        let second = |n: u64| start + Duration::from_secs(n);
        let ago = Duration::from_secs(5);
        for n in 0..9 {
            settling.reach(at(n), second(n));
            settling.reach(at(n + 100), second(n) + Duration::from_millis(1));
            let settled = settling.settled(ago, second(n));
            assert_eq!(settled, n.checked_sub(5).map_or(Border::START, at), "{n}");
        }
        for n in 10..10_000 {
            settling.reach(at(n), second(n));
        }
        assert_eq!(settling.seen.len(), SEEN_MAX);
        assert_eq!(settling.settled(ago, second(10_000)), at(9_995));
        assert_eq!(settling.seen.len(), 5);
    }
}

//! The states of one key at one receiver, beside what the source committed of it.

use crate::ledger::{Received, What};
use crate::verdict::{Class, Verdict};

/// One key of one type at one receiver.
pub(crate) struct Lane<'a> {
    /// In words.
    pub(crate) name: String,
    /// What the source committed, in its order.
    pub(crate) committed: &'a [&'a What],
    /// What the receiver took, each id once, in the order it came.
    pub(crate) took: &'a [&'a Received],
    /// Something of it is held for a person.
    pub(crate) held: bool,
    /// A read may show what the log tells later.
    pub(crate) reads_ahead: bool,
}

impl Lane<'_> {
    /// Each arrival must be told by a commit at or after the one that told the arrival before. Where a text was
    /// committed several times, the earliest fits best: it leaves most to those that follow.
    pub(crate) fn judge(&self, verdict: &mut Verdict) {
        let mut at = None;
        // What the log told last: behind a read, it goes on from there.
        let mut logged = 0;
        let mut newest: Option<&str> = None;
        for event in self.took {
            let older =
                newest.is_some_and(|newest| !event.order.is_empty() && *event.order <= *newest);
            if !older {
                newest = Some(&event.order);
            }
            let from = at.unwrap_or(0);
            let told = |what: &&What| **what == event.what;
            let later = self.committed[from..].iter().position(told);
            let early = if self.reads_ahead && !event.read && logged < from {
                self.committed[logged..from].iter().position(told)
            } else {
                None
            };
            match (later, early) {
                (_, Some(steps)) if !older => {
                    logged += steps;
                    verdict.did("shown_early", 1);
                }
                (Some(steps), _) if !older => {
                    at = Some(from + steps);
                    if !event.read {
                        logged = from + steps;
                    }
                }
                (None, _) if !self.committed.iter().any(told) => {
                    let found = format!(
                        "{}: {} has {}, which no commit made",
                        self.name,
                        event.id,
                        shown(&event.what)
                    );
                    verdict.found(Class::Invented, found);
                }
                _ => {
                    let ended = at.is_some_and(|at| *self.committed[at] == What::Gone);
                    let class = if ended && event.what != What::Gone {
                        Class::Resurrected
                    } else {
                        Class::Reordered
                    };
                    let found = format!(
                        "{}: {} ({}) came after something newer: {}",
                        self.name,
                        event.id,
                        event.order,
                        shown(&event.what)
                    );
                    verdict.found(class, found);
                }
            }
        }
        self.judge_end(at, verdict);
    }

    /// What the receiver is left with.
    fn judge_end(&self, at: Option<usize>, verdict: &mut Verdict) {
        let Some(last) = self.committed.last() else {
            return;
        };
        let has = self.took.last().map(|event| &event.what);
        let never_told = has.is_none() && **last == What::Gone;
        if has == Some(*last) || never_told || self.held {
            return;
        }
        let class = if **last == What::Gone {
            Class::MissingTombstones
        } else {
            Class::Lost
        };
        let has = has.map_or_else(|| "nothing".to_owned(), shown);
        let found = format!(
            "{}: {} at the source, {has} at the receiver",
            self.name,
            shown(last)
        );
        verdict.found(class, found);
        // What came before the last one is explained by it only if it arrived.
        let first = at.map_or(0, |at| at + 1);
        for n in first..self.committed.len().saturating_sub(1) {
            let before = n.checked_sub(1).map(|before| self.committed[before]);
            if before != Some(self.committed[n]) {
                let found = format!("{}: commit {n} of its {}", self.name, self.committed.len());
                verdict.found(Class::Unexplained, found);
            }
        }
    }
}

/// Enough of a text to find it by.
pub(crate) fn shown(what: &What) -> String {
    const CHARS_MAX: usize = 200;
    let cut = |text: &str| text.chars().take(CHARS_MAX).collect::<String>();
    match what {
        What::State(body) => cut(body),
        What::Gone => "gone".to_owned(),
        What::Fact(body) => format!("fact {}", cut(body)),
        What::Correction(body) => format!("correction {}", cut(body)),
    }
}

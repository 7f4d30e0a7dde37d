//! What was found, counted, and the first of it in words.

use std::collections::BTreeMap;
use std::fmt;

/// So many findings are kept in words; all are counted.
const WORDS_MAX: usize = 40;

/// What may never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A key's last state, or a fact, never arrived and is not held.
    Lost,
    /// Something older came after something newer of its key.
    Reordered,
    /// One fact under two ids, or applied twice by a receiver that recognises ids.
    DuplicatedFacts,
    /// A key ended at the source and not at the receiver.
    MissingTombstones,
    /// A key ended and came back although no newer change says so.
    Resurrected,
    /// A state, an end or a fact that no commit made.
    Invented,
    /// One id with two meanings.
    Altered,
    /// A committed change that is neither delivered nor superseded nor unchanged nor held; or the agent's own
    /// account does not come out even.
    Unexplained,
    /// A source was told a position beyond what was durable.
    Ahead,
    /// Something is held of which it is not said what, or why.
    HeldIncomplete,
}

impl Class {
    /// All of them, in the order of the line of figures.
    pub const ALL: [Self; 10] = [
        Self::Lost,
        Self::Reordered,
        Self::DuplicatedFacts,
        Self::MissingTombstones,
        Self::Resurrected,
        Self::Invented,
        Self::Altered,
        Self::Unexplained,
        Self::Ahead,
        Self::HeldIncomplete,
    ];

    /// Its name in the line of figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Reordered => "reordered",
            Self::DuplicatedFacts => "duplicated_facts",
            Self::MissingTombstones => "missing_tombstones",
            Self::Resurrected => "resurrected",
            Self::Invented => "invented",
            Self::Altered => "altered",
            Self::Unexplained => "unexplained",
            Self::Ahead => "ahead",
            Self::HeldIncomplete => "held_incomplete",
        }
    }
}

/// What a judge found of a run, or of many.
///
/// Its text is one line: what was done (`seeds=1000 kills=4312`), then every class with its number, zeros included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    done: Vec<(String, u64)>,
    counts: BTreeMap<Class, u64>,
    words: Vec<(Class, String)>,
}

impl Verdict {
    /// Counts something that was done, which stands before the classes in the order of first mention.
    pub fn did(&mut self, what: &str, count: u64) {
        match self.done.iter_mut().find(|(known, _)| known == what) {
            Some((_, sum)) => *sum += count,
            None => self.done.push((what.to_owned(), count)),
        }
    }

    /// Counts a finding. A test may add its own beside the judge's.
    pub fn found(&mut self, class: Class, words: String) {
        *self.counts.entry(class).or_default() += 1;
        if self.words.len() < WORDS_MAX {
            self.words.push((class, words));
        }
    }

    /// How many findings of a class.
    pub fn count(&self, class: Class) -> u64 {
        self.counts.get(&class).copied().unwrap_or_default()
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// The first findings, in words.
    pub fn words(&self) -> impl Iterator<Item = String> {
        self.words
            .iter()
            .map(|(class, words)| format!("{}: {words}", class.name()))
    }

    /// Takes another run's into this one.
    pub fn add(&mut self, other: Self) {
        for (what, count) in other.done {
            self.did(&what, count);
        }
        for (class, count) in other.counts {
            *self.counts.entry(class).or_default() += count;
        }
        let room = WORDS_MAX.saturating_sub(self.words.len());
        self.words.extend(other.words.into_iter().take(room));
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.done {
            write!(to, "{what}={count} ")?;
        }
        for (n, class) in Class::ALL.into_iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            write!(to, "{space}{}={}", class.name(), self.count(class))?;
        }
        Ok(())
    }
}

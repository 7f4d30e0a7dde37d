//! What happened in a run: as a digest, so that two runs can be compared, and its lines.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

/// Lines that are kept of a run that nobody asked to see.
const LAST: usize = 40;

#[derive(Default)]
pub struct History {
    digest: DefaultHasher,
    lines: VecDeque<String>,
    /// Every line is kept.
    pub whole: bool,
}

impl History {
    pub fn note(&mut self, at: u128, what: &str) {
        let line = format!("{at:>8} ms  {what}");
        self.digest.write(line.as_bytes());
        self.digest.write_u8(0);
        if !self.whole && self.lines.len() == LAST {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Of all lines, in their order.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    pub fn lines(self) -> Vec<String> {
        self.lines.into()
    }
}

//! The canary: what tells a source in which nothing changes from one that is not captured any more.
//!
//! A quiet log and a dead one look alike from behind. So each source says when it last had proof that its log
//! still comes through, and what that proof is worth; nothing is written to the database for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a source says of its last proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// How long ago it was; `None` = there has been none yet.
    pub ago: Option<Duration>,
    /// What the proof is, in words that follow "proof:".
    pub how: &'static str,
}

/// When something was proven last; shared by a source and its stream.
#[derive(Debug, Clone, Default)]
pub struct Proof(Arc<Mutex<Option<Instant>>>);

impl Proof {
    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        // Nothing is left half done under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is proven now.
    pub fn note(&self) {
        *self.last() = Some(Instant::now());
    }

    /// How long ago it was proven.
    pub fn ago(&self) -> Option<Duration> {
        self.last().map(|at| at.elapsed())
    }

    /// As a canary whose proof is this.
    pub fn canary(&self, how: &'static str) -> Canary {
        Canary {
            ago: self.ago(),
            how,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_shared_and_ages() {
        let proof = Proof::default();
        assert_eq!(proof.canary("x").ago, None);
        proof.clone().note();
        assert!(proof.ago().is_some_and(|ago| ago < Duration::from_mins(1)));
    }
}

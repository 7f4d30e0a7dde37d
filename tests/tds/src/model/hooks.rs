//! What happens before or after a statement that a client sends.

use std::sync::Mutex;

use super::handle::Database;
use crate::wire::ServerError;

/// Which statement is meant.
#[derive(Clone, Debug)]
pub struct Which {
    pub(crate) part: String,
    pub(crate) nth: usize,
}

impl Which {
    /// The next statement whose text has this part.
    pub fn next(part: &str) -> Self {
        Self::nth(part, 1)
    }

    /// The n-th statement from now whose text has this part, from 1.
    pub fn nth(part: &str, nth: usize) -> Self {
        Self {
            part: part.to_owned(),
            nth,
        }
    }
}

type Action = Box<dyn FnOnce(&Database) + Send>;

pub(crate) enum Then {
    Before(Action),
    After(Action),
    Fail(ServerError),
}

struct Hook {
    which: Which,
    seen: usize,
    then: Then,
}

/// The hooks that have not happened yet.
#[derive(Default)]
pub(crate) struct Hooks(Mutex<Vec<Hook>>);

impl Hooks {
    pub(crate) fn add(&self, which: Which, then: Then) {
        self.lock().push(Hook {
            which,
            seen: 0,
            then,
        });
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Those that a statement sets off, in the order they were made.
    pub(crate) fn due(&self, sql: &str) -> Vec<Then> {
        let mut hooks = self.lock();
        let mut due = Vec::new();
        let mut left = Vec::new();
        for mut hook in hooks.drain(..) {
            if sql.contains(&hook.which.part) {
                hook.seen += 1;
            }
            if hook.seen == hook.which.nth {
                due.push(hook.then);
            } else {
                left.push(hook);
            }
        }
        *hooks = left;
        due
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Hook>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

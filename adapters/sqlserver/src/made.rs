//! Keys that a command made, so that their removal by the same command is known for what it is.
//!
//! One `UPDATE` can give a row the key that another row of it had (`SET id = id + 1`). Nobody outside knows
//! whether each old key is captured before the new row that has it. Where it is not, its removal would take
//! the new row along. A command does not remove what it made: such a removal is about the former row.

use std::collections::HashSet;

use contract::RowKey;

use crate::lsn::Lsn;
use crate::tuple::Tuple;

/// Keys of one command that are remembered have so many bytes at most.
const BYTES_MAX: usize = 256 << 10;

/// The keys that the newest command made so far. Where commands are not told, all of a transaction is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    command: Option<(Lsn, i32)>,
    keys: HashSet<RowKey>,
    bytes: usize,
    /// There were more than are remembered.
    is_full: bool,
}

/// Whether a key was made by the command that removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WasMade {
    No,
    Yes,
    /// It made too many for us to know.
    Unknown,
}

impl Made {
    fn at(&mut self, tuple: Tuple) {
        let command = Some((tuple.lsn, tuple.command));
        if self.command != command {
            *self = Self {
                command,
                ..Self::default()
            };
        }
    }

    /// Whether this command made any row.
    pub(crate) fn has_any(&mut self, tuple: Tuple) -> bool {
        self.at(tuple);
        self.is_full || !self.keys.is_empty()
    }

    /// Whether more keys of this command are remembered.
    pub(crate) fn takes_more(&mut self, tuple: Tuple) -> bool {
        self.at(tuple);
        !self.is_full
    }

    /// A row with this key was made.
    pub(crate) fn add(&mut self, tuple: Tuple, key: RowKey) {
        self.at(tuple);
        if self.is_full {
            return;
        }
        self.bytes += key.as_str().len() + size_of::<RowKey>();
        if self.bytes > BYTES_MAX {
            self.is_full = true;
            return;
        }
        self.keys.insert(key);
    }

    /// Whether this key, which is removed, was made by the same command before.
    pub(crate) fn has(&mut self, tuple: Tuple, key: &RowKey) -> WasMade {
        self.at(tuple);
        if self.keys.contains(key) {
            WasMade::Yes
        } else if self.is_full {
            WasMade::Unknown
        } else {
            WasMade::No
        }
    }
}

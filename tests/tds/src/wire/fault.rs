//! What goes wrong, where and when the test wants it.

use super::answer::ServerError;
use super::gate::Gate;

/// A place in the handling of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The statement was received and nothing was done yet: before its effect.
    Start,
    /// The statement had its effect, and so many bytes of the answer were sent, packet headers counted
    /// and TLS not. An answer that is not longer never comes here.
    Bytes(u64),
    /// So many rows of the answer were sent.
    Rows(u64),
    /// So many rows were sent, and so many bytes of the next one.
    InRow {
        /// Whole rows before it.
        rows: u64,
        /// Bytes of the next one, its token counted.
        bytes: usize,
    },
    /// All was sent but the end of the last statement: after the effect.
    End,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// The connection ends.
    Cut(Point),
    /// The server stalls there until the test opens the gate. What was answered before is sent.
    Stall(Point, Gate),
    /// An error stands in the place of the row after so many rows, and ends the answer.
    Error {
        /// Rows that are sent before it.
        rows: u64,
        /// The error.
        error: ServerError,
    },
    /// The first packet of the answer holds only so many bytes after its header, at least 1.
    Split(usize),
    /// The client's wish to stop is never answered.
    IgnoreAttention,
}

/// A fault of one statement. It happens once, to the first statement that fits.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) kind: FaultKind,
    pub(super) statement: String,
    pub(super) skip: usize,
}

impl Fault {
    /// A fault of the next statement, or request about the transaction.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            statement: String::new(),
            skip: 0,
        }
    }

    /// The same, of the next statement whose text contains this. Requests about the transaction are
    /// `BEGIN TRANSACTION`, `COMMIT TRANSACTION`, `ROLLBACK TRANSACTION` and `SAVE TRANSACTION` here.
    #[must_use]
    pub fn on(mut self, text: &str) -> Self {
        text.clone_into(&mut self.statement);
        self
    }

    /// The same, after so many statements that fit were let through.
    #[must_use]
    pub fn after(mut self, statements: usize) -> Self {
        self.skip = statements;
        self
    }
}

/// A fault before a client is in. It happens to one connection.
#[derive(Clone, Debug)]
pub enum LoginFault {
    /// The connection ends as soon as it is there.
    DropAtConnect,
    /// The connection ends after the first packet of the client.
    DropAtPrelogin,
    /// The connection ends when the login came.
    DropAtLogin,
    /// The login is answered only when the test opens the gate.
    Stall(Gate),
    /// The login is refused.
    Refuse(ServerError),
}

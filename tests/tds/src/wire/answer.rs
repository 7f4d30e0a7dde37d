//! What a statement is answered with.

use std::fmt;

use super::gate::Gate;
use super::types::Column;
use super::value::Value;

/// An error or message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Its number, such as 208 for an invalid object name.
    pub number: i32,
    /// Its state.
    pub state: u8,
    /// Its severity. At most 10 is only information; from 20 on the connection ends.
    pub class: u8,
    /// Its text.
    pub text: String,
    /// The procedure it came from, usually none.
    pub procedure: String,
    /// The line of the batch it came from.
    pub line: u32,
}

impl ServerError {
    /// An error with a number, a severity and a text, of state 1 and in line 1.
    pub fn new(number: i32, class: u8, text: impl Into<String>) -> Self {
        Self {
            number,
            state: 1,
            class,
            text: text.into(),
            procedure: String::new(),
            line: 1,
        }
    }

    /// Error 208.
    pub fn invalid_object(name: &str) -> Self {
        Self::new(208, 16, format!("Invalid object name '{name}'."))
    }

    /// Error 102.
    pub fn syntax(near: &str) -> Self {
        Self {
            class: 15,
            ..Self::new(102, 15, format!("Incorrect syntax near '{near}'."))
        }
    }

    /// Error 18456.
    pub fn login_failed(user: &str) -> Self {
        Self::new(18456, 14, format!("Login failed for user '{user}'."))
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (class {}, state {}): {}",
            self.number, self.class, self.state, self.text
        )
    }
}

impl std::error::Error for ServerError {}

/// What SQL text did to the transaction of the connection, so that the client hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transacted {
    /// One was begun.
    Begun,
    /// It was committed.
    Committed,
    /// It was rolled back, by the client or by an error.
    RolledBack,
}

/// A part of an answer.
#[derive(Debug)]
pub enum Part {
    /// A result set begins. It ends with the next part that is neither a row nor a message.
    Columns(Vec<Column>),
    /// A row of the result set.
    Row(Vec<Value>),
    /// A statement ends: with the number of rows that it changed, or without one. A result set that is
    /// open ends, with the number of its rows.
    Done(Option<u64>),
    /// A message, of class 10 at most.
    Info(ServerError),
    /// An error. The statement has ended; other parts may follow, as they do without `XACT_ABORT`. After
    /// class 20 or more nothing follows and the connection ends.
    Error(ServerError),
    /// The connection is in another database from now on.
    Database(String),
    /// The transaction began or ended.
    Transaction(Transacted),
    /// The status with which a procedure returned. In a batch the statement is that procedure's.
    Return(i32),
    /// Waits until the test opens the gate. What was answered before is sent first.
    Wait(Gate),
    /// The connection ends at once, after what was answered before.
    HangUp,
}

/// The answer to a statement: parts that are asked for one by one, when the client has taken what came
/// before.
pub struct Answer {
    parts: Box<dyn Iterator<Item = Part> + Send>,
}

impl Answer {
    /// An answer of parts.
    pub fn new<I>(parts: I) -> Self
    where
        I: IntoIterator<Item = Part>,
        I::IntoIter: Send + 'static,
    {
        Self {
            parts: Box::new(parts.into_iter()),
        }
    }

    /// An answer to a statement that gives nothing back.
    pub fn empty() -> Self {
        Self::new([Part::Done(None)])
    }

    /// A result set. Its rows are taken as they are sent.
    pub fn rows<R>(columns: Vec<Column>, rows: R) -> Self
    where
        R: IntoIterator<Item = Vec<Value>>,
        R::IntoIter: Send + 'static,
    {
        let begin = std::iter::once(Part::Columns(columns));
        let rows = rows.into_iter().map(Part::Row);
        Self::new(begin.chain(rows).chain(std::iter::once(Part::Done(None))))
    }

    /// The number of rows that a statement changed.
    pub fn count(rows: u64) -> Self {
        Self::new([Part::Done(Some(rows))])
    }

    /// An error.
    pub fn error(error: ServerError) -> Self {
        Self::new([Part::Error(error)])
    }

    /// A message.
    pub fn info(message: ServerError) -> Self {
        Self::new([Part::Info(message)])
    }

    /// A wait at a gate.
    pub fn wait(gate: Gate) -> Self {
        Self::new([Part::Wait(gate)])
    }

    /// This answer, then another.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self::new(self.parts.chain(next.parts))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(..)")
    }
}

impl Iterator for Answer {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        self.parts.next()
    }
}

impl From<Result<Answer, ServerError>> for Answer {
    fn from(answer: Result<Answer, ServerError>) -> Self {
        answer.unwrap_or_else(Self::error)
    }
}

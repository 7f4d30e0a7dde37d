//! What decides the answers.

use std::fmt;
use std::sync::Arc;

use super::answer::{Answer, ServerError};
use super::parameter::Parameter;

/// Lets clients in. One for a server; a session for each connection.
///
/// Its calls are made by the task of the connection and must not block: to wait, answer with
/// [`Part::Wait`](super::Part::Wait).
pub trait Handler: Send + Sync + 'static {
    /// Lets a client in or refuses it.
    fn login(&self, login: &Login) -> Result<Box<dyn Session>, ServerError>;

    /// The challenge to a client that begins an integrated login (SSPI, NTLM) with these bytes. Without one
    /// (the default) [`Handler::login`] is called at once; with one when the client's reply is there.
    fn challenge(&self, login: &Login, sspi: &[u8]) -> Option<Vec<u8>> {
        let _ = (login, sspi);
        None
    }

    /// Whether what is asked here is what a database would be asked, so that it is worth being read by others.
    fn is_asked_sql(&self) -> bool {
        true
    }
}

/// One connection of a client.
pub trait Session: Send {
    /// Answers SQL text: a batch, or a statement with parameters.
    fn batch(&mut self, sql: &str, parameters: &[Parameter]) -> Answer;

    /// Answers a request that is about the transaction. What is said in SQL text comes to
    /// [`Session::batch`], whose answer then has a [`Part::Transaction`](super::Part::Transaction).
    fn transaction(&mut self, request: &Transaction) -> Result<(), ServerError>;

    /// Answers the call of a procedure by its name. Error 2812 by default.
    fn procedure(&mut self, name: &str, parameters: &[Parameter]) -> Answer {
        let _ = parameters;
        Answer::error(ServerError::new(
            2812,
            16,
            format!("Could not find stored procedure '{name}'."),
        ))
    }

    /// The client wants the session as it was after the login: settings back, transaction rolled back.
    fn reset(&mut self) {}
}

/// A handler that lets everyone in, grants every transaction, and answers SQL text with a function.
pub fn answering<F>(answer: F) -> impl Handler
where
    F: Fn(&str, &[Parameter]) -> Answer + Send + Sync + 'static,
{
    Answering(Arc::new(answer))
}

type AnswerFn = dyn Fn(&str, &[Parameter]) -> Answer + Send + Sync;

struct Answering(Arc<AnswerFn>);

impl Handler for Answering {
    fn login(&self, _: &Login) -> Result<Box<dyn Session>, ServerError> {
        Ok(Box::new(AnsweringSession(self.0.clone())))
    }

    /// Its answers may be to anything: a number that stands for an error, or one word.
    fn is_asked_sql(&self) -> bool {
        false
    }
}

struct AnsweringSession(Arc<AnswerFn>);

impl Session for AnsweringSession {
    fn batch(&mut self, sql: &str, parameters: &[Parameter]) -> Answer {
        (self.0)(sql, parameters)
    }

    fn transaction(&mut self, _: &Transaction) -> Result<(), ServerError> {
        Ok(())
    }
}

/// A request about the transaction that is not SQL text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// Begin one.
    Begin {
        /// The isolation that was asked for, none to leave it as it is.
        isolation: Option<Isolation>,
        /// Its name, usually empty.
        name: String,
    },
    /// Commit it.
    Commit,
    /// Roll it back, or back to a savepoint of this name.
    Rollback {
        /// The savepoint, usually empty.
        name: String,
    },
    /// Make a savepoint.
    Save {
        /// Its name.
        name: String,
    },
}

/// The isolation of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// `READ UNCOMMITTED`
    ReadUncommitted,
    /// `READ COMMITTED`
    ReadCommitted,
    /// `REPEATABLE READ`
    RepeatableRead,
    /// `SERIALIZABLE`
    Serializable,
    /// `SNAPSHOT`
    Snapshot,
}

/// What a client said when it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The number of the connection, from 1.
    pub connection: u64,
    /// The user; empty with an integrated login or a token.
    pub user: String,
    /// The password in clear.
    pub password: String,
    /// The name of the client's machine.
    pub client_host: String,
    /// The name of the client's program.
    pub program: String,
    /// The server that the client thinks it talks to.
    pub server: String,
    /// The library of the client.
    pub library: String,
    /// The database that was asked for; empty for the user's own.
    pub database: String,
    /// The language that was asked for; empty for the user's own.
    pub language: String,
    /// The version of the protocol, such as `0x7400_0004`.
    pub version: u32,
    /// The packet size that was asked for; 0 for the server's own.
    pub packet_size: u32,
    /// Whether the client only reads and would take a replica.
    pub read_only: bool,
    /// Whether the whole connection is encrypted.
    pub encrypted: bool,
    /// The instance that the client asked for before the login.
    pub instance: String,
    /// The first bytes of an integrated login.
    pub sspi: Option<Vec<u8>>,
    /// The client's reply to [`Handler::challenge`].
    pub sspi_reply: Option<Vec<u8>>,
    /// The access token of a federated login.
    pub token: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secrets stay out.
        f.debug_struct("Login")
            .field("connection", &self.connection)
            .field("user", &self.user)
            .field("client_host", &self.client_host)
            .field("program", &self.program)
            .field("server", &self.server)
            .field("database", &self.database)
            .field("version", &format_args!("{:#010x}", self.version))
            .field("read_only", &self.read_only)
            .field("encrypted", &self.encrypted)
            .finish_non_exhaustive()
    }
}

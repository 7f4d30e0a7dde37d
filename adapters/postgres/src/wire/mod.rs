//! The replication connection: PostgreSQL's protocol, as far as reading a slot needs it.
//!
//! A task of its own owns the socket. It answers the server whatever the stream does, tells it
//! every second what we hold durably and nothing else, and asks for a sign of life when the
//! server is silent. When the stream does not take what has arrived, reading stops, and with it,
//! through TCP, the server's sending; writing does not.
//!
//! What it relies on:
//! - messages, their lengths, TLS and authentication:
//!   <https://www.postgresql.org/docs/current/protocol-flow.html>,
//!   <https://www.postgresql.org/docs/current/protocol-message-formats.html>,
//!   <https://www.postgresql.org/docs/current/sasl-authentication.html>;
//! - `START_REPLICATION`, what the server sends in the stream, the status update and its request
//!   for an answer, which the server answers at once when it is not at work on a change:
//!   <https://www.postgresql.org/docs/current/protocol-replication.html>;
//! - a server that shuts down tells all its log, and waits until it is acknowledged, before it
//!   ends the stream; one that hears nothing for `wal_sender_timeout` ends it:
//!   <https://www.postgresql.org/docs/current/runtime-config-replication.html>;
//! - the options of `pgoutput`, version 1 of its protocol:
//!   <https://www.postgresql.org/docs/current/protocol-logical-replication.html>.

mod auth;
mod dial;
mod event;
mod frame;
mod queue;
mod startup;
mod task;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use contract::Secret;
use rustls::ClientConfig;
use tokio::time::Instant;

pub(crate) use dial::{KEEPALIVE_EVERY, KEEPALIVE_IDLE, KEEPALIVE_TIMES};
pub(crate) use event::{Event, HEARTBEAT};

use queue::Queue;

/// How long the server may owe an answer.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Who logs in where.
#[derive(Debug, Clone)]
pub(crate) struct Login<'a> {
    /// A path is a folder with a Unix socket.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: Option<&'a Secret>,
    /// Whether a password may be sent as it is where there is no TLS.
    pub(crate) trusts_the_network: bool,
    /// `None`: no TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Who we are in `pg_stat_activity`.
    pub(crate) application: &'a str,
    /// In which encoding texts come.
    pub(crate) encoding: &'a str,
    /// Session settings, as `-c name=value`.
    pub(crate) options: &'a str,
}

/// Why there is no connection, or none any more.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server says so.
    Server {
        /// Its SQLSTATE.
        code: String,
        message: String,
        /// A PostgreSQL server itself says so, and nothing between us and it.
        native: bool,
    },
    /// The server asks for another way to log in than we have.
    Login(String),
    /// The server has no TLS.
    NoTls,
    /// The socket, or TLS on it.
    Io(io::Error),
    /// What arrives is not PostgreSQL's protocol.
    Malformed(String),
    /// Somebody has ended it.
    Ended(String),
}

/// A connection that reads a slot. Dropped, it ends politely, and by force when that hangs.
#[derive(Debug)]
pub(crate) struct Replication {
    queue: Arc<Queue>,
    at_hand: VecDeque<Event>,
    /// Of what was handed over last, in bytes.
    handed: usize,
}

/// A slot to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) slot: &'a str,
    pub(crate) publication: &'a str,
    /// Transactions that end before are left out.
    pub(crate) from: u64,
    /// What the server may forget already.
    pub(crate) acknowledged: u64,
    /// System identifier and timeline of the server that everything was asked of: an address may lead
    /// to several, and after a failover two of them differ in the timeline only.
    pub(crate) server: &'a str,
}

/// Logs in and ends the connection: whether the server gives us a replication connection at all.
pub(crate) async fn try_login(login: &Login<'_>) -> Result<(), Failure> {
    startup::open(login).await?.leave().await
}

/// Logs in and asks for the history of a timeline.
pub(crate) async fn timeline_history(login: &Login<'_>, timeline: u32) -> Result<String, Failure> {
    let mut session = startup::open(login).await?;
    let history = session.timeline_history(timeline).await?;
    session.leave().await?;
    Ok(history)
}

/// Logs in and starts to read.
pub(crate) async fn start(
    login: &Login<'_>,
    reading: &Reading<'_>,
) -> Result<Replication, Failure> {
    let mut session = startup::open(login).await?;
    let server = session.server().await?;
    if server != reading.server {
        return Err(Failure::Ended(format!(
            "the replication connection reaches another server, {server}, than the one that was \
             asked before, {}: the address leads to several",
            reading.server
        )));
    }
    session.start(reading).await?;
    let queue = Arc::new(Queue::new(reading.acknowledged));
    tokio::spawn(task::run(session, Arc::clone(&queue)));
    Ok(Replication {
        queue,
        at_hand: VecDeque::new(),
        handed: 0,
    })
}

impl Replication {
    /// The next event, if it is there already.
    pub(crate) fn at_hand(&mut self) -> Result<Option<Event>, Failure> {
        if self.at_hand.is_empty() {
            let handed = std::mem::take(&mut self.handed);
            self.handed = self.queue.take(&mut self.at_hand, handed)?;
        }
        Ok(self.at_hand.pop_front())
    }

    /// The next event. Cancel-safe.
    pub(crate) async fn event(&mut self) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.at_hand()? {
                return Ok(event);
            }
            self.queue.filled.notified().await;
        }
    }

    /// We hold everything up to `upto` durably.
    pub(crate) fn acknowledge(&self, upto: u64) {
        self.queue.acknowledge(upto);
    }

    /// Since when the server owes us an answer; `None` while it does not.
    pub(crate) fn unanswered_since(&self) -> Option<Instant> {
        self.queue.owed_since()
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        self.queue.close();
    }
}

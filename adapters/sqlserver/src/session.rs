//! One connection, and what is asked over it.
//!
//! Every wait has an end. A request that nobody waited for to its end leaves the connection in the middle of
//! an answer: it is never used again, whoever asks next gets another ([`Line`]).

use std::borrow::Cow;
use std::time::Duration;

use contract::SourceError;
use futures_util::TryStreamExt as _;
use tiberius::error::Error;
use tiberius::{Client, Column, ColumnData, IntoSql as _, IsolationLevel, Query, QueryStream};
use tracing::instrument::WithSubscriber as _;

use crate::connect::{self, Rights};
use crate::errors::{Failed, broken, classify};
pub(crate) use crate::line::Line;
use crate::row::Row;

/// So long the server may say nothing while it owes an answer.
pub(crate) const SILENCE_MAX: Duration = Duration::from_mins(1);
/// Turning things on waits for what others do.
const WRITE_MAX: Duration = Duration::from_mins(2);
/// How long the server may take to stop what it sends.
const STOP_MAX: Duration = Duration::from_secs(10);
/// The most rows of an answer that is taken as a whole: catalogues, not tables.
const ROWS_MAX: usize = 1_000_000;

/// The library tells our log of every error of the server, in words that may quote a row, and at the finest
/// level of every row: not a word of it is heard.
pub(crate) async fn quietly<T>(work: impl Future<Output = T>) -> T {
    work.with_subscriber(tracing::Dispatch::none()).await
}

/// A value that is sent beside a statement. Few types, so that one statement is one text to the server
/// whatever the values are.
#[derive(Clone, PartialEq)]
pub(crate) enum Parameter {
    /// `bigint`
    Int(i64),
    /// `float`
    Float(f64),
    /// `nvarchar`
    Text(String),
    /// `varbinary`
    Bytes(Vec<u8>),
    /// `uniqueidentifier`
    Uuid([u8; 16]),
    /// NULL, as `nvarchar`.
    Null,
}

impl Parameter {
    fn sent(&self) -> ColumnData<'static> {
        match self {
            Self::Int(number) => ColumnData::I64(Some(*number)),
            Self::Float(number) => ColumnData::F64(Some(*number)),
            Self::Text(text) => ColumnData::String(Some(Cow::Owned(text.clone()))),
            Self::Bytes(bytes) => ColumnData::Binary(Some(Cow::Owned(bytes.clone()))),
            Self::Uuid(bytes) => tiberius::Uuid::from_bytes(*bytes).into_sql(),
            Self::Null => ColumnData::String(None),
        }
    }
}

/// Shows the type, never the content.
impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Int(_) => "Int",
            Self::Float(_) => "Float",
            Self::Text(_) => "Text",
            Self::Bytes(_) => "Bytes",
            Self::Uuid(_) => "Uuid",
            Self::Null => "Null",
        })
    }
}

struct Sent(ColumnData<'static>);

impl<'a> tiberius::IntoSql<'a> for Sent {
    fn into_sql(self) -> ColumnData<'a> {
        self.0
    }
}

/// Whether more rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    More,
    Enough,
}

/// How a transaction sees what others do meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// The database as of its first read.
    Snapshot,
    /// What is committed when each statement begins.
    ReadCommitted,
}

/// One connection.
pub(crate) struct Session {
    client: Client<connect::Wire>,
    /// A request was sent, and nobody waited for the end of its answer.
    unanswered: bool,
    silence_max: Duration,
}

/// What shapes answers is the same on every connection, whatever a person has set for all of them; and what
/// we do gives way to what others do: we wait for no lock for long, and are the one to go in a deadlock.
/// Without a length of texts that is set, older servers cut them.
const SETTINGS: &str = "SET ANSI_NULLS ON; SET ANSI_PADDING ON; SET ANSI_WARNINGS ON; SET ARITHABORT ON; \
     SET CONCAT_NULL_YIELDS_NULL ON; SET QUOTED_IDENTIFIER ON; SET NUMERIC_ROUNDABORT OFF; SET NOCOUNT ON; \
     SET XACT_ABORT ON; SET IMPLICIT_TRANSACTIONS OFF; SET ROWCOUNT 0; SET TEXTSIZE 2147483647; \
     SET LANGUAGE us_english; SET DATEFORMAT ymd; SET DEADLOCK_PRIORITY LOW; \
     SET TRANSACTION ISOLATION LEVEL READ COMMITTED; ";

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("unanswered", &self.unanswered)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Takes a connection that is logged in.
    pub(crate) async fn begin(
        client: Client<connect::Wire>,
        rights: Rights,
        doing: &str,
    ) -> Result<Self, Failed> {
        let (locks_ms, silence_max) = match rights {
            Rights::Read => (2_000, SILENCE_MAX),
            Rights::Write => (30_000, WRITE_MAX),
        };
        let mut session = Self {
            client,
            unanswered: false,
            silence_max,
        };
        let sql = format!("{SETTINGS}SET LOCK_TIMEOUT {locks_ms}");
        session.run(doing, &sql).await?;
        Ok(session)
    }

    /// Another limit for the server's silence.
    pub(crate) fn silence_max(&mut self, limit: Duration) {
        self.silence_max = limit;
    }

    /// Whether it can be asked: the last request was answered to its end.
    pub(crate) fn is_usable(&self) -> bool {
        !self.unanswered
    }

    /// All rows of a statement; of a small answer.
    pub(crate) async fn rows(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: &[Parameter],
    ) -> Result<Vec<Row>, Failed> {
        let mut rows = Vec::new();
        self.each(doing, sql, parameters, |row| {
            rows.push(row);
            if rows.len() > ROWS_MAX {
                let why = format!("the answer has more than {ROWS_MAX} rows");
                return Err(broken(doing, why));
            }
            Ok(Take::More)
        })
        .await?;
        Ok(rows)
    }

    /// The first row of a statement.
    pub(crate) async fn row(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: &[Parameter],
    ) -> Result<Option<Row>, Failed> {
        let rows = self.rows(doing, sql, parameters).await?;
        Ok(rows.into_iter().next())
    }

    /// The first row of a statement that always has one.
    pub(crate) async fn one(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: &[Parameter],
    ) -> Result<Row, Failed> {
        let row = self.row(doing, sql, parameters).await?;
        row.ok_or_else(|| {
            Failed::ours(SourceError::Malformed(format!(
                "{doing}: the server gives no answer"
            )))
        })
    }

    /// Runs a statement without parameters, as a batch of its own: what it sets stays set.
    pub(crate) async fn run(&mut self, doing: &str, sql: &str) -> Result<(), Failed> {
        self.each(doing, sql, &[], |_| Ok(Take::More)).await?;
        Ok(())
    }

    /// Hands over the rows of a statement as they come, until `take` has enough or fails; the server is told
    /// to stop then. Gives the columns of the answer, none when it had no rows to give.
    ///
    /// Without parameters the statement is a batch; with them each is `@P1` and so on.
    pub(crate) async fn each(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: &[Parameter],
        take: impl FnMut(Row) -> Result<Take, SourceError> + Send,
    ) -> Result<Vec<Column>, Failed> {
        self.ask(doing)?;
        let limit = self.silence_max;
        let reading = read(&mut self.client, limit, doing, sql, parameters, take);
        let given = match reading.await {
            Ok(given) => given,
            Err(heard) => return Err(self.after(heard)),
        };
        if given.ended.is_some() {
            let stopping = quietly(self.client.cancel_query());
            let stopped = heard(STOP_MAX, doing, stopping).await;
            stopped.map_err(|heard| self.after(heard))?;
        }
        self.unanswered = false;
        match given.ended {
            Some(Err(error)) => Err(Failed::ours(error)),
            Some(Ok(())) | None => Ok(given.columns.unwrap_or_default()),
        }
    }

    /// Begins a transaction.
    pub(crate) async fn begin_transaction(
        &mut self,
        doing: &str,
        isolation: Isolation,
    ) -> Result<(), Failed> {
        self.ask(doing)?;
        let level = match isolation {
            Isolation::Snapshot => IsolationLevel::Snapshot,
            Isolation::ReadCommitted => IsolationLevel::ReadCommitted,
        };
        let asking = quietly(self.client.begin_transaction_with_isolation(level));
        let done = heard(self.silence_max, doing, asking).await;
        self.done(done)
    }

    /// Ends a transaction that only read.
    pub(crate) async fn commit(&mut self, doing: &str) -> Result<(), Failed> {
        self.ask(doing)?;
        let asking = quietly(self.client.commit_transaction());
        let done = heard(self.silence_max, doing, asking).await;
        self.done(done)
    }

    /// Takes a transaction back.
    pub(crate) async fn rollback(&mut self, doing: &str) -> Result<(), Failed> {
        self.ask(doing)?;
        let asking = quietly(self.client.rollback_transaction());
        let done = heard(self.silence_max, doing, asking).await;
        self.done(done)
    }

    /// A wait may be given up at any time: whoever asks next gets another connection.
    fn ask(&mut self, doing: &str) -> Result<(), Failed> {
        if std::mem::replace(&mut self.unanswered, true) {
            return Err(Failed::ours(broken(
                doing,
                "an answer was not waited for, and its connection cannot be used again",
            )));
        }
        Ok(())
    }

    fn done(&mut self, done: Result<(), Heard>) -> Result<(), Failed> {
        done.map_err(|failed| self.after(failed))?;
        self.unanswered = false;
        Ok(())
    }

    /// What the server refuses is an answer to its end, unless it ends the connection.
    fn after(&mut self, failed: Heard) -> Failed {
        if let Heard::Server { ends: false, .. } = failed {
            self.unanswered = false;
        }
        match failed {
            Heard::Server { failed, .. } | Heard::Broken(failed) => failed,
        }
    }
}

/// What came in place of an answer.
enum Heard {
    /// The server's own words; `ends`: its last ones.
    Server { failed: Failed, ends: bool },
    /// None, or none that can be understood.
    Broken(Failed),
}

/// Waits for a word of the server's, but not for longer: a network that forgets a connection says nothing for
/// ever.
async fn heard<T>(
    limit: Duration,
    doing: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Heard> {
    match tokio::time::timeout(limit, quietly(work)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let failed = classify(doing, &error);
            Err(match &error {
                Error::Server(error) => Heard::Server {
                    failed,
                    ends: error.class() >= 20,
                },
                _ => Heard::Broken(failed),
            })
        }
        Err(_) => {
            let why = format!("the server has said nothing for {} s", limit.as_secs());
            Err(Heard::Broken(Failed::ours(broken(doing, why))))
        }
    }
}

/// What a statement gave: its columns, where it has an answer, and why it was left before its end.
struct Given {
    columns: Option<Vec<Column>>,
    ended: Option<Result<(), SourceError>>,
}

async fn read(
    client: &mut Client<connect::Wire>,
    limit: Duration,
    doing: &str,
    sql: &str,
    parameters: &[Parameter],
    mut take: impl FnMut(Row) -> Result<Take, SourceError> + Send,
) -> Result<Given, Heard> {
    let mut columns = None;
    let mut answer = heard(limit, doing, send(client, sql, parameters)).await?;
    let ended = loop {
        let Some(item) = heard(limit, doing, answer.try_next()).await? else {
            break None;
        };
        if let Some(described) = item.as_metadata() {
            if columns.is_some() {
                let what = format!("{doing}: the server gives more than one answer");
                break Some(Err(SourceError::Malformed(what)));
            }
            columns = Some(described.columns().to_vec());
        }
        let Some(row) = item.into_row() else {
            continue;
        };
        match take(Row::new(row)) {
            Ok(Take::More) => {}
            Ok(Take::Enough) => break Some(Ok(())),
            Err(error) => break Some(Err(error)),
        }
    };
    Ok(Given { columns, ended })
}

async fn send<'a>(
    client: &'a mut Client<connect::Wire>,
    sql: &str,
    parameters: &[Parameter],
) -> Result<QueryStream<'a>, Error> {
    if parameters.is_empty() {
        return client.simple_query(sql).await;
    }
    let mut query = Query::new(sql.to_owned());
    query.bind_iter(parameters.iter().map(|value| Sent(value.sent())));
    query.query(client).await
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

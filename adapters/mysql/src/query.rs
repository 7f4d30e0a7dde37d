//! Re-reads by key: a statement of the mapping's own, in a transaction that can only read.
//!
//! The statement is a prepared one, so the server itself takes no second statement along, and its rows
//! are read like a snapshot's, by the same `values`. Parameters travel as values of their types and
//! are never part of the statement; a decimal, which the protocol has no type for, is cast to one from
//! its text, and bytes from their hexadecimal text, for the server takes every text for UTF-8.
//!
//! A name without a schema is looked up in the settings' database, or else in the one schema that the
//! captured tables stand in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{ReadQuery, ReadRows, Sees, SourceError};
use tokio::time::Instant;

use crate::bind::Placed;
use crate::charset::Charsets;
use crate::connect::{self, Connection, Flavour, Rights, name};
use crate::fetch;
use crate::life::Life;
use crate::question::{Asking, DOING, Ended, Question};
use crate::server::Server;
use crate::settings::Settings;
use crate::values::RAW;
use crate::visible;

/// A connection that nobody used for longer is not trusted to be there.
const KEPT_MAX: Duration = Duration::from_secs(30);

/// Asks, and keeps a connection between two questions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reader {
    kept: Arc<Mutex<Option<(Asking, Instant)>>>,
}

impl Reader {
    /// Asks `query`. Two at the same time use two connections.
    pub(crate) async fn read(
        &self,
        settings: &Settings,
        life: &Life,
        query: &ReadQuery,
    ) -> Result<ReadRows, SourceError> {
        let placed = Placed::of(query)?;
        let started = Instant::now();
        let ask = async {
            let (mut asking, sees) = self.begun(settings, life, query).await?;
            let question = Question {
                query,
                placed: &placed,
                started,
            };
            match question.ask(&mut asking).await {
                Ok((names, rows)) => {
                    self.end(asking).await;
                    ReadRows::of(query, names, rows, Some(sees))
                }
                // Nothing is left of the statement at its connection.
                Err(Ended::Refused(error)) => {
                    self.end(asking).await;
                    Err(error)
                }
                Err(Ended::Within(error)) => {
                    fetch::abandon(settings, asking.connection).await?;
                    Err(error)
                }
                Err(Ended::Broken(error)) => Err(error),
            }
        };
        // Given up in the middle, the server ends the statement by its own clock.
        let answer = tokio::time::timeout(query.time_max, ask).await;
        answer.unwrap_or_else(|_| Err(query.timed_out()))
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<(Asking, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the transaction, and keeps its connection.
    async fn end(&self, mut asking: Asking) {
        let connection = &mut asking.connection;
        if connection.run(DOING, "ROLLBACK").await.is_err() {
            return;
        }
        // Locks of a session's own do not go with its transaction; older servers cannot give up all.
        let released = connection.run(DOING, "DO RELEASE_ALL_LOCKS()").await;
        if !matches!(released, Err(SourceError::Disconnected(what)) if !what.contains("error 1305"))
        {
            *self.slot() = Some((asking, Instant::now()));
        }
    }

    /// A connection with the transaction begun, and what the statement will see at least.
    async fn begun(
        &self,
        settings: &Settings,
        life: &Life,
        query: &ReadQuery,
    ) -> Result<(Asking, Sees), SourceError> {
        let kept = self.slot().take();
        if let Some((mut asking, at)) = kept
            && at.elapsed() < KEPT_MAX
            && let Ok(sees) = begin(&mut asking.connection, life, query).await
        {
            return Ok((asking, sees));
        }
        let mut connection = connect::connect(settings, Rights::Read).await?;
        connection.run(DOING, RAW).await?;
        connection.server = Server::read(&mut connection).await?.identity();
        let whole = whole(connection.flavour);
        connection.run(DOING, &whole).await?;
        if let Some(database) = &settings.database {
            let sql = format!("USE {}", name(database));
            connection.run(DOING, &sql).await?;
        }
        let sees = begin(&mut connection, life, query).await?;
        let charsets = Charsets::default();
        let asking = Asking {
            connection,
            charsets,
        };
        Ok((asking, sees))
    }
}

/// What would end a recursion or a list early, and go on as if it was all: the limit of time ends the
/// one, and a longer list than this is too long for an answer. What is cut all the same, the server
/// warns of, if it may warn often enough.
fn whole(flavour: Flavour) -> String {
    let recursion = match flavour {
        Flavour::MariaDb => "max_recursive_iterations",
        Flavour::MySql => "cte_max_recursion_depth",
    };
    format!(
        "SET SESSION {recursion} = 4294967295, SESSION group_concat_max_len = {}, \
         SESSION max_error_count = 65535",
        ReadQuery::BYTES_MAX + 1
    )
}

/// A silent server is given up so much later than a question that takes too long.
const SILENCE_MORE: Duration = Duration::from_secs(1);

/// Begins a transaction whose statements take no longer than the question may.
async fn begin(
    connection: &mut Connection,
    life: &Life,
    query: &ReadQuery,
) -> Result<Sees, SourceError> {
    // 0 would be no limit.
    let millis = query.time_max.as_millis().clamp(1, 1 << 30);
    // The server may take its time for as long as the question may, whose own limit ends first and says so.
    connection.silence_max = Some(query.time_max + SILENCE_MORE);
    let limit = match connection.flavour {
        Flavour::MariaDb => format!(
            "SET SESSION max_statement_time = {}.{:03}",
            millis / 1000,
            millis % 1000
        ),
        Flavour::MySql => format!("SET SESSION max_execution_time = {millis}"),
    };
    connection.run(DOING, &limit).await?;
    // Where that is before the change behind the question, it is asked again.
    let seen = visible::begin(connection, DOING).await?;
    let (epoch, life) = life.of(&connection.server, DOING)?;
    Ok(Sees::UpTo(seen.up_to.at(epoch, life)))
}

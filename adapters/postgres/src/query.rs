//! Re-reads by key: a statement of the mapping's own, in a transaction that can only read.
//!
//! The statement is a cursor's, so the server itself refuses more than one statement and anything
//! but a read, and the cursor's rows come by the simple protocol like a snapshot's: as the types'
//! own texts, read by the same `values`. Parameters are bound as texts whose types the server
//! infers from the statement, so `id = :id` finds a number, a text or a date alike.
//!
//! Names are looked up as for anyone in this database, by its own `search_path`: so does a function
//! the statement calls. All else is as on our other connections; `current_date` is UTC's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::read_query::refused;
use contract::{PlacedQuery, ReadQuery, ReadRows, Sees, SourceError, SqlLexis};
use tokio::time::Instant;
use tokio_postgres::error::DbError;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, SimpleQueryRow};

use crate::bind::Bind;
use crate::connect::{self, Rights, classify, rows};
use crate::fetch::{Fetching, cells, each, stop_if};
use crate::kinds::Kinds;
use crate::settings::Settings;
use crate::snapshot::sees;
use crate::values::Kind;

const DOING: &str = "read by key";
/// A connection that nobody used for longer is not trusted to be there.
const KEPT_MAX: Duration = Duration::from_secs(30);
/// How long a statement waits for a table that someone is changing.
const LOCK_MAX: Duration = Duration::from_secs(2);

const LEXIS: SqlLexis = SqlLexis {
    nested_comments: true,
    dollar_quotes: true,
    escape_strings: true,
    mysql: false,
    quoted_names: &[],
    foreign: b"$",
};

fn mark(number: usize) -> String {
    format!("${number}")
}

/// Asks, and keeps a connection between two questions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reader {
    kept: Arc<Mutex<Option<(Asking, Instant)>>>,
}

/// A connection and what is known of its types.
#[derive(Debug)]
struct Asking {
    client: Client,
    kinds: Kinds,
}

impl Reader {
    /// Asks `query`. Two at the same time use two connections.
    pub(crate) async fn read(
        &self,
        settings: &Settings,
        query: &ReadQuery,
    ) -> Result<ReadRows, SourceError> {
        let placed = query.place(&LEXIS, mark)?;
        let started = Instant::now();
        let ask = async {
            let (mut asking, sees) = self.begun(settings, query).await?;
            let question = Question {
                query,
                placed: &placed,
                started,
            };
            let answer = question.ask(&mut asking, sees).await;
            // A connection that failed otherwise is not used again.
            if matches!(answer, Ok(_) | Err(SourceError::Denied { .. })) {
                // Settings of the session go back with the transaction; its own locks do not.
                let end = "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()";
                if asking.client.batch_execute(end).await.is_ok() {
                    *self.slot() = Some((asking, Instant::now()));
                }
            }
            answer
        };
        // Given up in the middle, the connection is dropped with its transaction, and the server
        // ends the statement by its own clock.
        let answer = tokio::time::timeout(query.time_max, ask).await;
        answer.unwrap_or_else(|_| Err(query.timed_out()))
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<(Asking, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection with the read only transaction begun, and what the statement will see at least.
    async fn begun(
        &self,
        settings: &Settings,
        query: &ReadQuery,
    ) -> Result<(Asking, Sees), SourceError> {
        let begin = begin(query);
        let kept = self.slot().take();
        let kept = kept.filter(|(kept, at)| !kept.client.is_closed() && at.elapsed() < KEPT_MAX);
        if let Some((kept, _)) = kept
            && let Ok(begun) = rows(&kept.client, &begin, DOING).await
        {
            return Ok((kept, seen(&begun)?));
        }
        let client = connect::connect(settings, Rights::Read).await?;
        let begun = rows(&client, &begin, DOING).await?;
        let asking = Asking {
            client,
            kinds: Kinds::default(),
        };
        Ok((asking, seen(&begun)?))
    }
}

/// A snapshot taken before the statement's own: what it sees, the statement sees as well.
fn seen(begun: &[SimpleQueryRow]) -> Result<Sees, SourceError> {
    let text = begun.first().and_then(|row| row.get(0));
    text.and_then(sees)
        .ok_or_else(|| SourceError::Malformed(format!("{DOING}: its snapshot is unreadable")))
}

fn begin(query: &ReadQuery) -> String {
    // 0 would be no limit.
    let millis = |time: Duration| time.as_millis().clamp(1, 1 << 30);
    format!(
        "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY; \
         SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
         SET LOCAL search_path TO DEFAULT; SET LOCAL standard_conforming_strings = on; \
         SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text",
        millis(query.time_max),
        millis(query.time_max.min(LOCK_MAX)),
    )
}

struct Question<'a> {
    query: &'a ReadQuery,
    placed: &'a PlacedQuery<'a>,
    started: Instant,
}

impl Question<'_> {
    async fn ask(&self, asking: &mut Asking, sees: Sees) -> Result<ReadRows, SourceError> {
        let client = &asking.client;
        let declare = format!(
            "DECLARE lighterman_read NO SCROLL CURSOR FOR {}",
            self.placed.sql
        );
        let declare = client.prepare(&declare).await;
        let declare = declare.map_err(|error| self.preparing(&error))?;
        let given = &self.placed.parameters;
        if declare.params().len() != given.len() {
            return Err(refused(
                "PostgreSQL finds other parameters in the statement than were given",
            ));
        }
        let bound: Vec<Bind> = given
            .iter()
            .zip(declare.params())
            .map(|((name, value), kind)| Bind::new(name, value, kind))
            .collect::<Result<_, _>>()?;
        let bound: Vec<_> = bound
            .iter()
            .map(|bind| bind as &(dyn ToSql + Sync))
            .collect();
        let declared = client.execute(&declare, &bound).await;
        declared.map_err(|error| self.running(&error))?;
        // The simple protocol tells the columns' names only.
        let columns = client.prepare("FETCH FORWARD 0 FROM lighterman_read").await;
        let columns = columns.map_err(|error| self.running(&error))?;
        let types: Vec<u32> = columns.columns().iter().map(|c| c.type_().oid()).collect();
        asking.kinds.learn(client, &types).await?;
        let kinds: Vec<Kind> = types.iter().map(|oid| asking.kinds.of(*oid)).collect();
        let names = columns.columns().iter();
        let names = names.map(|column| column.name().to_owned()).collect();
        ReadRows::of(
            self.query,
            names,
            self.fetch(client, &kinds).await?,
            Some(sees),
        )
    }

    async fn fetch(
        &self,
        client: &Client,
        kinds: &[Kind],
    ) -> Result<Vec<Vec<contract::Value>>, SourceError> {
        // One more than may be: whether there is one decides.
        let rows_max = self.query.rows_max.saturating_add(1);
        let mut fetching = Fetching::new(rows_max, ReadQuery::BYTES_MAX + 1);
        let mut rows = Vec::new();
        loop {
            let asked = fetching.ask();
            let sql = format!("FETCH FORWARD {asked} FROM lighterman_read");
            let before = rows.len();
            let fetched = each(client, &sql, |row| {
                let cells = cells(kinds, &row);
                fetching.count(cells.iter().map(contract::Value::bytes).sum());
                rows.push(cells);
                stop_if(fetching.full())
            });
            fetched
                .await
                .map(drop)
                .map_err(|error| self.running(&error))?;
            if rows.len() > self.query.rows_max {
                return Err(self.query.too_many_rows());
            }
            if fetching.full() {
                return Err(self.query.too_many_bytes());
            }
            if rows.len() - before < asked {
                return Ok(rows);
            }
        }
    }

    /// An error before any value was sent: the server's message can only speak of the statement.
    fn preparing(&self, error: &Error) -> SourceError {
        match error.as_db_error() {
            Some(db) if !passes(db.code().code()) && db.code().code() != "42501" => {
                refused(self.placed.in_names(db.message(), mark))
            }
            _ => self.running(error),
        }
    }

    /// An error while values are about: the server's message can quote them, its code cannot.
    fn running(&self, error: &Error) -> SourceError {
        let Some(db) = error.as_db_error() else {
            return classify(DOING, error);
        };
        match db.code().code() {
            // The same code when someone at the server cancels the statement.
            "57014"
                if self.started.elapsed() + Duration::from_millis(100) >= self.query.time_max =>
            {
                self.query.timed_out()
            }
            "55P03" => SourceError::Disconnected(format!(
                "{DOING}: someone holds a lock on what the statement reads"
            )),
            "25006" => refused("the statement would write"),
            "42501" => SourceError::Denied {
                what: format!("{DOING}: {}", self.missing_right(db)),
                hint: "grant the role SELECT on what is read, and USAGE on its schema; for a table of a mapping, \
                       lighterman check prints that SQL"
                    .to_owned(),
            },
            code if passes(code) => {
                SourceError::Disconnected(format!("{DOING}: the server stops it (SQLSTATE {code})"))
            }
            code if code.starts_with("22") || code.starts_with("23") => {
                refused(format!("the server refuses a value (SQLSTATE {code})"))
            }
            code => refused(format!(
                "the statement fails in the server (SQLSTATE {code})"
            )),
        }
    }

    /// The server's own words name a table; a function of the database's can say anything.
    fn missing_right(&self, db: &DbError) -> String {
        let own = matches!(db.routine(), Some("aclcheck_error" | "check_enable_rls"));
        let mut values = self.placed.parameters.iter();
        let quotes = values.any(|(_, value)| {
            let text = value.text();
            text.is_some_and(|text| !text.is_empty() && db.message().contains(&text))
        });
        if own && !quotes {
            db.message().to_owned()
        } else {
            "the role lacks a right (SQLSTATE 42501)".to_owned()
        }
    }
}

/// Whether another try may do: a lost connection, a conflict, a server that is full, restarts, is
/// told to stop the statement or has trouble with its files; a lock.
fn passes(code: &str) -> bool {
    let classes = ["08", "40", "53", "57", "58"];
    code == "55P03" || classes.iter().any(|class| code.starts_with(class))
}

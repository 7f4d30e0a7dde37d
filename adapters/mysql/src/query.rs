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

use contract::read_query::refused;
use contract::{ReadQuery, ReadRows, Sees, SourceError, Value};
use mysql_async::consts::ColumnType;
use mysql_async::{ServerError, Statement, Value as Sent};
use tokio::time::Instant;

use crate::bind::Placed;
use crate::charset::Charsets;
use crate::column::Kind;
use crate::connect::{self, Connection, Flavour, Rights, literal, name};
use crate::errors::classify;
use crate::fetch::{self, Failed, Fetching, Stop};
use crate::life::Life;
use crate::settings::Settings;
use crate::values::{self, Cell, RAW};
use crate::visible;

const DOING: &str = "read by key";
/// A connection that nobody used for longer is not trusted to be there.
const KEPT_MAX: Duration = Duration::from_secs(30);
/// Characters of a `uuid`.
const UUID_CHARACTERS: u32 = 36;

/// Asks, and keeps a connection between two questions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reader {
    kept: Arc<Mutex<Option<(Asking, Instant)>>>,
}

/// A connection and what is known of its character sets.
#[derive(Debug)]
struct Asking {
    connection: Connection,
    charsets: Charsets,
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

/// Begins a transaction whose statements take no longer than the question may.
async fn begin(
    connection: &mut Connection,
    life: &Life,
    query: &ReadQuery,
) -> Result<Sees, SourceError> {
    // 0 would be no limit.
    let millis = query.time_max.as_millis().clamp(1, 1 << 30);
    let limit = match connection.flavour {
        Flavour::MariaDb => format!(
            "SET SESSION max_statement_time = {}.{:03}",
            millis / 1000,
            millis % 1000
        ),
        Flavour::MySql => format!("SET SESSION max_execution_time = {millis}"),
    };
    connection.run(DOING, &limit).await?;
    // Not sure at MySQL without GTIDs: an answer may be older than it says by what a commit takes.
    let seen = visible::begin(connection, DOING).await?;
    let (epoch, life) = life.get();
    Ok(Sees::UpTo(seen.up_to.at(epoch, life)))
}

/// Why there is no answer, by what its connection is good for.
enum Ended {
    /// All of it.
    Refused(SourceError),
    /// Nothing before it is told to stop sending.
    Within(SourceError),
    /// Nothing.
    Broken(SourceError),
}

struct Question<'a> {
    query: &'a ReadQuery,
    placed: &'a Placed,
    started: Instant,
}

impl Question<'_> {
    async fn ask(&self, asking: &mut Asking) -> Result<(Vec<String>, Vec<Vec<Value>>), Ended> {
        let connection = &mut asking.connection;
        let placed = fetch::prepare(connection, &self.placed.sql).await;
        let statement = placed.map_err(|error| self.preparing(&error))?;
        if usize::from(statement.num_params()) != self.placed.parameters.len() {
            return Err(Ended::Refused(refused(
                "the server finds other parameters in the statement than were given",
            )));
        }
        let sent = statement.columns();
        if sent.is_empty() {
            return Err(Ended::Refused(refused(
                "the statement gives no rows: it must be a SELECT, without INTO",
            )));
        }
        let learned = values::learn(connection, &mut asking.charsets, &sent).await;
        learned.map_err(Ended::Broken)?;
        let uuids = self.uuids(connection, &sent).await?;
        let mut cells = Vec::with_capacity(sent.len());
        for (column, is_uuid) in sent.iter().zip(uuids) {
            let kind = if is_uuid {
                Some(Kind::Uuid)
            } else {
                values::kind(column)
            };
            let kind = kind.ok_or_else(|| {
                Ended::Refused(refused(format!(
                    "column {} is of a type that we do not know",
                    column.name_str()
                )))
            })?;
            let cell = Cell::of(&kind, column, &asking.charsets, DOING);
            cells.push(cell.map_err(Ended::Refused)?);
        }
        let names = sent.iter().map(|column| column.name_str().into_owned());
        Ok((
            names.collect(),
            self.rows(connection, statement, &cells).await?,
        ))
    }

    async fn rows(
        &self,
        connection: &mut Connection,
        statement: Statement,
        cells: &[Cell],
    ) -> Result<Vec<Vec<Value>>, Ended> {
        // One more than may be: whether there is one decides.
        let rows_max = self.query.rows_max.saturating_add(1);
        let mut fetching = Fetching::new(rows_max, ReadQuery::BYTES_MAX + 1, 0);
        let mut rows = Vec::new();
        let given = fetch::each(
            connection,
            statement,
            self.placed.parameters.clone(),
            |row| {
                let row = row.unwrap_raw().into_iter().zip(cells);
                let row: Option<Vec<Value>> = row
                    .map(|(sent, cell)| cell.value(sent.unwrap_or(Sent::NULL)))
                    .collect();
                let row = row.ok_or_else(|| {
                    let what = "a cell is of another type than its column";
                    SourceError::Malformed(format!("{DOING}: {what}"))
                })?;
                fetching.count(row.iter().map(Value::bytes).sum());
                rows.push(row);
                Ok(fetching.full())
            },
        );
        let given = match given.await {
            Ok(given) => given,
            Err(Failed::Server(error)) => return Err(self.running(&error)),
            Err(Failed::Ours(error)) => return Err(Ended::Broken(error)),
        };
        let error = if rows.len() > self.query.rows_max {
            self.query.too_many_rows()
        } else if fetching.full() {
            self.query.too_many_bytes()
        } else {
            return Ok(rows);
        };
        Err(match given.stop {
            Stop::Whole => Ended::Refused(error),
            Stop::Within => Ended::Within(error),
        })
    }

    /// Which columns hold a `uuid` of MariaDB's: the protocol calls them texts, and only the catalogue
    /// knows better.
    async fn uuids(
        &self,
        connection: &mut Connection,
        sent: &[mysql_async::Column],
    ) -> Result<Vec<bool>, Ended> {
        let mut found = vec![false; sent.len()];
        if connection.flavour == Flavour::MySql || !sent.iter().any(may_be_uuid) {
            return Ok(found);
        }
        // Several questions are one statement, which does not say where its columns are from.
        let (shift, alone) = if self.query.more.is_empty() {
            (0, sent.to_vec())
        } else {
            let alone = ReadQuery {
                more: Vec::new(),
                ..self.query.clone()
            };
            let alone = Placed::of(&alone).map_err(Ended::Refused)?;
            let statement = fetch::prepare(connection, &alone.sql).await;
            let statement = statement.map_err(|error| self.preparing(&error))?;
            (1, statement.columns().to_vec())
        };
        for (at, column) in alone.iter().enumerate() {
            let (schema, table) = (column.schema_str(), column.org_table_str());
            if !may_be_uuid(column) || table.is_empty() {
                continue;
            }
            let sql = format!(
                "SELECT COUNT(*) FROM information_schema.COLUMNS
                  WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND COLUMN_NAME = {}
                    AND DATA_TYPE = 'uuid'",
                literal(&schema),
                literal(&table),
                literal(&column.org_name_str())
            );
            let count: u64 = connection.one(DOING, &sql).await.map_err(Ended::Broken)?;
            if let Some(found) = found.get_mut(at + shift) {
                *found = count > 0;
            }
        }
        Ok(found)
    }

    /// An error before any value was sent: the server's message can only speak of the statement.
    fn preparing(&self, error: &mysql_async::Error) -> Ended {
        match error {
            mysql_async::Error::Server(server) if is_right(server.code) => {
                Ended::Refused(SourceError::Denied {
                    what: format!("{DOING}: {} (error {})", server.message, server.code),
                    hint: "grant the user SELECT on what the statement reads".to_owned(),
                })
            }
            mysql_async::Error::Server(server) if !passes(server) => Ended::Refused(refused(
                format!("{} (error {})", server.message, server.code),
            )),
            _ => self.running(error),
        }
    }

    /// An error while values are about: the server's message can quote them, its code cannot.
    fn running(&self, error: &mysql_async::Error) -> Ended {
        let server = match error {
            mysql_async::Error::Server(server) => server,
            // What the library takes for parameters of its own.
            mysql_async::Error::Driver(
                mysql_async::DriverError::MixedParams
                | mysql_async::DriverError::Params(_)
                | mysql_async::DriverError::StmtParamsMismatch { .. },
            ) => {
                return Ended::Refused(refused(
                    "a colon in one of the statement's texts looks like a parameter: put a space \
                     behind a `/` or `-` before it",
                ));
            }
            error => return Ended::Broken(classify(DOING, error)),
        };
        let code = server.code;
        let stops = |what: &str| {
            Ended::Refused(SourceError::Disconnected(format!(
                "{DOING}: {what} (error {code})"
            )))
        };
        let late = self.started.elapsed() + Duration::from_millis(100) >= self.query.time_max;
        match code {
            // By its own clock, at MariaDB and MySQL; or stopped by someone.
            1969 | 3024 => Ended::Refused(self.query.timed_out()),
            1317 if late => Ended::Refused(self.query.timed_out()),
            1205 | 1213 | 3572 => stops("someone holds a lock on what the statement reads"),
            1792 => Ended::Refused(refused("the statement would write")),
            code if is_right(code) => Ended::Refused(SourceError::Denied {
                what: format!("{DOING}: the user lacks a right (error {code})"),
                hint: "grant the user SELECT on what the statement reads".to_owned(),
            }),
            _ if passes(server) => stops("the server stops it"),
            _ if server.state.starts_with("22") || server.state.starts_with("23") => {
                Ended::Refused(refused(format!(
                    "the server refuses a value (error {code})"
                )))
            }
            _ => Ended::Refused(refused(format!(
                "the statement fails in the server (error {code})"
            ))),
        }
    }
}

/// A right on a table, a column, a function or the server.
fn is_right(code: u16) -> bool {
    [1044, 1142, 1143, 1227, 1370].contains(&code)
}

/// Whether another try may do: memory, disk or connections are short, a limit of the user's is
/// reached, the server shuts down, a table has changed just now or is locked.
fn passes(error: &ServerError) -> bool {
    let codes = [
        1021, 1037, 1038, 1040, 1041, 1053, 1105, 1135, 1203, 1205, 1213, 1226, 1290, 1317, 1412,
        1615, 1637, 3572,
    ];
    error.state.starts_with("08") || error.state.starts_with("40") || codes.contains(&error.code)
}

/// Has the length of a `uuid`, whatever character set says how many bytes that is.
fn may_be_uuid(column: &mysql_async::Column) -> bool {
    column.column_type() == ColumnType::MYSQL_TYPE_STRING
        && (1..=4).any(|bytes| column.column_length() == UUID_CHARACTERS * bytes)
}

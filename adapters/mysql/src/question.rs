//! One question to the database: its columns, its rows, and what an error of it means.

use std::time::Duration;

use contract::read_query::refused;
use contract::{ReadQuery, SourceError, Value};
use mysql_async::consts::ColumnType;
use mysql_async::{Column, ServerError, Statement, Value as Sent};
use tokio::time::Instant;

use crate::bind::Placed;
use crate::charset::Charsets;
use crate::column::Kind;
use crate::connect::{Connection, Flavour, literal};
use crate::errors::classify;
use crate::fetch::{self, Failed, Fetching, Given, Stop};
use crate::values::{self, Cell};

pub(crate) const DOING: &str = "read by key";
/// A transaction that reads would write.
const WRITES: u16 = 1792;
/// Characters of a `uuid`.
const UUID_CHARACTERS: u32 = 36;

/// A connection and what is known of its character sets.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) connection: Connection,
    pub(crate) charsets: Charsets,
}

/// Why there is no answer, by what its connection is good for.
pub(crate) enum Ended {
    /// All of it.
    Refused(SourceError),
    /// Nothing before it is told to stop sending.
    Within(SourceError),
    /// Nothing.
    Broken(SourceError),
}

pub(crate) struct Question<'a> {
    pub(crate) query: &'a ReadQuery,
    pub(crate) placed: &'a Placed,
    pub(crate) started: Instant,
}

impl Question<'_> {
    pub(crate) async fn ask(
        &self,
        asking: &mut Asking,
    ) -> Result<(Vec<String>, Vec<Vec<Value>>), Ended> {
        let Asking {
            connection,
            charsets,
        } = asking;
        let statement = self.prepare(connection).await?;
        let sent = statement.columns();
        let learned = values::learn(connection, charsets, &sent).await;
        learned.map_err(Ended::Broken)?;
        let uuids = self.uuids(connection, &sent).await?;
        let names = sent.iter().map(|column| column.name_str().into_owned());
        Ok((
            names.collect(),
            self.rows(connection, charsets, statement, &uuids).await?,
        ))
    }

    async fn prepare(&self, connection: &mut Connection) -> Result<Statement, Ended> {
        let prepared = fetch::prepare(connection, &self.placed.sql).await;
        let statement = prepared.map_err(|error| self.preparing(&error))?;
        if usize::from(statement.num_params()) != self.placed.parameters.len() {
            return Err(Ended::Refused(refused(
                "the server finds other parameters in the statement than were given",
            )));
        }
        if statement.columns().is_empty() {
            return Err(Ended::Refused(refused(
                "the statement gives no rows: it must be a SELECT, without INTO",
            )));
        }
        Ok(statement)
    }

    /// Runs the statement. What a column of its answer is, is known with the rows: the server calls a
    /// parameter bytes before it has its value.
    async fn rows(
        &self,
        connection: &mut Connection,
        charsets: &Charsets,
        statement: Statement,
        uuids: &[bool],
    ) -> Result<Vec<Vec<Value>>, Ended> {
        // One more than may be: whether there is one decides.
        let rows_max = self.query.rows_max.saturating_add(1);
        let mut fetching = Fetching::new(rows_max, ReadQuery::BYTES_MAX + 1, 0);
        let mut rows = Vec::new();
        let mut known: Option<Result<Vec<Cell>, SourceError>> = None;
        let given = fetch::each(
            connection,
            statement,
            self.placed.parameters.clone(),
            |row| {
                let sent = row.columns_ref();
                let Ok(cells) = known.get_or_insert_with(|| cells(sent, uuids, charsets)) else {
                    return Ok(true);
                };
                let row = row.unwrap_raw().into_iter().zip(&*cells);
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
        let error = if let Some(Err(error)) = known {
            error
        } else if rows.len() > self.query.rows_max {
            self.query.too_many_rows()
        } else if fetching.full() {
            self.query.too_many_bytes()
        } else if let Some(why) = cut(connection, &given).await.map_err(Ended::Broken)? {
            refused(why)
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
        sent: &[Column],
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
            mysql_async::Error::Server(server) if !passes(server) && server.code != WRITES => {
                Ended::Refused(refused(format!(
                    "{} (error {})",
                    server.message, server.code
                )))
            }
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
            WRITES => Ended::Refused(refused("the statement would write")),
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

/// Why an answer is not whole, by the warnings that came with it: what is cut or left out is no error
/// to the server.
async fn cut(
    connection: &mut Connection,
    given: &Given,
) -> Result<Option<&'static str>, SourceError> {
    if given.warnings == 0 {
        return Ok(None);
    }
    let warnings: Vec<(String, u16, String)> = connection.rows(DOING, "SHOW WARNINGS").await?;
    Ok(warnings.iter().find_map(|(_, code, _)| match code {
        1260 => Some(
            "the server cut a list of GROUP_CONCAT or JSON_ARRAYAGG, which is longer than an answer or \
             max_allowed_packet may be: read its rows in its place",
        ),
        1301 => Some(
            "the server gave NULL for a text that is longer than max_allowed_packet: have the \
             statement give less of it",
        ),
        1931 => Some(
            "the server stopped before the end, and gave what it had: LIMIT ROWS EXAMINED, or a \
             recursion that does not end",
        ),
        _ => None,
    }))
}

/// How the columns of an answer are read.
fn cells(sent: &[Column], uuids: &[bool], charsets: &Charsets) -> Result<Vec<Cell>, SourceError> {
    if sent.len() != uuids.len() {
        return Err(refused("its rows have other columns than the statement"));
    }
    let all = sent.iter().zip(uuids).map(|(column, is_uuid)| {
        let kind = if *is_uuid {
            Some(Kind::Uuid)
        } else {
            values::kind(column)
        };
        let kind = kind.ok_or_else(|| {
            refused(format!(
                "column {} is of a type that we do not know",
                column.name_str()
            ))
        })?;
        if charsets.missing(column.character_set()).is_some() {
            return Err(refused(format!(
                "the character set of column {} depends on a parameter: CONVERT(.. USING utf8mb4) \
                 around it",
                column.name_str()
            )));
        }
        Cell::of(&kind, column, charsets, DOING)
    });
    all.collect()
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
fn may_be_uuid(column: &Column) -> bool {
    column.column_type() == ColumnType::MYSQL_TYPE_STRING
        && (1..=4).any(|bytes| column.column_length() == UUID_CHARACTERS * bytes)
}

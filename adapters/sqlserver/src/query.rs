//! Re-reads by key: a statement of the mapping's own, which can only read, as of one moment where the
//! database allows that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::read_query::refused;
use contract::{ReadQuery, ReadRows, SourceError, Value};
use tiberius::{Column, ColumnType};
use tokio::time::Instant;

use crate::bind::Placed;
use crate::column::Kind;
use crate::connect::{self, Rights};
use crate::errors::{AGAIN, Failed, NO_RIGHT, broken, denied};
use crate::probe::Database;
use crate::session::{Isolation, Session, Take};
use crate::settings::Settings;
use crate::values;

const DOING: &str = "read by key";
/// A connection that nobody used for longer is not trusted to be there.
const KEPT_MAX: Duration = Duration::from_secs(30);
/// The question's own limit ends first, and says what took so long.
const SILENCE_LONGER: Duration = Duration::from_secs(1);
/// Errors about the statement's own words, which hold no value.
const ABOUT_WORDS: &[u32] = &[
    102, 103, 104, 105, 107, 108, 116, 121, 130, 137, 145, 147, 148, 156, 164, 170, 174, 189, 195,
    205, 206, 207, 208, 209, 213, 306, 319, 402, 512, 529, 1033, 1087, 1013, 4104, 4121, 8116,
    8117, 8120, 8155, 8156, 8711, 10709, 40515,
];

/// A connection, and how a transaction on it sees the database.
#[derive(Debug)]
struct Asking {
    session: Session,
    isolation: Isolation,
    /// Texts of a code page may be UTF-8, which the client reads as if they were of another one.
    utf8: bool,
}

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
        query: &ReadQuery,
    ) -> Result<ReadRows, SourceError> {
        let placed = Placed::of(query)?;
        let ask = async {
            let mut asking = self.begun(settings, query).await?;
            let (names, rows) = ask(&mut asking, query, &placed).await?;
            // An answer that is there is not lost to a connection that ends.
            if asking.session.rollback(DOING).await.is_ok() {
                *self.slot() = Some((asking, Instant::now()));
            }
            // All that was told is committed, and so it is seen.
            ReadRows::of(query, names, rows, None)
        };
        let answer = tokio::time::timeout(query.time_max, ask).await;
        answer.unwrap_or_else(|_| Err(query.timed_out()))
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<(Asking, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection with the transaction begun.
    async fn begun(&self, settings: &Settings, query: &ReadQuery) -> Result<Asking, SourceError> {
        let kept = self.slot().take();
        if let Some((mut asking, at)) = kept
            && at.elapsed() < KEPT_MAX
        {
            asking
                .session
                .silence_max(query.time_max.saturating_add(SILENCE_LONGER));
            let begun = asking.session.begin_transaction(DOING, asking.isolation);
            if begun.await.is_ok() {
                return Ok(asking);
            }
        }
        let mut session = connect::connect(settings, Rights::Read).await?;
        let database = Database::read(&mut session).await?;
        let isolation = if database.snapshots() {
            Isolation::Snapshot
        } else {
            Isolation::ReadCommitted
        };
        let utf8 = database.collation.ends_with(UTF8) || has_utf8(&mut session).await?;
        session.silence_max(query.time_max.saturating_add(SILENCE_LONGER));
        session.begin_transaction(DOING, isolation).await?;
        Ok(Asking {
            session,
            isolation,
            utf8,
        })
    }
}

/// How the names of collations end whose `char` and `varchar` are UTF-8.
const UTF8: &str = "_UTF8";

/// Whether a column that we may see is in UTF-8: nothing in an answer tells which of its columns are.
async fn has_utf8(session: &mut Session) -> Result<bool, SourceError> {
    let sql = "SELECT TOP (1) c.name FROM sys.columns AS c WHERE c.collation_name LIKE N'%[_]UTF8'";
    Ok(session.row(DOING, sql, &[]).await?.is_some())
}

async fn ask(
    asking: &mut Asking,
    query: &ReadQuery,
    placed: &Placed,
) -> Result<(Vec<String>, Vec<Vec<Value>>), SourceError> {
    let mut rows = Vec::new();
    let mut bytes = 0_usize;
    let mut kinds: Option<Vec<Kind>> = None;
    let utf8 = asking.utf8;
    let asked = asking
        .session
        .each(DOING, &placed.sql, &placed.parameters, |row| {
            if kinds.is_none() {
                kinds = Some(self::kinds(row.columns(), utf8)?);
            }
            let kinds = kinds.as_deref().unwrap_or_default();
            let cells = row.into_cells().zip(kinds);
            let row: Option<Vec<Value>> = cells
                .map(|(cell, kind)| values::value(kind, cell))
                .collect();
            let row = row.ok_or_else(|| {
                let what = "a cell is of another type than its column";
                SourceError::Malformed(format!("{DOING}: {what}"))
            })?;
            bytes = bytes.saturating_add(row.iter().map(Value::bytes).sum());
            rows.push(row);
            // One more than may be: whether there is one decides.
            let enough = rows.len() > query.rows_max || bytes > ReadQuery::BYTES_MAX;
            Ok(if enough { Take::Enough } else { Take::More })
        });
    let columns = asked.await.map_err(meaning)?;
    if columns.is_empty() {
        return Err(refused("the statement gives no rows: it must be a SELECT"));
    }
    self::kinds(&columns, utf8)?;
    if rows.len() > query.rows_max {
        return Err(query.too_many_rows());
    }
    if bytes > ReadQuery::BYTES_MAX {
        return Err(query.too_many_bytes());
    }
    let names = columns.iter().map(|column| column.name().to_owned());
    Ok((names.collect(), rows))
}

/// What an error means while values are about: the server's message can quote them, its number cannot.
fn meaning(failed: Failed) -> SourceError {
    let Some(number) = failed.number else {
        return failed.error;
    };
    let words = || match &failed.error {
        SourceError::Disconnected(what) | SourceError::Malformed(what) => what.clone(),
        other => other.to_string(),
    };
    if failed.is(NO_RIGHT) {
        return denied(words(), "grant the user SELECT on what the statement reads");
    }
    if failed.is(ABOUT_WORDS) {
        return denied(words(), "correct the statement or its parameters");
    }
    if failed.is(AGAIN) {
        let what = format!("someone holds a lock on what the statement reads (error {number})");
        return broken(DOING, what);
    }
    match failed.error {
        // Memory, disk or connections are short, the server shuts down.
        SourceError::Disconnected(_) if is_passing(number) => {
            broken(DOING, format!("the server stops it (error {number})"))
        }
        SourceError::Disconnected(what) if (18_000..50_000).contains(&number) => {
            SourceError::Disconnected(what)
        }
        _ => refused(format!(
            "the statement fails in the server (error {number})"
        )),
    }
}

fn is_passing(number: u32) -> bool {
    [
        596, 601, 617, 669, 701, 802, 845, 1204, 1221, 1807, 3906, 3908, 6002, 6005, 8628, 8645,
        8651, 9001, 10928, 10929, 40197, 40501, 40613, 49918, 49919, 49920,
    ]
    .contains(&number)
}

/// What the columns of an answer hold.
fn kinds(columns: &[Column], utf8: bool) -> Result<Vec<Kind>, SourceError> {
    let kind = |column: &Column| {
        let text = || Kind::NChar {
            fixed: false,
            units: None,
            collation: String::new(),
        };
        Ok(match column.column_type() {
            ColumnType::Bit | ColumnType::Bitn => Kind::Bit,
            // What NULL without a type comes as.
            ColumnType::Null
            | ColumnType::Int1
            | ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Intn => Kind::Int("bigint"),
            ColumnType::Datetime4 => Kind::SmallDateTime,
            ColumnType::Datetime | ColumnType::Datetimen => Kind::DateTime,
            ColumnType::Float4 => Kind::Real,
            ColumnType::Float8 | ColumnType::Floatn => Kind::Float,
            ColumnType::Guid => Kind::Uuid,
            ColumnType::Decimaln | ColumnType::Numericn => Kind::Decimal {
                precision: 38,
                scale: 0,
            },
            ColumnType::Daten => Kind::Date,
            ColumnType::Timen => Kind::Time(7),
            ColumnType::Datetime2 => Kind::DateTime2(7),
            ColumnType::DatetimeOffsetn => Kind::DateTimeOffset(7),
            ColumnType::BigVarBin | ColumnType::BigBinary | ColumnType::Image => Kind::Binary {
                fixed: false,
                bytes: None,
            },
            ColumnType::BigVarChar | ColumnType::BigChar | ColumnType::Text if utf8 => {
                return Err(refused(format!(
                    "column {} is of type char, varchar or text, and the database has some of them in UTF-8, which \
                     the client cannot tell from others: CAST({0} AS nvarchar(4000)) around it",
                    column.name()
                )));
            }
            ColumnType::BigVarChar
            | ColumnType::BigChar
            | ColumnType::NVarchar
            | ColumnType::NChar
            | ColumnType::Text
            | ColumnType::NText => text(),
            ColumnType::Xml => Kind::Xml,
            ColumnType::Udt => Kind::Udt("geography"),
            ColumnType::Money | ColumnType::Money4 => {
                return Err(refused(format!(
                    "column {} is of type money, which the client makes a binary float of: CAST({0} AS \
                     decimal(19,4)) around it",
                    column.name()
                )));
            }
            ColumnType::SSVariant => {
                return Err(refused(format!(
                    "column {} is of type sql_variant: CAST it to the type it holds",
                    column.name()
                )));
            }
        })
    };
    columns.iter().map(kind).collect()
}

//! What a server and its database can do, asked of them: versions say little, for editions, service packs and
//! Azure differ. What our user may not ask is unknown, and said as such.

mod capture;
mod engine;
mod rights;
mod tracking;

use std::time::Duration;

use contract::SourceError;
use contract::value::uuid_text;

use crate::errors::{AGAIN, Failed, denied};
use crate::row::Row;
use crate::session::{Parameter, Session};

pub(crate) use capture::{Job, agent, captured_tables, is_published, jobs};
pub(crate) use engine::Engine;
pub(crate) use rights::{OwnRights, TableRights, is_member, own_rights, table_rights, user};
pub(crate) use tracking::{Tracking, tracked, tracking};

/// A question is asked so many times more where somebody else is in its way. Each waits for a lock for 2 s.
const TRIES: u32 = 2;
/// The first pause between them.
const PAUSE: Duration = Duration::from_millis(100);

/// Something asked that the server may not tell us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known<T> {
    Is(T),
    /// In the server's words.
    Unknown(String),
}

impl<T> Known<T> {
    /// An answer, or the server's own words that it gives none. A connection that broke says nothing about
    /// the question, nor does what passes, as a lock that somebody else holds.
    pub(crate) fn of(asked: Result<T, Failed>) -> Result<Self, SourceError> {
        match asked {
            Ok(found) => Ok(Self::Is(found)),
            Err(failed) if failed.passes() => Err(failed.error),
            Err(Failed {
                number: Some(_),
                error,
            }) if !matches!(error, SourceError::Malformed(_)) => {
                Ok(Self::Unknown(error.to_string()))
            }
            Err(failed) => Err(failed.error),
        }
    }

    pub(crate) fn known(&self) -> Option<&T> {
        match self {
            Self::Is(found) => Some(found),
            Self::Unknown(_) => None,
        }
    }
}

/// Asks something that our user may not be told; again, where somebody else is in the way.
pub(crate) async fn rows(
    session: &mut Session,
    doing: &str,
    sql: &str,
    parameters: &[Parameter],
) -> Result<Vec<Row>, Failed> {
    let mut tries = 0;
    loop {
        let asked = session.rows(doing, sql, parameters).await;
        match asked {
            Err(failed) if failed.is(AGAIN) && session.is_usable() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE * tries).await;
            }
            other => return other,
        }
    }
}

/// The same, for the first row of the answer.
pub(crate) async fn row(
    session: &mut Session,
    doing: &str,
    sql: &str,
    parameters: &[Parameter],
) -> Result<Known<Option<Row>>, SourceError> {
    let rows = rows(session, doing, sql, parameters).await;
    Known::of(rows.map(|rows| rows.into_iter().next()))
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) cdc: bool,
    /// 0 off, 1 on, 2 on its way off, 3 on its way on.
    pub(crate) snapshot_state: i64,
    /// READ COMMITTED reads versions, and waits for no lock.
    pub(crate) read_committed_snapshot: bool,
    pub(crate) collation: String,
    /// Not a replica or a database that was set to be read only.
    pub(crate) writable: bool,
}

impl Database {
    pub(crate) async fn read(session: &mut Session) -> Result<Self, SourceError> {
        let doing = "read the database's properties";
        let sql = "SELECT d.name, d.is_cdc_enabled, d.snapshot_isolation_state, \
             d.is_read_committed_snapshot_on, d.recovery_model, d.collation_name, \
             CAST(DATABASEPROPERTYEX(d.name, 'Updateability') AS nvarchar(128)) AS updateability, \
             d.service_broker_guid, d.create_date FROM sys.databases AS d WHERE d.name = DB_NAME()";
        let Some(row) = session.row(doing, sql, &[]).await? else {
            return Err(denied(
                format!("{doing}: our login may not see its own database in sys.databases"),
                "GRANT VIEW ANY DATABASE TO the login, in master; undo: REVOKE VIEW ANY DATABASE FROM the login",
            ));
        };
        Ok(Self {
            name: row.text_there(doing, 0)?,
            cdc: row.flag(doing, 1)?,
            snapshot_state: row.int(doing, 2)?.unwrap_or(0),
            read_committed_snapshot: row.flag(doing, 3)?,
            collation: row.text(doing, 5)?.unwrap_or_default(),
            writable: row.text(doing, 6)?.as_deref() == Some("READ_WRITE"),
        })
    }

    /// Whether a transaction may see the database as of its first read.
    pub(crate) fn snapshots(&self) -> bool {
        self.snapshot_state == 1
    }
}

/// Which life of the database this is: a restore begins another.
pub(crate) async fn fork(session: &mut Session) -> Result<Known<Option<String>>, SourceError> {
    let doing = "read which life of the database this is";
    let sql = "SELECT rs.recovery_fork_guid, rs.first_recovery_fork_guid, rs.database_guid, rs.family_guid FROM \
         sys.database_recovery_status AS rs WHERE rs.database_id = DB_ID()";
    match row(session, doing, sql, &[]).await? {
        Known::Unknown(why) => Ok(Known::Unknown(why)),
        Known::Is(None) => Ok(Known::Is(None)),
        Known::Is(Some(row)) => Ok(Known::Is(row.uuid(doing, 0)?.map(|guid| uuid_text(&guid)))),
    }
}

/// Minutes by which the server's clock is ahead of UTC now: its own times have no zone.
pub(crate) async fn offset_minutes(session: &mut Session) -> Result<i64, SourceError> {
    let doing = "read the server's time zone";
    let sql = "SELECT SYSDATETIMEOFFSET(), DATEPART(TZOFFSET, SYSDATETIMEOFFSET())";
    let row = session.one(doing, sql, &[]).await?;
    row.int_there(doing, 1)
}

/// The beginning of 2020, in seconds since 1970.
const YEAR_2020: i64 = 1_577_836_800;

/// The server's clock, in seconds since 1970.
pub(crate) async fn clock(session: &mut Session) -> Result<i64, SourceError> {
    let doing = "read the server's clock";
    // What all servers have counts to an int, which is enough from there until 2088.
    let sql = "SELECT DATEDIFF(SECOND, CAST('2020-01-01T00:00:00' AS datetime), GETUTCDATE())";
    let row = session.one(doing, sql, &[]).await?;
    Ok(row.int_there(doing, 0)?.saturating_add(YEAR_2020))
}

//! What a server and its database can do, asked of them: versions say little, for editions, service packs and
//! Azure differ. What our user may not ask is unknown, and said as such.

use contract::SourceError;
use contract::value::uuid_text;

use crate::errors::Failed;
use crate::session::{Parameter, Session};
use crate::sql;

/// Something asked that the server may not tell us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known<T> {
    Is(T),
    /// In the server's words.
    Unknown(String),
}

impl<T> Known<T> {
    /// An answer, or the server's own words that it gives none. A connection that broke says nothing about
    /// the question.
    pub(crate) fn of(asked: Result<T, Failed>) -> Result<Self, SourceError> {
        match asked {
            Ok(found) => Ok(Self::Is(found)),
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

/// `SERVERPROPERTY('EngineEdition')` of an edition without jobs of its own.
const EXPRESS: i64 = 4;
/// Azure SQL Database, which has no agent: it captures by itself.
const AZURE: i64 = 5;

/// The server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Engine {
    pub(crate) engine_edition: i64,
    pub(crate) edition: String,
    pub(crate) version: String,
}

impl Engine {
    pub(crate) async fn read(session: &mut Session) -> Result<Self, SourceError> {
        let doing = "read the server's properties";
        let sql = "SELECT CAST(SERVERPROPERTY('EngineEdition') AS int) AS engine_edition, \
             CAST(SERVERPROPERTY('Edition') AS nvarchar(128)) AS edition, \
             CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS product_version, \
             CAST(SERVERPROPERTY('ProductMajorVersion') AS nvarchar(16)) AS major";
        let row = session.one(doing, sql, &[]).await?;
        Ok(Self {
            engine_edition: row.int(doing, 0)?.unwrap_or(0),
            edition: row.text(doing, 1)?.unwrap_or_default(),
            version: row.text(doing, 2)?.unwrap_or_default(),
        })
    }

    /// Whether change data capture needs SQL Server Agent here.
    pub(crate) fn needs_agent(&self) -> bool {
        self.engine_edition != AZURE
    }

    /// Whether the edition leaves change data capture out.
    pub(crate) fn is_express(&self) -> bool {
        self.engine_edition == EXPRESS
    }
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
        let row = session.one(doing, sql, &[]).await?;
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
    match Known::of(session.row(doing, sql, &[]).await)? {
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

/// What our user may do with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableRights {
    /// There is such a table, as far as our user may know.
    pub(crate) exists: bool,
    pub(crate) select: bool,
    pub(crate) tracking: bool,
}

/// What our user may do in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnRights {
    pub(crate) owner: bool,
    pub(crate) server_state: bool,
    /// `SELECT` on the schema of change data capture.
    pub(crate) cdc: bool,
}

pub(crate) async fn table_rights(
    session: &mut Session,
    table: &contract::TableName,
) -> Result<TableRights, SourceError> {
    let doing = format!("read our rights on {table}");
    let sql = "SELECT HAS_PERMS_BY_NAME(@P1, 'OBJECT', 'VIEW CHANGE TRACKING'), HAS_PERMS_BY_NAME(@P1, \
         'OBJECT', 'SELECT'), OBJECT_ID(@P1)";
    let named = [Parameter::Text(sql::table(table))];
    let row = session.one(&doing, sql, &named).await?;
    Ok(TableRights {
        exists: row.int(&doing, 2)?.is_some(),
        select: row.flag(&doing, 1)?,
        tracking: row.flag(&doing, 0)?,
    })
}

pub(crate) async fn own_rights(session: &mut Session) -> Result<OwnRights, SourceError> {
    let doing = "read our rights";
    let sql = "SELECT IS_MEMBER('db_owner'), HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE'), \
         HAS_PERMS_BY_NAME('cdc', 'SCHEMA', 'SELECT')";
    let row = session.one(doing, sql, &[]).await?;
    Ok(OwnRights {
        owner: row.flag(doing, 0)?,
        server_state: row.flag(doing, 1)?,
        cdc: row.flag(doing, 2)?,
    })
}

/// The name that the database has for us.
pub(crate) async fn user(session: &mut Session) -> Result<String, SourceError> {
    let doing = "read the user's name";
    let row = session
        .one(doing, "SELECT USER_NAME(), SUSER_SNAME()", &[])
        .await?;
    row.text_there(doing, 0)
}

/// A capture instance, as far as a check needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    /// The table that is captured.
    pub(crate) object_id: i64,
    pub(crate) instance: String,
    /// Who may read it beside owners.
    pub(crate) role: Option<String>,
    pub(crate) columns: Vec<String>,
}

/// Every capture instance, in the order they were made.
pub(crate) async fn captured(session: &mut Session) -> Result<Known<Vec<Captured>>, SourceError> {
    let doing = "read what change data capture captures";
    let sql = "SELECT ct.object_id, ct.source_object_id, s.name, t.name, ct.capture_instance, ct.start_lsn, \
         ct.end_lsn, ct.supports_net_changes, ct.has_drop_pending, ct.role_name, ct.index_name, ct.create_date \
         FROM cdc.change_tables AS ct JOIN sys.tables AS t ON t.object_id = ct.source_object_id JOIN \
         sys.schemas AS s ON s.schema_id = t.schema_id ORDER BY s.name, t.name, ct.create_date, \
         ct.capture_instance";
    let rows = match Known::of(session.rows(doing, sql, &[]).await)? {
        Known::Is(rows) => rows,
        Known::Unknown(why) => return Ok(Known::Unknown(why)),
    };
    let sql = "SELECT cc.object_id, cc.column_name, cc.column_id, cc.column_type, cc.column_ordinal, \
         cc.is_computed FROM cdc.captured_columns AS cc ORDER BY cc.object_id, cc.column_ordinal";
    let columns = match Known::of(session.rows(doing, sql, &[]).await)? {
        Known::Is(columns) => columns,
        Known::Unknown(why) => return Ok(Known::Unknown(why)),
    };
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let own = row.int_there(doing, 0)?;
        let mut names = Vec::new();
        for column in &columns {
            if column.int_there(doing, 0)? == own {
                names.push(column.text_there(doing, 1)?);
            }
        }
        found.push(Captured {
            object_id: row.int_there(doing, 1)?,
            instance: row.text_there(doing, 4)?,
            role: row.text(doing, 9)?,
            columns: names,
        });
    }
    Ok(Known::Is(found))
}

/// How change tracking is set up for the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tracking {
    pub(crate) cleans: bool,
    pub(crate) retention: i64,
    /// `MINUTES`, `HOURS` or `DAYS`.
    pub(crate) units: String,
}

impl Tracking {
    pub(crate) fn minutes(&self) -> i64 {
        self.retention.saturating_mul(match self.units.as_str() {
            "DAYS" => 24 * 60,
            "HOURS" => 60,
            _ => 1,
        })
    }
}

/// How the database tracks changes; nothing where it does not.
pub(crate) async fn tracking(
    session: &mut Session,
) -> Result<Known<Option<Tracking>>, SourceError> {
    let doing = "read how changes are tracked";
    let sql = "SELECT is_auto_cleanup_on, retention_period, retention_period_units_desc, max_cleanup_version \
         FROM sys.change_tracking_databases WHERE database_id = DB_ID()";
    match Known::of(session.row(doing, sql, &[]).await)? {
        Known::Unknown(why) => Ok(Known::Unknown(why)),
        Known::Is(None) => Ok(Known::Is(None)),
        Known::Is(Some(row)) => Ok(Known::Is(Some(Tracking {
            cleans: row.flag(doing, 0)?,
            retention: row.int(doing, 1)?.unwrap_or(0),
            units: row.text(doing, 2)?.unwrap_or_default(),
        }))),
    }
}

/// The numbers of the tables whose changes are tracked.
pub(crate) async fn tracked(session: &mut Session) -> Result<Known<Vec<i64>>, SourceError> {
    let doing = "read which tables are tracked";
    let sql = "SELECT s.name, t.name, t.object_id, ctt.is_track_columns_updated_on, ctt.min_valid_version, \
         ctt.begin_version, ctt.cleanup_version FROM sys.change_tracking_tables AS ctt JOIN sys.tables AS t ON \
         t.object_id = ctt.object_id JOIN sys.schemas AS s ON s.schema_id = t.schema_id";
    let rows = match Known::of(session.rows(doing, sql, &[]).await)? {
        Known::Is(rows) => rows,
        Known::Unknown(why) => return Ok(Known::Unknown(why)),
    };
    let ids = rows.iter().map(|row| row.int_there(doing, 2));
    Ok(Known::Is(ids.collect::<Result<_, _>>()?))
}

/// Whether the agent that runs the capture job runs; nothing where the server lists none.
pub(crate) async fn agent(session: &mut Session) -> Result<Known<Option<bool>>, SourceError> {
    let doing = "ask whether SQL Server Agent runs";
    let sql = "SELECT CASE WHEN dss.[status] = 4 THEN 1 ELSE 0 END AS is_running FROM sys.dm_server_services AS \
         dss WHERE dss.[servicename] LIKE N'SQL Server Agent (%'";
    match Known::of(session.row(doing, sql, &[]).await)? {
        Known::Unknown(why) => Ok(Known::Unknown(why)),
        Known::Is(None) => Ok(Known::Is(None)),
        Known::Is(Some(row)) => Ok(Known::Is(Some(row.flag(doing, 0)?))),
    }
}

/// A job of change data capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// `capture` or `cleanup`.
    pub(crate) kind: String,
    pub(crate) continuous: bool,
    /// Seconds between two looks at the log.
    pub(crate) polling: i64,
    /// Minutes for which changes are kept.
    pub(crate) retention: i64,
}

/// The jobs of change data capture for this database.
pub(crate) async fn jobs(session: &mut Session) -> Result<Known<Vec<Job>>, SourceError> {
    let doing = "read the jobs of change data capture";
    let sql = "SELECT job_type, maxtrans, maxscans, continuous, pollinginterval, retention, threshold FROM \
         msdb.dbo.cdc_jobs WHERE database_id = DB_ID()";
    let rows = match Known::of(session.rows(doing, sql, &[]).await)? {
        Known::Is(rows) => rows,
        Known::Unknown(why) => return Ok(Known::Unknown(why)),
    };
    let job = |row: &crate::row::Row| {
        Ok(Job {
            kind: row.text(doing, 0)?.unwrap_or_default(),
            continuous: row.flag(doing, 3)?,
            polling: row.int(doing, 4)?.unwrap_or(0),
            retention: row.int(doing, 5)?.unwrap_or(0),
        })
    };
    let jobs: Result<_, SourceError> = rows.iter().map(job).collect();
    Ok(Known::Is(jobs?))
}

/// The numbers of the tables that change data capture captures, also for who may not see how.
pub(crate) async fn captured_tables(session: &mut Session) -> Result<Vec<i64>, SourceError> {
    let doing = "read which tables are captured";
    let sql = "SELECT t.object_id FROM sys.tables AS t WHERE t.is_tracked_by_cdc = 1";
    let rows = session.rows(doing, sql, &[]).await?;
    rows.iter().map(|row| row.int_there(doing, 0)).collect()
}

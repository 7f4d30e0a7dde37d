//! What runs change data capture: the agent and its jobs.

use contract::SourceError;

use super::Known;
use crate::errors::{Failed, NO_RIGHT};
use crate::row::Row;
use crate::session::Session;

/// Whether the agent that runs the capture job runs; nothing where the server lists none. Its service is called
/// otherwise in other languages of the server, its program is not; on Linux there is only the English name.
pub(crate) async fn agent(session: &mut Session) -> Result<Known<Option<bool>>, SourceError> {
    let doing = "ask whether SQL Server Agent runs";
    let sql = "SELECT CASE WHEN dss.[status] = 4 THEN 1 ELSE 0 END AS is_running FROM sys.dm_server_services AS \
         dss WHERE UPPER(dss.[filename]) LIKE N'%\\SQLAGENT.EXE%' OR dss.[servicename] LIKE N'SQL Server Agent (%'";
    match super::row(session, doing, sql, &[]).await? {
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

/// Where the jobs stand: in Azure SQL Database, which has no `msdb`, in the database itself.
const JOBS: &str = "SELECT job_type, maxtrans, maxscans, continuous, pollinginterval, retention, threshold FROM \
     msdb.dbo.cdc_jobs WHERE database_id = DB_ID()";
const JOBS_OF_AZURE: &str = "SELECT job_type, maxtrans, maxscans, continuous, pollinginterval, retention, \
     threshold FROM cdc.cdc_jobs";

/// The jobs of change data capture for this database.
pub(crate) async fn jobs(session: &mut Session) -> Result<Known<Vec<Job>>, SourceError> {
    let doing = "read the jobs of change data capture";
    let first = super::rows(session, doing, JOBS, &[]).await;
    let may = |failed: &Failed| failed.number.is_some() && !failed.is(NO_RIGHT) && !failed.passes();
    let other = match &first {
        Err(failed) if may(failed) && session.is_usable() => {
            session.rows(doing, JOBS_OF_AZURE, &[]).await.ok()
        }
        _ => None,
    };
    let rows = match other {
        Some(rows) => rows,
        None => match Known::of(first)? {
            Known::Is(rows) => rows,
            Known::Unknown(why) => return Ok(Known::Unknown(why)),
        },
    };
    let job = |row: &Row| {
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

/// Whether the database is published for replication: its log reader captures then, and no job does.
pub(crate) async fn is_published(session: &mut Session) -> Result<bool, SourceError> {
    let doing = "ask whether the database is published";
    let sql = "SELECT CAST(DATABASEPROPERTYEX(DB_NAME(), 'IsPublished') AS int)";
    session.one(doing, sql, &[]).await?.flag(doing, 0)
}

/// The numbers of the tables that change data capture captures, also for who may not see how.
pub(crate) async fn captured_tables(session: &mut Session) -> Result<Vec<i64>, SourceError> {
    let doing = "read which tables are captured";
    let sql = "SELECT t.object_id FROM sys.tables AS t WHERE t.is_tracked_by_cdc = 1";
    let rows = session.rows(doing, sql, &[]).await?;
    rows.iter().map(|row| row.int_there(doing, 0)).collect()
}

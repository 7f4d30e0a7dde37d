//! Change tracking.

use contract::SourceError;

use super::Known;
use crate::session::Session;

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
    match super::row(session, doing, sql, &[]).await? {
        Known::Unknown(why) => Ok(Known::Unknown(why)),
        // The row of a database is only shown to who may see it in the list of databases.
        Known::Is(None) => Ok(match version(session).await? {
            None => Known::Is(None),
            Some(_) => Known::Unknown(format!(
                "{doing}: our login may not see its own database in sys.change_tracking_databases, which needs \
                 VIEW ANY DATABASE"
            )),
        }),
        Known::Is(Some(row)) => Ok(Known::Is(Some(Tracking {
            cleans: row.flag(doing, 0)?,
            retention: row.int(doing, 1)?.unwrap_or(0),
            units: row.text(doing, 2)?.unwrap_or_default(),
        }))),
    }
}

/// `None` = the database does not track changes.
async fn version(session: &mut Session) -> Result<Option<i64>, SourceError> {
    let doing = "read the change tracking version";
    let sql = "SELECT CHANGE_TRACKING_CURRENT_VERSION() AS v";
    let row = session.one(doing, sql, &[]).await?;
    row.int(doing, 0)
}

/// The numbers of the tables whose changes are tracked.
pub(crate) async fn tracked(session: &mut Session) -> Result<Known<Vec<i64>>, SourceError> {
    let doing = "read which tables are tracked";
    let sql = "SELECT s.name, t.name, t.object_id, ctt.is_track_columns_updated_on, ctt.min_valid_version, \
         ctt.begin_version, ctt.cleanup_version FROM sys.change_tracking_tables AS ctt JOIN sys.tables AS t ON \
         t.object_id = ctt.object_id JOIN sys.schemas AS s ON s.schema_id = t.schema_id";
    let rows = match Known::of(super::rows(session, doing, sql, &[]).await)? {
        Known::Is(rows) => rows,
        Known::Unknown(why) => return Ok(Known::Unknown(why)),
    };
    let ids = rows.iter().map(|row| row.int_there(doing, 2));
    Ok(Known::Is(ids.collect::<Result<_, _>>()?))
}

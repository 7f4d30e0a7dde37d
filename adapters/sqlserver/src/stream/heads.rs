//! Up to where a cycle tells, taken before anything of it is read.

use contract::SourceError;

use crate::errors::{Failed, NO_OBJECT, NO_RIGHT, lost};
use crate::lsn::Lsn;
use crate::session::Session;

/// The ends of what there is to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Heads {
    pub(crate) lsn: Lsn,
    pub(crate) version: u64,
    pub(crate) rowversion: u64,
}

/// Which of them are needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) cdc: bool,
    /// The tables of change data capture are read, not its functions.
    pub(crate) cdc_tables: bool,
    pub(crate) tracking: bool,
    pub(crate) rowversion: bool,
}

/// The newest transaction that is captured. A transaction appears here with all of its changes; nothing is
/// read past it.
const MAX_LSN: &str =
    "SELECT TOP (1) start_lsn, tran_end_time FROM cdc.lsn_time_mapping ORDER BY start_lsn DESC";
/// The same for who may not read that table.
const MAX_LSN_BY_FUNCTION: &str = "SELECT sys.fn_cdc_get_max_lsn() AS max_lsn";
const VERSION: &str = "SELECT CHANGE_TRACKING_CURRENT_VERSION() AS v";
/// Below this one no transaction is on its way.
const ROWVERSION: &str = "SELECT MIN_ACTIVE_ROWVERSION() AS hi, @@DBTS AS dbts";

impl Heads {
    /// Takes them; what is not needed, or not there yet, stays as it was told.
    ///
    /// # Errors
    /// [`SourceError::PositionLost`] when one lies before what was told: this is an older state of the
    /// database.
    pub(crate) async fn take(
        session: &mut Session,
        needed: Needed,
        told: Self,
    ) -> Result<Self, SourceError> {
        let mut heads = told;
        if needed.cdc {
            // What we have read once was there.
            let newest = max_lsn(session, needed.cdc_tables).await?;
            heads.lsn = newest.unwrap_or(Lsn::ZERO);
        }
        if needed.tracking
            && let Some(version) = version(session).await?
        {
            heads.version = version;
        }
        if needed.rowversion {
            heads.rowversion = rowversion(session).await?;
        }
        heads.not_before(told)?;
        Ok(heads)
    }

    fn not_before(self, told: Self) -> Result<(), SourceError> {
        let older = |what: &str, now: String, then: String| {
            Err(lost(format!(
                "the database's {what} is {now}, and we have read up to {then}: it was restored to an \
                 earlier time, its capture was begun anew, or this is a copy that is behind"
            )))
        };
        if self.lsn < told.lsn {
            return older(
                "newest captured LSN",
                self.lsn.to_string(),
                told.lsn.to_string(),
            );
        }
        if self.version < told.version {
            let (now, then) = (self.version.to_string(), told.version.to_string());
            return older("change tracking version", now, then);
        }
        if self.rowversion < told.rowversion {
            let (now, then) = (self.rowversion.to_string(), told.rowversion.to_string());
            return older("rowversion", now, then);
        }
        Ok(())
    }
}

/// `None` = the capture job has not run yet.
pub(crate) async fn max_lsn(
    session: &mut Session,
    tables: bool,
) -> Result<Option<Lsn>, SourceError> {
    let doing = "read the newest captured LSN";
    let sql = if tables { MAX_LSN } else { MAX_LSN_BY_FUNCTION };
    let row = match session.row(doing, sql, &[]).await {
        Ok(row) => row,
        // Change data capture was turned off: whoever opens the stream anew sees what is left.
        Err(failed) if failed.is(NO_OBJECT) => {
            return Err(SourceError::Disconnected(failed.error.to_string()));
        }
        Err(failed) => return Err(failed.error),
    };
    let Some(row) = row else {
        return Ok(None);
    };
    let lsn = row.array(doing, 0)?.map(Lsn);
    Ok(lsn.filter(|lsn| !lsn.is_zero()))
}

/// `None` = the database does not track changes.
pub(crate) async fn version(session: &mut Session) -> Result<Option<u64>, SourceError> {
    let doing = "read the change tracking version";
    let row = session.one(doing, VERSION, &[]).await?;
    Ok(row
        .int(doing, 0)?
        .and_then(|version| u64::try_from(version).ok()))
}

/// The highest rowversion below which no transaction is on its way.
async fn rowversion(session: &mut Session) -> Result<u64, SourceError> {
    let doing = "read the lowest rowversion that is on its way";
    let row = session.one(doing, ROWVERSION, &[]).await?;
    let bytes = row.array(doing, 0)?.unwrap_or_default();
    Ok(u64::from_be_bytes(bytes).saturating_sub(1))
}

/// Whether an error is about one table only, and the others can go on.
pub(crate) fn is_of_one_table(failed: &Failed) -> bool {
    failed.is(NO_OBJECT) || failed.is(NO_RIGHT) || failed.is(crate::errors::NOT_TRACKED)
}

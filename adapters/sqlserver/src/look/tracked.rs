//! How long what change tracking has and we have not read is still kept.

use std::time::Duration;

use contract::{Behind, KeptFor, SourceError};
use tokio::time::Instant;

use crate::probe::{self, Known};
use crate::session::{Parameter, Session};
use crate::stream::version;

use super::{minutes, seconds};

pub(super) const HINT: &str = "see that the agent reads (lighterman status), or keep changes for longer: ALTER \
     DATABASE CURRENT SET CHANGE_TRACKING (CHANGE_RETENTION = .. DAYS)";

/// Since when there is more than we have read, by our own clock.
#[derive(Debug, Default)]
pub(super) struct Standing(Option<(u64, Instant)>);

/// How far behind the version that is read and stored is.
pub(super) async fn see(
    session: &mut Session,
    ours: u64,
    standing: &mut Standing,
) -> Result<Behind, SourceError> {
    let newest = version(session).await?;
    let tracking = probe::tracking(session).await?;
    let kept_for = match tracking.known().and_then(Option::as_ref) {
        Some(tracking) if tracking.cleans => KeptFor::Time(minutes(tracking.minutes())),
        Some(_) => KeptFor::Ever,
        None => KeptFor::Unknown,
    };
    let mut by = Duration::ZERO;
    if newest.is_none_or(|newest| newest <= ours) {
        standing.0 = None;
    } else {
        let since = match standing.0 {
            Some((version, since)) if version == ours => since,
            _ => Instant::now(),
        };
        standing.0 = Some((ours, since));
        let age = oldest(session, ours).await?.map(seconds);
        // It is not read, however young: nothing else is zero.
        let least = since.elapsed().max(Duration::from_secs(1));
        by = age.unwrap_or_default().max(least);
    }
    Ok(Behind {
        by: Some(by),
        kept_for,
        hint: HINT.to_owned(),
    })
}

/// How many seconds old the oldest version behind ours is, where our user may know it.
async fn oldest(session: &mut Session, ours: u64) -> Result<Option<i64>, SourceError> {
    let doing = "read how old the oldest unread version is";
    let sql = "SELECT TOP (1) DATEDIFF(SECOND, ct.commit_time, GETDATE()) FROM sys.dm_tran_commit_table AS ct \
         WHERE ct.commit_ts > @P1 ORDER BY ct.commit_ts";
    let ours = [Parameter::Int(i64::try_from(ours).unwrap_or(i64::MAX))];
    match probe::row(session, doing, sql, &ours).await? {
        Known::Is(Some(row)) => row.int(doing, 0),
        Known::Is(None) | Known::Unknown(_) => Ok(None),
    }
}

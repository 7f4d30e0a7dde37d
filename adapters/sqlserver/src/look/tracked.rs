//! How long what change tracking has and we have not read is still kept.

use contract::SourceError;
use tokio::time::Instant;

use crate::probe::{self, Known};
use crate::session::{Parameter, Session};
use crate::stream::version;

use super::{State, left};

pub(super) const HINT: &str = "see that the agent reads (lighterman status), or keep changes for longer: ALTER \
     DATABASE CURRENT SET CHANGE_TRACKING (CHANGE_RETENTION = .. DAYS)";

/// Since when there is more than we have read, by our own clock.
#[derive(Debug, Default)]
pub(super) struct Standing(Option<(u64, Instant)>);

/// What a look sees of change tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// `None` = nothing is removed, or it cannot be known.
    retention_minutes: Option<i64>,
    /// The age of the oldest change that is not read; `None` = all is read.
    unread_minutes: Option<i64>,
}

pub(super) fn state(seen: Seen) -> State {
    match left(seen.unread_minutes, seen.retention_minutes) {
        Some(left) => State::Expiring(left),
        None => State::Well,
    }
}

/// What there is to see behind the version that is read and stored.
pub(super) async fn see(
    session: &mut Session,
    ours: u64,
    standing: &mut Standing,
) -> Result<Seen, SourceError> {
    let mut seen = Seen {
        retention_minutes: None,
        unread_minutes: None,
    };
    let newest = version(session).await?;
    if newest.is_none_or(|newest| newest <= ours) {
        standing.0 = None;
        return Ok(seen);
    }
    let since = match standing.0 {
        Some((version, since)) if version == ours => since,
        _ => Instant::now(),
    };
    standing.0 = Some((ours, since));
    let tracking = probe::tracking(session).await?;
    seen.retention_minutes = tracking
        .known()
        .and_then(|tracking| tracking.as_ref())
        .filter(|tracking| tracking.cleans)
        .map(probe::Tracking::minutes);
    if seen.retention_minutes.is_some() {
        let stood = i64::try_from(since.elapsed().as_secs() / 60).unwrap_or(i64::MAX);
        let age = oldest(session, ours).await?;
        seen.unread_minutes = Some(age.unwrap_or(0).max(stood));
    }
    Ok(seen)
}

/// The age of the oldest version behind ours, where our user may know it.
async fn oldest(session: &mut Session, ours: u64) -> Result<Option<i64>, SourceError> {
    let doing = "read how old the oldest unread version is";
    let sql = "SELECT TOP (1) DATEDIFF(MINUTE, ct.commit_time, GETDATE()) FROM sys.dm_tran_commit_table AS ct \
         WHERE ct.commit_ts > @P1 ORDER BY ct.commit_ts";
    let ours = [Parameter::Int(i64::try_from(ours).unwrap_or(i64::MAX))];
    match Known::of(session.row(doing, sql, &ours).await)? {
        Known::Is(Some(row)) => row.int(doing, 0),
        Known::Is(None) | Known::Unknown(_) => Ok(None),
    }
}

/// Says it once, and once more when it is well again.
pub(super) fn say(before: &State, now: &State) {
    match (before, now) {
        (State::Well, State::Expiring(minutes)) => tracing::warn!(
            stage = "capture",
            left_minutes = minutes,
            hint = HINT,
            "the server removes tracked changes soon that have not been read"
        ),
        (State::Expiring(_), State::Well) => {
            tracing::info!(stage = "capture", "tracked changes are read in time again");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracked_changes_that_are_removed_before_they_are_read_are_said_in_time() {
        let seen = |unread, retention| {
            state(Seen {
                retention_minutes: retention,
                unread_minutes: unread,
            })
        };
        assert_eq!(seen(Some(2_000), Some(2_880)), State::Well);
        assert_eq!(seen(Some(2_160), Some(2_880)), State::Expiring(720));
        assert_eq!(seen(Some(9_000), Some(2_880)), State::Expiring(0));
        assert_eq!(seen(Some(9_000), None), State::Well, "nothing is removed");
        assert_eq!(seen(None, Some(2_880)), State::Well, "all is read");
    }
}

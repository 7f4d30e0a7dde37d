//! A look beside the stream: whether the capture job runs, how far it is behind, and whether the server
//! removes changes before they are read.
//!
//! A capture job that does not run looks like a database in which nothing happens. The server tells the two
//! apart only to who may see its state; where that is not us, it is said that nobody knows.

mod tracked;

use std::sync::Arc;
use std::time::Duration;

use contract::{LogKept, Look, SourceError};
use tokio::sync::Mutex;

use crate::lsn::Lsn;
use crate::place::Place;
use crate::probe::{self, Database, Engine, Known};
use crate::session::{Line, Parameter, Session};
use crate::settings::Settings;
use crate::stream::{Shared, max_lsn};

/// The whole look.
const LOOK_MAX: Duration = Duration::from_secs(18);
/// Where nothing says how often the capture job looks at the log.
const POLLING: i64 = 5;
/// Without the right to know, so many seconds without a new entry may be silence or a job that stands still:
/// a job that runs writes one at least each five minutes.
const SILENT_SECONDS: i64 = 600;

const CAPTURED_HINT: &str = "see that the agent reads (lighterman status), or keep changes for longer: EXEC \
     sys.sp_cdc_change_job @job_type = N'cleanup', @retention = ..";

/// What is wrong, as far as it is said once and once more when it is well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Well,
    /// Nothing is captured: the agent does not run.
    Stopped,
    /// The newest captured transaction is so many seconds old, and the job is at work.
    Behind(i64),
    /// So many seconds without anything, and we may not know why.
    Unknown(i64),
    /// So many minutes until the server removes what has not been read.
    Expiring(i64),
}

/// What a look sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether the agent that runs the job runs; `None` = it cannot be known.
    pub(crate) agent: Option<bool>,
    /// Between two looks of the job at the log.
    pub(crate) polling_seconds: i64,
    /// How long changes are kept; `None` = it cannot be known.
    pub(crate) retention_minutes: Option<i64>,
    /// Since the newest captured transaction; `None` = there is none.
    pub(crate) silent_seconds: Option<i64>,
    /// The delay of the newest scan of the log; `None` = it cannot be known.
    pub(crate) latency_seconds: Option<i64>,
    /// The age of what we have read up to, if there is more behind it.
    pub(crate) unread_minutes: Option<i64>,
}

/// How many minutes are left of a retention of which three quarters have passed for what is not read.
fn left(unread: Option<i64>, retention: Option<i64>) -> Option<i64> {
    let (unread, retention) = (unread?, retention?);
    let near = unread.saturating_mul(4) >= retention.saturating_mul(3);
    near.then(|| retention.saturating_sub(unread).max(0))
}

/// What that comes to.
pub(crate) fn state(seen: &Seen) -> State {
    if let Some(left) = left(seen.unread_minutes, seen.retention_minutes) {
        return State::Expiring(left);
    }
    if seen.agent == Some(false) {
        return State::Stopped;
    }
    let slow = seen.polling_seconds.max(1).saturating_mul(2);
    match (seen.latency_seconds, seen.silent_seconds) {
        (Some(latency), _) if latency > slow => State::Behind(latency),
        (None, Some(silent)) if seen.agent.is_none() && silent > SILENT_SECONDS => {
            State::Unknown(silent)
        }
        _ => State::Well,
    }
}

/// Looks at a source; keeps its connection from one look to the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looker {
    held: Arc<Mutex<Option<Held>>>,
}

#[derive(Debug)]
struct Held {
    line: Line,
    /// What was said last of change data capture, and of change tracking.
    said: State,
    said_tracked: State,
    standing: tracked::Standing,
}

impl Looker {
    pub(crate) async fn look(
        &self,
        settings: &Settings,
        shared: &Shared,
    ) -> Result<Look, SourceError> {
        let looking = async {
            let mut held = self.held.lock().await;
            let held = held.get_or_insert_with(|| Held {
                line: Line::new(settings),
                said: State::Well,
                said_tracked: State::Well,
                standing: tracked::Standing::default(),
            });
            match held.both(shared).await {
                Err(SourceError::Disconnected(_)) => {
                    // The server may have ended it meanwhile, as it does with those that are silent.
                    held.line.close();
                    held.both(shared).await
                }
                other => other,
            }
        };
        tokio::time::timeout(LOOK_MAX, looking)
            .await
            .unwrap_or_else(|_| {
                Err(SourceError::Disconnected(format!(
                    "look at what is captured: no answer within {} s",
                    LOOK_MAX.as_secs()
                )))
            })
    }
}

impl Held {
    /// Only what the stream reads is looked at.
    async fn both(&mut self, shared: &Shared) -> Result<Look, SourceError> {
        let (needed, place) = (shared.needed(), shared.place());
        let mut expiring = None;
        if needed.cdc {
            let (session, _) = self.line.session().await?;
            if let Some(seen) = see(session, place).await? {
                let now = state(&seen);
                say(&self.said, &now);
                if let State::Expiring(left) = now {
                    expiring = Some((left, CAPTURED_HINT));
                }
                self.said = now;
            }
        }
        if needed.tracking
            && let Some(place) = place
        {
            let (session, _) = self.line.session().await?;
            let seen = tracked::see(session, place.version, &mut self.standing).await?;
            let now = tracked::state(seen);
            tracked::say(&self.said_tracked, &now);
            if let State::Expiring(left) = now {
                let sooner = expiring.is_none_or(|(other, _)| left < other);
                expiring = if sooner {
                    Some((left, tracked::HINT))
                } else {
                    expiring
                };
            }
            self.said_tracked = now;
        }
        Ok(Look {
            kept: expiring.map(|(minutes, hint)| kept(minutes, hint)),
            ..Look::default()
        })
    }
}

/// What is on its way out, for `status`. The server counts what it keeps in time and never in bytes: as long as
/// all is well there is nothing to say of it.
fn kept(minutes: i64, hint: &str) -> LogKept {
    LogKept {
        state: "expiring".to_owned(),
        at_risk: true,
        left_bytes: Some(0),
        hint: format!("changes that are not read yet are removed in {minutes} min: {hint}"),
        ..LogKept::default()
    }
}

fn say(before: &State, now: &State) {
    if std::mem::discriminant(before) == std::mem::discriminant(now) {
        return;
    }
    match now {
        State::Well => tracing::info!(
            stage = "capture",
            "changes are captured as they should be again"
        ),
        State::Stopped => tracing::warn!(
            stage = "capture",
            hint = "start SQL Server Agent",
            "SQL Server Agent does not run: nothing is captured until it does, and nothing is lost"
        ),
        State::Behind(seconds) => tracing::warn!(
            stage = "capture",
            lag_seconds = seconds,
            hint = "see sys.dm_cdc_log_scan_sessions and sys.dm_cdc_errors",
            "the capture job is behind"
        ),
        State::Unknown(seconds) => tracing::warn!(
            stage = "capture",
            silent_seconds = seconds,
            hint = "GRANT VIEW SERVER STATE TO <login>",
            "nothing was captured for a while; whether the capture job runs is unknown: that needs VIEW \
             SERVER STATE"
        ),
        State::Expiring(minutes) => tracing::warn!(
            stage = "capture",
            left_minutes = minutes,
            hint = CAPTURED_HINT,
            "the server removes captured changes soon that have not been read"
        ),
    }
}

/// What there is to see; nothing where no change data capture is on.
async fn see(session: &mut Session, place: Option<Place>) -> Result<Option<Seen>, SourceError> {
    if !Database::read(session).await?.cdc {
        return Ok(None);
    }
    let engine = Engine::read(session).await?;
    let agent = if engine.needs_agent() {
        probe::agent(session).await?.known().copied().flatten()
    } else {
        Some(true)
    };
    let jobs = probe::jobs(session).await?;
    let job = |kind: &str| {
        jobs.known()
            .and_then(|jobs| jobs.iter().find(|job| job.kind == kind))
    };
    let polling = job("capture").map(|job| job.polling);
    let retention = job("cleanup").map(|job| job.retention);
    let ours = place.map_or(Lsn::ZERO, |place| place.lsn);
    let newest = match max_lsn(session, true).await {
        Ok(newest) => newest,
        Err(SourceError::Denied { .. }) => max_lsn(session, false).await?,
        Err(error) => return Err(error),
    };
    let silent = match newest {
        Some(newest) => age_seconds(session, newest).await?,
        None => None,
    };
    let unread = newest.is_some_and(|newest| newest > ours) && !ours.is_zero();
    let unread = if unread {
        age_seconds(session, ours).await?
    } else {
        None
    };
    Ok(Some(Seen {
        agent,
        polling_seconds: polling.unwrap_or(POLLING),
        retention_minutes: retention,
        silent_seconds: silent,
        latency_seconds: latency(session).await?,
        unread_minutes: unread.map(|seconds| seconds / 60),
    }))
}

/// How long ago a transaction was committed, by the server's own clock on both sides.
async fn age_seconds(session: &mut Session, lsn: Lsn) -> Result<Option<i64>, SourceError> {
    let doing = "read when a change was captured";
    let sql = "SELECT DATEDIFF(SECOND, sys.fn_cdc_map_lsn_to_time(@P1), GETDATE())";
    let parameters = [Parameter::Bytes(lsn.0.to_vec())];
    let row = match Known::of(session.row(doing, sql, &parameters).await)? {
        Known::Is(Some(row)) => row,
        Known::Is(None) | Known::Unknown(_) => return Ok(None),
    };
    row.int(doing, 0)
}

/// The delay of the newest scan of the log.
async fn latency(session: &mut Session) -> Result<Option<i64>, SourceError> {
    let doing = "read how the capture job gets on";
    let sql = "SELECT TOP (1) session_id, start_time, end_time, tran_count, empty_scan_count, latency, \
         last_commit_lsn FROM sys.dm_cdc_log_scan_sessions WHERE session_id > 0 ORDER BY session_id DESC";
    match Known::of(session.row(doing, sql, &[]).await)? {
        Known::Is(Some(row)) => row.int(doing, 5),
        Known::Is(None) | Known::Unknown(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Seen = Seen {
        agent: Some(true),
        polling_seconds: 5,
        retention_minutes: Some(4_320),
        silent_seconds: Some(20),
        latency_seconds: Some(3),
        unread_minutes: None,
    };

    /// Scenarios 13 and 14, and trap 21.
    #[test]
    fn trap_21_a_job_that_stands_still_is_told_from_a_quiet_database() {
        assert_eq!(state(&WELL), State::Well);
        let quiet = Seen {
            silent_seconds: Some(86_400),
            ..WELL
        };
        assert_eq!(state(&quiet), State::Well);
        assert_eq!(
            state(&Seen {
                agent: Some(false),
                ..quiet.clone()
            }),
            State::Stopped
        );
        let hidden = Seen {
            agent: None,
            latency_seconds: None,
            ..quiet
        };
        assert_eq!(state(&hidden), State::Unknown(86_400));
        assert_eq!(
            state(&Seen {
                silent_seconds: Some(400),
                ..hidden.clone()
            }),
            State::Well
        );
        assert_eq!(
            state(&Seen {
                silent_seconds: None,
                ..hidden
            }),
            State::Well
        );
        assert_eq!(
            state(&Seen {
                latency_seconds: Some(11),
                ..WELL
            }),
            State::Behind(11)
        );
    }

    #[test]
    fn what_is_removed_before_it_is_read_is_said_in_time() {
        let unread = |minutes| {
            state(&Seen {
                unread_minutes: Some(minutes),
                ..WELL
            })
        };
        assert_eq!(unread(3_000), State::Well);
        assert_eq!(unread(4_000), State::Expiring(320));
        assert_eq!(unread(9_000), State::Expiring(0));
    }
}

//! A look beside the stream: whether the capture job runs, how far it is behind, and how far behind the changes
//! that the server keeps we are.
//!
//! A capture job that does not run looks like a database in which nothing happens. That SQL Server Agent runs says
//! little of the job: somebody may have stopped or disabled it, or it ended by an error. But a job at work leaves an
//! entry every five minutes, whatever happens in the database; where none comes it stands still, and where we may
//! not see whether the agent runs, it is said that nobody knows why.

mod tracked;

use std::sync::Arc;
use std::time::Duration;

use contract::{Behind, KeptFor, Look, SourceError};
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
/// Azure SQL Database looks this often, whatever stands among its jobs.
const POLLING_OF_AZURE: i64 = 20;
/// So many seconds without a new entry are no silence: a job at work writes one at least each five minutes, with no
/// change in it where there is none.
const SILENT_SECONDS: i64 = 600;

const CAPTURED_HINT: &str = "see that the agent reads (lighterman status), or keep changes for longer: EXEC \
     sys.sp_cdc_change_job @job_type = N'cleanup', @retention = ..";

/// What is wrong, as far as it is said once and once more when it is well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Well,
    /// Nothing is captured: the agent does not run.
    Stopped,
    /// So many seconds without anything, although the agent runs: the job does not.
    Still(i64),
    /// The newest captured transaction is so many seconds old, and the job is at work.
    Behind(i64),
    /// So many seconds without anything, and we may not know why.
    Unknown(i64),
}

/// What a look sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether the agent that runs the job runs; `None` = it cannot be known.
    pub(crate) agent: Option<bool>,
    /// Between two looks of the job at the log.
    pub(crate) polling_seconds: i64,
    /// Since the newest captured transaction, or the newest entry that says that there was none; `None` = there is
    /// neither, or nothing says that one must come.
    pub(crate) silent_seconds: Option<i64>,
    /// The delay of the newest scan of the log; `None` = it cannot be known.
    pub(crate) latency_seconds: Option<i64>,
}

/// What that comes to.
pub(crate) fn state(seen: &Seen) -> State {
    if seen.agent == Some(false) {
        return State::Stopped;
    }
    let slow = seen.polling_seconds.max(1).saturating_mul(2);
    match (seen.latency_seconds, seen.silent_seconds) {
        (Some(latency), _) if latency > slow => State::Behind(latency),
        (_, Some(silent)) if silent > SILENT_SECONDS => match seen.agent {
            Some(_) => State::Still(silent),
            None => State::Unknown(silent),
        },
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
    /// What was said last of change data capture.
    said: State,
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
        let mut behind = None;
        let mut still = false;
        if needed.cdc {
            let (session, _) = self.line.session().await?;
            if let Some((seen, captured)) = see(session, place).await? {
                let now = state(&seen);
                say(&self.said, &now);
                still = matches!(now, State::Stopped | State::Still(_) | State::Unknown(_));
                self.said = now;
                // Before anything is stored there is nothing to be behind.
                behind = place.map(|_| captured);
            }
        }
        shared.stands_still(still);
        if needed.tracking
            && let Some(place) = place
        {
            let (session, _) = self.line.session().await?;
            let tracked = tracked::see(session, place.version, &mut self.standing).await?;
            behind = Some(match behind {
                Some(captured) => worse(captured, tracked),
                None => tracked,
            });
        }
        Ok(Look {
            behind,
            ..Look::default()
        })
    }
}

/// Of what is captured and what is tracked, that of which a person should hear first: what is removed sooner,
/// else where we are further behind.
fn worse(captured: Behind, tracked: Behind) -> Behind {
    let sooner = match (tracked.left(), captured.left()) {
        (Some(tracked), Some(captured)) => Some(tracked < captured),
        // Nobody says when the other is removed.
        (Some(_), None) if tracked.by != Some(Duration::ZERO) => Some(true),
        (None, Some(_)) if captured.by != Some(Duration::ZERO) => Some(false),
        _ => None,
    };
    if sooner.unwrap_or(tracked.by > captured.by) {
        tracked
    } else {
        captured
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn minutes(minutes: i64) -> Duration {
    seconds(minutes.saturating_mul(60))
}

fn say(before: &State, now: &State) {
    if std::mem::discriminant(before) == std::mem::discriminant(now) {
        return;
    }
    match now {
        State::Well => tracing::info!(
            code = "capture.job_well",
            stage = "capture",
            "changes are captured as they should be again"
        ),
        State::Stopped => tracing::warn!(
            code = "capture.job_stopped",
            stage = "capture",
            hint = "start SQL Server Agent",
            "SQL Server Agent does not run: nothing is captured until it does, and nothing is lost"
        ),
        State::Still(seconds) => tracing::warn!(
            code = "capture.job_still",
            stage = "capture",
            silent_seconds = seconds,
            hint = "EXEC sys.sp_cdc_start_job @job_type = N'capture'",
            "SQL Server Agent runs, and the capture job does not: nothing is captured until it does, and nothing is lost"
        ),
        State::Behind(seconds) => tracing::warn!(
            code = "capture.job_behind",
            stage = "capture",
            lag_seconds = seconds,
            hint = "see sys.dm_cdc_log_scan_sessions and sys.dm_cdc_errors",
            "the capture job is behind"
        ),
        State::Unknown(seconds) => tracing::warn!(
            code = "capture.job_unknown",
            stage = "capture",
            silent_seconds = seconds,
            hint = "GRANT VIEW SERVER STATE TO <login>",
            "nothing was captured for a while; whether the capture job runs is unknown: that needs VIEW \
             SERVER STATE"
        ),
    }
}

/// What there is to see; nothing where no change data capture is on.
async fn see(
    session: &mut Session,
    place: Option<Place>,
) -> Result<Option<(Seen, Behind)>, SourceError> {
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
    let polling = if engine.needs_agent() {
        job("capture").map_or(POLLING, |job| job.polling)
    } else {
        POLLING_OF_AZURE
    };
    let kept_for = match (jobs.known(), job("cleanup")) {
        (_, Some(job)) => KeptFor::Time(minutes(job.retention)),
        (Some(_), None) => KeptFor::Ever,
        (None, None) => KeptFor::Unknown,
    };
    let newest = match max_lsn(session, true).await {
        Ok(newest) => newest,
        Err(SourceError::Denied { .. }) => max_lsn(session, false).await?,
        Err(error) => return Err(error),
    };
    let silent = match newest {
        // Whether the scheduler of Azure SQL Database leaves entries of nothing is not known.
        Some(newest) if engine.needs_agent() => age_seconds(session, newest).await?,
        _ => None,
    };
    let by = match (place, newest) {
        (None, _) => None,
        (Some(place), Some(newest)) if newest > place.lsn => unread(session, place.lsn).await?,
        (Some(_), _) => Some(Duration::ZERO),
    };
    let seen = Seen {
        agent,
        polling_seconds: polling,
        silent_seconds: silent,
        latency_seconds: latency(session).await?,
    };
    let hint = CAPTURED_HINT.to_owned();
    Ok(Some((seen, Behind { by, kept_for, hint })))
}

/// The age of the oldest captured transaction behind what we have read; where our user may not know, that of
/// what we have read up to.
async fn unread(session: &mut Session, ours: Lsn) -> Result<Option<Duration>, SourceError> {
    let doing = "read when the oldest unread change was captured";
    let sql = "SELECT TOP (1) DATEDIFF(SECOND, m.tran_end_time, GETDATE()) FROM cdc.lsn_time_mapping AS m WHERE \
         m.start_lsn > @P1 ORDER BY m.start_lsn";
    let parameters = [Parameter::Bytes(ours.0.to_vec())];
    let age = match probe::row(session, doing, sql, &parameters).await? {
        Known::Is(Some(row)) => row.int(doing, 0)?,
        Known::Is(None) | Known::Unknown(_) => None,
    };
    let age = match age {
        None if !ours.is_zero() => age_seconds(session, ours).await?,
        age => age,
    };
    // It is not read, however young: nothing else is zero.
    Ok(age.map(|age| seconds(age.max(1))))
}

/// How long ago a transaction was committed, by the server's own clock on both sides.
async fn age_seconds(session: &mut Session, lsn: Lsn) -> Result<Option<i64>, SourceError> {
    let doing = "read when a change was captured";
    let sql = "SELECT DATEDIFF(SECOND, sys.fn_cdc_map_lsn_to_time(@P1), GETDATE())";
    let parameters = [Parameter::Bytes(lsn.0.to_vec())];
    let row = match probe::row(session, doing, sql, &parameters).await? {
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
    match probe::row(session, doing, sql, &[]).await? {
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
        silent_seconds: Some(20),
        latency_seconds: Some(3),
    };

    /// Scenarios 13 and 14, and trap 21.
    #[test]
    fn trap_21_a_job_that_stands_still_is_told_from_a_quiet_database() {
        assert_eq!(state(&WELL), State::Well);
        // Nothing happens, of which a job at work leaves a mark.
        let marked = Seen {
            silent_seconds: Some(320),
            ..WELL
        };
        assert_eq!(state(&marked), State::Well);
        let quiet = Seen {
            silent_seconds: Some(86_400),
            ..WELL
        };
        assert_eq!(state(&quiet), State::Still(86_400));
        // It may be at work on what it has not told yet.
        let large = Seen {
            latency_seconds: Some(900),
            ..quiet.clone()
        };
        assert_eq!(state(&large), State::Behind(900));
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
    fn what_is_removed_sooner_is_said_of_two() {
        let of = |by: Option<u64>, kept_for, hint: &str| Behind {
            by: by.map(Duration::from_secs),
            kept_for,
            hint: hint.to_owned(),
        };
        let captured = |by, time| of(by, time, "captured");
        let tracked = |by, time| of(by, time, "tracked");
        let day = KeptFor::Time(Duration::from_hours(24));
        let two = KeptFor::Time(Duration::from_hours(48));
        for (one, other, first) in [
            (captured(Some(9), two), tracked(Some(0), day), "tracked"),
            (
                captured(Some(90_000), two),
                tracked(Some(0), day),
                "captured",
            ),
            (
                captured(Some(9), day),
                tracked(Some(0), KeptFor::Ever),
                "captured",
            ),
            (
                captured(Some(0), day),
                tracked(Some(9), KeptFor::Unknown),
                "tracked",
            ),
            (
                captured(None, day),
                tracked(Some(9), KeptFor::Ever),
                "tracked",
            ),
            (captured(Some(0), day), tracked(Some(0), day), "captured"),
        ] {
            assert_eq!(
                worse(one.clone(), other.clone()).hint,
                first,
                "{one:?} {other:?}"
            );
        }
    }
}

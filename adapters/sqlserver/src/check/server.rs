//! The server, the database, and what captures its changes.

use contract::SourceError;

use super::Looking;
use crate::has::Asked;
use crate::probe::{self, Job, Known};
use crate::session::Session;
use crate::settings::Mode;
use crate::sql::name;

/// Changes that are dropped sooner are lost over a long weekend.
const RETENTION_MIN_MINUTES: i64 = 4 * 24 * 60;
/// What is proposed in its place.
const RETENTION_MINUTES: i64 = 7 * 24 * 60;

/// A clock that is off by more makes lags meaningless.
const CLOCK_MAX_SECONDS: u64 = 30;

impl Looking<'_> {
    /// What the server and the database are.
    pub(super) async fn server(&mut self, session: &mut Session) -> Result<Asked, SourceError> {
        let asked = Asked::read(session).await?;
        self.user.clone_from(&asked.own.user);
        let (engine, database) = (&asked.engine, &asked.database);
        let edition = format!("is {} {}", engine.edition, engine.version);
        self.pass("version", edition);
        if database.writable {
            let found = format!("is {}, in collation {}", database.name, database.collation);
            self.pass("database", found);
        } else {
            self.warn(
                "database",
                format!(
                    "{} can only be read: it is a replica, or was set so. A replica lags behind, and change \
                     tracking is only told by the primary",
                    database.name
                ),
                "set host to the primary or to the availability group's listener, without read_only_intent",
            );
        }
        self.snapshots(&asked);
        match probe::fork(session).await? {
            Known::Is(Some(fork)) => self.pass("identity", format!("is in its life {fork}")),
            Known::Is(None) | Known::Unknown(_) if asked.engine.is_azure() => self.warn(
                "identity",
                "Azure does not tell which life of the database this is: there a restore makes another database, \
                 and one that then gets this name is only told from this one by its position in the log",
                "after such a restore: lighterman source resync",
            ),
            Known::Is(None) | Known::Unknown(_) => {
                let user = name(&self.user);
                self.warn(
                    "identity",
                    "which life of the database this is cannot be asked: a restore is only told from its \
                     position in the log, and may be missed",
                    format!(
                        "GRANT VIEW ANY DATABASE TO {user}, in master; undo: REVOKE VIEW ANY DATABASE FROM {user}"
                    ),
                );
            }
        }
        let offset = probe::offset_minutes(session).await?;
        if offset == 0 {
            self.pass("timezone", "the server's clock is UTC");
        } else {
            let sign = if offset < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
            self.pass(
                "timezone",
                format!(
                    "the server's clock is UTC{sign}{hours:02}:{minutes:02}; times that change data capture \
                     gives have no zone, and are off by the difference where clocks were put forward or back \
                     since"
                ),
            );
        }
        self.clock(session).await?;
        Ok(asked)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how far the two clocks are apart is the question itself"
    )]
    async fn clock(&mut self, session: &mut Session) -> Result<(), SourceError> {
        let theirs = probe::clock(session).await?;
        let apart = theirs.abs_diff(jiff::Timestamp::now().as_second());
        if apart > CLOCK_MAX_SECONDS {
            self.warn(
                "clock",
                format!("is {apart} s off this machine's: lags are wrong by as much"),
                "set both clocks by the same time servers",
            );
        } else {
            self.pass("clock", "agrees with this machine's");
        }
        Ok(())
    }

    fn snapshots(&mut self, asked: &Asked) {
        let database = name(&asked.database.name);
        match asked.database.snapshot_state {
            1 => self.pass("snapshots", "SNAPSHOT transactions are allowed"),
            2 | 3 => self.warn(
                "snapshots",
                "SNAPSHOT transactions are about to be allowed or forbidden: it waits for transactions that \
                 are still open",
                "wait, or end them: SELECT * FROM sys.dm_tran_active_transactions",
            ),
            _ if asked.database.read_committed_snapshot => self.warn(
                "snapshots",
                "SNAPSHOT transactions are not allowed: tables are read as they are when a statement begins, \
                 without waiting for locks, and what change tracking tells may be newer than its version",
                allow(&database),
            ),
            _ => self.warn(
                "snapshots",
                "SNAPSHOT transactions are not allowed: reading a table waits for rows that others hold and \
                 gives up after a while, and what change tracking tells may be newer than its version",
                allow(&database),
            ),
        }
    }

    /// Change data capture as a whole.
    pub(super) async fn capturing(
        &mut self,
        session: &mut Session,
        asked: &Asked,
        modes: &[Mode],
    ) -> Result<(), SourceError> {
        let wanted = |mode: &Mode| matches!(mode, Mode::Cdc | Mode::CdcFunction);
        if !modes.iter().any(wanted) {
            return Ok(());
        }
        if asked.engine.needs_agent() {
            let part = "agent";
            let user = name(&self.user);
            let grant = format!(
                "GRANT VIEW SERVER STATE TO {user}, in master; undo: REVOKE VIEW SERVER STATE FROM {user}"
            );
            match probe::agent(session).await? {
                Known::Is(Some(true)) => self.pass(part, "SQL Server Agent runs"),
                Known::Is(Some(false)) => self.fail(
                    part,
                    "SQL Server Agent is stopped: nothing is captured, and the log of the database cannot be \
                     cleared until it is",
                    "start the service SQL Server Agent, and have it start by itself",
                ),
                Known::Is(None) => self.warn(
                    part,
                    "the server lists no SQL Server Agent: whether changes are captured is not known",
                    "see that the service exists and runs",
                ),
                Known::Unknown(_) => self.warn(
                    part,
                    "whether SQL Server Agent runs cannot be asked: a capture that has stopped looks like a \
                     quiet database",
                    grant,
                ),
            }
        }
        match probe::jobs(session).await? {
            Known::Is(jobs) => {
                let needs_job = asked.engine.needs_agent() && !probe::is_published(session).await?;
                if asked.engine.needs_agent() {
                    self.capture_job(&jobs, needs_job);
                }
                self.retention(&jobs);
            }
            Known::Unknown(_) => self.warn(
                "retention",
                "for how long changes are kept cannot be asked",
                "let the agent's login read it: in msdb, CREATE USER for it and GRANT SELECT ON \
                 dbo.cdc_jobs; or ask as an administrator: EXEC sys.sp_cdc_help_jobs",
            ),
        }
        Ok(())
    }

    fn capture_job(&mut self, jobs: &[Job], is_needed: bool) {
        match jobs.iter().find(|job| job.kind == "capture") {
            Some(job) if !job.continuous => self.warn(
                "capture job",
                "does not run all the time: changes are told when it has run",
                "EXEC sys.sp_cdc_change_job @job_type = N'capture', @continuous = 1, then EXEC \
                 sys.sp_cdc_stop_job and sys.sp_cdc_start_job; undo: the same with @continuous = 0",
            ),
            Some(job) => self.pass(
                "capture job",
                format!("looks for changes every {} s", job.polling),
            ),
            None if is_needed => self.fail(
                "capture job",
                "does not exist: nothing is captured",
                "EXEC sys.sp_cdc_add_job @job_type = N'capture'; undo: EXEC sys.sp_cdc_drop_job @job_type = \
                 N'capture'",
            ),
            None => self.pass(
                "capture job",
                "does not exist: the database is published, and its log reader captures",
            ),
        }
    }

    fn retention(&mut self, jobs: &[Job]) {
        match jobs.iter().find(|job| job.kind == "cleanup") {
            Some(job) if job.retention < RETENTION_MIN_MINUTES => self.warn(
                "retention",
                format!(
                    "changes are kept for {}: an agent that is off for longer must read everything again",
                    time(job.retention)
                ),
                format!(
                    "EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = {RETENTION_MINUTES}; undo: \
                     the same with @retention = {}",
                    job.retention
                ),
            ),
            Some(job) => self.pass(
                "retention",
                format!("changes are kept for {}", time(job.retention)),
            ),
            None => {}
        }
    }

    /// Change tracking as a whole.
    pub(super) fn tracking(&mut self, asked: &Asked, modes: &[Mode]) {
        if !modes.contains(&Mode::Tracking) {
            return;
        }
        let tracking = match &asked.tracking {
            Known::Is(Some(tracking)) => tracking,
            Known::Is(None) => return,
            Known::Unknown(why) => {
                let user = name(&self.user);
                self.warn(
                    "tracking",
                    format!("for how long changes are kept cannot be asked: {why}"),
                    format!(
                        "GRANT VIEW ANY DATABASE TO {user}, in master; undo: REVOKE VIEW ANY DATABASE FROM {user}"
                    ),
                );
                return;
            }
        };
        let database = name(&asked.database.name);
        let set = |retention: &str, cleanup: &str| {
            format!(
                "ALTER DATABASE {database} SET CHANGE_TRACKING (CHANGE_RETENTION = {retention}, AUTO_CLEANUP = \
                 {cleanup})"
            )
        };
        let now = format!("{} {}", tracking.retention, tracking.units);
        if !tracking.cleans {
            let fix = format!("{}; undo: {}", set(&now, "ON"), set(&now, "OFF"));
            self.warn(
                "tracking",
                "keeps changes for ever: AUTO_CLEANUP is off, and what it keeps grows",
                fix,
            );
        } else if tracking.minutes() < RETENTION_MIN_MINUTES {
            let fix = format!("{}; undo: {}", set("7 DAYS", "ON"), set(&now, "ON"));
            self.warn(
                "tracking",
                format!(
                    "changes are kept for {}: an agent that is off for longer must read everything again",
                    time(tracking.minutes())
                ),
                fix,
            );
        } else {
            let found = format!("changes are kept for {}", time(tracking.minutes()));
            self.pass("tracking", found);
        }
    }
}

fn allow(database: &str) -> String {
    format!(
        "ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION ON, which keeps older versions of rows in tempdb; \
         undo: ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION OFF"
    )
}

/// Minutes as people say them.
fn time(minutes: i64) -> String {
    match minutes {
        minutes if minutes >= 24 * 60 && minutes % (24 * 60) == 0 => {
            format!("{} days", minutes / (24 * 60))
        }
        minutes if minutes >= 60 && minutes % 60 == 0 => format!("{} hours", minutes / 60),
        minutes => format!("{minutes} minutes"),
    }
}

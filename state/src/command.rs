//! What a person asks of a destination: pause, resume, drain, retry, drop, replay.
//!
//! Beside a running agent the command leaves a row here, and the destination's loop does it within
//! its turns, long ones in steps; without one the command opens the store and does the same itself.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::delivery::{Desk, Rules};
use crate::error::StoreError;
use crate::held::HeldFilter;
use crate::location::{self, LocationStop};
use crate::pause::{self, Paused};
use crate::replay::ReplayFilter;
use crate::status::StateReader;
use crate::{Store, folder, held_steps, millis, reconcile, replay_steps};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Command {
    /// Nothing leaves.
    Pause {
        /// Until then; `None` = until it is resumed.
        until: Option<Timestamp>,
    },
    /// It goes on.
    Resume,
    /// What is there leaves, nothing newer does; then it is paused.
    Drain,
    /// Held deliveries are sent again; guards let them pass.
    Retry {
        /// Which.
        which: HeldFilter,
        /// Who asked.
        by: String,
    },
    /// Held deliveries are given up.
    Drop {
        /// Which.
        which: HeldFilter,
        /// Who asked.
        by: String,
        /// Why, in that person's words.
        why: String,
    },
    /// Held changes of a mapping are given up; asked of no destination.
    DropChanges {
        /// Which.
        which: HeldFilter,
    },
    /// What was told is told again.
    Replay {
        /// What of it.
        which: ReplayFilter,
        /// Our customer, for events that are no longer in the outbox.
        tenant: String,
    },
    /// A location's stock is told no more, or as nothing to sell.
    Stop {
        /// Which, how and until when.
        stop: LocationStop,
        /// Our customer.
        tenant: String,
    },
    /// A location's stock is told as it is again.
    Release {
        /// The location.
        location: String,
        /// Who asked.
        by: String,
        /// Our customer.
        tenant: String,
    },
    /// Keys that a comparison found differing are told again.
    Mend {
        /// The comparison.
        run: i64,
        /// Our customer, for events that are no longer in the outbox.
        tenant: String,
    },
}

impl Command {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
            Self::Drain => "drain",
            Self::Retry { .. } => "retry",
            Self::Drop { .. } => "drop",
            Self::DropChanges { .. } => "drop changes",
            Self::Replay { .. } => "replay",
            Self::Stop { .. } => "stop location",
            Self::Release { .. } => "release location",
            Self::Mend { .. } => "repair",
        }
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The request.
    pub request: i64,
    /// The command's name.
    pub what: String,
    /// How many deliveries or changes it was done to.
    pub count: u64,
    /// Why it could not be done.
    pub problem: Option<String>,
}

/// Requests looked at in one turn.
const REQUESTS_MAX: usize = 16;
/// Answers stay readable for so long.
const ANSWERS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// A request that waits longer was put off by a clock that is set back: its turn has come.
const WAIT_MAX: SignedDuration = SignedDuration::from_mins(1);

/// A request that is not done yet.
struct Open {
    id: i64,
    command: String,
    progress: i64,
    upto: Option<i64>,
    done: i64,
}

/// How far a step brought a command.
pub(crate) struct Step {
    /// Where the next one begins; `None` = it is done.
    pub(crate) next: Option<i64>,
    /// So many were done in it.
    pub(crate) done: u64,
}

impl Step {
    fn whole(done: u64) -> Self {
        Self { next: None, done }
    }
}

/// Does what was asked of a destination; whether more of it is to be done.
pub(crate) fn steps(desk: &Desk<'_>) -> Result<(Vec<Done>, bool), StoreError> {
    location::expire(desk)?;
    let mut all = Vec::new();
    for _ in 0..REQUESTS_MAX {
        let Some(open) = first(desk)? else {
            return Ok((all, false));
        };
        match step(desk, &open)? {
            Some(done) => all.push(done),
            None => return Ok((all, true)),
        }
    }
    Ok((all, true))
}

/// The first whose turn it is: one that waits for its next step holds up none behind it.
fn first(desk: &Desk<'_>) -> Result<Option<Open>, StoreError> {
    let now = millis(desk.now);
    let late = millis(contract::clock::minus(desk.now, -WAIT_MAX));
    Ok(desk
        .db
        .prepare_cached(
            "SELECT id, command, progress, upto, done FROM request INDEXED BY request_open
             WHERE done_at IS NULL AND destination IN
               ('', (SELECT name FROM destination WHERE id = ?1))
               AND (due_at IS NULL OR due_at <= ?2 OR due_at > ?3)
             ORDER BY id LIMIT 1",
        )?
        .query_row(params![desk.destination, now, late], |row| {
            Ok(Open {
                id: row.get(0)?,
                command: row.get(1)?,
                progress: row.get(2)?,
                upto: row.get(3)?,
                done: row.get(4)?,
            })
        })
        .optional()?)
}

fn step(desk: &Desk<'_>, open: &Open) -> Result<Option<Done>, StoreError> {
    let Ok(command) = serde_json::from_str::<Command>(&open.command) else {
        let problem = "the running agent does not know this command: it is of another version";
        return Ok(Some(finish(desk, open, "unknown", 0, Some(problem))?));
    };
    let (db, destination) = (desk.db, desk.destination);
    // What comes while it runs is not meant.
    let newest = if matches!(command, Command::DropChanges { .. }) {
        "SELECT coalesce(max(id), 0) FROM held"
    } else {
        "SELECT coalesce(max(offset), 0) FROM outbox"
    };
    let upto = match open.upto {
        Some(upto) => upto,
        None => db.query_row(newest, [], |row| row.get(0))?,
    };
    let made = match &command {
        Command::Pause { until } => {
            let paused = Paused { until: *until };
            pause::set(db, destination, Some(paused))?;
            Step::whole(1)
        }
        Command::Resume => {
            pause::set(db, destination, None)?;
            Step::whole(1)
        }
        Command::Drain => {
            pause::drain(db, destination)?;
            Step::whole(1)
        }
        Command::Retry { which, by } => held_steps::retry(desk, which, by, open.progress, upto)?,
        Command::Drop { which, by, why } => {
            held_steps::drop_deliveries(desk, which, by, why, open.progress, upto)?
        }
        Command::DropChanges { which } => held_steps::drop_changes(db, which, open.progress, upto)?,
        Command::Replay { which, tenant } => {
            replay_steps::step(desk, which, tenant, open.progress, upto)?
        }
        Command::Stop { stop, tenant } => location::stop(desk, stop, tenant, open.progress, upto)?,
        Command::Release {
            location,
            by,
            tenant,
        } => location::release(desk, location, by, tenant, open.progress, upto)?,
        Command::Mend { run, tenant } => reconcile::mend(desk, *run, tenant, open.progress)?,
    };
    let done = open.done + i64::try_from(made.done).unwrap_or(i64::MAX);
    if let Some(next) = made.next {
        let due_at = rest(&command, made.done).map(|rest| millis(desk.now).saturating_add(rest));
        db.execute(
            "UPDATE request SET progress = ?2, upto = ?3, done = ?4, due_at = ?5 WHERE id = ?1",
            params![open.id, next, upto, done, due_at],
        )?;
        return Ok(None);
    }
    Ok(Some(finish(desk, open, command.name(), done, None)?))
}

/// How many milliseconds the next step waits behind one that did so many, where a rate is asked for.
fn rest(command: &Command, done: u64) -> Option<i64> {
    let Command::Replay { which, .. } = command else {
        return None;
    };
    let rate = u64::from(which.per_second?.max(1));
    i64::try_from(done.saturating_mul(1_000).div_ceil(rate)).ok()
}

fn finish(
    desk: &Desk<'_>,
    open: &Open,
    what: &str,
    done: i64,
    problem: Option<&str>,
) -> Result<Done, StoreError> {
    let done = Done {
        request: open.id,
        what: what.to_owned(),
        count: done.unsigned_abs(),
        problem: problem.map(str::to_owned),
    };
    let answer = serde_json::json!({"what": done.what, "problem": done.problem}).to_string();
    desk.db.execute(
        "UPDATE request SET done = ?2, done_at = ?3, answer = ?4 WHERE id = ?1",
        params![
            open.id,
            i64::try_from(done.count).unwrap_or(i64::MAX),
            millis(desk.now),
            answer
        ],
    )?;
    let old = millis(contract::clock::minus(desk.now, ANSWERS_KEPT));
    desk.db
        .execute("DELETE FROM request WHERE done_at < ?1", [old])?;
    Ok(done)
}

fn insert(
    db: &Connection,
    destination: &str,
    command: &Command,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let json = serde_json::to_string(command)
        .map_err(|error| StoreError::Invariant(format!("a command has no JSON: {error}")))?;
    // One statement: whatever happens to this process, the agent's own writes wait for no more.
    let asked = db.execute(
        "INSERT INTO request (destination, command, asked_at)
         SELECT ?1, ?2, ?3 WHERE ?1 = '' OR EXISTS (SELECT 1 FROM destination WHERE name = ?1)",
        params![destination, json, millis(now)],
    )?;
    Ok((asked == 1).then(|| db.last_insert_rowid()))
}

/// Asks for something at the destination whose turn it is.
pub(crate) fn insert_own(desk: &Desk<'_>, command: &Command) -> Result<(), StoreError> {
    let name: String = desk.db.query_row(
        "SELECT name FROM destination WHERE id = ?1",
        [desk.destination],
        |row| row.get(0),
    )?;
    insert(desk.db, &name, command, desk.now).map(|_| ())
}

/// Asks the agent that owns the folder to do something: the request's number, by which
/// [`StateReader::answer`] finds what came of it. `None` where the destination has never run.
///
/// # Errors
/// See [`StoreError`].
pub fn ask(
    folder: &Path,
    destination: &str,
    command: &Command,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    match folder::open_beside(folder)? {
        Some(db) => insert(&db, destination, command, now),
        None => Ok(None),
    }
}

impl Store {
    /// Does something while no agent runs. `None` where the destination has never run.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn command(
        &self,
        destination: &str,
        command: Command,
        rules: Arc<Rules>,
        now: Timestamp,
    ) -> Result<Option<Done>, StoreError> {
        let name = destination.to_owned();
        let asked = self
            .writer
            .run(move |db| {
                let Some(request) = insert(db, &name, &command, now)? else {
                    return Ok(None);
                };
                // What concerns no destination is done by any; without one there is nothing to do.
                let id: Option<i64> = db
                    .query_row(
                        "SELECT id FROM destination WHERE name = ?1 OR ?1 = '' ORDER BY id LIMIT 1",
                        [&name],
                        |row| row.get(0),
                    )
                    .optional()?;
                Ok(id.map(|id| (request, id)))
            })
            .await?;
        let Some((request, id)) = asked else {
            return Ok(None);
        };
        loop {
            let rules = Arc::clone(&rules);
            let (done, more) = self
                .writer
                .run(move |db| {
                    let desk = Desk::new(db, id, &rules, now);
                    let made = steps(&desk)?;
                    desk.finish()?;
                    Ok(made)
                })
                .await?;
            if let Some(done) = done.into_iter().find(|done| done.request == request) {
                return Ok(Some(done));
            }
            if !more {
                return Ok(None);
            }
        }
    }
}

impl StateReader {
    /// What came of a request; `None` = it is not done yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn answer(&self, request: i64) -> Result<Option<Done>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(None);
        };
        let found: Option<(i64, String)> = db
            .query_row(
                "SELECT done, answer FROM request WHERE id = ?1 AND done_at IS NOT NULL",
                [request],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((count, answer)) = found else {
            return Ok(None);
        };
        let json: serde_json::Value = serde_json::from_str(&answer)
            .map_err(|_| StoreError::Invariant("an answer does not parse".to_owned()))?;
        let text = |name: &str| Some(json.get(name)?.as_str()?.to_owned());
        Ok(Some(Done {
            request,
            what: text("what").unwrap_or_default(),
            count: count.unsigned_abs(),
            problem: text("problem"),
        }))
    }
}

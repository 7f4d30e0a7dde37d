//! What must be done at the database: the agent's rights, and what captures or tracks changes.

mod captures;
mod plan;
mod steps;
mod tracks;

use contract::{CapturedTable, Login, Preparation, Secret, SourceError};

use crate::connect::{self, Rights};
use crate::errors::{PREPARE, denied};
use crate::grants::{self, Agent};
use crate::session::Session;
use crate::settings::{Auth, Settings};
use crate::sql::name;
use steps::statements;

/// Minutes for which changes are kept at least, and what they are set to where it is less.
const RETENTION_MIN_MINUTES: i64 = 4 * 24 * 60;
const RETENTION_MINUTES: i64 = 7 * 24 * 60;

/// Says what is to be done, and does it with `apply`; as `login` where one is given, for the user that the
/// settings name.
pub(crate) async fn prepare(
    settings: &Settings,
    captured: &[CapturedTable],
    login: Option<&Login>,
    apply: bool,
) -> Result<Preparation, SourceError> {
    let by = match login {
        None => settings.clone(),
        Some(login) => Settings {
            auth: Auth::Sql {
                user: login.user.clone(),
                password: login.password.clone().unwrap_or_else(|| Secret::new("")),
            },
            ..settings.clone()
        },
    };
    let rights = if apply { Rights::Write } else { Rights::Read };
    let mut session = connect::connect(&by, rights)
        .await
        .map_err(|error| no_entry(error, settings, login))?;
    let agent = match (login, settings.auth.user()) {
        (None, _) => Agent::own(&mut session).await?,
        (Some(_), Some(user)) => Agent::of_login(&mut session, user).await?,
        (Some(_), None) => return Err(grants::unnamed()),
    };
    let own = login.is_none();
    let mut plan = plan::plan(settings, captured, &agent, own, &mut session).await?;
    if !apply {
        return Ok(plan);
    }
    if let Agent::Nobody(user) = &agent {
        return Err(denied(
            format!("prepare: login {user} does not exist"),
            format!(
                "{}, with the password that the settings name; undo: DROP LOGIN {}; then {PREPARE}",
                create(user),
                name(user)
            ),
        ));
    }
    for sql in statements(&plan.sql) {
        run(&mut session, sql, login).await?;
    }
    // What the server took and did not do is said.
    let agent = Agent::User(agent.name().to_owned());
    let left = plan::plan(settings, captured, &agent, own, &mut session).await?;
    if let Some(first) = statements(&left.sql).next() {
        return Err(denied(
            format!("prepare: the server took this and did not do it: {first}"),
            format!("run it as an administrator: {first}"),
        ));
    }
    plan.applied = true;
    Ok(plan)
}

async fn run(session: &mut Session, sql: &str, login: Option<&Login>) -> Result<(), SourceError> {
    match session.run(&format!("prepare: {sql}"), sql).await {
        Ok(()) => Ok(()),
        // The server's own words are about the statement, which holds no row.
        Err(failed) if failed.number.is_some() && session.is_usable() => Err(denied(
            failed.error.to_string(),
            if login.is_some() {
                format!("run it as a user who may (sysadmin turns change data capture on): {sql}")
            } else {
                format!(
                    "lighterman source prepare --user NAME, as an administrator of the server; or run it as \
                     one: {sql}"
                )
            },
        )),
        Err(failed) => Err(failed.error),
    }
}

fn create(user: &str) -> String {
    format!("CREATE LOGIN {} WITH PASSWORD = 'choose one'", name(user))
}

/// Who cannot log in yet is told how the login is made.
fn no_entry(error: SourceError, settings: &Settings, login: Option<&Login>) -> SourceError {
    let SourceError::Denied { what, hint } = error else {
        return error;
    };
    if !what.contains("(error 18456") && !what.contains("(error 4060") {
        return SourceError::Denied { what, hint };
    }
    if login.is_some() {
        return denied(
            what,
            "see that LIGHTERMAN_PREPARE_PASSWORD has this login's password, and that it may open the database",
        );
    }
    let made = match settings.auth.user() {
        Some(user) => format!("{} makes it", create(user)),
        None => "an administrator makes it".to_owned(),
    };
    denied(
        what,
        format!(
            "{hint}; if there is no such login, {made}, and lighterman source prepare --user NAME, as an \
             administrator of the server, says the rest"
        ),
    )
}

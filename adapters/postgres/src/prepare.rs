//! What must be done at the database: the role's rights, a publication and, after it, a slot.
//!
//! The order matters: the server looks a publication up as of the change it decodes, so a slot
//! older than its publication can never be read.

use contract::{CapturedTable, Login, Preparation, SourceError};
use tokio_postgres::Client;

use crate::catalogue::{Publication, Table, publishing};
use crate::connect::{self, PREPARE, Rights, classify};
use crate::grants::Grants;
use crate::settings::{OURS, Settings};
use crate::slot::Slot;
use crate::{identity, wait};

/// Says what is to be done, and does it with `apply`; as `login` where one is given, for the role
/// that the settings name.
pub(crate) async fn prepare(
    settings: &Settings,
    captured: &[CapturedTable],
    login: Option<&Login>,
    apply: bool,
) -> Result<Preparation, SourceError> {
    let by = match login {
        None => settings.clone(),
        Some(login) => Settings {
            user: login.user.clone(),
            password: login.password.clone(),
            ..settings.clone()
        },
    };
    let client = connect::connect(&by, Rights::Read)
        .await
        .map_err(|error| no_entry(error, settings, login))?;
    identity::primary(&client, settings).await?;
    let (mut plan, role) = plan(settings, captured, &client).await?;
    if !apply {
        // A password is for a person to choose: not a statement to run as it stands.
        plan.sql
            .splice(0..0, role.map(|create| format!("-- {create}")));
        return Ok(plan);
    }
    if let Some(create) = role {
        return Err(SourceError::Denied {
            what: format!("prepare: role \"{}\" does not exist", settings.user),
            hint: format!(
                "{create}, with the password that the settings name; undo: DROP ROLE {}; then \
                 {PREPARE}",
                connect::name(&settings.user)
            ),
        });
    }
    if !plan.sql.is_empty() {
        let writer = connect::connect(&by, Rights::Write).await?;
        for sql in &plan.sql {
            wait::run(&by, &writer, sql).await?;
        }
        // A GRANT by somebody who may not grant is only a warning to the server.
        let (left, _) = self::plan(settings, captured, &client).await?;
        if let Some(first) = left.sql.first() {
            return Err(SourceError::Denied {
                what: format!("prepare: the server took this and did not do it: {first}"),
                hint: format!("run it as the owner or a superuser: {first}"),
            });
        }
    }
    plan.applied = true;
    Ok(plan)
}

/// Who cannot log in yet is told how the role is made.
fn no_entry(error: SourceError, settings: &Settings, login: Option<&Login>) -> SourceError {
    match error {
        SourceError::Denied { what, hint } if login.is_none() => {
            let role = connect::name(&settings.user);
            SourceError::Denied {
                what,
                hint: format!(
                    "{hint}; if there is no such role, CREATE ROLE {role} LOGIN REPLICATION PASSWORD \
                     'choose one' makes it, and lighterman source prepare --user NAME, as the \
                     owner of the tables or a superuser, says the rest"
                ),
            }
        }
        other => other,
    }
}

/// The SQL that makes the slot. From 17 on it is kept on standbys that ask for it, so that a failover
/// need not lose it; without such a standby that costs nothing.
pub(crate) async fn create_slot_sql(
    settings: &Settings,
    client: &Client,
) -> Result<String, SourceError> {
    let row = client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4",
            &[],
        )
        .await
        .map_err(|error| classify("read the server's version", &error))?;
    let failover = if row.get::<_, i32>(0) >= 170_000 {
        ", failover => true"
    } else {
        ""
    };
    Ok(format!(
        "SELECT pg_create_logical_replication_slot({}, 'pgoutput'{failover})",
        connect::literal(&settings.slot)
    ))
}

/// What becomes of a publication that was there before. One of our own name is one that we made, as
/// long as nothing was to be changed about it now: who changed it since, nobody knows.
fn left(settings: &Settings, changed: bool) -> String {
    let name = connect::name(&settings.publication);
    match (settings.publication.starts_with(OURS), changed) {
        (true, false) => format!("DROP PUBLICATION {name}"),
        (true, true) => format!("-- where it was made for this: DROP PUBLICATION {name}"),
        (false, _) => format!("-- publication {name} was there before"),
    }
}

async fn plan(
    settings: &Settings,
    captured: &[CapturedTable],
    client: &Client,
) -> Result<(Preparation, Option<String>), SourceError> {
    let mut tables = Vec::new();
    for wanted in captured {
        let name = &wanted.table;
        let Some(table) = Table::read(client, name).await? else {
            return Err(SourceError::SchemaChanged {
                what: format!("prepare: table {name} does not exist"),
                hint: "correct the table's name in the mapping".to_owned(),
            });
        };
        if table.would_break() {
            return Err(SourceError::Denied {
                what: format!(
                    "prepare: table {name} has nothing to tell its rows by: once it is published, \
                     the application's own UPDATE and DELETE fail"
                ),
                hint: table.identity_fix(),
            });
        }
        tables.push(table);
    }
    let publication = Publication::read(client, &settings.publication).await?;
    let slot = Slot::read(client, &settings.slot).await?;
    let name = connect::literal(&settings.slot);
    let drop_slot = format!("SELECT pg_drop_replication_slot({name})");
    let create_slot = create_slot_sql(settings, client).await?;
    if slot.as_ref().is_some_and(|slot| !slot.usable) {
        return Err(SourceError::Denied {
            what: format!(
                "prepare: slot \"{}\" is not ours: it is of another kind or database",
                settings.slot
            ),
            hint: "name another slot in the settings".to_owned(),
        });
    }
    let grants = Grants::read(client, &settings.user, &tables).await?;
    let (mut sql, revokes) = grants.sql();
    let (publish, unpublish) = publishing(settings, publication.as_ref(), &tables);
    sql.extend(publish);
    let dead = slot.as_ref().is_some_and(|slot| slot.dead().is_some());
    match &slot {
        None => sql.push(create_slot),
        // Older than its publication, or without its log: of no use to anybody. First of all,
        // so that a slot in use stops everything before it began.
        Some(_) if publication.is_none() || dead => {
            sql.insert(0, drop_slot.clone());
            sql.push(create_slot);
        }
        Some(_) => {}
    }
    let mut undo = vec![drop_slot];
    let changed = !unpublish.is_empty();
    undo.extend(unpublish);
    if publication.is_some() {
        undo.push(left(settings, changed));
    }
    undo.extend(revokes);
    let plan = Preparation {
        sql,
        undo,
        applied: false,
    };
    Ok((plan, grants.create()))
}

//! Change data capture: its instances, for how long they are kept, and who may read them.

use contract::SourceError;

use super::plan::{Planning, Wanted};
use super::steps::Steps;
use super::{RETENTION_MIN_MINUTES, RETENTION_MINUTES};
use crate::captured::Captured;
use crate::catalogue::{CDC, Table};
use crate::grants::{self, Agent};
use crate::probe;
use crate::session::Session;
use crate::settings::Mode;
use crate::sql::{literal, name};

/// The longest name of a capture instance.
const INSTANCE_MAX: usize = 100;
/// A table has at most so many.
const INSTANCES_MAX: usize = 2;
/// For how long the server keeps changes where nobody says otherwise.
const RETENTION_DEFAULT: i64 = 3 * 24 * 60;

pub(super) async fn plan(
    planning: &Planning<'_>,
    steps: &mut Steps,
    session: &mut Session,
) -> Result<(), SourceError> {
    let tables: Vec<&Wanted<'_>> = planning
        .tables
        .iter()
        .filter(|wanted| wanted.is_captured())
        .collect();
    if tables.is_empty() {
        return Ok(());
    }
    if !planning.asked.database.cdc {
        steps.add(
            "EXEC sys.sp_cdc_enable_db".to_owned(),
            "EXEC sys.sp_cdc_disable_db".to_owned(),
        );
    }
    if planning.agent_runs == Some(false) {
        steps.note("start the service SQL Server Agent: without it nothing is captured");
    }
    let mut enables = false;
    for wanted in &tables {
        enables |= instance(planning, steps, wanted);
    }
    retention(planning, steps, enables, session).await?;
    roles(planning, steps, &tables, session).await?;
    if tables.iter().all(|wanted| wanted.mode == Mode::CdcFunction) {
        return Ok(());
    }
    let denied = planning.denials.on_schema(CDC);
    let has = if planning.own && denied.is_empty() {
        planning.asked.own.cdc
    } else {
        let schema = grants::schema_id(session, CDC).await?;
        let by_name = schema.is_some_and(|id| planning.grants.on_schema(id));
        planning.grants.is_owner() || by_name
    };
    let grant = grants::grant("SELECT", "SCHEMA::cdc", planning.agent.name());
    steps.right(has, grant);
    steps.denied(denied);
    Ok(())
}

/// A capture instance with all columns that the mapping reads; whether one is made.
fn instance(planning: &Planning<'_>, steps: &mut Steps, wanted: &Wanted<'_>) -> bool {
    let (captured, table) = (wanted.captured, &wanted.table);
    let own: Vec<&Captured> = planning
        .asked
        .instances
        .of_object(table.object_id)
        .collect();
    let mut role = "NULL".to_owned();
    if let Some(newest) = own.last() {
        let has = |column: &String| {
            let columns = &newest.instance.columns;
            columns.iter().any(|one| one.name == *column)
        };
        let mut read = captured.columns.iter().chain(&captured.key);
        let lacks = |column: &&String| table.column(column).is_some() && !has(column);
        let Some(missing) = read.find(lacks) else {
            return false;
        };
        if own.len() >= INSTANCES_MAX {
            steps.note(&format!(
                "{} has two capture instances, and the newer one, {}, lacks column {missing}: drop the older one \
                 once it is told, then prepare again",
                table.name, newest.instance.name
            ));
            return false;
        }
        // Whoever was kept from the old one is kept from the new one.
        if let Some(gate) = &newest.role {
            role = literal(gate);
        }
    } else if planning.asked.is_captured(table.object_id) {
        steps.note(&format!(
            "{} is captured, and this user may not see how: an administrator can, with lighterman source prepare \
             --user NAME",
            table.name
        ));
        return false;
    }
    let of = format!(
        "@source_schema = {}, @source_name = {}, @capture_instance = {}",
        literal(&table.name.schema),
        literal(&table.name.name),
        literal(&free_name(planning, table))
    );
    steps.add(
        format!(
            "EXEC sys.sp_cdc_enable_table {of}, @role_name = {role}, @supports_net_changes = 0"
        ),
        format!("EXEC sys.sp_cdc_disable_table {of}"),
    );
    true
}

/// A name for a capture instance that nobody has.
fn free_name(planning: &Planning<'_>, table: &Table) -> String {
    let plain = format!("{}_{}", table.name.schema, table.name.name);
    let short = format!("lighterman_{}", table.object_id);
    let candidates = [
        plain.clone(),
        format!("{plain}_2"),
        short.clone(),
        format!("{short}_2"),
    ];
    let mut fitting = candidates.into_iter().filter(|name| {
        name.chars().count() <= INSTANCE_MAX && !planning.asked.instances.has_name(name)
    });
    fitting.next().unwrap_or(short)
}

/// For how long changes are kept. The job that cleans up is made with the first instance.
async fn retention(
    planning: &Planning<'_>,
    steps: &mut Steps,
    enables: bool,
    session: &mut Session,
) -> Result<(), SourceError> {
    let set = |minutes: i64| {
        format!("EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = {minutes}")
    };
    if !planning.asked.database.cdc {
        if enables {
            // It goes with the database's capture.
            steps.add_within(set(RETENTION_MINUTES));
        }
        return Ok(());
    }
    let jobs = probe::jobs(session).await?;
    let Some(jobs) = jobs.known() else {
        return Ok(());
    };
    let now = match jobs.iter().find(|job| job.kind == "cleanup") {
        Some(job) => job.retention,
        None if enables && jobs.is_empty() => RETENTION_DEFAULT,
        None => return Ok(()),
    };
    if now < RETENTION_MIN_MINUTES {
        steps.add(set(RETENTION_MINUTES), set(now));
    }
    Ok(())
}

/// Membership in the roles that guard what is captured.
async fn roles(
    planning: &Planning<'_>,
    steps: &mut Steps,
    tables: &[&Wanted<'_>],
    session: &mut Session,
) -> Result<(), SourceError> {
    let mut roles: Vec<&String> = Vec::new();
    for wanted in tables {
        let own = planning.asked.instances.of_object(wanted.table.object_id);
        roles.extend(own.filter_map(|one| one.role.as_ref()));
    }
    roles.sort();
    roles.dedup();
    let owns = !planning.own && planning.grants.is_owner();
    for role in roles.into_iter().filter(|_| !owns) {
        let is_member = match planning.agent {
            _ if planning.own => probe::is_member(session, role, None).await?,
            Agent::User(user) => probe::is_member(session, role, Some(user)).await?,
            Agent::Login(_) | Agent::Nobody(_) => false,
        };
        let (role, user) = (name(role), name(planning.agent.name()));
        steps.right(
            is_member,
            (
                format!("ALTER ROLE {role} ADD MEMBER {user}"),
                format!("ALTER ROLE {role} DROP MEMBER {user}"),
            ),
        );
    }
    Ok(())
}

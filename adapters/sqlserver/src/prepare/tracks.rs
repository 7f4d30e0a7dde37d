//! Change tracking: for the database and its tables, for how long, and who may read it.

use super::RETENTION_MIN_MINUTES;
use super::plan::{Planning, Wanted};
use super::steps::Steps;
use crate::grants::grant;
use crate::probe::Known;
use crate::settings::Mode;
use crate::sql::{self, name};

/// For how long changes are kept where it was less.
const RETENTION: &str = "7 DAYS";

pub(super) fn plan(planning: &Planning<'_>, steps: &mut Steps) {
    let tables: Vec<&Wanted<'_>> = planning
        .tables
        .iter()
        .filter(|wanted| wanted.mode == Mode::Tracking)
        .collect();
    if tables.is_empty() {
        return;
    }
    let tracked = |wanted: &Wanted<'_>| {
        let known = planning.asked.tracked.known();
        known.is_some_and(|all| all.contains(&wanted.table.object_id))
    };
    let mut turned_on = tables.iter().filter(|wanted| !tracked(wanted));
    if let Some(why) = planning.asked.engine.without_cdc()
        && turned_on.any(|wanted| wanted.is_second)
    {
        steps.note(&format!(
            "changes are tracked, for this server has no change data capture: {why}"
        ));
    }
    database(planning, steps);
    for wanted in tables {
        let on = sql::table(&wanted.table.name);
        if wanted.table.primary().is_none() {
            steps.note(&format!(
                "{} has no primary key, without which changes cannot be tracked",
                wanted.table.name
            ));
            continue;
        }
        if !tracked(wanted) {
            steps.add(
                format!("ALTER TABLE {on} ENABLE CHANGE_TRACKING"),
                format!("ALTER TABLE {on} DISABLE CHANGE_TRACKING"),
            );
        }
        let right = "VIEW CHANGE TRACKING";
        let grants = &planning.grants;
        let by_name = || grants.is_owner() || grants.on_table(wanted.table.object_id, right);
        let denied = planning
            .denials
            .on_table(&wanted.table, wanted.captured, right);
        let rights = wanted.rights.filter(|_| denied.is_empty());
        let has = rights.map_or_else(by_name, |rights| rights.tracking);
        steps.right(has, grant(right, &on, planning.agent.name()));
        steps.denied(denied);
    }
}

fn database(planning: &Planning<'_>, steps: &mut Steps) {
    let database = name(&planning.asked.database.name);
    match &planning.asked.tracking {
        Known::Is(None) => steps.add(
            format!(
                "ALTER DATABASE {database} SET CHANGE_TRACKING = ON (CHANGE_RETENTION = {RETENTION}, AUTO_CLEANUP = \
                 ON)"
            ),
            format!("ALTER DATABASE {database} SET CHANGE_TRACKING = OFF"),
        ),
        Known::Is(Some(now)) if now.minutes() < RETENTION_MIN_MINUTES => {
            let set = |retention: &str| {
                format!("ALTER DATABASE {database} SET CHANGE_TRACKING (CHANGE_RETENTION = {retention})")
            };
            let before = format!("{} {}", now.retention, now.units);
            steps.add(set(RETENTION), set(&before));
        }
        Known::Is(Some(_)) => {}
        // It is on, and how may not be seen.
        Known::Unknown(why) => steps.note(&format!(
            "for how long changes are tracked is not known: {why}"
        )),
    }
}
